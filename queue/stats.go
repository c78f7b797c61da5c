package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"signalpost/queue/record"
	"signalpost/queue/store"
)

// StatsFilter selects statistics.
type StatsFilter struct {
	Routes string        // glob of * and ?, "" for all
	Since  time.Time     // cut to Step
	Until  time.Time     // exclusive; zero: now
	Step   time.Duration // of a point, in whole minutes; what is older than two days is known by the hour
}

// A Series is what happened on one route, a point each Step.
type Series struct {
	Route  string  `json:"route"`
	Points []Point `json:"points"` // oldest first, from the first minute that there are statistics of any route
}

// A Point is what happened from Time on, for the length of a step. Deliveries are
// counted but for Failed, which counts attempts by class. The quantiles are of the
// attempts' durations, within 5 %, and nil if there was none.
type Point struct {
	Time      time.Time       `json:"time"`
	Accepted  int64           `json:"accepted"`
	Delivered int64           `json:"delivered"`
	Failed    map[Class]int64 `json:"failed"` // never nil, and not to be changed
	Dead      int64           `json:"dead"`   // without those that were discarded
	P50       *float64        `json:"p50_ms"`
	P95       *float64        `json:"p95_ms"`
	P99       *float64        `json:"p99_ms"`
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
		until := f.Until.Add(time.Second - 1) // keys have whole seconds
		err = cmp.Or(e.store.Rows(record.HourPrefix, t.from, until, t.add), e.store.Rows(record.MinutePrefix, t.from, until, t.add))
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
