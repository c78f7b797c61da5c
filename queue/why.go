package queue

import (
	"bytes"
	"cmp"
	"context"
	"time"

	"signalpost/queue/lane"
	"signalpost/queue/record"
)

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
	w.Attempted, w.Unreadable = s.lane.Is(lane.Place{Due: r.Due, ID: id})
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
