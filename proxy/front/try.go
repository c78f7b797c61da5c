package front

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/ingest"
	"signalpost/proxy/rehearse"
	"signalpost/proxy/units"
	"signalpost/queue"
	"signalpost/transform"
)

const (
	maxTries = 8                // at once
	maxPlan  = 1000             // signals
	planTime = 10 * time.Second // then a plan covers the signals read so far
)

// trying is a handler that runs expressions for people, of which few run at once.
func trying(h handler) handler {
	return func(f *Front, w http.ResponseWriter, r *http.Request, q *query) error {
		one, err := f.tries.Take(r.Context(), 1)
		if err != nil {
			return err
		}
		defer f.tries.Give(one)
		return h(f, w, r, q)
	}
}

// postTry says what the routes of the running config would make of a signal,
// with other expressions if the request brings some.
func (f *Front) postTry(w http.ResponseWriter, r *http.Request, _ *query) error {
	var v api.TryRequest
	t := f.Table()
	body, done, err := f.Ingest.ReadBody(r, t.Config.Server.MaxBody+maxCommand)
	if err != nil {
		return err
	}
	defer done()
	if _, err := readJSON(r, body, &v, "signal", "route", "where", "transform"); err != nil {
		return err
	}
	if v.Signal == nil {
		return api.Refuse(http.StatusUnprocessableEntity, `there is no "signal" to try`)
	}
	f.takesLong(w)
	signalType, err := ingest.SignalType(v.Signal)
	if err != nil {
		return err
	}
	s := &queue.Signal{ID: f.Queue.NewSignalID(), Type: signalType, Body: v.Signal}
	use := transform.NewSession(r.Context(), transform.ForTries)
	defer use.Close() // when what was made has been shown
	trials, err := t.Try(r.Context(), use, s, v.Route, v.Where, v.Transform)
	if err != nil {
		return err
	}
	var size int64
	for _, trial := range trials {
		for _, b := range trial.Bodies {
			size += int64(len(b))
		}
	}
	if size > answersBytes/2 {
		return api.Refuse(http.StatusUnprocessableEntity, "the routes make %s of it, too much for one answer; name one route", units.FormatSize(size))
	}
	return f.show(w, r, statusBytes+2*size, func() (any, error) { return api.Trials{Routes: trials}, nil })
}

// postPlan says what a route would have made of the last signals by other expressions.
func (f *Front) postPlan(w http.ResponseWriter, r *http.Request, _ *query) error {
	v := api.PlanRequest{Limit: maxPlan}
	if _, err := f.readCommand(r, &v, "route", "where", "transform", "limit"); err != nil {
		return err
	}
	if v.Limit < 1 || v.Limit > maxPlan {
		return api.Refuse(http.StatusBadRequest, "\"limit\" must be a number from 1 to %d", maxPlan)
	}
	if v.Route == "" {
		return api.Refuse(http.StatusUnprocessableEntity, "there is no \"route\" to plan for")
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

// getExplanation answers with the history of a signal, or of a delivery.
func (f *Front) getExplanation(w http.ResponseWriter, r *http.Request, _ *query) error {
	id := r.PathValue("id")
	delivery, errDelivery := queue.ParseDeliveryID(id)
	signal, errSignal := queue.ParseSignalID(id)
	if errDelivery != nil && errSignal != nil {
		switch {
		case strings.HasPrefix(id, "sig_"):
			errDelivery = errSignal
		case !strings.HasPrefix(id, "dlv_"):
			errDelivery = fmt.Errorf("id %q: begins with neither sig_ nor dlv_", id)
		}
		return api.Refuse(http.StatusNotFound, "there is no such signal or delivery: %s", api.Clip(errDelivery.Error()))
	}
	return f.show(w, r, f.detailBytes(), func() (any, error) {
		if errDelivery == nil {
			return f.Explain.Delivery(r.Context(), delivery)
		}
		return f.Explain.Signal(r.Context(), signal)
	})
}
