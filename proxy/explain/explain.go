package explain

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/table"
	"signalpost/proxy/term"
	"signalpost/queue"
	"signalpost/transform"
	"signalpost/transform/json"
)

// An Explainer explains signals and deliveries. It is safe for concurrent use.
type Explainer struct {
	Queue   *queue.Queue
	Table   func() *table.Table // the running one
	Started time.Time           // of the process
	History *History
}

// mostRead bounds the JSON that is shown of what a where reads, in bytes.
const mostRead = 200

// An explanation is one being made.
type explanation struct {
	*Explainer
	t      *table.Table
	now    time.Time
	signal queue.Signal
	same   bool // the signal met the config that runs now
	trials map[string]api.Trial
}

// Signal explains a signal; Delivery one delivery of it. An error is one of the queue's,
// wraps queue.ErrUnavailable where there is no memory to try the signal in, or is ctx's.
func (x *Explainer) Signal(ctx context.Context, id queue.SignalID) (e api.Explanation, err error) {
	signal, infos, err := x.Queue.Signal(id)
	if err != nil {
		return e, err
	}
	return x.explain(ctx, id.String(), signal, infos, "")
}

// Delivery explains one delivery, with its signal and route as far as they concern it.
func (x *Explainer) Delivery(ctx context.Context, id queue.DeliveryID) (e api.Explanation, err error) {
	d, err := x.Queue.Delivery(id)
	if err != nil {
		return e, err
	}
	signal, infos, err := x.Queue.Signal(d.Signal)
	if d.Damage != nil && errors.Is(err, queue.ErrDamaged) { // what else is known is told
		signal, infos, err = queue.Signal{ID: d.Signal, Type: d.Type}, []queue.Info{d.Info}, nil
	}
	if err != nil {
		return e, err
	}
	e, err = x.explain(ctx, id.String(), signal, slices.DeleteFunc(infos, func(i queue.Info) bool { return i.Route != d.Route }), d.Route)
	e.Deliveries = slices.DeleteFunc(e.Deliveries, func(d api.ExplainedDelivery) bool { return d.ID != id })
	return e, err
}

// explain explains a signal with the deliveries given: of all routes, or of only.
func (x *Explainer) explain(ctx context.Context, id string, signal queue.Signal, infos []queue.Info, only string) (e api.Explanation, err error) {
	s := explanation{Explainer: x, t: x.Table(), now: time.Now().UTC(), signal: signal, trials: map[string]api.Trial{}}
	s.same = signal.Config == s.t.Config.Hash
	e = api.Explanation{ID: id, Now: s.now, Routes: []api.ExplainedRoute{}, Deliveries: []api.ExplainedDelivery{}}
	if e.Signal, err = s.origin(ctx); err != nil {
		return e, err
	}
	if signal.Body == nil {
		return e, s.timelines(ctx, &e, infos)
	}
	if only == "" || s.t.Route(only) != nil {
		use := transform.NewSession(ctx, transform.ForTries)
		defer use.Close()
		trials, err := s.t.Try(ctx, use, &signal, only, nil, nil)
		if err != nil {
			return e, err
		}
		for _, t := range trials {
			s.trials[t.Route] = t
		}
	}
	names := []string{only}
	if only == "" {
		names = nil
		for _, r := range s.t.Routes {
			names = append(names, r.Name)
		}
		for _, i := range infos {
			if !slices.Contains(names, i.Route) {
				names = append(names, i.Route)
			}
		}
	}
	doc, err := json.Decode(signal.Body)
	if err != nil {
		return e, err
	}
	for _, name := range names {
		e.Routes = append(e.Routes, s.route(name, doc, infos))
	}
	return e, s.timelines(ctx, &e, infos)
}

// timelines adds that of each delivery.
func (s *explanation) timelines(ctx context.Context, e *api.Explanation, infos []queue.Info) error {
	nth := map[string]int{} // of the deliveries of a route: which result of its transform it has
	for _, i := range infos {
		d, err := s.delivery(ctx, i.ID, nth[i.Route])
		if err != nil {
			return err
		}
		nth[i.Route]++
		e.Deliveries = append(e.Deliveries, d)
	}
	return nil
}

