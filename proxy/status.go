package proxy

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"signalpost/proxy/api"
	"signalpost/queue"
)

func (p *Proxy) getStatus(w http.ResponseWriter, r *http.Request) error {
	t, fault := p.reloadState()
	q := p.queue.Status()
	s := api.Status{
		Version: p.version,
		Uptime:  time.Since(p.started).Truncate(time.Second).String(),
		Config:  api.ConfigStatus{Path: t.cfg.Path, Hash: t.cfg.Hash, LoadedAt: t.loaded.UTC()},
		Store:   api.StoreStatus{Bytes: q.Bytes, Free: q.Free, Accepting: q.Accepting, Reason: text(q.Reason)},
		Routes:  make([]api.RouteStatus, 0, len(q.Routes)),
	}
	if fault != nil {
		s.Config.Error = text(fault.Error())
	}
	if err := p.ready(); err != nil && s.Store.Accepting {
		s.Store.Accepting, s.Store.Reason = false, text(err.Error())
	}
	for _, rs := range q.Routes {
		s.Routes = append(s.Routes, t.routeStatus(&rs))
	}
	place := make(map[string]int, len(t.routes))
	for i, r := range t.routes {
		place[r.Name] = i + 1
	}
	slices.SortStableFunc(s.Routes, func(a, b api.RouteStatus) int {
		i, j := place[a.Name], place[b.Name]
		if i == 0 && j == 0 {
			return strings.Compare(a.Name, b.Name)
		}
		if i == 0 || j == 0 {
			return j - i // what has a place comes first
		}
		return i - j
	})
	return api.Write(w, http.StatusOK, s)
}

// routeStatus is the queue's view of a route with what the table knows of it.
func (t *table) routeStatus(q *queue.RouteStatus) api.RouteStatus {
	s := api.RouteStatus{
		Name: q.Name, State: q.State, Pending: q.Pending, Held: q.Held, Dead: q.Dead,
		OldestDue: instant(q.OldestDue), LastSuccess: instant(q.LastSuccess), LastError: text(q.LastError),
	}
	if r := t.route(q.Name); r != nil {
		s.Target = text(r.Target)
	}
	return s
}

// text is nil for "".
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// instant is nil for the zero time.
func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func (p *Proxy) getHealth(w http.ResponseWriter, r *http.Request) error {
	api.WriteText(w, "ok\n")
	return nil
}

func (p *Proxy) getReady(w http.ResponseWriter, r *http.Request) error {
	if err := p.ready(); err != nil {
		return err
	}
	api.WriteText(w, "ready\n")
	return nil
}
