package deliver

import (
	"cmp"
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/net/http/httpguts"

	"signalpost/proxy/config"
	"signalpost/proxy/sign"
	"signalpost/queue"
)

// Headers that each request fills in.
const (
	webhookID        = "Webhook-Id"
	webhookTimestamp = "Webhook-Timestamp"
	signalID         = "X-Beton-Signal-Id"
	signalType       = "X-Beton-Signal-Type"
	attemptNumber    = "X-Beton-Attempt"
	traceparent      = "Traceparent"
	tracestate       = "Tracestate"
)

// shapeRequest makes what all requests have in common. u is the route's URL.
func (e *Endpoint) shapeRequest(r *config.Route, u *url.URL, userAgent string) error {
	sent, err := sentURL(u)
	if err != nil {
		return err
	}
	e.request = http.Request{
		Method: cmp.Or(r.Method, http.MethodPost),
		URL:    sent,
		Proto:  "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, // signing sets it: http.Client would copy it for redirects
	}
	e.fixed = http.Header{
		"Content-Type": {"application/json"},
		"User-Agent":   {userAgent},
		// Has net/http send the request again if a connection that served before is
		// closed under it before a byte of the answer. Receivers know repetitions by webhook-id.
		"Idempotency-Key": nil,
	}
	if r.Compression == "gzip" {
		e.fixed["Content-Encoding"] = []string{"gzip"}
	}
	shown := maps.Clone(e.fixed)
	hide := func(name, scheme, value string) {
		e.fixed[name], shown[name] = []string{scheme + value}, []string{scheme + redacted}
	}
	switch {
	case r.BasicAuth != nil:
		hide("Authorization", "Basic ", basicCredentials(r.BasicAuth))
	case !r.BearerToken.IsZero():
		hide("Authorization", "Bearer ", r.BearerToken.Reveal())
	case r.OAuth2 != nil:
		hide("Authorization", "Bearer ", "") // each attempt sets its token's
	}
	for name, value := range r.Headers {
		if strings.EqualFold(name, "User-Agent") { // net/http sends its own if there is none in this spelling
			e.fixed["User-Agent"], shown["User-Agent"] = nil, nil
		}
		hide(name, "", strings.Trim(value.Reveal(), " \t"))
	}
	e.signed = sign.SignatureHeaders(r.Signatures)
	for _, f := range r.Forms {
		e.signed = append(e.signed, f.Header)
	}
	e.makeTemplate(shown)
	return nil
}

// sentURL is u as it is sent.
func sentURL(u *url.URL) (*url.URL, error) {
	host, err := httpguts.PunycodeHostPort(u.Host)
	if err != nil {
		return nil, err
	}
	sent := *u
	sent.Host = host
	sent.RawPath, sent.RawQuery = escape(cmp.Or(u.RawPath, u.EscapedPath())), escape(u.RawQuery)
	return &sent, nil
}

func basicCredentials(b *config.BasicAuth) string {
	return base64.StdEncoding.EncodeToString([]byte(b.Username + ":" + b.Password.Reveal()))
}

// forbidden is what RFC 3986 allows in neither path nor query, and what is
// encoded already.
var forbidden = regexp.MustCompile(`%[0-9A-Fa-f]{2}|[^-._~!$&'()*+,;=:@/?0-9A-Za-z]`)

// escape percent-encodes what is forbidden.
func escape(s string) string {
	return forbidden.ReplaceAllStringFunc(s, func(c string) string {
		if len(c) == len("%20") && c[0] == '%' {
			return c
		}
		return url.PathEscape(c)
	})
}

// fillHeader makes h, a clone of e.fixed or the headers of another request, those of
// one that is not signed yet.
func fillHeader(h http.Header, id, timestamp, signal, kind, attempt, parent, state string) {
	set := func(name, value string) { h[name] = append(h[name][:0], value) }
	set(webhookID, id)
	set(webhookTimestamp, timestamp)
	set(signalID, signal)
	set(signalType, kind)
	set(attemptNumber, attempt)
	optional := func(name, value string) {
		if value != "" {
			set(name, value)
		} else {
			h[name] = h[name][:0]
		}
	}
	optional(traceparent, parent)
	optional(tracestate, state)
}

// sign makes h, as of fillHeader, the headers of one request to u, signed as of now.
func (e *Endpoint) sign(h http.Header, u *url.URL, d *queue.Delivery, attempt int, now time.Time) {
	m := sign.Message{ID: d.ID.String(), Time: now, Type: d.Type, Body: d.Body, URL: u}
	if x := e.altered; x != nil {
		m.Time = now.Add(-x.Ago)
		if x.Forged {
			m.Body = append([]byte("forged "), m.Body...)
		}
	}
	fillHeader(h, m.ID, unix(m.Time), d.Signal.String(), d.Type, strconv.Itoa(attempt), d.Traceparent, d.Tracestate)
	e.route.Signer.Sign(h, m)
}

func unix(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

// signing gives a request its headers and sends it: it is the transport of an
// endpoint's client. It has no CloseIdleConnections, which go-retryablehttp
// would call after each failure: which connections end, h1 decides.
type signing struct{ e *Endpoint }

// RoundTrip implements http.RoundTripper. It takes the Location out of a
// redirect: http.Client would follow it, or fail if it cannot be parsed.
func (s signing) RoundTrip(req *http.Request) (*http.Response, error) {
	a := attemptOf(req.Context())
	if a.unfit != nil {
		return nil, a.unfit
	}
	s.e.sign(a.header, req.URL, &a.delivery, a.number, a.start)
	if a.token != nil {
		a.header["Authorization"] = []string{a.token.authorization()}
	}
	req.Header = a.header // the request is the attempt's own
	resp, err := s.e.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if x := s.e.altered; x != nil && x.Seen != nil {
		x.Seen(resp.Header)
	}
	a.location = resp.Header.Get("Location")
	delete(resp.Header, "Location")
	return resp, nil
}

// credentials are the token and the signatures of an attempt, as far as an answer of so
// many bytes can echo them: who has the signature of a body can send that body. Signatures
// are cut into the pieces that are the same however an answer is escaped.
func (e *Endpoint) credentials(a *attempt, answer int) (pieces []string) {
	if a.token != nil {
		pieces = echoes(a.token.access())
	}
	const shortest = 40 // less than a digest in hex or base64
	if answer < shortest {
		return pieces
	}
	for _, name := range e.signed {
		for _, value := range a.header[name] {
			for _, piece := range strings.FieldsFunc(value, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
				if _, err := strconv.ParseUint(piece, 10, 64); err != nil && len(piece) >= minSecret && piece != "sha256" { // it is not the time
					pieces = append(pieces, piece)
				}
			}
		}
	}
	return pieces
}