// origin is where the signal came from.
func (s *explanation) origin(ctx context.Context) (w api.ExplainedSignal, err error) {
	w = api.ExplainedSignal{
		ID: s.signal.ID, Type: s.signal.Type, ReceivedAt: s.signal.ID.Time(), Bytes: len(s.signal.Body), Traceparent: s.signal.Traceparent,
		Config: s.signal.Config, Running: s.t.Config.Hash,
	}
	if w.Key, w.Together, err = s.Queue.BoundTo(ctx, s.signal.ID); err != nil {
		return w, err
	}
	if s.signal.Body == nil {
		w.Text = "it cannot be read from disk, so nothing else is known of it. Restore the store from a backup, or discard its deliveries."
		return w, nil
	}
	with := "without an Idempotency-Key"
	switch {
	case w.Key == queue.BoundYes && w.Together > 1:
		with = fmt.Sprintf("with an Idempotency-Key, in a batch of %d", w.Together)
	case w.Key == queue.BoundYes:
		with = "with an Idempotency-Key, alone"
	case w.Key == queue.BoundUnknown:
		with = "whether with an Idempotency-Key is forgotten by now (queue.dedup_window)"
	}
	if strings.HasPrefix(w.Type, "signalpost.") && w.Key != queue.BoundYes {
		with = "an alert of the sidecar's own, or sent as one"
	}
	if w.Traceparent != "" {
		with += ", with a traceparent"
	}
	config := "It met the config " + w.Config + ", which runs now."
	switch {
	case w.Config == "":
		config = "Which config it met is not known: an older version stored it."
	case !s.same:
		config = fmt.Sprintf("It met the config %s%s; now runs %s, and of the other only the hash is kept.", w.Config, s.loaded(w.Config), w.Running)
	}
	w.Text = fmt.Sprintf("%s, %s. %s", term.Size(int64(w.Bytes)), with, config)
	return w, nil
}

