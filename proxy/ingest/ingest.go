// Package ingest answers POST /signals. It reads and unpacks a request's body, within
// bounds (request.go), has package json split it into signals, offers each to the routes
// of the current table, and puts all that they make into the queue in one batch, which is
// on disk before the 202. A request is refused whole, and leaves no trace: its
// Idempotency-Key is free again.
//
// Memory is bounded whatever clients send. What arrives, what it decodes to
// (proxy/table) and what is made of it have a budget each. A request waits for its part,
// and is then answered 503.
package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"signalpost/proxy/api"
	"signalpost/proxy/memory"
	"signalpost/proxy/table"
	"signalpost/queue"
	"signalpost/transform"
	"signalpost/transform/json"
)

// Options are what ingest works with. All but Claim are needed, and safe for concurrent use.
type Options struct {
	Queue    *queue.Queue
	Claim    func(ctx context.Context, key string, digest [32]byte) (*queue.Claim, []byte, error) // nil: the queue's
	Table    func() *table.Table                                                                  // the running one
	Metrics  Metrics
	BodyWait time.Duration // the longest that a large body waits for memory
}

// Metrics counts the requests that are answered 202. It is safe for concurrent use.
type Metrics interface {
	Accepted(made []queue.Made, matched bool) // a signal, with its deliveries
	Replayed(signals int)                     // again, for their Idempotency-Key
	Took(time.Duration)                       // a request that was not replayed
}

// An Ingest takes signals in. It is safe for concurrent use.
type Ingest struct {
	Options
	arriving *memory.Budget // for bodies that are larger than largeBody
	made     *memory.Budget // for signals and deliveries, beside their bodies, until they are on disk
	stopping atomic.Bool
	storing  atomic.Int64 // requests that have been read and not been answered
}

const (
	arrivingBytes = 64 << 20
	madeBytes     = 64 << 20
	// itemBytes is what a signal, and a delivery, takes beside its body: its
	// records, and its part of the answer.
	itemBytes = 512
	// shapedAtOnce is how many signals of a slow batch are shaped side by side.
	shapedAtOnce = 64
)

// New returns an Ingest.
func New(o Options) *Ingest {
	if o.Claim == nil {
		o.Claim = o.Queue.Claim
	}
	return &Ingest{Options: o, arriving: memory.New(arrivingBytes, o.BodyWait), made: memory.New(madeBytes, memory.Wait)}
}

// Ready is nil while signals are accepted, else it says why not: it wraps an
// error of the queue.
func (in *Ingest) Ready() error {
	if in.stopping.Load() {
		return fmt.Errorf("stopping: %w", queue.ErrClosed)
	}
	return in.Queue.Ready()
}

// Stop refuses new signals, and waits at most so long for those that have been read.
func (in *Ingest) Stop(wait time.Duration) {
	in.stopping.Store(true)
	for end := time.Now().Add(wait); in.storing.Load() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

// An Offer is what the query of a request says.
type Offer struct {
	Only string // the one route to offer them to, "" for all
	Type string // of those that have no signal_type, "": there must be none
}

// Post answers POST /signals.
// A request that its headers show to be wrong is refused before the body is read. Post
// has not answered if it returns an error: a problem, or an error of the queue.
func (in *Ingest) Post(w http.ResponseWriter, r *http.Request, to Offer) error {
	began := time.Now()
	answer, replayed, err := in.accept(r, to)
	if err != nil {
		return err
	}
	h := w.Header()
	if replayed {
		in.Metrics.Replayed(bytes.Count(answer, []byte(`"id":"sig_`)))
		h["Idempotent-Replayed"] = []string{"true"}
	} else {
		in.Metrics.Took(time.Since(began))
	}
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(len(answer))}
	w.WriteHeader(http.StatusAccepted)
	w.Write(answer)
	return nil
}

