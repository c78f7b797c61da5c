package table

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"signalpost/proxy/memory"
	"signalpost/proxy/shape"
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

// An input is a signal as expressions see it. It must be closed.
type input struct {
	*queue.Signal
	doc   any // nil unless it is decoded; many may read it at once, and nobody changes it
	vars  transform.Vars
	began time.Time // when the first expression came; zero: none has, and nothing is decoded
	taken int64     // of decoding
	tried bool      // nothing of it is stored or sent
}

// decode decodes the signal, once. The error wraps queue.ErrUnavailable if
// there is no memory for it, or is ctx's.
func (in *input) decode(ctx context.Context) (err error) {
	if !in.began.IsZero() {
		return nil
	}
	if n := json.Footprint(in.Body); in.doc == nil && n > memory.Small {
		if in.taken, err = decoding.Take(ctx, n); err != nil {
			return err
		}
	}
	if in.doc == nil {
		if in.doc, err = json.Decode(in.Body); err != nil {
			return fmt.Errorf("the signal cannot be decoded: %w", err)
		}
	}
	in.vars = transform.Vars{
		SignalType: in.Type,
		SignalID:   in.ID.String(),
		ReceivedAt: in.ID.Time().UTC().Format(time.RFC3339), // whole seconds: jq's fromdate takes no others
	}
	in.began = time.Now()
	return nil
}

func (in *input) close() { decoding.Give(in.taken) }

// Offer offers a signal to every route, or to the one that only names unless
// it is empty; doc is what the signal decodes to, or nil. It returns the deliveries that it makes, in the order of the
// routes, and whether it passed any.
//
// A route's expression that fails makes a dead delivery, and does not concern the other
// routes. They run one after the other, which costs least while they are quick; after
// SlowAfter the rest run side by side, so that slow ones do not add up.
//
// An error wraps queue.ErrUnavailable when memory or time is short because of
// others, or is that of the session's context: nothing is known of the signal then.
func (t *Table) Offer(use *transform.Session, s *queue.Signal, doc any, only string) (made []queue.Made, matched bool, err error) {
	routes := t.Routes
	if only != "" {
		routes = slices.DeleteFunc([]*Route{t.Route(only)}, func(r *Route) bool { return r == nil })
	}
	var in *input
	for i, r := range routes {
		if !r.takes(s.Type) {
			continue
		}
		if in == nil {
			in = &input{Signal: s, doc: doc}
			defer in.close()
		}
		if !in.began.IsZero() && time.Since(in.began) > SlowAfter {
			rest, ok, err := offerAtOnce(use, routes[i:], in)
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

func offerAtOnce(use *transform.Session, routes []*Route, in *input) (made []queue.Made, matched bool, err error) {
	results := make([][]queue.Made, len(routes))
	oks := make([]bool, len(routes))
	var all errgroup.Group
	for i, r := range routes {
		if r.takes(in.Type) {
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
	return len(r.SignalTypes) == 0 || slices.ContainsFunc(r.SignalTypes, func(g string) bool { return queue.Glob(g, signalType) })
}

// offer appends to made what the route makes of a signal that it takes, and
// reports whether the signal passed. One whose where fails counts as passed: it makes a dead
// delivery, for people to see.
func (r *Route) offer(use *transform.Session, made []queue.Made, in *input) ([]queue.Made, bool, error) {
	pass, bodies, s, err := r.run(use, in)
	if _, failed := errors.AsType[*transform.RunError](err); failed {
		if !pass { // the reason of the delivery is transform
			err = named("where", err)
		}
		return append(made, queue.Made{Route: r.Name, Error: err.Error()}), true, nil
	}
	stored := s.String()
	for _, body := range bodies {
		made = append(made, queue.Made{Route: r.Name, Body: body, Shape: stored, Order: s.order})
	}
	return made, pass, err
}

// extras are what is made of a signal beside bodies.
type extras struct {
	shape.Shape
	order string
}

// run gives a signal to the route's expressions, and returns whether it passes where, and
// what the others make of it: the signal's own bytes if there is no transform. An error
// that is a *transform.RunError is the expression's own fault.
func (r *Route) run(use *transform.Session, in *input) (pass bool, bodies [][]byte, s extras, err error) {
	pass = true
	pair := r.pair
	var vars transform.Vars
	if !pair.IsEmpty() || r.Path != nil || r.Query != nil || r.OrderBy != nil {
		if err := in.decode(context.Background()); err != nil {
			return false, nil, s, err
		}
		vars = in.vars
		vars.Route = r.Name
	}
	if r.names != nil {
		if !in.tried {
			s.Params = shape.NewParams()
		}
		vars.Params = s.Params.Bind(r.names)
	}
	if !pair.IsEmpty() {
		pass, bodies, err = pair.Run(use, in.doc, vars)
	}
	if pass && err == nil && !pair.Shapes() {
		bodies = [][]byte{in.Body}
	}
	if r.shapes && len(bodies) > 0 {
		err = r.shape(use, in.doc, vars, &s, bodies, pair.Shapes())
	}
	if errors.Is(err, transform.ErrBusy) {
		err = fmt.Errorf("%w: %s", queue.ErrUnavailable, err)
	}
	return pass, bodies, s, err
}

// Reshape makes the deliveries of a stored signal as the table has it today, for
// one route: it is a queue.Reshape. signal_types count as for a new signal.
func (t *Table) Reshape(s queue.Signal, name string) ([]queue.Made, error) {
	r := t.Route(name)
	if r == nil {
		return nil, fmt.Errorf("route %q is not in the config", name)
	}
	if !r.takes(s.Type) {
		return nil, nil
	}
	in := &input{Signal: &s}
	defer in.close()
	use := transform.NewSession(context.Background(), transform.ForSignals)
	defer use.Close()
	made, _, err := r.offer(use, nil, in)
	return made, err
}
