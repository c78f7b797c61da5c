package front

import (
	"cmp"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/health"
	"signalpost/proxy/table"
	"signalpost/queue"
)

// statusBytes is about the memory that the status of a thousand routes takes.
const statusBytes = 1 << 20

func (f *Front) getStatus(w http.ResponseWriter, r *http.Request, _ *query) error {
	return f.show(w, r, statusBytes, func() (any, error) { return f.status(), nil })
}

func (f *Front) status() api.Status {
	t := f.Table()
	facts, whole := f.Look()
	q := &facts.Queue
	host, _ := os.Hostname()
	s := api.Status{
		Version: f.Version,
		Uptime:  time.Since(f.Started).Truncate(time.Second).String(),
		Host:    host,
		Now:     time.Now().UTC(),
		Config:  api.ConfigStatus{Path: t.Config.Path, Hash: t.Config.Hash, LoadedAt: t.Loaded.UTC(), Reloads: list(t.Reloads)},
		Store: api.StoreStatus{
			Bytes: q.Bytes, Free: q.Free, Accepting: q.Accepting, Reason: api.OrNull(q.Reason),
			MaxSize: t.Config.Queue.MaxSize, MinFree: t.Config.Queue.MinFree,
		},
		Dropped: facts.Dropped,
		Health:  whole,
		Routes:  make([]api.RouteStatus, 0, len(q.Routes)),
	}
	if facts.ConfigError != nil {
		s.Config.Error = api.OrNull(facts.ConfigError.Error())
	}
	if err := f.Ingest.Ready(); err != nil && s.Store.Accepting {
		s.Store.Accepting, s.Store.Reason = false, api.OrNull(err.Error())
	}
	for i := range q.Routes {
		s.Routes = append(s.Routes, routeStatus(t, &q.Routes[i], whole))
	}
	order := make(map[string]int, len(t.Routes)) // of the config, from the end: what has gone is 0 and last
	for i, r := range t.Routes {
		order[r.Name] = len(t.Routes) - i
	}
	slices.SortFunc(s.Routes, func(a, b api.RouteStatus) int {
		return cmp.Or(order[b.Name]-order[a.Name], strings.Compare(a.Name, b.Name))
	})
	return s
}

// routeStatus is the queue's view of a route with what the table knows of it.
func routeStatus(t *table.Table, q *queue.RouteStatus, whole api.Health) api.RouteStatus {
	s := api.RouteStatus{
		Name: q.Name, State: q.State, Health: health.Of(whole, q.Name),
		Pending: q.Pending, Held: q.Held, Dead: q.Dead, Discarded: q.Discarded,
		OldestDue:   api.OrNull(q.OldestDue.UTC()),
		LastSuccess: api.OrNull(q.LastSuccess.UTC()),
		LastError:   api.OrNull(q.LastError), LastErrorAt: api.OrNull(q.LastErrorAt.UTC()),
		PausedBy: []string{},
		Failing:  api.OrNull(q.FailingSince.UTC()), NextProbe: api.OrNull(q.NextProbe.UTC()),
		Recent:      api.Recent(q.Recent),
		RouteConfig: api.RouteConfig{SignalTypes: []string{}, Settings: map[string]any{}},
	}
	r := t.Route(q.Name)
	if r != nil {
		if r.Paused {
			s.PausedBy = append(s.PausedBy, "config")
		}
		s.RouteConfig = r.Shown()
	}
	if q.PausedByAPI {
		s.PausedBy = append(s.PausedBy, "api")
	}
	return s
}

func (f *Front) getHealth(w http.ResponseWriter, _ *http.Request, _ *query) error {
	api.WriteText(w, "ok\n")
	return nil
}

func (f *Front) getReady(w http.ResponseWriter, _ *http.Request, _ *query) error {
	if err := f.Ingest.Ready(); err != nil {
		return err
	}
	api.WriteText(w, "ready\n")
	return nil
}
