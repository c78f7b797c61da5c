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
)

// shapeRequest makes what all requests have in common. u is the route's URL.
func (e *Endpoint) shapeRequest(r *config.Route, u *url.URL, userAgent string) error {
	host, err := httpguts.PunycodeHostPort(u.Host)
	if err != nil {
		return err
	}
	sent := *u
	sent.Host = host
	sent.RawPath, sent.RawQuery = escape(cmp.Or(u.RawPath, u.EscapedPath())), escape(u.RawQuery)
	e.request = http.Request{
		Method: http.MethodPost,
		URL:    &sent,
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
	switch {
	case r.BasicAuth != nil:
		e.fixed["Authorization"] = []string{"Basic " + basicCredentials(r.BasicAuth)}
	case !r.BearerToken.IsZero():
		e.fixed["Authorization"] = []string{"Bearer " + r.BearerToken.Reveal()}
	}
	for name, value := range r.Headers {
		name = http.CanonicalHeaderKey(name)
		e.fixed[name] = []string{strings.Trim(value.Reveal(), " \t")}
		e.secret = append(e.secret, name)
	}
	e.secret = append(e.secret, sign.SignatureHeaders(r.Signatures)...)
	return nil
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

// sign makes h the headers of one request, signed as of now. h is a clone of e.fixed, or was that of another.
func (e *Endpoint) sign(h http.Header, d *queue.Delivery, attempt int, now time.Time) {
	set := func(name, value string) { h[name] = append(h[name][:0], value) }
	id := d.ID.String()
	set(webhookID, id)
	set(webhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	set(signalID, d.Signal.String())
	set(signalType, d.Type)
	set(attemptNumber, strconv.Itoa(attempt))
	if d.Traceparent != "" {
		set(traceparent, d.Traceparent)
	} else {
		h[traceparent] = h[traceparent][:0]
	}
	e.route.Signer.Sign(h, sign.Message{ID: id, Time: now, Type: d.Type, Body: d.Body})
}

// signing gives a request its headers and sends it: it is the transport of an
// endpoint's client. It has no CloseIdleConnections, which go-retryablehttp
// would call after each failure: which connections end, h1 decides.
type signing struct{ e *Endpoint }

// RoundTrip implements http.RoundTripper. It takes the Location out of a
// redirect: http.Client would follow it, or fail if it cannot be parsed.
func (s signing) RoundTrip(req *http.Request) (*http.Response, error) {
	a := attemptOf(req.Context())
	s.e.sign(a.header, &a.delivery, a.number, a.start)
	req.Header = a.header // the request is the attempt's own
	resp, err := s.e.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if location := resp.Header["Location"]; location != nil {
		a.location = location[0]
		delete(resp.Header, "Location")
	}
	return resp, nil
}

// Describe returns a request for people: where it goes by scheme and host, and
// its headers, with [secret] for secret values and signatures.
func (e *Endpoint) Describe(d queue.Delivery, attempt int) (method, target string, h http.Header) {
	h = maps.Clone(e.fixed)
	e.sign(h, &d, attempt, time.Now())
	if a := h["Authorization"]; len(a) > 0 {
		scheme, _, _ := strings.Cut(a[0], " ")
		h["Authorization"] = []string{scheme + " " + redacted}
	}
	for _, name := range e.secret {
		if h[name] != nil {
			h[name] = []string{redacted}
		}
	}
	maps.DeleteFunc(h, func(_ string, values []string) bool { return len(values) == 0 })
	return e.request.Method, e.route.Target, h
}
