package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"signalpost/proxy/api"
	"signalpost/queue"
)

func (p *Proxy) postPause(w http.ResponseWriter, r *http.Request) error {
	return p.setPaused(w, r, true)
}

func (p *Proxy) postResume(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	if route := p.table.Load().route(name); route != nil && route.Paused {
		return api.Refuse(http.StatusConflict, "route %q is paused by the config: set paused = false there", name)
	}
	return p.setPaused(w, r, false)
}

// setPaused answers with the route as it is then.
func (p *Proxy) setPaused(w http.ResponseWriter, r *http.Request, paused bool) error {
	name := r.PathValue("name")
	t := p.table.Load()
	err := p.queue.SetPaused(name, paused)
	if errors.Is(err, queue.ErrNotFound) {
		return t.noRoute(name)
	}
	if err != nil {
		return err
	}
	for _, rs := range p.queue.Status().Routes {
		if rs.Name == name {
			return api.Write(w, http.StatusOK, t.routeStatus(&rs))
		}
	}
	return t.noRoute(name)
}

// noRoute refuses a name that no route of the config has.
func (t *table) noRoute(name string) error {
	const most = 20
	var names []string
	for _, r := range t.routes[:min(most, len(t.routes))] {
		names = append(names, r.Name)
	}
	list := strings.Join(names, ", ")
	if more := len(t.routes) - most; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return api.Refuse(http.StatusNotFound, "there is no route %q; the config has %s", api.Clip(name), list)
}
