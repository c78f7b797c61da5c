package table

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"signalpost/proxy/memory"
	"signalpost/queue"
	"signalpost/transform"
	"signalpost/transform/json"
)

// SlowAfter is how long the expressions of a request may take one after the
// other before the rest run side by side: far more than a healthy table of a
// thousand routes needs, far less than the time bound of one expression.
const SlowAfter = 20 * time.Millisecond

// decoding is what the signals that expressions work on take in memory, all together.
var decoding = memory.New(96<<20, memory.Wait)

// An input is a signal as expressions see it.
type input struct {
	doc   any // many may read it at once, and nobody changes it
	vars  transform.Vars
	taken int64 // of decoding
}

// read decodes a signal. The input must be closed. The error wraps
// queue.ErrUnavailable if there is no memory for it, or is ctx's.
func read(ctx context.Context, s *queue.Signal) (in *input, err error) {
	in = &input{vars: transform.Vars{
		SignalID:   s.ID.String(),
		ReceivedAt: s.ID.Time().UTC().Format(time.RFC3339), // whole seconds: jq's fromdate takes no others
	}}
	if n := json.Footprint(s.Body); n > memory.Small {
		if in.taken, err = decoding.Take(ctx, n); err != nil {
			return nil, err
		}
	}
	if in.doc, err = json.Decode(s.Body); err != nil {
		in.close()
		return nil, fmt.Errorf("the signal cannot be decoded: %w", err)
	}
	return in, nil
}

func (in *input) close() { decoding.Give(in.taken) }

// Offer offers a signal to every route, or to the one that only names unless
// it is empty, and returns the deliveries that it makes, in the order of the
// routes, and whether it passed any.
//
// A route's expression that fails makes a dead delivery, and has no say in
// what the other routes do. One runs after the other, which costs least as
// long as they are quick; after SlowAfter the routes that are left run side by
// side, so that a quick one waits for none and runaway ones do not add up.
//
// An error wraps queue.ErrUnavailable when memory or time is short because of
// others, or is that of the session's context: nothing is known of the signal then.
func (t *Table) Offer(use *transform.Session, s *queue.Signal, only string) (made []queue.Made, matched bool, err error) {
	routes := t.Routes
	if only != "" {
		routes = slices.DeleteFunc([]*Route{t.Route(only)}, func(r *Route) bool { return r == nil })
	}
	var in *input       // a signal that meets no expression is not decoded
	var began time.Time // of the first expression
	for i, r := range routes {
		if !r.takes(s.Type) {
			continue
		}
		switch {
		case r.forwards():
		case in == nil:
			if in, err = read(context.Background(), s); err != nil {
				return nil, false, err
			}
			defer in.close()
			began = time.Now()
		case time.Since(began) > SlowAfter:
			rest, ok, err := offerAtOnce(use, routes[i:], s.Type, in)
			return append(made, rest...), matched || ok, err
		}
		var ok bool
		if made, ok, err = r.offer(use, made, in); err != nil {
			return nil, false, err
		}
		matched = matched || ok
	}
	return made, matched, nil
}

func offerAtOnce(use *transform.Session, routes []*Route, signalType string, in *input) (made []queue.Made, matched bool, err error) {
	results := make([][]queue.Made, len(routes))
	oks := make([]bool, len(routes))
	var all errgroup.Group
	for i, r := range routes {
		if r.takes(signalType) {
			all.Go(func() (err error) {
				results[i], oks[i], err = r.offer(use, nil, in)
				return err
			})
		}
	}
	err = all.Wait()
	return slices.Concat(results...), slices.Contains(oks, true), err
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
func (r *Route) offer(use *transform.Session, made []queue.Made, in *input) ([]queue.Made, bool, error) {
	pass, bodies, err := r.run(use, r.Where, r.Transform, in)
	_, failed := errors.AsType[*transform.RunError](err)
	switch {
	case failed:
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
// whether it passes the first and what the second yields. An error that is a
// *transform.RunError is the expression's own fault. If both are nil, in may be.
func (r *Route) run(use *transform.Session, where, shape *transform.Program, in *input) (pass bool, bodies [][]byte, err error) {
	if where == nil && shape == nil {
		return true, nil, nil
	}
	vars := in.vars
	vars.Route = r.Name
	pass = true
	if where != nil {
		pass, err = where.Match(use, in.doc, vars)
		pass = pass && err == nil
	}
	if pass && shape != nil {
		bodies, err = shape.Shape(use, in.doc, vars)
	}
	if fault, ok := errors.AsType[*transform.RunError](err); ok && fault.Kind == transform.KindBusy {
		err = fmt.Errorf("%w: %s", queue.ErrUnavailable, fault)
	}
	return pass, bodies, err
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
	if r.forwards() {
		return [][]byte{s.Body}, nil
	}
	in, err := read(context.Background(), &s)
	if err != nil {
		return nil, err
	}
	defer in.close()
	use := transform.NewSession(context.Background(), transform.ForSignals)
	defer use.Close()
	pass, bodies, err := r.run(use, r.Where, r.Transform, in)
	if pass && err == nil && r.Transform == nil {
		bodies = [][]byte{s.Body}
	}
	return bodies, err
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
