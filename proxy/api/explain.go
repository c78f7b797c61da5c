package api

import (
	"encoding/json"
	"strings"
	"time"

	"signalpost/queue"
)

// Explanation is the answer to GET /explain/{id}: the life of a signal, or of one of
// its deliveries. What cannot be known it says.
type Explanation struct {
	ID         string              `json:"id"` // as asked
	Now        time.Time           `json:"now"`
	Signal     ExplainedSignal     `json:"signal"`
	Routes     []ExplainedRoute    `json:"routes"`     // of a delivery its own alone
	Deliveries []ExplainedDelivery `json:"deliveries"` // likewise
}

// ExplainedSignal is where the signal came from.
type ExplainedSignal struct {
	ID         queue.SignalID `json:"id"`
	Type       string         `json:"signal_type"`
	ReceivedAt time.Time      `json:"received_at"`
	Bytes      int            `json:"bytes"`
	// Key tells whether the request had an Idempotency-Key, and Together, if that is known, how many
	// signals it had.
	Key         queue.Bound `json:"idempotency_key"`
	Together    int         `json:"signals_in_request,omitempty"`
	Traceparent string      `json:"traceparent,omitempty"`
	Config      string      `json:"config,omitempty"` // the hash of the config that it met; "" if nobody knows
	Running     string      `json:"running_config"`   // that of the config that runs now
	Text        string      `json:"text"`             // all of it in a sentence or two
}

// ExplainedRoute is why a route took the signal, or did not.
type ExplainedRoute struct {
	Route      string             `json:"route"`
	Taken      bool               `json:"taken"` // it made deliveries
	Deliveries []queue.DeliveryID `json:"deliveries"`
	Why        string             `json:"why"`
	Known      bool               `json:"known"` // Why is what was; else what can be said of it

	// As the running config has it; "" and [] when the route has gone.
	SignalTypes []string `json:"signal_types"` // [] for all
	Where       string   `json:"where,omitempty"`
	Reads       []Read   `json:"reads"` // what where reads of the signal
	Error       *string  `json:"error"` // of an expression
	PausedBy    []string `json:"paused_by"`
	Today       string   `json:"today,omitempty"` // what the running config makes of it, if that is another than the signal met
}

// Read is what an expression reads of a signal.
type Read struct {
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value"` // null if there is none
	Found bool            `json:"found"`
	Large bool            `json:"large,omitempty"` // it is too large to be shown
}

// ExplainedDelivery is the life of a delivery so far, and what comes next.
type ExplainedDelivery struct {
	queue.Info
	Steps  []Step     `json:"steps"` // oldest first, without a gap of note
	Next   string     `json:"next"`
	NextAt *time.Time `json:"next_at"` // when, if that is known
	// Today are the ways in which the running config would have it otherwise.
	Today       []string        `json:"today"`
	TodayBody   json.RawMessage `json:"today_body,omitempty"`   // if that is another
	TodayFormat string          `json:"today_format,omitempty"` // of that, unless it is JSON: then it is a string
}

// Step is a part of a delivery's life.
type Step struct {
	Kind    string            `json:"kind"` // made, wait, attempt or end
	From    time.Time         `json:"from"`
	To      *time.Time        `json:"to"`             // nil: it goes on
	Code    string            `json:"code,omitempty"` // of a wait its reason, of an attempt its verdict, of an end its reason
	Text    string            `json:"text"`
	Attempt *ExplainedAttempt `json:"attempt,omitempty"`
}

// ExplainedAttempt is an attempt with what was sent of it.
type ExplainedAttempt struct {
	queue.Entry
	Request *Request `json:"request"` // nil if nothing was sent, or nothing is known of it
	Signed  []Signed `json:"signed"`
}

// Signed is what a signature was over.
type Signed struct {
	Header string `json:"header"`
	Preset string `json:"preset"` // or several, that the header is of; "" for a form of the route's own
	Over   string `json:"over"`   // the text, with {body} for the body; of a form its template
}

// Pausers are who pauses a route, as paused_by lists them, in a sentence.
func Pausers(by []string) string {
	return strings.ReplaceAll(strings.Join(by, " and the "), "api", "API")
}
