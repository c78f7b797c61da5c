// Package table is the routing table: a config compiled. It says which routes a signal
// goes to (offer.go; try.go for people), what they make of it beside a JSON body
// (shape.go), and holds the endpoint of each.
//
// A Table is immutable and safe for concurrent use. One at a time is the running one.
// A signal, and each attempt of a delivery, uses one table from beginning to end. A
// reload makes the next table whole (New) before it becomes the running one, and closes
// the old one (Close).
package table

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/config"
	"signalpost/proxy/deliver"
	"signalpost/queue"
	"signalpost/transform"
)

// A Table is the routes of one config. Nobody changes its fields.
type Table struct {
	Config *config.Config
	Loaded time.Time
	// Reloads are the last of this process, oldest first, this one included. They are set
	// before the table becomes the running one.
	Reloads []api.Reload
	Routes  []*Route // in the order of the config
	byName  map[string]*Route

	// Reads reports whether an expression reads a member of a signal; nil if there is none.
	Reads func(name []byte) bool
}

// A Route is a route of the config with the endpoint of its deliveries.
type Route struct {
	*config.Route
	Endpoint *deliver.Endpoint
	pair     *transform.Pair // of where and transform
	names    []string        // of params; nil: none
	shapes   bool            // it makes more than JSON for its URL, or has an order
}

// New compiles a config. userAgent is that of the requests. The table must be closed.
func New(cfg *config.Config, userAgent string) (*Table, error) {
	t := &Table{
		Config: cfg,
		Loaded: time.Now(),
		Routes: make([]*Route, 0, len(cfg.Routes)),
		byName: make(map[string]*Route, len(cfg.Routes)),
	}
	var programs []*transform.Program
	for i := range cfg.Routes {
		r := &Route{Route: &cfg.Routes[i], pair: transform.Join(cfg.Routes[i].Where, cfg.Routes[i].Transform)}
		var err error
		if r.Endpoint, err = deliver.New(r.Route, userAgent); err != nil {
			t.Close()
			return nil, fmt.Errorf("route %q: %w", r.Name, err)
		}
		t.Routes = append(t.Routes, r)
		programs = append(programs, r.Where, r.Transform, r.Path, r.Query, r.OrderBy)
		for name := range r.Params {
			r.names = append(r.names, name)
		}
		r.shapes = r.names != nil || r.Path != nil || r.Query != nil || r.Format != "json" || r.ContentType != "" || r.OrderBy != nil
		t.byName[r.Name] = r
	}
	t.Reads = transform.Reads(programs...)
	return t, nil
}

// Inherit takes over the tokens of the table before. It is called before any attempt.
func (t *Table) Inherit(old *Table) {
	for _, r := range t.Routes {
		if before := old.Route(r.Name); before != nil {
			r.Endpoint.Inherit(before.Endpoint)
		}
	}
}

// Close closes the connections of all routes. Attempts under way are not disturbed.
func (t *Table) Close() {
	for _, r := range t.Routes {
		r.Endpoint.Close()
	}
}

// CloseIdle closes the connections that no attempt is using, when the process runs out of
// files.
func (t *Table) CloseIdle() {
	for _, r := range t.Routes {
		r.Endpoint.CloseIdle()
	}
}

// Route returns the route of that name, or nil.
func (t *Table) Route(name string) *Route { return t.byName[name] }

// NoRoute refuses a name that no route of the config has, with those it has.
func (t *Table) NoRoute(name string) *api.Problem {
	var names []string
	for _, r := range t.Routes {
		names = append(names, r.Name)
	}
	return api.Refuse(http.StatusNotFound, "there is no route %q; the config has %s", api.Clip(name), api.Clip(strings.Join(names, ", ")))
}

// Queue returns the limits and routes for the queue.
func (t *Table) Queue() (queue.Limits, []queue.Route) {
	routes := make([]queue.Route, len(t.Routes))
	for i, r := range t.Routes {
		routes[i] = queue.Route{
			Name:        r.Name,
			Concurrency: r.Concurrency,
			Rate:        r.Rate,
			Paused:      r.Paused,
			// The queue only compares it, so it need not know the URL, a credential.
			Target: fmt.Sprintf("%x", sha256.Sum256([]byte(r.URL.Reveal()))),
		}
	}
	return t.Config.Queue.Limits, routes
}

// Request returns the request of a delivery, as people may see it: as it was sent last,
// or as it would be now; nil if there is none.
func (t *Table) Request(d *queue.Detail) *api.Request {
	made := &queue.Delivery{ID: d.ID, Signal: d.Signal, Route: d.Route, Type: d.Type, Traceparent: d.Traceparent, Tracestate: d.Tracestate, Shape: d.Shape}
	if d.Request != "" {
		attempt := 1
		for _, e := range d.Log {
			if e.Peer != "" {
				attempt = e.Attempt
			}
		}
		return deliver.Describe(d.Request, made, attempt, d.Sent)
	}
	if r := t.Route(d.Route); r != nil && d.Body != nil {
		return deliver.Describe(r.Endpoint.Template(), made, d.Attempts+1, time.Time{})
	}
	return nil
}

// SentBy returns the request of the i-th attempt in the log of a delivery, as people may
// see it; nil if nothing was sent, or nothing is known of it.
func (t *Table) SentBy(d *queue.Detail, i int) *api.Request {
	one := *d
	one.Request, one.Sent, one.Log = d.Requests[i].Template, d.Requests[i].At, d.Log[i:i+1]
	if one.Request == "" {
		return nil
	}
	return t.Request(&one)
}

// Today returns what Request would return had this config sent the delivery; nil if it
// has no such route.
func (t *Table) Today(d *queue.Detail) *api.Request {
	r := t.Route(d.Route)
	if r == nil {
		return nil
	}
	today := *d
	today.Request = r.Endpoint.Template()
	return t.Request(&today)
}
