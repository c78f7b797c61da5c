package front

import (
	"net/http"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/rehearse"
	"signalpost/queue"
	"signalpost/transform"
)

const (
	maxPlan  = 1000             // signals
	planTime = 10 * time.Second // after which a plan is of those that have been looked at
)

// postPlan says what a route would have made of the last signals by other expressions.
func (f *Front) postPlan(w http.ResponseWriter, r *http.Request, _ *query) error {
	one, err := f.tries.Take(r.Context(), 1)
	if err != nil {
		return err
	}
	defer f.tries.Give(one)
	v := api.PlanRequest{Limit: maxPlan}
	if _, err := f.readOrder(r, &v, "route", "where", "transform", "limit"); err != nil {
		return err
	}
	if v.Limit < 1 || v.Limit > maxPlan {
		return api.Refuse(http.StatusBadRequest, "\"limit\" must be a number from 1 to %d", maxPlan)
	}
	t := f.Table()
	other, err := t.Instead(v.Route, v.Where, v.Transform)
	if err != nil {
		return err
	}
	f.takesLong(w)
	held, err := f.answers.Take(r.Context(), answersBytes/4) // for pages of signals
	if err != nil {
		return err
	}
	until := time.Now().Add(planTime)
	p, err := rehearse.Plan(r.Context(), transform.ForTries, t, other, v.Route, func(yield func(queue.Signal) error) error {
		filter := queue.SignalFilter{Limit: 100}
		for n := 0; n < v.Limit; {
			page, next, err := f.Queue.Signals(r.Context(), filter)
			if err != nil {
				return err
			}
			for _, s := range page {
				if n++; n > v.Limit || time.Now().After(until) {
					return nil
				}
				if err := yield(queue.Signal{ID: s.ID, Type: s.Type, Body: s.Body}); err != nil {
					return err
				}
			}
			if filter.After = next; next == "" {
				break
			}
		}
		return nil
	})
	f.answers.Give(held)
	if err != nil {
		return err
	}
	return f.show(w, r, statusBytes, func() (any, error) { return p, nil })
}
