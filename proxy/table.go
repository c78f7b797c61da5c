package proxy

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"signalpost/proxy/config"
	"signalpost/proxy/deliver"
	"signalpost/queue"
	"signalpost/transform"
)

// A table is a config compiled: which routes a signal goes to, and how a
// delivery is sent. It is immutable. One table at a time is the running one;
// a signal, and each attempt, sees one table from beginning to end.
type table struct {
	cfg    *config.Config
	loaded time.Time
	routes []*route // in the order of the file
	byName map[string]*route
}

// A route is a route of the config with what it takes to work it.
type route struct {
	*config.Route
	endpoint *deliver.Endpoint // shared with the next table if nothing about it changes
}

// newTable compiles a config. Endpoints of old (which may be nil) go on in the
// new table where they can. Nothing that runs is touched: a table that is not
// used in the end is dropped with discard.
func newTable(cfg *config.Config, userAgent string, old *table) (*table, error) {
	t := &table{
		cfg:    cfg,
		loaded: time.Now(),
		routes: make([]*route, 0, len(cfg.Routes)),
		byName: make(map[string]*route, len(cfg.Routes)),
	}
	for i := range cfg.Routes {
		r := &route{Route: &cfg.Routes[i]}
		var before *deliver.Endpoint
		if old := old.route(r.Name); old != nil {
			before = old.endpoint
		}
		var err error
		if r.endpoint, err = deliver.New(r.Route, userAgent, before); err != nil {
			t.retire(old)
			return nil, fmt.Errorf("route %q: %w", r.Name, err)
		}
		t.routes = append(t.routes, r)
		t.byName[r.Name] = r
	}
	return t, nil
}

// retire closes the endpoints that t does not share with next: of the table
// that was, when next is the one that is; of a table that never came to be,
// when next is the one that stays. Attempts under way are not disturbed.
func (t *table) retire(next *table) {
	if t == nil {
		return
	}
	for _, r := range t.routes {
		if n := next.route(r.Name); n == nil || n.endpoint != r.endpoint {
			r.endpoint.Close()
		}
	}
}

// route returns the route of that name, or nil. A nil table has none.
func (t *table) route(name string) *route {
	if t == nil {
		return nil
	}
	return t.byName[name]
}

// queueRoutes is what the queue has to know of the routes.
func (t *table) queueRoutes() []queue.Route {
	routes := make([]queue.Route, len(t.routes))
	for i, r := range t.routes {
		routes[i] = queue.Route{
			Name:        r.Name,
			Concurrency: r.Concurrency,
			Rate:        r.Rate,
			Paused:      r.Paused,
			Schedule:    r.Retry,
			// The queue only compares it, so it need not know the URL, a credential.
			Target: fmt.Sprintf("%x", sha256.Sum256([]byte(r.URL.Reveal()))),
		}
	}
	return routes
}

// queueLimits is what the queue has to know of the rest of the config.
func (t *table) queueLimits() queue.Limits {
	q := t.cfg.Queue
	return queue.Limits{
		MaxSize:     q.MaxSize,
		MinFree:     q.MinFree,
		MaxAge:      q.MaxAge,
		Retention:   q.Retention,
		DedupWindow: q.DedupWindow,
	}
}

// shape offers a signal to every route, or to the one named by only if that is
// not empty, and returns what deliveries it makes and whether it passed any
// route. decoded is what transform.Parse made of the signal's body; it is
// read by many and changed by none.
//
// A route's expression that fails makes a dead delivery, and has no say in
// what the other routes do. Expressions run one after the other, which costs
// least as long as they are quick. Once they have taken slowAfter together,
// the routes that are left run side by side, as far as transform lets heavy
// ones: a quick one waits for none, and runaway ones add up to less than the
// sum of their time bounds.
func (t *table) shape(s *queue.Signal, received time.Time, decoded any, only string) (made []queue.Made, matched bool) {
	routes := t.routes
	if only != "" {
		r := t.route(only)
		if r == nil {
			return nil, false
		}
		routes = []*route{r}
	}
	o := offer{signal: s, received: received, decoded: decoded}
	var began time.Time
	for i, r := range routes {
		if !r.takes(s.Type) {
			continue
		}
		if r.Where == nil && r.Transform == nil { // no clock for what takes no time
			made, matched = append(made, queue.Made{Route: r.Name}), true
			continue
		}
		if began.IsZero() {
			began = time.Now()
			o.prepare()
		} else if time.Since(began) > slowAfter {
			rest, ok := shapeAtOnce(routes[i:], o)
			return append(made, rest...), matched || ok
		}
		var ok bool
		made, ok = r.shape(made, o)
		matched = matched || ok
	}
	return made, matched
}

// slowAfter is how long the expressions of one signal may take one after the
// other: far more than a healthy table of a thousand routes needs, far less than the time
// bound of one expression.
const slowAfter = 20 * time.Millisecond

