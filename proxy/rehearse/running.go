package rehearse

import (
	stdjson "encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"signalpost/proxy/api"
	"signalpost/proxy/config"
	"signalpost/proxy/table"
	"signalpost/queue"
	"signalpost/transform/json"
)

// expressions are the settings of a route that decide what is made of a signal.
var expressions = []string{"path", "query", "format", "content_type", "params", "order_by"}

// Running is the table of the routes that a sidecar says it runs, as far as it
// matters for what is made of a signal. It must be closed.
func Running(s *api.Status) (*table.Table, error) {
	var routes []map[string]any
	for _, r := range s.Routes {
		if r.State == queue.RouteGone {
			continue
		}
		keys := map[string]any{"name": r.Name, "url": config.PlaceholderURL, "signal_types": r.SignalTypes}
		for key, expression := range map[string]*string{"where": r.Where, "transform": r.Transform} {
			if expression != nil {
				keys[key] = *expression
			}
		}
		for _, key := range expressions {
			if v := r.Settings[key]; v != nil {
				keys[key] = v
			}
		}
		routes = append(routes, keys)
	}
	text, err := toml.Marshal(map[string]any{"route": routes})
	if err != nil {
		return nil, err
	}
	cfg, err := config.Parse("of the sidecar", text, true)
	if err != nil {
		return nil, fmt.Errorf("the config that runs cannot be understood here; is the sidecar of another version, %s?\n%w", s.Version, err)
	}
	return table.New(cfg, "")
}

// StatusOf is the status of the routes of a table that nothing has been sent to.
func StatusOf(t *table.Table) (all []api.RouteStatus) {
	for _, r := range t.Routes {
		all = append(all, api.RouteStatus{Name: r.Name, State: queue.RouteOK, RouteConfig: r.Shown()})
	}
	return all
}

// Compare adds to a plan what else differs between the routes that a sidecar shows and
// those of another config. Of a URL it sees scheme and host, of secrets how many there are.
func Compare(p *api.Plan, before []api.RouteStatus, after *table.Table) {
	for i := range p.Routes {
		r := &p.Routes[i]
		was := api.RouteStatus{State: queue.RouteGone}
		if at := slices.IndexFunc(before, func(s api.RouteStatus) bool { return s.Name == r.Route }); at >= 0 {
			was = before[at]
		}
		now := after.Route(r.Route)
		switch {
		case was.State == queue.RouteGone:
			r.State, r.Waiting = "appears", was.Held
		case now == nil:
			r.State, r.Waiting = "goes", was.Pending
		default:
			is := now.Shown()
			if now.Target == config.PlaceholderURL {
				is.Target = was.Target // what is missing is not known to differ
			}
			diff("", plain(was.RouteConfig), plain(is), false, func(path string, from, to any) {
				r.Settings = append(r.Settings, api.Change{Path: strings.TrimPrefix(strings.TrimPrefix(path, "."), "settings."), From: shown(from), To: shown(to)})
			})
		}
	}
}

// plain is a route's config without what Plan compares, decoded.
func plain(c api.RouteConfig) any {
	c.Where, c.Transform, c.SignalTypes = nil, nil, nil
	c.Settings = maps.Clone(c.Settings)
	for _, key := range expressions {
		delete(c.Settings, key)
	}
	if c.Schedule != nil {
		schedule := *c.Schedule
		schedule.Gaps = nil // they follow from the rest
		c.Schedule = &schedule
	}
	text, _ := stdjson.Marshal(c) // it came as JSON, or becomes it
	v, _ := json.Decode(text)
	return v
}
