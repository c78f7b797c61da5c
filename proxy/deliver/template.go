package deliver

import (
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/shape"
	"signalpost/queue"
)

// A template is a request with names in place of what differs by attempt.
type template struct {
	api.Request
	Query string `json:"query,omitempty"` // of the route's URL, redacted
}

// The names in a template. No header can hold one.
const (
	itsID          = "\x00id"
	itsTimestamp   = "\x00timestamp"
	itsSignal      = "\x00signal"
	itsType        = "\x00type"
	itsAttempt     = "\x00attempt"
	itsTraceparent = "\x00traceparent"
	itsTracestate  = "\x00tracestate"
)

const aSignature = "[signature]"

// Template is the request that all attempts of the endpoint make, for Describe:
// it holds no secret, and is the same text for as long as the request is.
func (e *Endpoint) Template() string { return e.template }

// makeTemplate makes the template of an endpoint whose fixed headers are h, for people.
func (e *Endpoint) makeTemplate(h http.Header) {
	fillHeader(h, itsID, itsTimestamp, itsSignal, itsType, itsAttempt, itsTraceparent, itsTracestate)
	e.route.Signer.Describe(h, itsID, itsType, itsTimestamp, aSignature)
	t := template{Request: api.Request{Method: e.request.Method, Target: e.route.Target, Headers: map[string]string{}}}
	// What a signal's are added to, also those of one that came under another config.
	if strings.Trim(e.request.URL.Path, "/") != "" {
		t.Path = "/" + redacted
	}
	if e.request.URL.RawQuery != "" {
		t.Query = redacted
	}
	for name, values := range h {
		if len(values) > 0 {
			t.Headers[name] = strings.Join(values, ", ")
		}
	}
	text, _ := json.Marshal(t) // strings alone
	e.template = string(text)
}

// Describe fills a template for one attempt of a delivery, which was sent at a
// time: for people. If that is zero it never was, and has no timestamp and no
// signature. It returns nil if the template or the delivery is of a newer version.
func Describe(text string, d *queue.Delivery, attempt int, sent time.Time) *api.Request {
	var t template
	s, err := shape.Parse(d.Shape)
	if err != nil || json.Unmarshal([]byte(text), &t) != nil {
		return nil
	}
	timestamp, signature := "", ""
	if !sent.IsZero() {
		timestamp, signature, t.Sent, t.Time = unix(sent), aSignature, true, &sent
	}
	its := map[string]string{
		itsID: d.ID.String(), itsTimestamp: timestamp, itsSignal: d.Signal.String(), itsType: d.Type,
		itsAttempt: strconv.Itoa(attempt), itsTraceparent: d.Traceparent, itsTracestate: d.Tracestate, aSignature: signature,
	}
	for name, value := range t.Headers {
		if text, ok := its[value]; ok {
			t.Headers[name] = text
		}
	}
	maps.DeleteFunc(t.Headers, func(_, value string) bool { return value == "" })
	if s.Type != "" {
		t.Headers["Content-Type"] = s.Type
	}
	if s.Path == "" && s.Query == "" {
		t.Path = ""
		return &t.Request
	}
	if t.Path += s.Path; t.Path == "" {
		t.Path = "/"
	}
	if q := joined(t.Query, s.Query); q != "" {
		t.Path += "?" + q
	}
	return &t.Request
}