// shapeAtOnce offers a signal to routes side by side. What they make is in
// their order.
func shapeAtOnce(routes []*route, o offer) (made []queue.Made, matched bool) {
	results := make([][]queue.Made, len(routes))
	oks := make([]bool, len(routes))
	var all sync.WaitGroup
	for i, r := range routes {
		if r.takes(o.signal.Type) {
			all.Go(func() { results[i], oks[i] = r.shape(nil, o) })
		}
	}
	all.Wait()
	return slices.Concat(results...), slices.Contains(oks, true)
}

// An offer is a signal held out to routes: its bytes and what they say.
type offer struct {
	signal   *queue.Signal
	received time.Time
	decoded  any
	vars     transform.Vars // but Route; filled in by prepare
}

// prepare fills in the variables that all expressions share. It is called
// before the first runs: a signal that meets none does without.
func (o *offer) prepare() {
	o.vars.SignalID = o.signal.ID.String()
	o.vars.ReceivedAt = o.received.UTC().Format(time.RFC3339) // whole seconds: jq's fromdate takes no others
}

// takes reports whether the route's signal_types let the type pass.
func (r *route) takes(signalType string) bool {
	if len(r.SignalTypes) == 0 {
		return true
	}
	for _, g := range r.SignalTypes {
		if glob(g, signalType) {
			return true
		}
	}
	return false
}

// shape appends to made what the route makes of a signal that it takes, and
// reports whether the signal passed. A signal whose where fails counts as passed: it makes
// a dead delivery, for people to see.
func (r *route) shape(made []queue.Made, o offer) ([]queue.Made, bool) {
	pass, bodies, err := r.run(r.Where, r.Transform, o)
	switch {
	case err != nil:
		return append(made, queue.Made{Route: r.Name, Error: err.Error()}), true
	case !pass:
		return made, false
	case r.Transform == nil:
		return append(made, queue.Made{Route: r.Name}), true
	}
	for _, body := range bodies {
		made = append(made, queue.Made{Route: r.Name, Body: body})
	}
	return made, true
}

// run gives a signal to the two expressions, each of which may be nil, and
// returns whether it passes the first and what the second yields. The offer is
// prepared.
func (r *route) run(where, shape *transform.Program, o offer) (pass bool, bodies [][]byte, err error) {
	vars := o.vars
	vars.Route = r.Name
	if where != nil {
		if pass, err = where.Match(o.decoded, vars); err != nil || !pass {
			return false, nil, err
		}
	}
	if shape != nil {
		if bodies, err = shape.Shape(o.decoded, vars); err != nil {
			return true, nil, err
		}
	}
	return true, bodies, nil
}

// reshape makes the bodies of a stored signal as the table has it today, for
// one route: the queue's Reshape. signal_types count as they do for a new signal.
func (t *table) reshape(s queue.Signal, name string) ([][]byte, error) {
	r := t.route(name)
	if r == nil {
		return nil, fmt.Errorf("route %q is not in the config", name)
	}
	if !r.takes(s.Type) {
		return nil, nil
	}
	if r.Where == nil && r.Transform == nil {
		return [][]byte{s.Body}, nil
	}
	decoded, err := transform.Parse(s.Body)
	if err != nil {
		return nil, fmt.Errorf("the stored signal cannot be decoded: %w", err)
	}
	o := offer{signal: &s, received: s.ID.Time(), decoded: decoded}
	o.prepare()
	pass, bodies, err := r.run(r.Where, r.Transform, o)
	switch {
	case err != nil:
		return nil, err
	case !pass:
		return nil, nil
	case r.Transform == nil:
		return [][]byte{s.Body}, nil
	}
	return bodies, nil
}

// A trial is what one route would make of a signal, and why.
type trial struct {
	route   *route
	matches bool     // it passes, also when the transform then fails or yields nothing
	why     string   // it matches or not, for people
	bodies  [][]byte // one for each delivery
	err     error    // of an expression: the delivery would be dead
}

// try says what the route would make of a signal. where and shape stand in for
// the route's expressions; they may be nil, for none.
func (r *route) try(where, shape *transform.Program, s *queue.Signal, received time.Time, decoded any) trial {
	t := trial{route: r}
	if !r.takes(s.Type) {
		t.why = fmt.Sprintf("signal_type %q is none of signal_types: %s", s.Type, strings.Join(r.SignalTypes, ", "))
		return t
	}
	o := offer{signal: s, received: received, decoded: decoded}
	o.prepare()
	pass, bodies, err := r.run(where, shape, o)
	switch {
	case err != nil && !pass:
		t.err, t.why = err, "where failed"
	case err != nil:
		t.matches, t.err, t.why = true, err, "passes, but transform failed"
	case !pass:
		t.why = "where is false or null, or yields nothing"
	case shape == nil:
		t.matches, t.why, t.bodies = true, "passes", [][]byte{s.Body}
	case len(bodies) == 0:
		t.matches, t.why = true, "passes, but transform yields nothing"
	default:
		t.matches, t.why, t.bodies = true, "passes", bodies
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
