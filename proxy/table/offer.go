package table

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"signalpost/proxy/api"
	"signalpost/queue"
	"signalpost/transform"
)

// SlowAfter is how long the expressions of a request may take one after the
// other before the rest run side by side: far more than a healthy table of a
// thousand routes needs, far less than the time bound of one expression.
const SlowAfter = 20 * time.Millisecond

// Decodes reports whether any route looks into a signal.
func (t *Table) Decodes() bool {
	return slices.ContainsFunc(t.Routes, func(r *Route) bool { return !r.forwards() })
}

// Offer offers a signal to every route, or to the one that only names unless
// it is empty, and returns the deliveries that it makes, in the order of the
// routes, and whether it passed any. doc is what transform.Parse made of the
// body; it is not changed, and may be nil unless t Decodes.
//
// A route's expression that fails makes a dead delivery, and has no say in
// what the other routes do. An error is transform.ErrBusy or that of the
// session's context: nothing is known of the signal then. One runs after the other, which costs least as
// long as they are quick; after SlowAfter the routes that are left run side by
// side, so that a quick one waits for none and runaway ones do not add up.
func (t *Table) Offer(use *transform.Session, s *queue.Signal, doc any, only string) (made []queue.Made, matched bool, err error) {
	routes := t.Routes
	if only != "" {
		routes = slices.DeleteFunc([]*Route{t.Route(only)}, func(r *Route) bool { return r == nil })
	}
	var vars transform.Vars
	var began time.Time // of the first expression
	for i, r := range routes {
		if !r.takes(s.Type) {
			continue
		}
		ok := true
		switch {
		case r.forwards():
			made = append(made, queue.Made{Route: r.Name})
		case !began.IsZero() && time.Since(began) > SlowAfter:
			rest, ok, err := offerAtOnce(use, routes[i:], s.Type, doc, vars)
			return append(made, rest...), matched || ok, err
		default:
			if began.IsZero() { // a signal that meets no expression needs no variables and no clock
				began, vars = time.Now(), varsOf(s)
			}
			if made, ok, err = r.offer(use, made, doc, vars); err != nil {
				return nil, false, err
			}
		}
		matched = matched || ok
	}
	return made, matched, nil
}

func offerAtOnce(use *transform.Session, routes []*Route, signalType string, doc any, vars transform.Vars) (made []queue.Made, matched bool, err error) {
	results := make([][]queue.Made, len(routes))
	oks := make([]bool, len(routes))
	errs := make([]error, len(routes))
	var all sync.WaitGroup
	for i, r := range routes {
		if r.takes(signalType) {
			all.Go(func() { results[i], oks[i], errs[i] = r.offer(use, nil, doc, vars) })
		}
	}
	all.Wait()
	return slices.Concat(results...), slices.Contains(oks, true), cmp.Or(errs...)
}

// varsOf are the variables of a signal's expressions, but Route.
func varsOf(s *queue.Signal) transform.Vars {
	// Whole seconds: jq's fromdate takes no others.
	return transform.Vars{SignalID: s.ID.String(), ReceivedAt: s.ID.Time().UTC().Format(time.RFC3339)}
}

// takes reports whether the route's signal_types let the type pass.
func (r *Route) takes(signalType string) bool {
	return len(r.SignalTypes) == 0 || slices.ContainsFunc(r.SignalTypes, func(g string) bool { return glob(g, signalType) })
}

// forwards reports whether the route sends what it takes as it came.
func (r *Route) forwards() bool { return r.Where == nil && r.Transform == nil }

// offer appends to made what the route makes of a signal that it takes, and
// reports whether the signal passed. One whose where fails counts as passed:
// it makes a dead delivery, for people to see.
func (r *Route) offer(use *transform.Session, made []queue.Made, doc any, vars transform.Vars) ([]queue.Made, bool, error) {
	pass, bodies, err := r.run(use, r.Where, r.Transform, doc, vars)
	fault, failed := errors.AsType[*transform.RunError](err)
	switch {
	case failed && fault.Kind != transform.KindBusy:
		return append(made, queue.Made{Route: r.Name, Error: err.Error()}), true, nil
	case err != nil:
		return nil, false, err
	case pass && r.Transform == nil:
		return append(made, queue.Made{Route: r.Name}), true, nil
	}
	for _, body := range bodies {
		made = append(made, queue.Made{Route: r.Name, Body: body})
	}
	return made, pass, nil
}

