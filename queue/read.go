package queue

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"signalpost/queue/lane"
	"signalpost/queue/record"
	"signalpost/queue/store"
)

// history calls f with the log entries of one delivery from the newest back,
// until it says stop or the rest has expired.
func (e *engine) history(at record.Stamp, f func(*store.Entry) bool) error {
	for at != 0 {
		r, err := e.store.Entry(at)
		if err != nil || r == nil || !f(r) {
			return err
		}
		at = r.Prev
	}
	return nil
}

// eachOf calls f with the deliveries that are still there, until it says stop.
func (e *engine) eachOf(ids []DeliveryID, f func(store.Found) (more bool, err error)) error {
	for _, id := range ids {
		r, err := e.store.Delivery(id)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if more, err := f(store.Found{ID: id, Delivery: r}); err != nil || !more {
			return err
		}
	}
	return nil
}

// infos describes the deliveries that are still there.
func (e *engine) infos(ids []DeliveryID) ([]Info, error) {
	infos := make([]Info, 0, len(ids))
	err := e.eachOf(ids, func(d store.Found) (bool, error) {
		info, err := e.info(d)
		infos = append(infos, info)
		return true, err
	})
	return infos, err
}

func (e *engine) routeName(n record.RouteNum) string {
	if r := e.store.RouteOf(n); r != nil {
		return r.Name
	}
	return ""
}

// deliveriesOf are the ids of a signal's deliveries that are there, in order.
func (e *engine) deliveriesOf(s SignalID) (ids []DeliveryID, err error) {
	if s != DeliveryID(s).Signal() {
		return nil, nil // no signal has such an id
	}
	err = e.store.Scan(record.DeliveryKey(nil, s.Delivery(0)), record.DeliveryKey(nil, s.After()), func(k, _ []byte) (bool, error) {
		id, err := record.ParseID(k)
		ids = append(ids, id)
		return true, err
	})
	if err != nil {
		return nil, err
	}
	err = e.store.Scan(record.ExtraKey(nil, s, DeliveryID{}), record.ExtraKey(nil, s, record.MaxID), func(k, _ []byte) (bool, error) {
		x, err := record.ParseExtraKey(k)
		ids = append(ids, x.ID)
		return true, err
	})
	return ids, err
}

func (e *engine) info(r store.Found) (Info, error) {
	i := Info{
		ID: r.ID, Signal: r.Signal, Route: e.routeName(r.Route), State: e.senderOf(r.Route).state(r.State), Reason: r.Reason,
		Created: r.ID.Time(), Attempts: r.Attempts, OutOfOrder: r.Flags&record.OutOfOrder != 0,
	}
	if r.Waits() {
		c, err := e.store.Chain(r.Route, r.Order)
		if err != nil {
			return i, err
		}
		if c.Head != r.ID { // else its turn has just come
			i.WaitsFor = &c.Head
		}
	} else if i.State == StatePending {
		t := e.senderOf(r.Route).when(r.Due.Time())
		i.NextAttempt = &t
	}
	err := e.history(r.Last, func(r *store.Entry) bool {
		entry := e.entryOf(r)
		if i.Last, i.Type = &entry, entry.Type; i.NextAttempt != nil && entry.NextAttempt != nil && i.NextAttempt.After(*entry.NextAttempt) {
			entry.NextAttempt = i.NextAttempt
		}
		return false
	})
	if err != nil || i.Last != nil {
		return i, err
	}
	s, err := e.store.Signal(r.Signal)
	if i.Type = s.Type; errors.Is(err, ErrDamaged) { // what is damaged is listed all the same
		err = nil
	}
	return i, err
}

// Info returns a delivery without its bodies and log. The error wraps ErrNotFound if there is none.
func (q *Queue) Info(id DeliveryID) (Info, error) {
	e := q.engine.Load()
	r, err := e.store.Delivery(id)
	if err != nil {
		return Info{}, err
	}
	return e.info(store.Found{ID: id, Delivery: r})
}

// Delivery returns one delivery whole, but for what is damaged. The error wraps
// ErrNotFound if there is none.
func (q *Queue) Delivery(id DeliveryID) (d Detail, err error) {
	e := q.engine.Load()
	r, s, b, err := e.store.Whole(id)
	if errors.Is(err, ErrDamaged) && r.Signal != (SignalID{}) { // what else there is, is read
		d.Damage, err = err, nil
	}
	if err != nil {
		return d, err
	}
	if d.Info, err = e.info(store.Found{ID: id, Delivery: r}); err != nil {
		return d, err
	}
	d.order = r.Order
	d.Traceparent, d.Tracestate, d.SignalBody, d.Body, d.Shape = s.Traceparent, s.Tracestate, s.Body, b.Body, b.Shape
	d.Log = []Entry{}
	err = e.history(r.Last, func(r *store.Entry) bool {
		sent := SentRequest{r.RequestText, instant(r.Started)}
		if d.Log, d.Requests = append(d.Log, e.entryOf(r)), append(d.Requests, sent); d.Sent.IsZero() {
			d.Request, d.Sent = sent.Template, sent.At
		}
		return true
	})
	slices.Reverse(d.Requests)
	if slices.Reverse(d.Log); len(d.Log) > 0 {
		d.Log[len(d.Log)-1] = *d.Last
	}
	return d, err
}

