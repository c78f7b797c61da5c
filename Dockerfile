# The image is the static binary, the CA certificates it trusts, and an empty
# data folder: nothing else is in it, and nothing runs as root.
#
#   docker build -t signalpost .
#   docker run -p 127.0.0.1:8787:8787 -v ./config:/config:ro -v signalpost:/data signalpost
#
# In /config is signalpost.toml, which user 65532 can read, with queue.path =
# "/data", and for -p to reach it server.listen = "0.0.0.0:8787" and a
# server.token. Mount the folder, not the file, so that edits of it are seen.
FROM golang:1.26.8 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev COMMIT=unknown
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION} -X main.commit=${COMMIT}" -o /out/signalpost . \
 && mkdir -m 0700 /out/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/signalpost /signalpost
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
ENV SIGNALPOST_CONFIG=/config/signalpost.toml
VOLUME ["/config", "/data"]
EXPOSE 8787
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/signalpost", "health"]
ENTRYPOINT ["/signalpost"]
CMD ["run"]
