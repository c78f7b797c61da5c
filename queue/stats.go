package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"signalpost/queue/lane"
	"signalpost/queue/record"
	"signalpost/queue/store"
)

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

// states are those of a route of which one hides the ones before it.
var states = []RouteState{RouteOK, RouteGone, RoutePaused, RouteFailing}

func (r *RouteStatus) add(o *RouteStatus) {
	if slices.Index(states, o.State) > slices.Index(states, r.State) {
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

// MostPoints bounds what Stats makes of all routes together.
const MostPoints = 60_000

// A series is one being made: points are finished one after the other.
type series struct {
	Series
	at  int        // of Points, the one that row is of
	row record.Row // what has been added since
}

func (s *series) finish() {
	if s.row == (record.Row{}) {
		return
	}
	p := &s.Points[s.at]
	p.Accepted += max(s.row.Accepted, 0)
	p.Delivered += s.row.Delivered
	p.Dead += s.row.Dead + s.row.Filtered
	if failed := s.row.ByClass(); failed != nil {
		p.Failed = failed
	}
	for share, ms := range map[float64]**float64{0.5: &p.P50, 0.95: &p.P95, 0.99: &p.P99} {
		if d := s.row.Latency.Quantile(share); d > 0 {
			*ms = new(float64(d.Microseconds()) / 1000)
		}
	}
	s.row = record.Row{}
}

// statistics are those being made.
type statistics struct {
	ctx     context.Context
	from    time.Time
	step    time.Duration
	n, made int // points of a series, and of all that have been made
	all     map[record.RouteNum]*series
}

// begin makes the points of a series.
func (t *statistics) begin(s *series) error {
	if t.made += t.n; t.made > MostPoints {
		return fmt.Errorf("%w: more than %d points of %v", ErrTooMuch, MostPoints, t.step)
	}
	s.Points = make([]Point, t.n)
	none := map[Class]int64{}
	for i := range s.Points {
		s.Points[i] = Point{Time: t.from.Add(time.Duration(i) * t.step).UTC(), Failed: none}
	}
	return nil
}

func (t *statistics) add(at record.RowAt, r record.Row) error {
	s := t.all[at.Route]
	if s == nil || at.At.Before(t.from) || t.ctx.Err() != nil {
		return t.ctx.Err()
	}
	if s.Points == nil {
		if err := t.begin(s); err != nil {
			return err
		}
	}
	if i := int(at.At.Sub(t.from) / t.step); i != s.at {
		s.finish()
		s.at = i
	}
	s.row.Add(&r)
	return nil
}

// Stats returns the statistics of the routes that match and that the config has,
// or of which something happened then, by name. They are exact, and kept for
// 90 days, those of minutes for 48 hours. The error wraps ErrTooMuch if these are
// more points than [MostPoints], and ctx's if that ends.
func (q *Queue) Stats(ctx context.Context, f StatsFilter) ([]Series, error) {
	e := q.engine.Load()
	if f.Until.IsZero() {
		f.Until = q.now()
	}
	begin, err := e.statsBegin()
	if err != nil {
		return nil, err
	}
	t := statistics{ctx: ctx, step: f.Step, from: later(f.Since.UTC().Truncate(f.Step), begin.Truncate(f.Step)), all: map[record.RouteNum]*series{}}
	for _, s := range e.allSenders() {
		if matchGlob(f.Routes, s.route.Name) {
			t.all[s.route.Num] = &series{Series: Series{Route: s.route.Name}}
		}
	}
	if d := f.Until.Sub(t.from); !begin.IsZero() && d > 0 {
		t.n = int((d + f.Step - 1) / f.Step)
		err = cmp.Or(e.store.Rows(record.HourPrefix, t.from, f.Until, t.add), e.store.Rows(record.MinutePrefix, t.from, f.Until, t.add))
	}
	out := []Series{}
	for n, s := range t.all {
		if s.finish(); s.Points == nil {
			if e.senderOf(n).state(record.IsPending) != StatePending {
				continue
			}
			err = cmp.Or(err, t.begin(s))
		}
		out = append(out, s.Series)
	}
	slices.SortFunc(out, func(a, b Series) int { return cmp.Compare(a.Route, b.Route) })
	return out, err
}

// statsBegin is the first minute with statistics, zero if there is none.
func (e *engine) statsBegin() (time.Time, error) {
	hour, err := e.store.FirstRow(record.HourPrefix)
	minute, err2 := e.store.FirstRow(record.MinutePrefix)
	if hour.IsZero() || minute.Before(hour) && !minute.IsZero() {
		hour = minute
	}
	return hour, errors.Join(err, err2)
}

// A Problem is what attempts of one route failed of, or its expression.
type Problem struct {
	Route   string     `json:"route"`
	Class   Class      `json:"class"`
	Status  int        `json:"status"` // 0: there was no answer
	Error   string     `json:"error"`
	Count   int64      `json:"count"` // attempts that failed so
	First   time.Time  `json:"first"`
	Last    time.Time  `json:"last"`
	Pending int64      `json:"pending"` // deliveries whose newest attempt, of whatever time, failed so
	Dead    int64      `json:"dead"`    // the same, without those discarded
	Sample  DeliveryID `json:"sample"`  // which failed so last
}

const (
	mostCauses   = 10_000 // that Problems looks at; further ones are left out
	mostProblems = 1000   // that it returns
)

// Problems returns the failures since a time, grouped by route and cause, the
// most frequent first. They are kept for 30 days, by the hour; in the hour of since
// the log tells what came later, unless it has more than 100,000 entries of that. Of one
// route 32 causes are told apart an hour, 256 of what is pending or dead; what goes beyond is grouped
// by its class. The error wraps ctx's if that ends.
func (q *Queue) Problems(ctx context.Context, since time.Time) ([]Problem, error) {
	e := q.engine.Load()
	all, before := map[record.CauseOf]*Problem{}, map[record.CauseOf]int64{}
	from := since.UTC().Truncate(time.Hour)
	err := e.store.Failures(from, q.now().Add(24*time.Hour), func(k record.CauseOf, f record.Failures) error {
		if err := ctx.Err(); err != nil || f.Last.Time().Before(since) {
			return err
		}
		p := all[k]
		if p == nil {
			if len(all) >= mostCauses {
				return nil
			}
			p = &Problem{Route: e.routeName(k.Route), Class: f.Class, Status: f.Status, Error: f.Error, First: f.First.Time()}
			all[k] = p
		}
		if p.First.Before(since) {
			before[k] = f.Count // at first, those since as well
			p.First = since
		}
		p.Count += f.Count
		p.Last, p.Sample = f.Last.Time(), f.Sample
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(before) > 0 {
		if err := e.countFrom(ctx, since, from.Add(time.Hour), before, all); err != nil {
			return nil, err
		}
	}
	found := make([]Problem, 0, len(all))
	for k, p := range all {
		n, err := e.store.Affected(k)
		if err != nil {
			return nil, err
		}
		p.Pending, p.Dead = n.Pending, n.Dead
		found = append(found, *p)
	}
	slices.SortFunc(found, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), b.Last.Compare(a.Last), cmp.Compare(a.Route, b.Route), cmp.Compare(a.Error, b.Error))
	})
	return found[:min(len(found), mostProblems)], nil
}

// countFrom takes out of all what failed before since, as the log has it: before
// has what failed in its hour, which ends then.
func (e *engine) countFrom(ctx context.Context, since, end time.Time, before map[record.CauseOf]int64, all map[record.CauseOf]*Problem) error {
	w := walk{ctx: ctx}
	first := map[record.CauseOf]time.Time{}
	err := e.store.Entries(record.StampOf(since), record.StampOf(end), func(r store.Entry) (bool, error) {
		if r.Attempt > 0 && r.Verdict != Delivered || r.Reason == Transform {
			of := causeOf(&r.Entry)
			c := record.CauseOf{Route: r.Route, Cause: of.ID()}
			if before[c] == 0 && all[c] == nil {
				c.Cause = of.Other().ID() // as which it was counted
			}
			before[c]--
			if first[c].IsZero() {
				first[c] = r.At.Time()
			}
		}
		return !w.exhausted(), w.step()
	})
	if err != nil || w.exhausted() {
		return err
	}
	for c, n := range before {
		p, at := all[c], first[c]
		if p == nil || at.IsZero() { // the log has it no more
			continue
		}
		p.Count -= max(n, 0)
		if p.First.Equal(since) {
			p.First = at
		}
	}
	return nil
}
