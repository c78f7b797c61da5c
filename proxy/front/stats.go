package front

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/units"
	"signalpost/queue"
)

const (
	statsBack  = 24 * time.Hour // how far back GET /stats and GET /problems go by default
	minutesFor = 48 * time.Hour // how long the queue keeps minutes; hours beyond
	maxPoints  = 1500           // of a series
	pointBytes = 512            // of memory for a point until it is sent
)

var steps = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 6 * time.Hour, units.Day}

func (f *Front) getStats(w http.ResponseWriter, r *http.Request, q *query) error {
	now := time.Now()
	filter := queue.StatsFilter{Routes: q.values["route"], Since: q.time("since"), Until: q.time("until")}
	if filter.Until.IsZero() {
		filter.Until = now
	}
	if filter.Since.IsZero() {
		filter.Since = filter.Until.Add(-statsBack)
	}
	if q.err == nil && !filter.Since.Before(filter.Until) {
		q.fault("since", "a time before until")
	}
	filter.Step = q.step(filter.Since, filter.Until, now.Sub(filter.Since) > minutesFor)
	if q.err != nil {
		return q.err
	}
	most := int64(filter.Until.Sub(filter.Since)/filter.Step+1) * int64(len(f.Table().Routes))
	return f.show(w, r, statusBytes+pointBytes*min(most, queue.MostPoints), func() (any, error) {
		found, err := f.Queue.Stats(r.Context(), filter)
		_, given := q.values["step"]
		for !given && errors.Is(err, queue.ErrTooMuch) && filter.Step < steps[len(steps)-1] {
			filter.Step = steps[slices.Index(steps, filter.Step)+1]
			found, err = f.Queue.Stats(r.Context(), filter)
		}
		if errors.Is(err, queue.ErrTooMuch) {
			return nil, api.Refuse(http.StatusBadRequest, "the routes have more than %d points in this time together: name one by route, or take a shorter time or a longer step", queue.MostPoints)
		}
		answer := api.Stats{Step: units.FormatDuration(filter.Step), Series: list(found)}
		if filter.Step == units.Day {
			answer.Step = "1d"
		}
		return answer, err
	})
}

// step reads how long a point of statistics is, or chooses it for a range, which
// begins before minutes were kept if it is old.
func (q *query) step(since, until time.Time, old bool) time.Duration {
	fits := func(step time.Duration) bool { return until.Sub(since.Truncate(step)) <= maxPoints*step }
	v, given := q.values["step"]
	if !given {
		for _, step := range steps {
			if fits(step) && !(old && step < time.Hour) {
				return step
			}
		}
		q.fault("since", "a shorter time: there are at most 1500 days of it")
		return units.Day
	}
	step, ok := units.ParseDuration(v)
	switch {
	case !ok || step < time.Minute || step%time.Minute != 0 || step > time.Hour && step%time.Hour != 0:
		q.fault("step", "whole minutes up to an hour or whole hours, such as 1m, 15m, 1h or 1d")
	case old && step%time.Hour != 0:
		q.fault("step", "1h or more: minutes are kept for 48 hours, and since is before that")
	case !fits(step):
		q.fault("step", "a longer one: this makes more than 1500 points of the time from since to until")
	}
	return step
}

func (f *Front) getProblems(w http.ResponseWriter, r *http.Request, q *query) error {
	since := q.time("since")
	if q.err != nil {
		return q.err
	}
	if since.IsZero() {
		since = time.Now().Add(-statsBack)
	}
	return f.show(w, r, statusBytes, func() (any, error) {
		found, err := f.Queue.Problems(r.Context(), since)
		return api.Problems{Problems: list(found)}, err
	})
}
