package proxy

import (
	"errors"
	"net/http"

	"signalpost/queue"
)

// A wish is the body of POST /retry and, but for reshape, POST /discard.
type wish struct {
	Route   *string `json:"route"`
	State   *string `json:"state"`
	Reason  *string `json:"reason"`
	Type    *string `json:"signal_type"`
	Since   *string `json:"since"`
	Until   *string `json:"until"`
	Reshape *bool   `json:"reshape"`
	DryRun  bool    `json:"dry_run"`
}

// filter is what the wish is about; its state must be one of those given.
func (v *wish) filter(states ...string) (queue.Filter, error) {
	q := query{}
	for name, value := range map[string]*string{
		"route": v.Route, "state": v.State, "reason": v.Reason, "signal_type": v.Type, "since": v.Since, "until": v.Until,
	} {
		switch {
		case value == nil:
		case *value == "": // a script's variable that is not set must not mean all
			return queue.Filter{}, refuse(http.StatusBadRequest, "%q is empty; leave it out or give it a value", name)
		default:
			q[name] = *value
		}
	}
	state, err1 := q.oneOf("state", states...)
	reason, err2 := q.oneOf("reason", reasons...)
	since, err3 := q.instant("since")
	until, err4 := q.instant("until")
	return queue.Filter{
		State: queue.State(state), Route: q["route"], Type: q["signal_type"], Reason: queue.Reason(reason), Since: since, Until: until,
	}, errors.Join(err1, err2, err3, err4)
}

func (p *Proxy) postRetryOne(w http.ResponseWriter, r *http.Request) error {
	id, err := queue.ParseDeliveryID(r.PathValue("id"))
	if err != nil {
		return refuse(http.StatusNotFound, "there is no such delivery: %s", clip(err.Error()))
	}
	var body struct {
		Reshape bool `json:"reshape"`
	}
	if err := p.readJSON(r, maxWish, &body, "reshape"); err != nil {
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
		return refuse(http.StatusNotFound, "there is no such delivery: %s", clip(err.Error()))
	}
	if err := p.readJSON(r, maxWish, &struct{}{}); err != nil {
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
	return writeJSON(w, http.StatusAccepted, d.Info)
}

func (p *Proxy) postRetry(w http.ResponseWriter, r *http.Request) error {
	var v wish
	if err := p.readJSON(r, maxWish, &v, "route", "state", "reason", "signal_type", "since", "until", "reshape", "dry_run"); err != nil {
		return err
	}
	f, err := v.filter(string(queue.StateDead), string(queue.StateDelivered))
	if err != nil {
		return err
	}
	if f.State == "" {
		f.State = queue.StateDead
	}
	p.takesLong(w)
	n, err := p.queue.RetryAll(r.Context(), f, v.Reshape != nil && *v.Reshape, p.table.Load().reshape, v.DryRun)
	if err != nil {
		return err
	}
	return writeMatched(w, n, v.DryRun)
}

func (p *Proxy) postDiscard(w http.ResponseWriter, r *http.Request) error {
	var v wish
	known := []string{"route", "state", "reason", "signal_type", "since", "until", "dry_run"}
	if err := p.readJSON(r, maxWish, &v, known...); err != nil {
		return err
	}
	if v.Reshape != nil {
		return unknownMember("reshape", known)
	}
	f, err := v.filter(string(queue.StatePending), string(queue.StateHeld), string(queue.StateDead))
	if err != nil {
		return err
	}
	if f == (queue.Filter{}) {
		return refuse(http.StatusBadRequest, "say what to discard: at least one of route, state, reason, signal_type, since, until")
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
	return writeJSON(w, status, struct {
		Matched int `json:"matched"`
	}{n})
}