// loaded is when a config of this process was loaded, as the end of a sentence.
func (s *explanation) loaded(hash string) string {
	for _, r := range slices.Backward(s.t.Reloads) {
		if r.Hash == hash {
			return ", loaded at " + stamp(r.Time)
		}
	}
	return ""
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// route is whether a route took the signal, and why.
func (s *explanation) route(name string, doc any, infos []queue.Info) api.ExplainedRoute {
	r := api.ExplainedRoute{Route: name, Deliveries: []queue.DeliveryID{}, SignalTypes: []string{}, Reads: []api.Read{}, PausedBy: []string{}}
	failed := false // it made a delivery that was dead from the start
	for _, i := range infos {
		if i.Route == name {
			r.Deliveries = append(r.Deliveries, i.ID)
			failed = failed || i.Reason == queue.Transform && i.Attempts == 0
		}
	}
	r.Taken = len(r.Deliveries) > 0
	trial, there := s.trials[name]
	if c := s.t.Route(name); c != nil {
		r.SignalTypes, r.Where, r.Error, r.PausedBy = append(r.SignalTypes, c.SignalTypes...), c.Where.Source(), trial.Error, s.pausedBy(name)
		for _, path := range c.Where.Paths() {
			value, found, whole := path.Of(doc, mostRead)
			if !whole {
				value = nil
			}
			r.Reads = append(r.Reads, api.Read{Path: path.String(), Value: value, Found: found, Large: !whole})
		}
	}
	r.Known = s.same && there
	makes := len(trial.Bodies) > 0 || trial.Error != nil
	today := asToday(trial)
	switch {
	case !there && r.Taken:
		r.Why, r.Known = "It took the signal, and has gone from the config since.", true
	case s.same && r.Taken == makes:
		r.Why = today
	case s.same && r.Taken: // and would not now: a retry by hand, or an expression near its bounds
		r.Why, r.Known = "It took the signal. Tried again now: "+today, false
	case s.same:
		r.Why, r.Known = "It made no delivery, though it would: the signal was offered to another route alone (?route=NAME).", false
	case r.Taken && failed:
		r.Why, r.Known, r.Today = "It took the signal, and an expression failed: see the delivery.", true, today
	case r.Taken:
		r.Why, r.Known, r.Today = "It took the signal.", true, today
	default:
		r.Why = fmt.Sprintf("It made no delivery. Why is not known: the config %s is gone, or had no such route.", s.signal.Config)
		r.Today = today
	}
	return r
}

// asToday says what the running config makes of the signal.
func asToday(t api.Trial) string {
	text := "It " + t.Why + "."
	switch n := len(t.Bodies); {
	case n > 1:
		text = fmt.Sprintf("It passes, and transform yields %d results.", n)
	case t.Error != nil && !t.Matches:
		text = "Its where failed, which makes a dead delivery."
	case !t.Matches:
		text = "It does not pass: " + t.Why + "."
	}
	if t.Error != nil {
		text = strings.TrimSuffix(text, ".") + ": " + *t.Error
	}
	return text
}

// pausedBy lists who pauses a route now.
func (s *explanation) pausedBy(name string) []string {
	by := []string{}
	if r := s.t.Route(name); r != nil && r.Paused {
		by = append(by, "config")
	}
	if s.Queue.PausedByAPI(name) {
		by = append(by, "api")
	}
	return by
}

// differences lists how a delivery, the nth of its route, would differ if the running config
// made it now, and its body, of a format, if that would be another.
func (s *explanation) differences(d *queue.Detail, nth int) (ways []string, body []byte, format string) {
	ways = []string{}
	r := s.t.Route(d.Route)
	if r == nil {
		return append(ways, "The route has gone: it would not be made."), nil, ""
	}
	trial := s.trials[d.Route]
	if !s.same && d.Damage == nil {
		switch {
		case trial.Error != nil:
			if d.Body != nil {
				ways = append(ways, "An expression would fail: "+*trial.Error)
			}
		case nth >= len(trial.Bodies):
			ways = append(ways, "It would not be made. "+asToday(trial))
		default:
			made := table.Normalized(*d)
			if was, in := table.Readable(made.Body, made.Shape); in != trial.Format || !bytes.Equal(trial.Bodies[nth], was) {
				ways, body, format = append(ways, "It would have another body."), trial.Bodies[nth], trial.Format
			}
			ways = append(ways, besideBody(d, s.t.Request(made), &trial)...)
		}
	}
	if d.Request == "" {
		return ways, body, format // nothing was sent, so that only the running config can make a request
	}
	if sent, would := s.t.Request(d), s.t.Today(d); sent != nil && would != nil {
		ways = append(ways, requestDiffers(sent, would)...)
	}
	return ways, body, format
}

// besideBody lists how a trial differs in path, query, content type and order.
func besideBody(d *queue.Detail, was *api.Request, trial *api.Trial) (ways []string) {
	if would := trial.Request; was != nil && would != nil {
		if was.Path != would.Path {
			ways = append(ways, "It would have another path or query: "+cmp.Or(would.Path, "those of the url alone")+".")
		}
		if kind := would.Headers["Content-Type"]; was.Headers["Content-Type"] != kind {
			ways = append(ways, fmt.Sprintf("It would have the Content-Type %s, not %s.", kind, was.Headers["Content-Type"]))
		}
	}
	if !d.HasOrder(trial.Order) {
		ways = append(ways, "It would be in another order (order_by): "+cmp.Or(trial.Order, "none")+".")
	}
	return ways
}

func requestDiffers(sent, would *api.Request) (ways []string) {
	if sent.Method != would.Method || sent.Target != would.Target {
		ways = append(ways, fmt.Sprintf("It would go to %s %s, not %s %s.", would.Method, would.Target, sent.Method, sent.Target))
	}
	var more, less, other []string
	for _, name := range slices.Sorted(maps.Keys(sent.Headers)) {
		if now, ok := would.Headers[name]; !ok {
			less = append(less, name)
		} else if now != sent.Headers[name] {
			other = append(other, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(would.Headers)) {
		if _, ok := sent.Headers[name]; !ok {
			more = append(more, name)
		}
	}
	for _, of := range []struct {
		what  string
		names []string
	}{{"also have", more}, {"lack", less}, {"have another", other}} {
		if len(of.names) > 0 {
			ways = append(ways, fmt.Sprintf("It would %s %s.", of.what, strings.Join(of.names, ", ")))
		}
	}
	return ways
}
