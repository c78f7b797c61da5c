package union

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/fleet"
	"signalpost/queue"
)

const defaultPage = 100

// page merges pages of a list, newest first. key is where an element stands, as
// cursors write it: they mean the same in each ledger, since ids and times do.
func page[E any](m *merging, lists [][]E, nexts []string, key func(E) string) (all []E, next string) {
	limit, _ := strconv.Atoi(m.query("limit"))
	limit = cmp.Or(limit, defaultPage)
	horizon := slices.Max(append(nexts, "")) // what is older may be missing from one of them
	all = []E{}
	for _, l := range lists {
		for _, e := range l {
			if key(e) >= horizon {
				all = append(all, e)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b E) int { return cmp.Compare(key(b), key(a)) })
	if len(all) > limit {
		return all[:limit], key(all[limit-1])
	}
	return all, horizon
}

// latest is the later of times that may be nil.
func latest(a, b *time.Time) *time.Time {
	if a == nil || b != nil && b.After(*a) {
		return b
	}
	return a
}

func mergeLog(m *merging) *fleet.Answer {
	r := api.LogPage{Missing: m.missing}
	var lists [][]queue.Entry
	var nexts []string
	for _, p := range each[api.LogPage](m) {
		lists, nexts = append(lists, p.Entries), append(nexts, p.Next)
		r.SearchedTo, r.Missing = latest(r.SearchedTo, p.SearchedTo), append(r.Missing, p.Missing...)
	}
	r.Entries, r.Next = page(m, lists, nexts, func(e queue.Entry) string { return fmt.Sprintf("%016x", uint64(e.Time.UnixNano())) })
	return m.answerWith(r)
}

func mergeDeliveries(m *merging) *fleet.Answer {
	r := api.DeliveryPage{Missing: m.missing}
	var lists [][]queue.Info
	var nexts []string
	for _, p := range each[api.DeliveryPage](m) {
		lists, nexts = append(lists, p.Deliveries), append(nexts, p.Next)
		r.SearchedTo, r.Missing = latest(r.SearchedTo, p.SearchedTo), append(r.Missing, p.Missing...)
	}
	r.Deliveries, r.Next = page(m, lists, nexts, func(d queue.Info) string { return d.ID.String() })
	return m.answerWith(r)
}

func mergeSignals(m *merging) *fleet.Answer {
	r := api.SignalPage{Missing: m.missing}
	var lists [][]api.StoredSignal
	var nexts []string
	for _, p := range each[api.SignalPage](m) {
		lists, nexts, r.Missing = append(lists, p.Signals), append(nexts, p.Next), append(r.Missing, p.Missing...)
	}
	r.Signals, r.Next = page(m, lists, nexts, func(s api.StoredSignal) string { return s.ID.String() })
	return m.answerWith(r)
}

func mergeMatched(m *merging) *fleet.Answer {
	r := api.Matched{Missing: m.missing}
	for _, a := range each[api.Matched](m) {
		r.Matched += a.Matched
		r.Missing = append(r.Missing, a.Missing...)
	}
	return m.answerWith(r)
}

// mergeStats adds up. The percentiles of a point are those of the slowest ledger.
func mergeStats(m *merging) *fleet.Answer {
	all := each[api.Stats](m)
	if len(all) == 0 {
		return m.answers[0]
	}
	r := api.Stats{Step: all[0].Step, Series: []api.Series{}, Missing: m.missing}
	byRoute := map[string]map[time.Time]api.Point{}
	for _, s := range all {
		r.Missing = append(r.Missing, s.Missing...)
		if s.Step != r.Step {
			r.Missing = append(r.Missing, "a ledger with too much to tell in steps of "+r.Step)
			continue
		}
		for _, series := range s.Series {
			points := byRoute[series.Route]
			if points == nil {
				points = map[time.Time]api.Point{}
				byRoute[series.Route] = points
			}
			for _, p := range series.Points {
				points[p.Time] = addPoint(points[p.Time], p)
			}
		}
	}
	for route, points := range byRoute {
		series := api.Series{Route: route, Points: []api.Point{}}
		for _, p := range points {
			series.Points = append(series.Points, p)
		}
		slices.SortFunc(series.Points, func(a, b api.Point) int { return a.Time.Compare(b.Time) })
		r.Series = append(r.Series, series)
	}
	slices.SortFunc(r.Series, func(a, b api.Series) int { return cmp.Compare(a.Route, b.Route) })
	return m.answerWith(r)
}

func addPoint(a, b api.Point) api.Point {
	slower := func(a, b *float64) *float64 {
		if a == nil || b != nil && *b > *a {
			return b
		}
		return a
	}
	failed := map[queue.Class]int64{}
	for _, p := range []api.Point{a, b} {
		for class, n := range p.Failed {
			failed[class] += n
		}
	}
	return api.Point{
		Time: b.Time, Accepted: a.Accepted + b.Accepted, Delivered: a.Delivered + b.Delivered, Dead: a.Dead + b.Dead, Failed: failed,
		P50: slower(a.P50, b.P50), P95: slower(a.P95, b.P95), P99: slower(a.P99, b.P99),
	}
}

func mergeProblems(m *merging) *fleet.Answer {
	r := api.Problems{Problems: []queue.Problem{}, Missing: m.missing}
	type cause struct {
		route  string
		class  queue.Class
		status int
		text   string
	}
	found := map[cause]queue.Problem{}
	for _, a := range each[api.Problems](m) {
		r.Missing = append(r.Missing, a.Missing...)
		for _, p := range a.Problems {
			c := cause{p.Route, p.Class, p.Status, p.Error}
			if was, ok := found[c]; ok {
				p.Count, p.Pending, p.Dead = p.Count+was.Count, p.Pending+was.Pending, p.Dead+was.Dead
				if was.First.Before(p.First) {
					p.First = was.First
				}
				if was.Last.After(p.Last) {
					p.Last, p.Sample = was.Last, was.Sample
				}
			}
			found[c] = p
		}
	}
	for _, p := range found {
		r.Problems = append(r.Problems, p)
	}
	slices.SortFunc(r.Problems, func(a, b queue.Problem) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), b.Last.Compare(a.Last), cmp.Compare(a.Route+a.Error, b.Route+b.Error))
	})
	return m.answerWith(r)
}

