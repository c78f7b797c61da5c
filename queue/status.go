package queue

import (
	"cmp"
	"slices"
	"time"

	"signalpost/queue/lane"
	"signalpost/queue/record"
	"signalpost/queue/store"
)

// Status is what the queue knows of itself.
type Status struct {
	Bytes       int64  // the store on disk
	Free        int64  // free bytes of its file system
	Accepting   bool   // whether Put is answered
	Reason      string // why not
	Routes      []RouteStatus
	Evicted     int64 // deliveries shed before their retention was over, since the start
	Unaccounted int64 // made - pending - held - delivered - dead - expired: always 0
}

// RouteState is how a route fares.
type RouteState string

// The states of a route.
const (
	RouteOK      RouteState = "ok"
	RouteFailing RouteState = "failing"
	RoutePaused  RouteState = "paused"
	RouteGone    RouteState = "gone" // not in the config, but something of it is left
)

// Hides reports whether a route that several queues have, in one of them in the state s
// and in another in the state o, is shown in s.
func (s RouteState) Hides(o RouteState) bool {
	order := []RouteState{RouteOK, RouteGone, RoutePaused, RouteFailing}
	return slices.Index(order, s) > slices.Index(order, o)
}

// RouteStatus is what the queue knows of one route. Pending counts those that
// can be sent; on a route that is gone they are Held instead.
type RouteStatus struct {
	Name         string
	State        RouteState
	PausedByAPI  bool // Pause, not the config, holds it
	Pending      int64
	Held         int64
	Delivered    int64
	Dead         int64     // without those that were discarded
	Discarded    int64     // but by an older version, whose count as Dead
	OldestDue    time.Time // zero if none is due
	LastSuccess  time.Time // as all that follows of attempts, from before a restart as well
	LastError    string
	LastErrorAt  time.Time
	FailingSince time.Time // zero unless failing; from a restart on the first failure that no success followed, be it from before
	NextProbe    time.Time // zero unless failing and something waits, and while a probe is under way
	// Refusals are the attempts in a row that ended in 3xx, or in 4xx other than 408,
	// 425 and 429, up to the newest; 0 when nothing is pending or dead.
	Refusals     int
	RefusedSince time.Time
	// Died are the deliveries that died in the last 15 minutes, without those discarded or filtered.
	Died        int64
	DiedSince   time.Time // the first of them; its minute if the log has too much of that
	PausedSince time.Time // zero unless paused
	HeldSince   time.Time // zero unless gone
	Recent      Recent
}

// Recent are the attempts of the last 15 minutes by verdict.
type Recent struct{ Delivered, Retry, Dead int64 }

// recentFor is how far back Status counts attempts and deaths.
const recentFor = 15 * time.Minute

// Status describes the queue. It costs a seek for each route of which something
// is pending, and reads the statistics of the last minutes.
func (q *Queue) Status() Status {
	e := q.engine.Load()
	s := Status{Accepting: true, Routes: []RouteStatus{}}
	s.Bytes, s.Free, s.Evicted = e.store.Size()
	if err := q.Ready(); err != nil {
		s.Accepting, s.Reason = false, err.Error()
	}
	recent := e.recent()
	for _, from := range e.allSenders() {
		c := from.route.Counts()
		r, known := from.status(&c)
		s.Unaccounted += c.Unaccounted()
		if known || c.In != [record.States]int64{} {
			h := recent[from.route.Num]
			r.Recent, r.Died, r.DiedSince = h.Recent, h.died, h.since
			s.Routes = append(s.Routes, r)
		}
	}
	slices.SortFunc(s.Routes, func(a, b RouteStatus) int { return cmp.Compare(a.Name, b.Name) })
	return s
}

// Add adds what another queue has: of each route the sums, the worse state and the
// later success and failure. The store's size and room, and whether a Put is answered, stay s's.
func (s *Status) Add(o Status) {
	s.Evicted, s.Unaccounted = s.Evicted+o.Evicted, s.Unaccounted+o.Unaccounted
	for i := range o.Routes {
		r := &o.Routes[i]
		at, known := slices.BinarySearchFunc(s.Routes, r.Name, func(was RouteStatus, name string) int { return cmp.Compare(was.Name, name) })
		if known {
			s.Routes[at].add(r)
		} else {
			s.Routes = slices.Insert(s.Routes, at, *r)
		}
	}
}

