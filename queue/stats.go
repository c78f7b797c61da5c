package queue

import (
	"cmp"
	"slices"

	"signalpost/queue/lane"
	"signalpost/queue/record"
)

// Status describes the queue. It costs a seek for each route of which something is pending.
func (q *Queue) Status() Status {
	e := q.engine.Load()
	s := Status{Accepting: true, Routes: []RouteStatus{}}
	s.Bytes, s.Free, s.Evicted = e.store.Size()
	if err := q.Ready(); err != nil {
		s.Accepting, s.Reason = false, err.Error()
	}
	for _, from := range e.allSenders() {
		r, known := from.status()
		c := from.route.Counts()
		s.Unaccounted += c.Unaccounted()
		if known || c.In != [record.States]int64{} {
			s.Routes = append(s.Routes, r)
		}
	}
	slices.SortFunc(s.Routes, func(a, b RouteStatus) int { return cmp.Compare(a.Name, b.Name) })
	return s
}

// status describes the route; what is due first is asked of the store.
func (s *sender) status() (st RouteStatus, known bool) {
	c := s.route.Counts()
	s.mu.Lock()
	known = s.lane.Known()
	st = RouteStatus{
		Name: s.route.Name, State: RouteOK, PausedByAPI: c.Paused, Pending: c.In[record.IsPending],
		Delivered: c.In[record.IsDelivered], Dead: c.In[record.IsDead] - c.Discarded, Discarded: c.Discarded,
		LastSuccess: s.lastSuccess, LastError: s.lastError, LastErrorAt: s.lastErrorAt, FailingSince: s.lane.FailingSince(),
	}
	switch {
	case !known:
		st.State, st.Pending, st.Held = RouteGone, 0, st.Pending
	case s.lane.Paused():
		st.State = RoutePaused
	case !st.FailingSince.IsZero():
		st.State = RouteFailing
	}
	low := s.lane.Low()
	s.mu.Unlock()
	if st.Pending+st.Held > 0 {
		now := record.MillisOf(s.e.q.now())
		_ = s.scanDue(lane.Place{Due: low}, func(p lane.Place) bool {
			if p.Due <= now {
				st.OldestDue = p.Due.Time()
			}
			return false
		})
	}
	return st, known
}