// run gives a signal to two expressions, each of which may be nil, and returns
// whether it passes the first and what the second yields.
func (r *Route) run(use *transform.Session, where, shape *transform.Program, doc any, vars transform.Vars) (pass bool, bodies [][]byte, err error) {
	vars.Route = r.Name
	if where != nil {
		if pass, err = where.Match(use, doc, vars); err != nil || !pass {
			return false, nil, err
		}
	}
	if shape != nil {
		bodies, err = shape.Shape(use, doc, vars)
	}
	return true, bodies, err
}

// Reshape makes the bodies of a stored signal as the table has it today, for
// one route: it is a queue.Reshape. signal_types count as for a new signal.
func (t *Table) Reshape(s queue.Signal, name string) ([][]byte, error) {
	r := t.Route(name)
	if r == nil {
		return nil, fmt.Errorf("route %q is not in the config", name)
	}
	if !r.takes(s.Type) {
		return nil, nil
	}
	var doc any
	if !r.forwards() {
		var err error
		if doc, err = transform.Parse(s.Body); err != nil {
			return nil, fmt.Errorf("the stored signal cannot be decoded: %w", err)
		}
	}
	use := transform.NewSession(context.Background(), transform.ForSignals)
	defer use.Close()
	pass, bodies, err := r.run(use, r.Where, r.Transform, doc, varsOf(&s))
	if pass && err == nil && r.Transform == nil {
		bodies = [][]byte{s.Body}
	}
	return bodies, err
}

// Try says what the routes, or the one that only names unless it is empty,
// would make of a signal; doc is what transform.Parse made of its body. where
// and shape, unless nil, stand in for the routes' own expressions; "" stands
// for none. Nothing is stored or sent. It returns ctx's error when that ends.
func (t *Table) Try(ctx context.Context, s *queue.Signal, doc any, only string, where, shape *string) ([]api.Trial, error) {
	otherWhere, err1 := compile("where", where)
	otherShape, err2 := compile("transform", shape)
	fault := errors.Join(err1, err2)
	use := transform.NewSession(ctx, transform.ForTries)
	defer use.Close()
	trials := []api.Trial{}
	for _, r := range t.Routes {
		if only != "" && r.Name != only {
			continue
		}
		if fault != nil {
			trials = append(trials, trial(r, false, "an expression does not compile", nil, fault))
			continue
		}
		w, sh := r.Where, r.Transform
		if where != nil {
			w = otherWhere
		}
		if shape != nil {
			sh = otherShape
		}
		tried := r.try(use, w, sh, s, doc)
		if len(tried.Bodies) > 0 {
			tried.Request = t.Request(&queue.Delivery{
				ID: s.ID.Delivery(1), Signal: s.ID, Route: r.Name, Type: s.Type, Body: tried.Bodies[0],
			}, 1)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		trials = append(trials, tried)
	}
	return trials, nil
}

func compile(name string, source *string) (*transform.Program, error) {
	if source == nil || *source == "" {
		return nil, nil
	}
	p, err := transform.Compile(*source)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

func (r *Route) try(use *transform.Session, where, shape *transform.Program, s *queue.Signal, doc any) api.Trial {
	if !r.takes(s.Type) {
		return trial(r, false, fmt.Sprintf("signal_type %q is none of signal_types: %s", s.Type, strings.Join(r.SignalTypes, ", ")), nil, nil)
	}
	pass, bodies, err := r.run(use, where, shape, doc, varsOf(s))
	switch {
	case err != nil && !pass:
		return trial(r, false, "where failed", nil, err)
	case err != nil:
		return trial(r, true, "passes, but transform failed", nil, err)
	case !pass:
		return trial(r, false, "where is false or null, or yields nothing", nil, nil)
	case shape == nil:
		return trial(r, true, "passes", [][]byte{s.Body}, nil)
	case len(bodies) == 0:
		return trial(r, true, "passes, but transform yields nothing", nil, nil)
	}
	return trial(r, true, "passes", bodies, nil)
}

func trial(r *Route, matches bool, why string, bodies [][]byte, err error) api.Trial {
	t := api.Trial{Route: r.Name, Matches: matches, Why: why, Bodies: make([]json.RawMessage, len(bodies))}
	for i, b := range bodies {
		t.Bodies[i] = b
	}
	if err != nil {
		text := err.Error()
		t.Error = &text
	}
	return t
}

// glob reports whether s is what the pattern describes: * is any run of bytes,
// ? any one byte, all else itself.
func glob(pattern, s string) bool {
	// Where to go on from when a byte does not fit: the last * seen takes one more.
	star, rest := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, rest = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			rest++
			p, i = star+1, rest
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
