package queue

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"signalpost/queue/lane"
	"signalpost/queue/record"
	"signalpost/queue/store"
)

// What the queue refuses with. Each is wrapped in an error that says what it was about.
var (
	// ErrNotFound: there is no such signal, delivery or route, or it has expired.
	ErrNotFound = store.ErrNotFound
	// ErrHeld: the delivery's route is not in the config; it waits until the route is back.
	ErrHeld = errors.New("held")
	// ErrFinished: the delivery is delivered or dead, so there is nothing to give up.
	ErrFinished = errors.New("already finished")
	// ErrKeyReused: the idempotency key is bound to a request with other bytes.
	ErrKeyReused = errors.New("idempotency key used before with another body, Content-Type, ?route or ?type")
	// ErrUnavailable: the store takes no new signals now; the text says why.
	ErrUnavailable = store.ErrUnavailable
	// ErrCursor: After is no cursor that the queue gave.
	ErrCursor = errors.New("cursor")
	// ErrTooMuch: the answer would take more memory than one may.
	ErrTooMuch = errors.New("too much for one answer")
	// ErrClosed: the queue is closed.
	ErrClosed = store.ErrClosed
	// ErrDeposed: another sidecar has the queue's log.
	ErrDeposed = store.ErrDeposed
	// ErrDamaged: a file of the store is damaged, and holds what was asked for.
	ErrDamaged = record.ErrDamaged
	// ErrStale: a log lacks what a view needs to go on from where it stands.
	ErrStale = store.ErrStale
	// ErrShortage: the machine lacks what an attempt takes: files, ports, memory. A Courier wraps it.
	ErrShortage = errors.New("no attempt can be made")
)

// A Log is where a queue's records go, if not to a disk of its own.
type Log = store.Log

// A File is one of a snapshot.
type File = store.File

// Format is the layout of the store, and of what a Log's records change.
const Format = record.Format

// Options are what a queue is opened with. Path and Courier are needed.
type Options struct {
	// Path is the folder of the store. It is made, mode 0700, if it is missing.
	Path string
	// Courier makes the attempts. Deliver runs in many goroutines at once.
	Courier Courier
	// Log takes what nobody else can be told; nil discards it. Its handler must not block.
	Log *slog.Logger
	// Observe, unless nil, is called with the entries of the delivery log, each
	// once and in its order, when they are on disk: those of a batch at a time.
	// It must not block, nor keep the slice.
	Observe func([]Entry)
	// Failing, unless nil, is called with a route that has begun to fail. It must not
	// block, nor call the queue.
	Failing func(route string)
	// Limits hold until the first Configure.
	Limits Limits
	// Journal, unless nil, is asked for the log, and the folder of the view of it,
	// each time the store is opened, also anew after a failure; Path is not used then.
	// An error that wraps ErrDeposed ends the queue's life: it is to be closed.
	Journal func() (path string, log Log, err error)
	// Reach, unless nil, says why the log cannot be reached at the moment: nothing is accepted then.
	Reach func() error

	clock  func(time.Time) time.Time // what the clock on the wall shows then; nil: that. Tests set it
	prompt bool                      // outcomes do not wait to share an fsync. Tests set it
}

// Limits bound what the store keeps. A field of zero means its default in the
// contract, but for MinFree, where it means none.
type Limits = store.Limits

// A Route is what the queue has to know of a route to send its deliveries.
type Route = lane.Route

// A Signal is what the app sent.
type Signal struct {
	ID          SignalID // from NewSignalID; its time is when the signal came
	Type        string   // signal_type
	Config      string   // hash of the config that it met
	Traceparent string   // W3C trace context, or empty
	Tracestate  string   // that of the traceparent, or empty
	Body        []byte   // as received, never changed
}

// Accepted is a signal with what the routing table made of it. Its i-th
// delivery has the id Signal.ID.Delivery(i+1).
type Accepted struct {
	Signal
	Deliveries []Made
	Note       *Note // unless nil, stored with it
}

