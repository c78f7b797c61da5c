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
	"signalpost/proxy/deliver"
	"signalpost/queue"
	"signalpost/transform"
)

// Try says what the routes, or the one that only names unless it is empty,
// would make of a signal. where and shape, unless nil, replace the routes' own
// expressions; "" is none. Nothing is stored or sent. The bodies are on the account of
// the session. The error is that there is no such route, ctx's,
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
	x := replace(where, shape)
	trials := []api.Trial{}
	for _, r := range routes {
		other, fault := x.in(r)
		if fault != nil {
			trials = append(trials, api.Trial{Route: r.Name, Why: "an expression does not compile", Bodies: []json.RawMessage{}, Error: api.OrNull(fault.Error())})
			continue
		}
		tried, err := other.try(use, in)
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return nil, err
		}
		trials = append(trials, tried)
	}
	return trials, nil
}

// Instead returns a table of one route of t in which where and shape, unless nil, replace
// the route's own expressions; "" is none. It shares the route's endpoint, and is not
// closed. The error says that there is no such route, or what does not compile.
func (t *Table) Instead(name string, where, shape *string) (*Table, error) {
	r := t.Route(name)
	if r == nil {
		return nil, t.NoRoute(name)
	}
	r, err := replace(where, shape).in(r)
	if err != nil {
		return nil, api.Refuse(http.StatusUnprocessableEntity, "an expression does not compile: %s", err)
	}
	return &Table{Config: t.Config, Loaded: t.Loaded, Routes: []*Route{r}, byName: map[string]*Route{name: r}}, nil
}

// A replacement has expressions that replace those of routes.
type replacement struct {
	where, shape       *transform.Program // nil: none
	hasWhere, hasShape bool               // else the route's own stays
	err                error              // what does not compile
}

func replace(where, shape *string) replacement {
	x := replacement{hasWhere: where != nil, hasShape: shape != nil}
	compile := func(name string, source *string, compile func(string) (*transform.Program, error)) *transform.Program {
		if source == nil || strings.TrimSpace(*source) == "" {
			return nil
		}
		p, err := compile(*source)
		if err != nil {
			x.err = errors.Join(x.err, fmt.Errorf("%s: %w", name, err))
		}
		return p
	}
	x.where, x.shape = compile("where", where, transform.Compile), compile("transform", shape, transform.CompileShape)
	return x
}

// in is r with the expressions.
func (x replacement) in(r *Route) (*Route, error) {
	other, cfg := *r, *r.Route
	if x.hasWhere {
		cfg.Where = x.where
	}
	if x.hasShape {
		cfg.Transform = x.shape
	}
	other.Route, other.pair = &cfg, transform.Join(cfg.Where, cfg.Transform)
	if x.err == nil && x.hasShape && x.shape == nil && r.Format != "json" {
		return nil, fmt.Errorf("transform: the route's format %q needs one", r.Format)
	}
	return &other, errors.Join(x.err, r.lacks(x.shape))
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

// failedKey is the key whose expression, or what was made of it, an error of run is about.
func failedKey(err error) string {
	key, _, _ := strings.Cut(err.Error(), ": ")
	if slices.Contains([]string{"order_by", "path", "query", "format"}, key) {
		return key
	}
	return "transform"
}

// try says what r would make of a signal.
func (r *Route) try(use *transform.Session, in *input) (api.Trial, error) {
	t := api.Trial{Route: r.Name, Bodies: []json.RawMessage{}}
	if !r.takes(in.Type) {
		t.Why = fmt.Sprintf("signal_type %q is none of signal_types: %s", in.Type, strings.Join(r.SignalTypes, ", "))
		return t, nil
	}
	pass, bodies, s, err := r.run(use, in)
	_, failed := errors.AsType[*transform.RunError](err)
	if err != nil && !failed {
		return t, err
	}
	t.Matches = pass
	switch {
	case failed && pass:
		t.Why = "passes, but " + failedKey(err) + " failed"
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
		t.Error = api.OrNull(err.Error())
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
	t.Request = deliver.Describe(r.Endpoint.Template(), &queue.Delivery{ID: in.ID.Delivery(1), Signal: in.ID, Type: in.Type, Shape: stored}, 1, time.Now())
	t.Request.Sent, t.Request.Time = false, nil
	return t, nil
}
