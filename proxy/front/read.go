package front

import (
	"errors"
	"net/http"

	"signalpost/proxy/api"
	"signalpost/queue"
)

// maxPage bounds a page of a list, and defaultPage is its usual size.
const (
	maxPage     = 1000
	defaultPage = 100
)

var (
	states  = []string{string(queue.StatePending), string(queue.StateDelivered), string(queue.StateDead), string(queue.StateHeld)}
	reasons = []string{string(queue.Gone), string(queue.Exhausted), string(queue.Transform), string(queue.Filtered), string(queue.TooOld), string(queue.Discarded)}
)

func (f *Front) getLog(w http.ResponseWriter, r *http.Request, q query) error {
	follow, err := q.boolean("follow")
	if err != nil {
		return err
	}
	least := 1
	if follow {
		least = 0
	}
	verdict, err1 := q.oneOf("verdict", string(queue.Delivered), string(queue.Retry), string(queue.Dead))
	status, err2 := q.number("status", 0, 100, 999)
	limit, err3 := q.number("limit", defaultPage, least, maxPage)
	since, err4 := q.time("since")
	until, err5 := q.time("until")
	filter := queue.LogFilter{
		Route: q["route"], Type: q["signal_type"], Verdict: queue.Verdict(verdict), Status: status,
		Since: since, Until: until, Limit: limit, After: q["after"],
	}
	if err := errors.Join(err1, err2, err3, err4, err5, q.id("signal", &filter.Signal), q.id("delivery", &filter.Delivery)); err != nil {
		return err
	}
	if follow {
		return f.follow(w, r, q, filter)
	}
	entries, next, err := f.Queue.Log(filter)
	if err != nil {
		return q.cursor(err)
	}
	return api.Write(w, http.StatusOK, api.LogPage{Entries: list(entries), Next: next})
}

func (f *Front) getDeliveries(w http.ResponseWriter, _ *http.Request, q query) error {
	state, err1 := q.oneOf("state", states...)
	reason, err2 := q.oneOf("reason", reasons...)
	limit, err3 := q.number("limit", defaultPage, 1, maxPage)
	since, err4 := q.time("since")
	until, err5 := q.time("until")
	filter := queue.Filter{
		State: queue.State(state), Route: q["route"], Type: q["signal_type"], Reason: queue.Reason(reason),
		Since: since, Until: until, Limit: limit, After: q["after"],
	}
	if err := errors.Join(err1, err2, err3, err4, err5, q.id("signal", &filter.Signal)); err != nil {
		return err
	}
	found, next, err := f.Queue.Deliveries(filter)
	if err != nil {
		return q.cursor(err)
	}
	return api.Write(w, http.StatusOK, api.DeliveryPage{Deliveries: list(found), Next: next})
}

// list is never null in JSON.
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

// deliveryID reads the id in the path.
func deliveryID(r *http.Request) (queue.DeliveryID, error) {
	id, err := queue.ParseDeliveryID(r.PathValue("id"))
	if err != nil {
		return id, api.Refuse(http.StatusNotFound, "there is no such delivery: %s", api.Clip(err.Error()))
	}
	return id, nil
}

func (f *Front) getDelivery(w http.ResponseWriter, r *http.Request, _ query) error {
	id, err := deliveryID(r)
	if err != nil {
		return err
	}
	d, err := f.Queue.Delivery(id)
	if err != nil {
		return err
	}
	var request *api.Request
	if d.Body != nil {
		attempt := max(d.Attempts, 1)
		if d.State == queue.StatePending && d.Attempts > 0 {
			attempt++ // the next one
		}
		request = f.Table().Request(&queue.Delivery{
			ID: d.ID, Signal: d.Signal, Route: d.Route, Type: d.Type, Traceparent: d.Traceparent, Body: d.Body,
		}, attempt)
	}
	return api.Write(w, http.StatusOK, api.Delivery{Info: d.Info, Request: request, Body: d.Body, SignalBody: d.SignalBody, Log: list(d.Log)})
}

func (f *Front) getSignal(w http.ResponseWriter, r *http.Request, _ query) error {
	id, err := queue.ParseSignalID(r.PathValue("id"))
	if err != nil {
		return api.Refuse(http.StatusNotFound, "there is no such signal: %s", api.Clip(err.Error()))
	}
	s, deliveries, err := f.Queue.Signal(id)
	if err != nil {
		return err
	}
	return api.Write(w, http.StatusOK, api.Signal{ID: s.ID, Type: s.Type, ReceivedAt: s.ID.Time(), Signal: s.Body, Deliveries: list(deliveries)})
}
