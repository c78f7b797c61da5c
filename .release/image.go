package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	oci "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// A layout is an OCI image layout that grows: blobs by their digest.
type layout struct{ entries []entry }

// add adds content and describes it: JSON unless it is bytes, a blob unless it has a name.
func (l *layout) add(name, media string, v any) (oci.Descriptor, error) {
	b, raw := v.([]byte)
	if !raw {
		var err error
		if b, err = json.Marshal(v); err != nil {
			return oci.Descriptor{}, err
		}
	}
	d := oci.Descriptor{MediaType: media, Digest: digest.FromBytes(b), Size: int64(len(b))}
	l.entries = append(l.entries, entry{name: cmp.Or(name, "blobs/sha256/"+d.Digest.Encoded()), mode: 0o644, data: b})
	return d, nil
}

// image makes what the Dockerfile makes, for all platforms at once: the binary,
// CA certificates and an empty folder, from scratch. It is read by skopeo,
// podman, containerd and docker load.
func (r *release) image(targets []target) error {
	l := &layout{}
	index := oci.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: oci.MediaTypeImageIndex, Annotations: r.labels()}
	var roots bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil { // which a file cannot say
			if err := pem.Encode(&roots, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
				return err
			}
		}
	}
	for _, t := range targets {
		if t.os != "linux" {
			continue
		}
		manifest, err := r.platform(l, t, roots.Bytes())
		if err != nil {
			return err
		}
		index.Manifests = append(index.Manifests, manifest)
	}
	if len(index.Manifests) == 0 {
		return nil
	}
	top, err := l.add("", oci.MediaTypeImageIndex, index)
	if err != nil {
		return err
	}
	top.Annotations = map[string]string{oci.AnnotationRefName: r.version, "io.containerd.image.name": "signalpost:" + r.version}
	index.Manifests = []oci.Descriptor{top}
	_, err1 := l.add(oci.ImageIndexFile, "", index)
	_, err2 := l.add(oci.ImageLayoutFile, "", oci.ImageLayout{Version: oci.ImageLayoutVersion})
	if err := cmp.Or(err1, err2); err != nil {
		return err
	}
	return r.artefact(fmt.Sprintf("signalpost_%s_image.tar", r.version), func(w io.Writer) error { return r.tar(w, l.entries) })
}

// platform adds the image of one platform, and describes its manifest.
func (r *release) platform(l *layout, t target, roots []byte) (oci.Descriptor, error) {
	var plain, packed bytes.Buffer
	entries := []entry{
		{name: "data/", mode: 0o700, owner: 65532},
		{name: "etc/", mode: 0o755}, {name: "etc/ssl/", mode: 0o755}, {name: "etc/ssl/certs/", mode: 0o755},
		{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, data: roots},
		{name: "signalpost", mode: 0o755, source: r.binary(t)},
	}
	if err := r.tar(&plain, entries); err != nil {
		return oci.Descriptor{}, err
	}
	if err := r.tarball(&packed, entries); err != nil {
		return oci.Descriptor{}, err
	}
	layer, err := l.add("", oci.MediaTypeImageLayerGzip, packed.Bytes())
	if err != nil {
		return oci.Descriptor{}, err
	}
	platform := oci.Platform{OS: t.os, Architecture: t.arch}
	if t.arch == "arm" {
		platform.Variant = "v7"
	}
	config, err := l.add("", oci.MediaTypeImageConfig, oci.Image{
		Created: &r.time, Platform: platform,
		Config: oci.ImageConfig{
			User: "65532:65532", Entrypoint: []string{"/signalpost"}, Cmd: []string{"run"},
			Env: []string{"SIGNALPOST_CONFIG=/config/signalpost.toml"}, Volumes: map[string]struct{}{"/config": {}, "/data": {}},
			ExposedPorts: map[string]struct{}{"8787/tcp": {}}, StopSignal: "SIGTERM", Labels: r.labels(),
		},
		RootFS:  oci.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(plain.Bytes())}},
		History: []oci.History{{Created: &r.time, CreatedBy: "signalpost release"}},
	})
	if err != nil {
		return oci.Descriptor{}, err
	}
	manifest, err := l.add("", oci.MediaTypeImageManifest, oci.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: oci.MediaTypeImageManifest, Config: config, Layers: []oci.Descriptor{layer}, Annotations: r.labels(),
	})
	manifest.Platform = &platform
	return manifest, err
}

func (r *release) labels() map[string]string {
	return map[string]string{
		oci.AnnotationTitle: "signalpost", oci.AnnotationDescription: "A durable webhook sidecar", oci.AnnotationVersion: r.version,
		oci.AnnotationRevision: r.commit, oci.AnnotationCreated: r.time.Format("2006-01-02T15:04:05Z"), oci.AnnotationURL: r.url,
	}
}