// mergeStatus is the own one, with what waits and is dead in all ledgers.
func mergeStatus(m *merging) *fleet.Answer {
	all := each[api.Status](m)
	if len(all) == 0 {
		return m.answers[0]
	}
	r := all[0]
	r.Missing = append(r.Missing, m.missing...)
	r.Fleet = m.fleet
	for _, s := range all[1:] {
		r.Missing = append(r.Missing, s.Missing...)
		for _, other := range s.Routes {
			i := slices.IndexFunc(r.Routes, func(o api.RouteStatus) bool { return o.Name == other.Name })
			if i < 0 {
				r.Routes = append(r.Routes, other)
				continue
			}
			addRoute(&r.Routes[i], &other)
		}
	}
	return m.answerWith(r)
}

// mergeRoute is the answer of a pause or resume: of the own ledger, or one that knows the route.
func mergeRoute(m *merging) *fleet.Answer {
	all := each[api.RouteStatus](m)
	if len(all) == 0 || m.answers[0].Status >= 300 {
		return whose(m)
	}
	r := all[0]
	r.Missing = append(r.Missing, m.missing...)
	for i := range all[1:] {
		addRoute(&r, &all[i+1])
		r.Missing = append(r.Missing, all[i+1].Missing...)
	}
	return m.answerWith(r)
}

func addRoute(r, other *api.RouteStatus) {
	r.Pending, r.Held, r.Dead, r.Discarded = r.Pending+other.Pending, r.Held+other.Held, r.Dead+other.Dead, r.Discarded+other.Discarded
	r.Recent.Delivered, r.Recent.Retry, r.Recent.Dead = r.Recent.Delivered+other.Recent.Delivered, r.Recent.Retry+other.Recent.Retry, r.Recent.Dead+other.Recent.Dead
	if r.OldestDue == nil || other.OldestDue != nil && other.OldestDue.Before(*r.OldestDue) {
		r.OldestDue = other.OldestDue
	}
	r.LastSuccess = latest(r.LastSuccess, other.LastSuccess)
	if t := latest(r.LastErrorAt, other.LastErrorAt); t != r.LastErrorAt {
		r.LastErrorAt, r.LastError = t, other.LastError
	}
}
