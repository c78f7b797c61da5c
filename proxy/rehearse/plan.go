package rehearse

import (
	"bytes"
	"cmp"
	"context"
	stdjson "encoding/json"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"signalpost/proxy/api"
	"signalpost/proxy/shape"
	"signalpost/proxy/table"
	"signalpost/queue"
	"signalpost/transform"
	"signalpost/transform/json"
)

// What a plan holds in memory of a route, and of one body, at most.
const (
	maxPaths  = 200     // the rest is counted as one
	maxFirst  = 5       // ids
	maxShown  = 1 << 10 // bytes of a value
	otherPath = "…"     // the path of what is beyond maxPaths
)

// Plan forecasts how the deliveries that after makes of signals differ from those that
// before makes: of the signals that each yields, in any order, and for the route only
// alone unless that is "". The memory that it takes does not grow with the signals.
// Expressions run on the account of class. The error is ctx's, each's, or that memory or
// time is short because of others.
func Plan(ctx context.Context, class transform.Class, before, after *table.Table, only string, each func(yield func(queue.Signal) error) error) (api.Plan, error) {
	p := &plan{before: before, after: after, only: only, routes: map[string]*tally{}}
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(runtime.GOMAXPROCS(0))
	n := 0
	err := each(func(s queue.Signal) error {
		nth := n
		n++
		all.Go(func() error { return p.compare(ctx, class, &s, nth) })
		return ctx.Err()
	})
	if err := cmp.Or(all.Wait(), err); err != nil {
		return api.Plan{}, err
	}
	return p.result(n), nil
}

type plan struct {
	before, after *table.Table
	only          string

	mu     sync.Mutex
	routes map[string]*tally
}

// A tally is what has been found of one route.
type tally struct {
	api.RoutePlan
	changes map[change]*counted
	first   []numbered // the lowest
	failed  numbered   // of Error
}

// A change is one that is counted: values that become null are counted by themselves.
type change struct {
	path string
	null bool
}

type counted struct {
	api.Change
	seen numbered // of From and To
}

// A numbered is a signal, and its number in the order that signals came.
type numbered struct {
	n  int
	id string
}

// compare counts how what both tables make of the nth signal differs.
func (p *plan) compare(ctx context.Context, class transform.Class, s *queue.Signal, n int) error {
	use := transform.NewSession(ctx, class)
	defer use.Close()
	was, _, err1 := p.before.Offer(use, s, nil, p.only)
	is, _, err2 := p.after.Offer(use, s, nil, p.only)
	if err := cmp.Or(err1, err2); err != nil {
		return err
	}
	routes := map[string][2][]queue.Made{}
	for side, all := range [][]queue.Made{was, is} {
		for _, m := range all {
			both := routes[m.Route]
			both[side] = append(both[side], m)
			routes[m.Route] = both
		}
	}
	for name, both := range routes {
		found := differences(both[0], both[1])
		p.mu.Lock()
		p.of(name).add(both[0], both[1], found, numbered{n, s.ID.String()})
		p.mu.Unlock()
	}
	return nil
}

// of is the tally of a route.
func (p *plan) of(name string) *tally {
	t := p.routes[name]
	if t == nil {
		t = &tally{RoutePlan: api.RoutePlan{Route: name, Changes: []api.Change{}, First: []string{}}, changes: map[change]*counted{}}
		p.routes[name] = t
	}
	return t
}

// A difference is where two deliveries differ.
type difference struct {
	path     string
	from, to any
}

// differences are those between what two configs make of one signal for one route. If
// the numbers of deliveries differ, equal ones are taken out of both first; the others are
// compared in their order.
func differences(was, is []queue.Made) (found []difference) {
	add := func(path string, from, to any) { found = append(found, difference{path, from, to}) }
	before, now := normalized(was), normalized(is)
	if len(before) != len(now) {
		for i := len(before) - 1; i >= 0; i-- {
			if j := slices.IndexFunc(now, before[i].equal); j >= 0 {
				before, now = slices.Delete(before, i, i+1), slices.Delete(now, j, j+1)
			}
		}
	}
	for i := range min(len(before), len(now)) {
		a, b := &before[i], &now[i]
		switch {
		case b.failed != "" || a.equal(*b):
		case a.failed != "":
			add(".", missing{}, b.doc())
		default:
			for _, part := range []struct{ path, from, to string }{{"path", a.shape.Path, b.shape.Path}, {"query", a.shape.Query, b.shape.Query}, {"content_type", a.shape.Type, b.shape.Type}} {
				if part.from != part.to {
					add(part.path, textOr(part.from), textOr(part.to))
				}
			}
			if a.order != b.order {
				add("order_by", jsonOr(a.order), jsonOr(b.order))
			}
			diff("", a.doc(), b.doc(), false, add)
		}
	}
	return found
}