// A Note is what its author wants to know again after a restart, under a name, in
// place of what was noted there before.
type Note struct {
	Name  string
	Value []byte
}

// Made is one delivery of a new signal.
type Made struct {
	Route string
	Body  []byte // nil: the signal's own bytes
	Shape string // what else of the request was made now, opaque here; "": nothing
	Order string // deliveries of a route with the same go one at a time, in the order they were put; "": no order
	Error string // not empty: an expression failed with this, the delivery is dead, reason transform
}

// A Delivery is what a courier is handed.
type Delivery struct {
	ID          DeliveryID
	Signal      SignalID
	Route       string
	Type        string // signal_type
	Traceparent string
	Tracestate  string
	Body        []byte // must not be changed
	Shape       string // as Made has it
	// Step is the attempt's number in the route's schedule, from 1: lower than
	// that of the attempt when the delivery was retried by hand.
	Step int
}

// A Courier makes one attempt. It returns an error only if there was no
// verdict: ctx ended, the route has gone, or, as ErrShortage, the machine lacks
// what an attempt takes. The delivery stays due and nothing is charged.
type Courier interface {
	Deliver(ctx context.Context, d Delivery, attempt int) (Outcome, error)
}

// An Outcome is a courier's judgement of one attempt.
type Outcome struct {
	Verdict  Verdict // Delivered, Retry, or Dead with a Reason
	Reason   Reason
	Status   int // of the answer, 0 if there was none
	Duration time.Duration
	Error    string // why it is not delivered; no secret, no URL path
	Response string // the beginning of the answer's body
	Class    Class  // "": that of Status
	// Config is the hash of the config that the attempt was made under.
	Config  string
	Peer    string // address and port that the request was sent to, or ""
	Reused  bool   // the connection had been used before
	Timing  Timing
	Started time.Time // the time that was signed; zero: nothing was sent
	// Request is the template of the request, opaque here: equal ones are stored once.
	Request string
	// Gap is the time from the end of this attempt to the next: only with Retry.
	Gap time.Duration
	// Hold is how long no attempt of the route begins; 0: the endpoint did not ask.
	Hold time.Duration
	// Fault counts towards the failing state of the route: the endpoint is to
	// blame, not this payload (connection errors, timeouts, 5xx, 429).
	Fault bool
}

// An Entry of the delivery log is one attempt, or the end of a delivery
// without one (attempt 0). It is written once.
type Entry struct {
	Time        time.Time  `json:"time"` // end of the attempt; unique, and grows with the log unless the clock is set back
	Delivery    DeliveryID `json:"delivery"`
	Signal      SignalID   `json:"signal"`
	Route       string     `json:"route"`
	Type        string     `json:"signal_type"`
	Attempt     int        `json:"attempt"`
	Verdict     Verdict    `json:"verdict"`
	Reason      Reason     `json:"reason,omitempty"`
	Status      int        `json:"status,omitempty"`
	DurationMS  float64    `json:"duration_ms"`
	Error       string     `json:"error,omitempty"`
	Response    string     `json:"response,omitempty"`
	NextAttempt *time.Time `json:"next_attempt,omitempty"`
	Trigger     Trigger    `json:"trigger,omitempty"` // as all below: empty for attempt 0, and in entries of older versions
	Class       Class      `json:"class,omitempty"`
	Config      string     `json:"config,omitempty"`
	Peer        string     `json:"peer,omitempty"`
	Reused      *bool      `json:"reused,omitempty"` // nil: nothing was sent
	Timing      *Timing    `json:"timing,omitempty"`
}

// Took is how long the attempt took.
func (e *Entry) Took() time.Duration {
	return time.Duration(e.DurationMS * float64(time.Millisecond))
}

// A State is where a delivery is. Every delivery is in exactly one until it expires.
type State string

// The states. Held is Pending on a route that is not in the config.
const (
	StatePending   State = "pending"
	StateHeld      State = "held"
	StateDelivered State = "delivered"
	StateDead      State = "dead"
)

