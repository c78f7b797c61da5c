package table

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"signalpost/proxy/api"
	"signalpost/queue"
	"signalpost/transform"
)

// Try says what the routes, or the one that only names unless it is empty,
// would make of a signal. where and shape, unless nil, stand in for the routes'
// own expressions; "" stands for none. Nothing is stored or sent. What is made is
// on the account of the session. The error is that there is no such route, ctx's,
// or as of Offer.
func (t *Table) Try(ctx context.Context, use *transform.Session, s *queue.Signal, only string, where, shape *string) ([]api.Trial, error) {
	routes := t.Routes
	if only != "" {
		r := t.Route(only)
		if r == nil {
			return nil, t.NoRoute(only)
		}
		routes = []*Route{r}
	}
	in := &input{Signal: s, tried: true}
	defer in.close()
	if err := in.decode(ctx); err != nil {
		return nil, err
	}
	otherWhere, err1 := compile("where", where)
	otherShape, err2 := compile("transform", shape)
	trials := []api.Trial{}
	for _, r := range routes {
		if fault := errors.Join(err1, err2, r.lacks(otherShape)); fault != nil {
			text := fault.Error()
			trials = append(trials, api.Trial{Route: r.Name, Why: "an expression does not compile", Bodies: []json.RawMessage{}, Error: &text})
			continue
		}
		w, sh := r.Where, r.Transform
		if where != nil {
			w = otherWhere
		}
		if shape != nil {
			sh = otherShape
		}
		tried, err := r.try(use, w, sh, in)
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return nil, err
		}
		trials = append(trials, tried)
	}
	return trials, nil
}

// Instead is a table of one route of t in which where and shape, unless nil, stand in
// for the route's own expressions; "" stands for none. It shares the route's endpoint, and is
// not closed. The error says that there is no such route, or what does not compile.
func (t *Table) Instead(name string, where, shape *string) (*Table, error) {
	r := t.Route(name)
	if r == nil {
		return nil, t.NoRoute(name)
	}
	otherWhere, err1 := compile("where", where)
	otherShape, err2 := compile("transform", shape)
	if err := errors.Join(err1, err2, r.lacks(otherShape)); err != nil {
		return nil, api.Refuse(http.StatusUnprocessableEntity, "an expression does not compile: %s", err)
	}
	other, cfg := *r, *r.Route
	if where != nil {
		cfg.Where = otherWhere
	}
	if shape != nil {
		cfg.Transform = otherShape
	}
	other.Route, other.pair = &cfg, transform.Join(cfg.Where, cfg.Transform)
	return &Table{Config: t.Config, Loaded: t.Loaded, Routes: []*Route{&other}, byName: map[string]*Route{name: &other}}, nil
}

func compile(name string, source *string) (*transform.Program, error) {
	if source == nil || *source == "" {
		return nil, nil
	}
	compile := transform.Compile
	if name == "transform" {
		compile = transform.CompileShape
	}
	p, err := compile(*source)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

// lacks says which params a transform names that the route does not have.
func (r *Route) lacks(shape *transform.Program) error {
	if shape == nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(shape.Params())) {
		if _, ok := r.Params[name]; !ok {
			return fmt.Errorf("transform: $params.%s is not set", name)
		}
	}
	return nil
}

// try says what r would make of a signal; where and shape stand in for its own.
func (r *Route) try(use *transform.Session, where, shape *transform.Program, in *input) (api.Trial, error) {
	t := api.Trial{Route: r.Name, Bodies: []json.RawMessage{}}
	if !r.takes(in.Type) {
		t.Why = fmt.Sprintf("signal_type %q is none of signal_types: %s", in.Type, strings.Join(r.SignalTypes, ", "))
		return t, nil
	}
	pass, bodies, s, err := r.run(use, transform.Join(where, shape), in)
	_, failed := errors.AsType[*transform.RunError](err)
	if err != nil && !failed {
		return t, err
	}
	t.Matches = pass
	switch {
	case failed && pass:
		t.Why = "passes, but transform failed"
	case failed:
		t.Why = "where failed"
	case !pass:
		t.Why = "where is false or null, or yields nothing"
	case len(bodies) == 0:
		t.Why = "passes, but transform yields nothing"
	default:
		t.Why = "passes"
	}
	if failed {
		text := err.Error()
		t.Error = &text
	}
	if failed || len(bodies) == 0 {
		return t, nil
	}
	stored := s.String()
	t.Order = s.order
	for i := range bodies {
		t.Bodies = append(t.Bodies, nil)
		t.Bodies[i], t.Format = Readable(bodies[i], stored)
	}
	t.Request = shown(r.Endpoint.Template(), &queue.Delivery{ID: in.ID.Delivery(1), Signal: in.ID, Type: in.Type, Shape: stored}, 1, time.Now())
	t.Request.Sent, t.Request.Time = false, nil
	return t, nil
}