func (r *RouteStatus) add(o *RouteStatus) {
	if o.State.Hides(r.State) {
		r.State = o.State
	}
	r.PausedByAPI = r.PausedByAPI || o.PausedByAPI
	for to, n := range map[*int64]int64{
		&r.Pending: o.Pending, &r.Held: o.Held, &r.Delivered: o.Delivered, &r.Dead: o.Dead, &r.Discarded: o.Discarded, &r.Died: o.Died,
		&r.Recent.Delivered: o.Recent.Delivered, &r.Recent.Retry: o.Recent.Retry, &r.Recent.Dead: o.Recent.Dead,
	} {
		*to += n
	}
	for to, at := range map[*time.Time]time.Time{
		&r.OldestDue: o.OldestDue, &r.FailingSince: o.FailingSince, &r.NextProbe: o.NextProbe, &r.DiedSince: o.DiedSince,
		&r.PausedSince: o.PausedSince, &r.HeldSince: o.HeldSince,
	} {
		if to.IsZero() || !at.IsZero() && at.Before(*to) {
			*to = at
		}
	}
	if o.LastSuccess.After(r.LastSuccess) {
		r.LastSuccess = o.LastSuccess
	}
	if o.LastErrorAt.After(r.LastErrorAt) {
		r.LastErrorAt, r.LastError = o.LastErrorAt, o.LastError
	}
	if o.Refusals > r.Refusals {
		r.Refusals, r.RefusedSince = o.Refusals, o.RefusedSince
	}
}

type recent struct {
	Recent
	died  int64
	since time.Time
}

// recent sums up the last minutes of each route; what cannot be read is left out.
func (e *engine) recent() map[record.RouteNum]recent {
	all := map[record.RouteNum]recent{}
	now := e.q.now().UTC()
	_ = e.store.Rows(record.MinutePrefix, now.Add(time.Minute-recentFor).Truncate(time.Minute), now.Add(time.Minute), func(at record.RowAt, r record.Row) error {
		h := all[at.Route]
		h.Delivered += r.Delivered
		h.Retry += r.Retry
		h.Dead += r.Failures() - r.Retry
		if h.died += r.Dead; r.Dead > 0 && h.since.IsZero() {
			h.since = at.At
		}
		all[at.Route] = h
		return nil
	})
	for n, h := range all {
		if h.died > 0 {
			h.since = e.firstDeath(n, h.since)
			all[n] = h
		}
	}
	return all
}

// firstDeath is when the first delivery of the route died in the minute; the
// minute's beginning if the first thousand entries of the log do not show it.
func (e *engine) firstDeath(route record.RouteNum, minute time.Time) time.Time {
	at, looks := minute, 1000
	_ = e.store.Entries(record.StampOf(minute), record.StampOf(minute.Add(time.Minute)), func(r store.Entry) (bool, error) {
		looks--
		found := r.Route == route && r.Verdict == Dead && r.Reason != Discarded && r.Reason != Filtered
		if found && looks > 0 {
			at = r.At.Time()
		}
		return !found && looks > 0, nil
	})
	return at
}

// status describes the route; what is due first is asked of the store.
func (s *sender) status(c *record.Counts) (st RouteStatus, known bool) {
	s.mu.Lock()
	known = s.lane.Known()
	st = RouteStatus{
		Name: s.route.Name, State: RouteOK, PausedByAPI: c.Paused, Pending: c.In[record.IsPending],
		Delivered: c.In[record.IsDelivered], Dead: c.In[record.IsDead] - c.Discarded, Discarded: c.Discarded,
		LastSuccess: instant(c.LastSuccess), LastError: c.LastError, LastErrorAt: instant(c.LastErrorAt), FailingSince: s.lane.FailingSince(),
		Refusals: int(c.Refusals), RefusedSince: instant(c.RefusedSince),
	}
	if !st.FailingSince.IsZero() && c.FaultSince != 0 {
		st.FailingSince = c.FaultSince.Time()
	}
	switch {
	case !known:
		st.State, st.Pending, st.Held, st.HeldSince, st.FailingSince = RouteGone, 0, st.Pending, instant(c.HeldSince), time.Time{}
	case s.lane.Paused():
		st.State, st.PausedSince = RoutePaused, instant(c.PausedSince)
	case !st.FailingSince.IsZero():
		st.State = RouteFailing
	}
	low, probe := s.lane.Low(), s.nextProbe()
	s.mu.Unlock()
	if st.Pending+st.Held > 0 {
		now := record.MillisOf(s.e.q.now())
		_ = s.scanDue(lane.Place{Due: low}, func(p lane.Place) bool {
			due := p.Due.Time()
			if p.Due <= now {
				st.OldestDue = due
			}
			if st.State == RouteFailing && !probe.IsZero() { // it is of what is due first
				st.NextProbe = later(probe, due)
			}
			return false
		})
	}
	return st, known
}

// instant is the time that was stored, zero if none was.
func instant[T interface {
	comparable
	Time() time.Time
}](at T) (t time.Time) {
	if at != *new(T) {
		t = at.Time()
	}
	return t
}

// nextProbe is when a failing route may be probed next, on the wall clock; zero if
// it is not failing, or a probe is under way. mu is held.
func (s *sender) nextProbe() time.Time {
	at := s.lane.NextProbe()
	if at.IsZero() {
		return at
	}
	// Not finer than what two clocks read one after the other can tell: who asks twice is told the same.
	const fine = 100 * time.Millisecond
	return s.e.q.now().Add(max(time.Until(at), 0)).UTC().Truncate(fine).Add(fine)
}

// when is the earliest time at which a delivery due then can be sent. s may be nil.
func (s *sender) when(due time.Time) time.Time {
	if s == nil {
		return due
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return later(due, s.nextProbe())
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
