package proxy

import (
	"errors"
	"net/http"

	"signalpost/proxy/api"
	"signalpost/queue"
)

func (p *Proxy) postPause(w http.ResponseWriter, r *http.Request) error {
	return p.setPaused(w, r, true)
}

func (p *Proxy) postResume(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	if route := p.table.Load().Route(name); route != nil && route.Paused {
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
		return t.NoRoute(name)
	}
	if err != nil {
		return err
	}
	for _, rs := range p.queue.Status().Routes {
		if rs.Name == name {
			return api.Write(w, http.StatusOK, routeStatus(t, &rs))
		}
	}
	return t.NoRoute(name)
}