// accept takes a request in, and returns the body of its 202 when everything
// in it is safe on disk, or that of an earlier request with the same key.
func (in *Ingest) accept(r *http.Request, to Offer) (answer []byte, replayed bool, err error) {
	t := in.Table()
	if to.Only != "" && t.Route(to.Only) == nil {
		return nil, false, t.NoRoute(to.Only)
	}
	lines, err := readType(r.Header)
	if err != nil {
		return nil, false, err
	}
	key, err := readKey(r.Header)
	if err != nil {
		return nil, false, err
	}
	if key == "" { // an answer that is known already is given even when the store is full
		if err := in.Ready(); err != nil {
			return nil, false, err
		}
	}
	body, done, err := in.readBody(r, t.Config.Server.MaxBody, "send less at once, or raise server.max_body")
	if err != nil {
		return nil, false, err
	}
	defer done()
	var claim *queue.Claim
	if key != "" {
		claim, answer, err = in.Claim(r.Context(), key, digest(lines, to, body))
		if err != nil || claim == nil {
			return answer, true, err
		}
		defer claim.Release()
	}
	head := queue.Signal{Config: t.Config.Hash}
	head.Traceparent, head.Tracestate = trace(r.Header)
	answer, err = in.store(t, to, body, lines, head, claim)
	return answer, false, err
}

// store makes signals of a body, offers them to the routes, and returns the
// body of the 202 once all that came of it is on disk. head is what the signals have in
// common. claim, unless nil, is bound to that answer.
func (in *Ingest) store(t *table.Table, to Offer, body []byte, lines bool, head queue.Signal, claim *queue.Claim) ([]byte, error) {
	in.storing.Add(1) // before Ready: Stop sets stopping before it looks
	defer in.storing.Add(-1)
	if err := in.Ready(); err != nil { // the body may have taken a while to come
		return nil, err
	}
	// A body that decodes to much is decoded by the table, one signal at a time and in its budget.
	reads := t.Reads
	if json.Footprint(body) > memory.Small {
		reads = nil
	}
	signals, batch, err := readSignals(to.Type, body, lines, reads)
	if err != nil {
		return nil, err
	}
	o, err := in.begin(t, to.Only, len(signals))
	if err != nil {
		return nil, err
	}
	defer o.close()
	for i, s := range signals {
		// The queue keeps the bytes, and the request's buffer is used again.
		o.docs[i] = s.Doc
		head.ID, head.Type, head.Body = in.Queue.NewSignalID(), s.Type, bytes.Clone(s.Raw)
		o.accepted[i].Signal = head
	}
	return in.put(o, claim, batch)
}

// put stores the signals of an offering with all that the routes make of them, and
// returns the body of the 202.
func (in *Ingest) put(o *offering, claim *queue.Claim, batch bool) ([]byte, error) {
	if err := o.offerAll(); err != nil {
		return nil, err
	}
	answer := answerTo(o.accepted, batch)
	if err := in.Queue.Put(o.accepted, claim, answer); err != nil {
		return nil, err
	}
	for i := range o.accepted {
		in.Metrics.Accepted(o.accepted[i].Deliveries, o.matched[i])
	}
	return answer, nil
}

// PostOwn takes in a signal of the sidecar's own, with a note, for one route alone,
// and returns how many deliveries it makes.
func (in *Ingest) PostOwn(body []byte, only string, note *queue.Note) (made int, err error) {
	in.storing.Add(1)
	defer in.storing.Add(-1)
	if err := in.Ready(); err != nil {
		return 0, err
	}
	kind, err := SignalType(body)
	if err != nil {
		return 0, err
	}
	t := in.Table()
	o, err := in.begin(t, only, 1)
	if err != nil {
		return 0, err
	}
	defer o.close()
	o.accepted[0] = queue.Accepted{Signal: queue.Signal{ID: in.Queue.NewSignalID(), Type: kind, Config: t.Config.Hash, Body: body}, Note: note}
	_, err = in.put(o, nil, false)
	return len(o.accepted[0].Deliveries), err
}

// An offering is the signals of one request on their way through the routes.
type offering struct {
	table    *table.Table
	only     string
	use      *transform.Session
	docs     []any // what the signals decode to, or nil
	accepted []queue.Accepted
	matched  []bool // which of them passed a route

	budget *memory.Budget
	taken  int64        // of budget
	made   atomic.Int64 // deliveries
}