// Info is a delivery as lists show it.
type Info struct {
	ID          DeliveryID `json:"id"`
	Signal      SignalID   `json:"signal"`
	Route       string     `json:"route"`
	Type        string     `json:"signal_type"`
	State       State      `json:"state"`
	Reason      Reason     `json:"reason,omitempty"`
	Created     time.Time  `json:"created"`
	Attempts    int        `json:"attempts"`
	NextAttempt *time.Time `json:"next_attempt,omitempty"` // pending only, and while it waits for no other
	// WaitsFor is the delivery that goes before it, of the same order, and OutOfOrder
	// whether it has an order and was sent again when it was finished: it waits for none, and none for it.
	WaitsFor   *DeliveryID `json:"waits_for,omitempty"`
	OutOfOrder bool        `json:"out_of_order,omitempty"`
	Last       *Entry      `json:"last"` // nil before the first attempt
}

// Detail is a delivery whole.
type Detail struct {
	Info
	Traceparent string
	Tracestate  string
	Body        []byte  // nil if the expression failed
	Shape       string  // as Made has it
	SignalBody  []byte  // as received
	Damage      error   // why the bodies, or one, cannot be read, an ErrDamaged; nil if they can
	Log         []Entry // oldest first
	// Request is the template of the request that was sent last, "" if none is
	// known of, and Sent the time that was signed with it.
	Request string
	Sent    time.Time
	// Requests are those of the attempts in Log, of which each has one.
	Requests []SentRequest

	order record.OrderID
}

// HasOrder is whether the delivery has an order key, "" for none.
func (d *Detail) HasOrder(key string) bool { return d.order == record.OrderOf(key) }

// A SentRequest is what was sent of an attempt: the template of its request, and the time
// that was signed. Both are zero if nothing was sent, or nothing is known of it.
type SentRequest struct {
	Template string
	At       time.Time
}

// LogFilter selects entries of the delivery log. Zero fields select all.
type LogFilter struct {
	Route    string // glob of * and ?, as Glob has it
	Type     string // the same
	Signal   SignalID
	Delivery DeliveryID
	Verdicts []Verdict     // one of them
	Statuses []StatusRange // in one of them
	Text     string        // in error or response, whatever the case of letters
	Since    time.Time     // inclusive
	Until    time.Time     // exclusive
	Limit    int           // entries of a page, at least 1
	After    string        // a page's next
}

// A StatusRange is of HTTP statuses, both inclusive. 0 is that of no answer.
type StatusRange struct{ From, To int }

// A LogPage is what Log found.
type LogPage struct {
	Entries []Entry
	Next    string // the cursor of the next page, "" on the last
	// SearchedTo, unless zero, is how far back the search came that ended since
	// it had looked at much.
	SearchedTo time.Time
}

// A DeliveryPage is what Deliveries found.
type DeliveryPage struct {
	Deliveries []Info
	Next       string    // as of a LogPage
	SearchedTo time.Time // of creation, as of a LogPage
}

// SignalFilter selects signals. Zero fields select all.
type SignalFilter struct {
	Type  string    // glob of * and ?
	Since time.Time // inclusive
	Until time.Time // exclusive
	Limit int       // signals of a page, at least 1
	After string    // a page's next
}

// Filter selects deliveries. Zero fields select all.
type Filter struct {
	State    State
	Route    string // glob of * and ?
	Type     string // the same
	Body     string // the signal or the body has it
	Signal   SignalID
	Reason   Reason
	Statuses []StatusRange // the last attempt's is in one of them
	Since    time.Time     // of creation, inclusive
	Until    time.Time     // of creation, exclusive
	Limit    int           // deliveries of a page, at least 1; ignored by RetryAll and DiscardAll
	After    string        // a page's next; ignored by RetryAll and DiscardAll
}

// Reshape makes the deliveries of a stored signal anew, as the config of today
// has it, for one route. None: the signal does not pass any more. An error
// makes the delivery dead, reason transform, with its text in the log, unless
// it wraps ErrUnavailable: then the delivery is left as it is, and the retry fails.
type Reshape func(s Signal, route string) ([]Made, error)