// A delivery is what is made of a signal, as it is whenever it is made.
type delivery struct {
	failed string
	body   []byte
	shape  shape.Shape
	order  string // in JSON
}

func normalized(made []queue.Made) []delivery {
	all := make([]delivery, len(made))
	for i, m := range made {
		s, _ := shape.Parse(m.Shape) // as it was made a moment ago
		s, body := s.Normalized(m.Body)
		all[i] = delivery{m.Error, body, s, m.Order}
	}
	return all
}

func (d *delivery) equal(other delivery) bool {
	return d.failed == other.failed && d.shape == other.shape && d.order == other.order && bytes.Equal(d.body, other.body)
}

// doc is the body decoded: a string if it is of another format than JSON.
func (d *delivery) doc() any {
	if d.shape.Format != "" {
		return string(d.body)
	}
	v, _ := json.Decode(d.body)
	return v
}

// textOr is text, which is missing if it is "".
func textOr(text string) any {
	if text == "" {
		return missing{}
	}
	return text
}

// jsonOr is what JSON says, which is missing if it is "".
func jsonOr(text string) any {
	if v, err := json.Decode([]byte(text)); err == nil {
		return v
	}
	return missing{}
}

// add counts what two configs make of a signal.
func (t *tally) add(was, is []queue.Made, found []difference, s numbered) {
	t.Before += len(was)
	t.After += len(is)
	t.More += max(len(is)-len(was), 0)
	t.Fewer += max(len(was)-len(is), 0)
	failed := func(m queue.Made) bool { return m.Error != "" }
	fails := slices.IndexFunc(is, failed)
	if slices.ContainsFunc(was, failed) {
		fails = -1 // as before
	}
	if fails >= 0 {
		if t.Errors++; t.Errors == 1 || s.n < t.failed.n {
			t.Error, t.failed = is[fails].Error, s
		}
	}
	for _, d := range found {
		key := change{d.path, d.to == nil}
		c := t.changes[key]
		if c == nil && len(t.changes) >= maxPaths {
			key = change{path: otherPath}
			c = t.changes[key]
		}
		if c == nil {
			c = &counted{Change: api.Change{Path: key.path}, seen: s}
			t.changes[key] = c
		}
		if c.Count++; key.path != otherPath && (c.Count == 1 || s.n < c.seen.n) {
			c.From, c.To, c.seen = shown(d.from), shown(d.to), s
		}
	}
	if len(was) != len(is) || len(found) > 0 || fails >= 0 {
		i, _ := slices.BinarySearchFunc(t.first, s, func(a, b numbered) int { return cmp.Compare(a.n, b.n) })
		t.first = slices.Insert(t.first, i, s)
		t.first = t.first[:min(len(t.first), maxFirst)]
	}
}

// shown is a value as JSON: of one that is long the beginning, as a string.
func shown(v any) stdjson.RawMessage {
	text := encode(v)
	if len(text) > maxShown {
		text = encode(strings.ToValidUTF8(string(text[:maxShown]), "") + "…")
	}
	return text
}

// result is the plan of n signals.
func (p *plan) result(n int) api.Plan {
	result := api.Plan{Signals: n, Routes: []api.RoutePlan{}}
	for _, r := range slices.Concat(p.after.Routes, p.before.Routes) {
		listed := slices.ContainsFunc(result.Routes, func(l api.RoutePlan) bool { return l.Route == r.Name })
		if listed || p.only != "" && r.Name != p.only {
			continue
		}
		t := p.of(r.Name)
		for _, c := range t.changes {
			t.Changes = append(t.Changes, c.Change)
		}
		slices.SortFunc(t.Changes, func(a, b api.Change) int {
			if order := cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Path, b.Path)); order != 0 || string(a.To) == "null" {
				return cmp.Or(order, -1)
			}
			return 1
		})
		for _, s := range t.first {
			t.First = append(t.First, s.id)
		}
		result.Routes = append(result.Routes, t.RoutePlan)
	}
	return result
}