// begin waits for the memory that n signals take with a delivery to each route.
// What a transform yields is on the session's account. The offering must be closed.
func (in *Ingest) begin(t *table.Table, only string, n int) (*offering, error) {
	routes := len(t.Routes)
	if only != "" {
		routes = 1
	}
	// The request's context has ended if the client has closed half of the
	// connection, and yet it waits for the answer.
	ctx := context.Background()
	var taken int64
	if need := itemBytes * int64(n) * int64(1+routes); need > memory.Small {
		var err error
		if taken, err = in.made.Take(ctx, need); err != nil {
			return nil, err
		}
	}
	return &offering{
		table: t, only: only, budget: in.made, taken: taken,
		use:  transform.NewSession(ctx, transform.ForSignals),
		docs: make([]any, n), accepted: make([]queue.Accepted, n), matched: make([]bool, n),
	}, nil
}

// offerAll offers the signals to the routes. Once that has taken
// table.SlowAfter the rest go side by side: a batch that meets a runaway
// expression must not wait for it once a signal.
func (o *offering) offerAll() error {
	next := 0
	for began := time.Now(); next < len(o.accepted) && (next == 0 || time.Since(began) < table.SlowAfter); next++ {
		if err := o.offer(next); err != nil {
			return err
		}
	}
	if next < len(o.accepted) {
		rest, failed := errgroup.WithContext(context.Background())
		rest.SetLimit(shapedAtOnce)
		for i := next; i < len(o.accepted) && failed.Err() == nil; i++ {
			rest.Go(func() error { return o.offer(i) })
		}
		if err := rest.Wait(); err != nil {
			return err
		}
	}
	spare := max(o.taken-o.needed(), 0)
	o.taken -= spare
	o.budget.Give(spare)
	return nil
}

// needed is the memory for what has been made of the signals, beside the bodies.
func (o *offering) needed() int64 { return itemBytes * (int64(len(o.accepted)) + o.made.Load()) }

// offer offers the i-th signal.
func (o *offering) offer(i int) (err error) {
	s := &o.accepted[i]
	if s.Deliveries, o.matched[i], err = o.table.Offer(o.use, &s.Signal, o.docs[i], o.only); err != nil {
		return err
	}
	if o.made.Add(int64(len(s.Deliveries))); o.needed() > madeBytes {
		return api.Refuse(http.StatusRequestEntityTooLarge,
			"signals and deliveries together are more than the %d that fit into one request; send fewer signals at once", madeBytes/itemBytes)
	}
	return nil
}

func (o *offering) close() {
	o.use.Close()
	o.budget.Give(o.taken)
}

// readSignals finds the signals in a body: see [json.Signals]. An error is a problem.
func readSignals(kind string, body []byte, lines bool, reads func(name []byte) bool) (signals []json.Signal, batch bool, err error) {
	signals, batch, err = json.Signals(kind, body, lines, reads)
	var fault *json.Error
	if !errors.As(err, &fault) {
		return signals, batch, err
	}
	no := api.Refuse(http.StatusUnprocessableEntity, "%s", fault)
	if fault.Offset >= 0 {
		no = api.Refuse(http.StatusBadRequest, "the body is %s", fault)
	}
	if fault.Index >= 0 {
		no = no.At(fault.Index)
	}
	return nil, batch, no
}

// SignalType checks that a body is one signal, and returns its type. An error is
// a problem.
func SignalType(body []byte) (string, error) {
	signals, batch, err := readSignals("", body, false, nil)
	switch {
	case err != nil:
		return "", err
	case batch:
		return "", api.Refuse(http.StatusUnprocessableEntity, "one signal can be tried at a time; found an array")
	}
	return signals[0].Type, nil
}

// answerTo is the body of the 202, an [api.Accepted] or an [api.AcceptedBatch]. It
// is made for each signal, and no id, nor name of a route, has anything to escape.
func answerTo(accepted []queue.Accepted, batch bool) []byte {
	b := make([]byte, 0, 128*len(accepted))
	if batch {
		b = append(b, `{"signals":[`...)
	}
	for i, a := range accepted {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, `{"id":"`...), a.ID.String()...), `","deliveries":[`...)
		for j, d := range a.Deliveries {
			if j > 0 {
				b = append(b, ',')
			}
			b = append(append(append(b, `{"id":"`...), a.ID.Delivery(j+1).String()...), `","route":"`...)
			b = append(append(b, d.Route...), `"}`...)
		}
		b = append(b, "]}"...)
	}
	if batch {
		b = append(b, "]}"...)
	}
	return append(b, '\n')
}
