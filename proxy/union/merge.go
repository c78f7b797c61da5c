package union

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/fleet"
	"signalpost/proxy/health"
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

// greater is the greater of two values that may be nil.
func greater[T any](a, b *T, compare func(T, T) int) *T {
	if a == nil || b != nil && compare(*b, *a) > 0 {
		return b
	}
	return a
}

func latest(a, b *time.Time) *time.Time { return greater(a, b, time.Time.Compare) }

func slower(a, b *float64) *float64 { return greater(a, b, cmp.Compare) }

// mergePages merges pages of a list. parts are where a page has its elements, the cursor
// to the next page, and how far back the search came.
func mergePages[T, E any, P partial[T]](parts func(P) (*[]E, *string, **time.Time), key func(E) string) merger {
	return func(m *merging) *fleet.Answer {
		var r T
		all, next, searched := parts(&r)
		var lists [][]E
		var nexts []string
		for _, p := range each[T, P](m) {
			l, n, to := parts(&p)
			lists, nexts, *searched = append(lists, *l), append(nexts, *n), latest(*searched, *to)
		}
		*all, *next = page(m, lists, nexts, key)
		return m.answerWith(P(&r))
	}
}

var (
	mergeLog = mergePages(
		func(p *api.LogPage) (*[]queue.Entry, *string, **time.Time) { return &p.Entries, &p.Next, &p.SearchedTo },
		func(e queue.Entry) string { return fmt.Sprintf("%016x", uint64(e.Time.UnixNano())) })
	mergeDeliveries = mergePages(
		func(p *api.DeliveryPage) (*[]queue.Info, *string, **time.Time) {
			return &p.Deliveries, &p.Next, &p.SearchedTo
		},
		func(d queue.Info) string { return d.ID.String() })
	mergeSignals = mergePages(
		func(p *api.SignalPage) (*[]api.StoredSignal, *string, **time.Time) {
			return &p.Signals, &p.Next, new(*time.Time)
		},
		func(s api.StoredSignal) string { return s.ID.String() })
)

func mergeMatched(m *merging) *fleet.Answer {
	var r api.Matched
	for _, a := range each[api.Matched](m) {
		r.Matched += a.Matched
	}
	return m.answerWith(&r)
}

// mergeStats adds up. The percentiles of a point are those of the slowest ledger.
func mergeStats(m *merging) *fleet.Answer {
	all := each[api.Stats](m)
	if len(all) == 0 {
		return m.answers[0]
	}
	r := api.Stats{Step: all[0].Step, Series: []api.Series{}}
	byRoute := map[string]map[time.Time]api.Point{}
	for _, s := range all {
		if s.Step != r.Step {
			m.missing = append(m.missing, "a ledger with too much to tell in steps of "+r.Step)
			continue
		}
		for _, series := range s.Series {
			if byRoute[series.Route] == nil {
				byRoute[series.Route] = map[time.Time]api.Point{}
			}
			for _, p := range series.Points {
				byRoute[series.Route][p.Time] = addPoint(byRoute[series.Route][p.Time], p)
			}
		}
	}
	for _, route := range slices.Sorted(maps.Keys(byRoute)) {
		points := slices.SortedFunc(maps.Values(byRoute[route]), func(a, b api.Point) int { return a.Time.Compare(b.Time) })
		r.Series = append(r.Series, api.Series{Route: route, Points: append([]api.Point{}, points...)})
	}
	return m.answerWith(&r)
}

func addPoint(a, b api.Point) api.Point {
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
	r := api.Problems{Problems: []queue.Problem{}}
	type cause struct {
		route  string
		class  queue.Class
		status int
		text   string
	}
	found := map[cause]queue.Problem{}
	for _, a := range each[api.Problems](m) {
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
	r.Problems = slices.AppendSeq(r.Problems, maps.Values(found))
	slices.SortFunc(r.Problems, func(a, b queue.Problem) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), b.Last.Compare(a.Last), cmp.Compare(a.Route+a.Error, b.Route+b.Error))
	})
	return m.answerWith(&r)
}

// mergeStatus is the own status, with the deliveries of all ledgers counted in, and what
// is wrong at any sidecar.
func mergeStatus(m *merging) *fleet.Answer {
	all := each[api.Status](m)
	if len(all) == 0 {
		return m.answers[0]
	}
	r := all[0]
	r.Fleet = m.fleet
	for _, s := range all[1:] {
		r.Health = health.Merge(r.Health, s.Health, s.Host)
		for _, other := range s.Routes {
			i := slices.IndexFunc(r.Routes, func(o api.RouteStatus) bool { return o.Name == other.Name })
			if i < 0 {
				r.Routes = append(r.Routes, other)
				continue
			}
			addRoute(&r.Routes[i], &other)
		}
	}
	return m.answerWith(&r)
}

// mergeRoute is the answer of a pause or resume: of the own ledger, or one that knows the route.
func mergeRoute(m *merging) *fleet.Answer {
	all := each[api.RouteStatus](m)
	if len(all) == 0 || m.answers[0].Status >= 300 {
		return fromOwner(m)
	}
	r := all[0]
	for i := range all[1:] {
		addRoute(&r, &all[i+1])
	}
	return m.answerWith(&r)
}

func addRoute(r, other *api.RouteStatus) {
	if other.State.Hides(r.State) {
		r.State, r.Failing, r.NextProbe = other.State, other.Failing, other.NextProbe
	}
	r.Health = health.Merge(r.Health, other.Health, "")
	for _, by := range other.PausedBy {
		if !slices.Contains(r.PausedBy, by) {
			r.PausedBy = append(r.PausedBy, by)
		}
	}
	r.Pending, r.Held, r.Dead, r.Discarded = r.Pending+other.Pending, r.Held+other.Held, r.Dead+other.Dead, r.Discarded+other.Discarded
	r.Recent.Delivered, r.Recent.Retry, r.Recent.Dead = r.Recent.Delivered+other.Recent.Delivered, r.Recent.Retry+other.Recent.Retry, r.Recent.Dead+other.Recent.Dead
	r.OldestDue = greater(r.OldestDue, other.OldestDue, func(a, b time.Time) int { return b.Compare(a) })
	r.LastSuccess = latest(r.LastSuccess, other.LastSuccess)
	if t := latest(r.LastErrorAt, other.LastErrorAt); t != r.LastErrorAt {
		r.LastErrorAt, r.LastError = t, other.LastError
	}
}
