package deliver

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"signalpost/queue"
)

// A template is a request as people may see it: no path or query of the URL,
// secret values and signatures redacted.
type template struct {
	Method  string            `json:"method"`
	Target  string            `json:"target"` // scheme://host
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
)

const aSignature = "[signature]"

// Template is the request that all attempts of the endpoint make, for Describe:
// it holds no secret, and is the same text for as long as the request is.
func (e *Endpoint) Template() string { return e.template }

// makeTemplate makes the template of an endpoint whose fixed headers are h, for people.
func (e *Endpoint) makeTemplate(h http.Header) {
	fillHeader(h, itsID, itsTimestamp, itsSignal, itsType, itsAttempt, itsTraceparent)
	e.route.Signer.Shape(h, itsID, itsType, itsTimestamp, aSignature)
	t := template{Method: e.request.Method, Target: e.route.Target, Headers: map[string]string{}}
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
func Describe(text string, d *queue.Delivery, attempt int, sent time.Time) (method, target string, headers map[string]string, err error) {
	var t template
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return "", "", nil, fmt.Errorf("template of a request: %w", err)
	}
	timestamp, signature := unix(sent), aSignature
	if sent.IsZero() {
		timestamp, signature = "", ""
	}
	its := map[string]string{
		itsID: d.ID.String(), itsTimestamp: timestamp, itsSignal: d.Signal.String(), itsType: d.Type,
		itsAttempt: strconv.Itoa(attempt), itsTraceparent: d.Traceparent, aSignature: signature,
	}
	for name, value := range t.Headers {
		if text, ok := its[value]; ok {
			t.Headers[name] = text
		}
	}
	maps.DeleteFunc(t.Headers, func(_, value string) bool { return value == "" })
	return t.Method, t.Target, t.Headers, nil
}
