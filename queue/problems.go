package queue

import (
	"cmp"
	"context"
	"slices"
	"time"

	"signalpost/queue/record"
	"signalpost/queue/store"
)

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
		switch {
		case p != nil:
		case len(all) >= mostCauses:
			return nil
		default:
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
