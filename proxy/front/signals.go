package front

import (
	"context"
	"net/http"
	"strings"

	"signalpost/proxy/api"
	"signalpost/queue"
)

func (f *Front) getSignal(w http.ResponseWriter, r *http.Request, _ *query) error {
	id, err := queue.ParseSignalID(r.PathValue("id"))
	if err != nil {
		return api.Refuse(http.StatusNotFound, "there is no such signal: %s", api.Clip(err.Error()))
	}
	return f.show(w, r, f.detailBytes(), func() (any, error) {
		s, deliveries, err := f.Queue.Signal(id)
		return api.Signal{ID: s.ID, Type: s.Type, ReceivedAt: s.ID.Time(), Signal: s.Body, Deliveries: list(deliveries)}, err
	})
}

// getSignals answers with a page, or with all of them as lines.
func (f *Front) getSignals(w http.ResponseWriter, r *http.Request, q *query) error {
	filter := queue.SignalFilter{
		Type: q.values["signal_type"], Since: q.time("since"), Until: q.time("until"),
		Limit: q.number("limit", defaultPage, 1, maxPage), After: q.values["after"],
	}
	if q.err != nil {
		return q.err
	}
	if strings.Contains(r.Header.Get("Accept"), "application/x-ndjson") {
		for _, name := range []string{"after", "limit"} {
			if _, given := q.values[name]; given {
				return api.Refuse(http.StatusBadRequest, "parameter %s has no meaning where all signals are sent, a line each; leave it out, or ask for JSON", name)
			}
		}
		var broken error
		err := f.stream(w, r, "read all signals", func(ctx context.Context, s *stream) error {
			broken = f.Queue.EachSignal(ctx, filter, func(i queue.SignalInfo) error { return s.sendJSON(storedSignal(i)) })
			if broken == nil {
				broken = s.send(nil) // there may have been none
			}
			return broken
		})
		if err == nil && broken != nil {
			panic(http.ErrAbortHandler) // so that nobody takes for all what has been sent
		}
		return err
	}
	return f.show(w, r, answersBytes/4, func() (any, error) { // as much as the queue makes of a page, twice
		found, next, err := f.Queue.Signals(r.Context(), filter)
		page := api.SignalPage{Signals: []api.StoredSignal{}, Next: next}
		for _, s := range found {
			page.Signals = append(page.Signals, storedSignal(s))
		}
		return page, q.cursor(err)
	})
}

func storedSignal(s queue.SignalInfo) api.StoredSignal {
	return api.StoredSignal{ID: s.ID, Type: s.Type, ReceivedAt: s.ID.Time(), Signal: s.Body, Config: s.Config}
}
