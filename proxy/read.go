package proxy

import (
	"errors"
	"net/http"
	"strings"

	"signalpost/proxy/api"
	"signalpost/queue"
)

// maxPage bounds a page of a list, and defaultPage is its usual size.
const (
	maxPage     = 1000
	defaultPage = 100
)

func (p *Proxy) getLog(w http.ResponseWriter, r *http.Request) error {
	q, err := readQuery(r.URL.RawQuery, "route", "signal_type", "signal", "delivery", "verdict", "status", "since", "until", "limit", "after", "follow")
	if err != nil {
		return err
	}
	follow, err := q.boolean("follow")
	if err != nil {
		return err
	}
	f := queue.LogFilter{Route: q["route"], Type: q["signal_type"], After: q["after"]}
	verdict, err1 := q.oneOf("verdict", string(queue.Delivered), string(queue.Retry), string(queue.Dead))
	f.Verdict = queue.Verdict(verdict)
	status, err2 := q.number("status", 0, 100, 999)
	f.Status = status
	least := 1
	if follow {
		least = 0
	}
	limit, err3 := q.number("limit", defaultPage, least, maxPage)
	f.Limit = limit
	since, err4 := q.instant("since")
	until, err5 := q.instant("until")
	f.Since, f.Until = since, until
	if err := errors.Join(err1, err2, err3, err4, err5, q.id("signal", &f.Signal), q.id("delivery", &f.Delivery)); err != nil {
		return err
	}
	if follow {
		for _, name := range []string{"after", "until"} {
			if _, given := q[name]; given {
				return api.Refuse(http.StatusBadRequest, "parameter %s has no meaning together with follow; leave one of them out", name)
			}
		}
		return p.follow(w, r, f)
	}
	entries, next, err := p.queue.Log(f)
	if err != nil {
		return q.cursor(err)
	}
	if entries == nil {
		entries = []queue.Entry{}
	}
	return api.Write(w, http.StatusOK, api.LogPage{Entries: entries, Next: next})
}

// follow sends each entry as it is written, until the caller goes away or the
// sidecar stops.
func (p *Proxy) follow(w http.ResponseWriter, r *http.Request, f queue.LogFilter) error {
	h := w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	flush := http.NewResponseController(w).Flush
	if err := flush(); err != nil { // so that the caller knows at once that it listens
		return nil
	}
	// Whatever ends it, the 200 has gone out: an end of the stream is all the caller can be told.
	_ = p.queue.Follow(r.Context(), f, func(e queue.Entry) error {
		b, err := api.Marshal(e)
		if err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		return flush()
	})
	return nil
}

func (p *Proxy) getDeliveries(w http.ResponseWriter, r *http.Request) error {
	q, err := readQuery(r.URL.RawQuery, "state", "route", "signal_type", "signal", "reason", "since", "until", "limit", "after")
	if err != nil {
		return err
	}
	f := queue.Filter{Route: q["route"], Type: q["signal_type"], After: q["after"]}
	state, err1 := q.oneOf("state", string(queue.StatePending), string(queue.StateDelivered), string(queue.StateDead), string(queue.StateHeld))
	reason, err2 := q.oneOf("reason", reasons...)
	f.State, f.Reason = queue.State(state), queue.Reason(reason)
	limit, err3 := q.number("limit", defaultPage, 1, maxPage)
	since, err4 := q.instant("since")
	until, err5 := q.instant("until")
	f.Limit, f.Since, f.Until = limit, since, until
	if err := errors.Join(err1, err2, err3, err4, err5, q.id("signal", &f.Signal)); err != nil {
		return err
	}
	list, next, err := p.queue.Deliveries(f)
	if err != nil {
		return q.cursor(err)
	}
	if list == nil {
		list = []queue.Info{}
	}
	return api.Write(w, http.StatusOK, api.DeliveryPage{Deliveries: list, Next: next})
}

var reasons = []string{string(queue.Gone), string(queue.Exhausted), string(queue.Transform), string(queue.Filtered), string(queue.TooOld), string(queue.Discarded)}

// request is the request an attempt of the delivery makes under this table;
// nil if its route has gone.
func (t *table) request(d *queue.Delivery, attempt int) *api.Request {
	r := t.route(d.Route)
	if r == nil {
		return nil
	}
	method, target, header := r.endpoint.Describe(*d, attempt)
	headers := make(map[string]string, len(header))
	for name, values := range header {
		headers[name] = strings.Join(values, ", ")
	}
	return &api.Request{Method: method, Target: target, Headers: headers}
}

func (p *Proxy) getDelivery(w http.ResponseWriter, r *http.Request) error {
	id, err := queue.ParseDeliveryID(r.PathValue("id"))
	if err != nil {
		return api.Refuse(http.StatusNotFound, "there is no such delivery: %s", api.Clip(err.Error()))
	}
	d, err := p.queue.Delivery(id)
	if err != nil {
		return err
	}
	var request *api.Request
	if d.Body != nil {
		attempt := max(d.Attempts, 1)
		if d.State == queue.StatePending && d.Attempts > 0 {
			attempt++ // the next one
		}
		request = p.table.Load().request(&queue.Delivery{
			ID: d.ID, Signal: d.Signal, Route: d.Route, Type: d.Type, Traceparent: d.Traceparent, Body: d.Body,
		}, attempt)
	}
	if d.Log == nil {
		d.Log = []queue.Entry{}
	}
	return api.Write(w, http.StatusOK, api.Delivery{Info: d.Info, Request: request, Body: d.Body, SignalBody: d.SignalBody, Log: d.Log})
}

func (p *Proxy) getSignal(w http.ResponseWriter, r *http.Request) error {
	id, err := queue.ParseSignalID(r.PathValue("id"))
	if err != nil {
		return api.Refuse(http.StatusNotFound, "there is no such signal: %s", api.Clip(err.Error()))
	}
	s, deliveries, err := p.queue.Signal(id)
	if err != nil {
		return err
	}
	if deliveries == nil {
		deliveries = []queue.Info{}
	}
	return api.Write(w, http.StatusOK, api.Signal{ID: s.ID, Type: s.Type, ReceivedAt: s.ID.Time(), Signal: s.Body, Deliveries: deliveries})
}
