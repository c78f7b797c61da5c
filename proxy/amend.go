package proxy

import (
	"errors"
	"net/http"

	"signalpost/proxy/api"
	"signalpost/queue"
)

// readSelection reads the body of POST /retry or POST /discard, and makes a
// filter of it; the state must be one of those given.
func (p *Proxy) readSelection(r *http.Request, states []string, known ...string) (v api.Selection, f queue.Filter, err error) {
	members, err := p.readJSON(r, maxWish, &v, append(known, "route", "state", "reason", "signal_type", "since", "until", "dry_run")...)
	if err != nil {
		return v, f, err
	}
	q := query{}
	for name, value := range members {
		if string(value) == `""` { // a script's variable that is not set must not mean all
			return v, f, api.Refuse(http.StatusBadRequest, "%q is empty; leave it out or give it a value", name)
		}
	}
	for name, value := range map[string]string{"state": v.State, "reason": v.Reason, "since": v.Since, "until": v.Until} {
		if value != "" {
			q[name] = value
		}
	}
	state, err1 := q.oneOf("state", states...)
	reason, err2 := q.oneOf("reason", reasons...)
	since, err3 := q.instant("since")
	until, err4 := q.instant("until")
	return v, queue.Filter{
		State: queue.State(state), Route: v.Route, Type: v.Type, Reason: queue.Reason(reason), Since: since, Until: until,
	}, errors.Join(err1, err2, err3, err4)
}

func (p *Proxy) postRetryOne(w http.ResponseWriter, r *http.Request) error {
	id, err := queue.ParseDeliveryID(r.PathValue("id"))
	if err != nil {
		return api.Refuse(http.StatusNotFound, "there is no such delivery: %s", api.Clip(err.Error()))
	}
	var body api.RetryOne
	if _, err := p.readJSON(r, maxWish, &body, "reshape"); err != nil {
		return err
	}
	if err := p.queue.Retry(id, body.Reshape, p.table.Load().reshape); err != nil {
		return err
	}
	return p.writeDelivery(w, id)
}

func (p *Proxy) postDiscardOne(w http.ResponseWriter, r *http.Request) error {
	id, err := queue.ParseDeliveryID(r.PathValue("id"))
	if err != nil {
		return api.Refuse(http.StatusNotFound, "there is no such delivery: %s", api.Clip(err.Error()))
	}
	if _, err := p.readJSON(r, maxWish, &struct{}{}); err != nil {
		return err
	}
	if err := p.queue.Discard(id); err != nil {
		return err
	}
	return p.writeDelivery(w, id)
}

// writeDelivery answers with a delivery as it is since something was asked of it.
func (p *Proxy) writeDelivery(w http.ResponseWriter, id queue.DeliveryID) error {
	d, err := p.queue.Delivery(id)
	if err != nil {
		return err
	}
	return api.Write(w, http.StatusAccepted, d.Info)
}

func (p *Proxy) postRetry(w http.ResponseWriter, r *http.Request) error {
	v, f, err := p.readSelection(r, []string{string(queue.StateDead), string(queue.StateDelivered)}, "reshape")
	if err != nil {
		return err
	}
	if f.State == "" {
		f.State = queue.StateDead
	}
	p.takesLong(w)
	n, err := p.queue.RetryAll(r.Context(), f, v.Reshape, p.table.Load().reshape, v.DryRun)
	if err != nil {
		return err
	}
	return writeMatched(w, n, v.DryRun)
}

func (p *Proxy) postDiscard(w http.ResponseWriter, r *http.Request) error {
	v, f, err := p.readSelection(r, []string{string(queue.StatePending), string(queue.StateHeld), string(queue.StateDead)})
	if err != nil {
		return err
	}
	if f == (queue.Filter{}) {
		return api.Refuse(http.StatusBadRequest, "say what to discard: at least one of route, state, reason, signal_type, since, until")
	}
	p.takesLong(w)
	n, err := p.queue.DiscardAll(r.Context(), f, v.DryRun)
	if err != nil {
		return err
	}
	return writeMatched(w, n, v.DryRun)
}

func writeMatched(w http.ResponseWriter, n int, dry bool) error {
	status := http.StatusAccepted
	if dry {
		status = http.StatusOK
	}
	return api.Write(w, status, api.Matched{Matched: n})
}