// Signal returns a signal as received, and its deliveries in the order of
// their ids. The error wraps ErrNotFound if there is none.
func (q *Queue) Signal(id SignalID) (Signal, []Info, error) {
	e := q.engine.Load()
	s, err := e.store.Signal(id)
	if err != nil {
		return Signal{}, nil, err
	}
	out := e.signalOf(id, &s)
	ids, err := e.deliveriesOf(id)
	if err != nil {
		return out, nil, err
	}
	infos, err := e.infos(ids)
	return out, infos, err
}

// A Wait is why a delivery that is pending is not being sent at this moment.
type Wait struct {
	Due        time.Time // by the schedule
	Attempted  bool      // it is: an attempt is under way, or its outcome is being recorded
	Unreadable bool      // it cannot be read from disk, and is tried again now and then
	Block      string    // what keeps its route from beginning an attempt: a lane.Block, "" for nothing
	Until      time.Time // when that ends; zero if it is not a matter of time, or not known
	Active     int       // attempts of the route under way
	Ahead      int       // that are due before it on its route: at most MostAhead are counted
}

// MostAhead is how many are counted that are due before another.
const MostAhead = 1000

// Waiting tells of a delivery that is pending, or held, what it waits for.
func (q *Queue) Waiting(id DeliveryID) (w Wait, err error) {
	e := q.engine.Load()
	r, err := e.store.Delivery(id)
	if err != nil || r.State != record.IsPending {
		return w, err
	}
	w.Due = r.Due.Time()
	s := e.senderOf(r.Route)
	if s == nil {
		return w, nil
	}
	s.mu.Lock()
	now := time.Now()
	block, until, active := s.lane.Why(now)
	w.Block, w.Until, w.Active = string(block), until, active
	w.Attempted, w.Unreadable = s.lane.StageOf(lane.Place{Due: r.Due, ID: id})
	low := s.lane.Low()
	s.mu.Unlock()
	if !w.Until.IsZero() {
		w.Until = q.now().Add(w.Until.Sub(now)).UTC()
	}
	err = s.scanDue(lane.Place{Due: low}, func(p lane.Place) bool {
		if p.Due > r.Due || p.ID == id || w.Ahead == MostAhead {
			return false
		}
		w.Ahead++
		return true
	})
	w.Ahead = max(w.Ahead-w.Active, 0) // they were due before
	return w, err
}

// A Bound is what is known of the Idempotency-Key of the request that a signal came with.
type Bound string

// What can be known.
const (
	BoundYes     Bound = "yes"
	BoundNo      Bound = "no"
	BoundUnknown Bound = "unknown" // it would be forgotten by now, or too much was bound just then
)

// BoundTo tells whether a signal came with an Idempotency-Key, and how many
// signals did with it, if that is known.
func (q *Queue) BoundTo(ctx context.Context, id SignalID) (b Bound, signals int, err error) {
	e := q.engine.Load()
	q.mu.Lock()
	window := q.limits.DedupWindow
	q.mu.Unlock()
	if q.now().Sub(id.Time()) > window-boundWithin {
		return BoundUnknown, 0, nil
	}
	w, b := walk{ctx: ctx}, BoundNo
	from, to := record.MillisOf(id.Time()), record.MillisOf(id.Time().Add(boundWithin))
	err = e.store.Scan(record.IdemTimeKey(nil, from, record.IdemHash{}), record.IdemTimeKey(nil, to, record.IdemHash{}), func(k, _ []byte) (bool, error) {
		_, h, err := record.ParseIdemTimeKey(k)
		if err != nil {
			return false, err
		}
		bound, err := e.store.Idem(h)
		if err == nil && bound != nil && bytes.Contains(bound.Answer, []byte(`"`+id.String()+`"`)) {
			b, signals = BoundYes, bytes.Count(bound.Answer, []byte(`"id":"sig_`))
			return false, nil
		}
		if w.seen += bodyCost; w.exhausted() {
			b = BoundUnknown
			return false, nil
		}
		return true, cmp.Or(err, w.step())
	})
	return b, signals, err
}

// boundWithin is how long after a signal has its id its key is bound, at most: a request whose
// batch takes so long is answered 503.
const boundWithin = 40 * time.Second

// PausedByAPI is whether SetPaused holds a route.
func (q *Queue) PausedByAPI(route string) bool {
	r := q.engine.Load().store.Route(route)
	return r != nil && r.Counts().Paused
}

// SameOrder is whether two deliveries of a route have the same order key.
func (q *Queue) SameOrder(a, b DeliveryID) (bool, error) {
	e := q.engine.Load()
	one, err1 := e.store.Delivery(a)
	other, err2 := e.store.Delivery(b)
	return one.Route == other.Route && one.Order == other.Order && one.Order != record.OrderID{}, cmp.Or(err1, err2)
}

// Notes is all that was noted, by name.
func (q *Queue) Notes() (map[string][]byte, error) {
	notes := map[string][]byte{}
	err := q.engine.Load().store.Scan([]byte{record.NotePrefix}, []byte{record.NotePrefix + 1}, func(k, v []byte) (bool, error) {
		notes[string(k[1:])] = bytes.Clone(v)
		return true, nil
	})
	return notes, err
}
