package front

import (
	"errors"
	"maps"
	"net/http"

	"signalpost/proxy/api"
	"signalpost/queue"
)

// readSelection reads the body of POST /retry or POST /discard, and makes a
// filter of it; the state must be one of those given.
func (f *Front) readSelection(r *http.Request, states []queue.State, further ...string) (v api.Selection, filter queue.Filter, err error) {
	known := append(further, "route", "state", "reason", "signal_type", "status", "since", "until", "dry_run")
	members, err := f.readCommand(r, &v, known...)
	if err != nil {
		return v, filter, err
	}
	for name, value := range members {
		if string(value) == `""` { // a script's variable that is not set must not mean all
			return v, filter, api.Refuse(http.StatusBadRequest, "%q is empty; leave it out or give it a value", name)
		}
	}
	q := query{values: map[string]string{"state": v.State, "reason": v.Reason, "status": string(v.Status), "since": v.Since, "until": v.Until}}
	maps.DeleteFunc(q.values, func(_, value string) bool { return value == "" })
	filter = queue.Filter{
		Route: v.Route, Type: v.Type, Since: q.time("since"), Until: q.time("until"),
		State: oneOf(&q, "state", states...), Reason: oneOf(&q, "reason", reasons...),
		Statuses: listOf(&q, "status", statusesForm, statuses),
	}
	return v, filter, q.err
}

func (f *Front) postRetryOne(w http.ResponseWriter, r *http.Request, _ *query) error {
	var v api.RetryOne
	return f.amendOne(w, r, &v, []string{"reshape"}, func(id queue.DeliveryID) error {
		return f.Queue.Retry(id, v.Reshape, f.Table().Reshape)
	})
}

func (f *Front) postDiscardOne(w http.ResponseWriter, r *http.Request, _ *query) error {
	return f.amendOne(w, r, &struct{}{}, nil, f.Queue.Discard)
}

// amendOne answers with the delivery as it is after it was amended.
func (f *Front) amendOne(w http.ResponseWriter, r *http.Request, v any, known []string, amend func(queue.DeliveryID) error) error {
	id, err := deliveryID(r)
	if err != nil {
		return err
	}
	if _, err := f.readCommand(r, v, known...); err != nil {
		return err
	}
	if err := amend(id); err != nil {
		return err
	}
	i, err := f.Queue.Info(id)
	if err != nil {
		return err
	}
	return api.Write(w, http.StatusAccepted, i)
}

func (f *Front) postRetry(w http.ResponseWriter, r *http.Request, _ *query) error {
	v, filter, err := f.readSelection(r, []queue.State{queue.StateDead, queue.StateDelivered, queue.StatePending}, "reshape")
	if err != nil {
		return err
	}
	if filter.State == "" {
		filter.State = queue.StateDead
	}
	f.takesLong(w)
	n, err := f.Queue.RetryAll(r.Context(), filter, v.Reshape, f.Table().Reshape, v.DryRun)
	return writeMatched(w, n, v.DryRun, err)
}

func (f *Front) postDiscard(w http.ResponseWriter, r *http.Request, _ *query) error {
	v, filter, err := f.readSelection(r, []queue.State{queue.StatePending, queue.StateHeld, queue.StateDead})
	if err != nil {
		return err
	}
	if v == (api.Selection{DryRun: v.DryRun}) {
		return api.Refuse(http.StatusBadRequest, "say what to discard: at least one of route, state, reason, signal_type, status, since, until")
	}
	f.takesLong(w)
	n, err := f.Queue.DiscardAll(r.Context(), filter, v.DryRun)
	return writeMatched(w, n, v.DryRun, err)
}

func writeMatched(w http.ResponseWriter, n int, dry bool, err error) error {
	if err != nil {
		return err
	}
	status := http.StatusAccepted
	if dry {
		status = http.StatusOK
	}
	return api.Write(w, status, api.Matched{Matched: n})
}

func (f *Front) postPause(w http.ResponseWriter, r *http.Request, _ *query) error {
	return f.setPaused(w, r, true)
}

func (f *Front) postResume(w http.ResponseWriter, r *http.Request, _ *query) error {
	name := r.PathValue("name")
	if route := f.Table().Route(name); route != nil && route.Paused {
		return api.Refuse(http.StatusConflict, "route %q is paused by the config: set paused = false there", name)
	}
	return f.setPaused(w, r, false)
}

// setPaused answers with the route as it is then.
func (f *Front) setPaused(w http.ResponseWriter, r *http.Request, paused bool) error {
	if _, err := f.readCommand(r, new(struct{})); err != nil {
		return err
	}
	t, name := f.Table(), r.PathValue("name")
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
