package front

import (
	"errors"
	"net/http"

	"signalpost/proxy/api"
	"signalpost/queue"
)

func (f *Front) postPause(w http.ResponseWriter, r *http.Request, _ *query) error {
	return f.setPaused(w, r.PathValue("name"), true)
}

func (f *Front) postResume(w http.ResponseWriter, r *http.Request, _ *query) error {
	name := r.PathValue("name")
	if route := f.Table().Route(name); route != nil && route.Paused {
		return api.Refuse(http.StatusConflict, "route %q is paused by the config: set paused = false there", name)
	}
	return f.setPaused(w, name, false)
}

// setPaused answers with the route as it is then.
func (f *Front) setPaused(w http.ResponseWriter, name string, paused bool) error {
	t := f.Table()
	err := f.Queue.SetPaused(name, paused)
	if errors.Is(err, queue.ErrNotFound) {
		return t.NoRoute(name)
	}
	if err != nil {
		return err
	}
	facts, whole := f.Look()
	for i := range facts.Queue.Routes {
		if r := &facts.Queue.Routes[i]; r.Name == name {
			return api.Write(w, http.StatusOK, routeStatus(t, r, whole))
		}
	}
	return t.NoRoute(name)
}
