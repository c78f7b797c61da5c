package deliver

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"signalpost/proxy/shape"
	"signalpost/queue"
)

// A Request is one as people may see it: no path or query of the route's URL,
// secret values and signatures redacted.
type Request struct {
	Method  string            `json:"method"`
	Target  string            `json:"target"`          // scheme://host
	Path    string            `json:"path,omitempty"`  // if the signal decides on it or on the query: both
	Query   string            `json:"query,omitempty"` // of a template alone
	Headers map[string]string `json:"headers"`
}

// What stands in a template for what differs by attempt. No header can hold it.
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
	e.route.Signer.Shape(h, itsID, itsType, itsTimestamp, aSignature)
	t := Request{Method: e.request.Method, Target: e.route.Target, Headers: map[string]string{}}
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
// time: for people. If that is zero it never was, and has no timestamp and no signature.
func Describe(text string, d *queue.Delivery, attempt int, sent time.Time) (*Request, error) {
	var t Request
	err := json.Unmarshal([]byte(text), &t)
	s, err2 := shape.Parse(d.Shape)
	if err := cmp.Or(err, err2); err != nil {
		return nil, fmt.Errorf("template of a request: %w", err)
	}
	timestamp, signature := unix(sent), aSignature
	if sent.IsZero() {
		timestamp, signature = "", ""
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
		t.Path, t.Query = "", ""
		return &t, nil
	}
	if t.Path += s.Path; t.Path == "" {
		t.Path = "/"
	}
	if q := joined(t.Query, s.Query); q != "" {
		t.Path += "?" + q
	}
	t.Query = ""
	return &t, nil
}
