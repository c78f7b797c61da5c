package front

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"

	"signalpost/proxy/api"
	"signalpost/proxy/table"
	"signalpost/queue"
)

// maxPage bounds a page of a list, and defaultPage is its usual size.
const (
	maxPage     = 1000
	defaultPage = 100
)

var (
	states  = []queue.State{queue.StatePending, queue.StateDelivered, queue.StateDead, queue.StateHeld}
	reasons = []queue.Reason{queue.Gone, queue.Exhausted, queue.Transform, queue.Filtered, queue.TooOld, queue.Discarded}
)

// show answers with what look returns. Until the client has taken the answer its memory
// is taken from the budget of answers: most bytes at first, then the answer's length. A
// client that asks for much and reads nothing makes others wait, and then be refused.
func (f *Front) show(w http.ResponseWriter, r *http.Request, most int64, look func() (any, error)) error {
	return f.showTagged(w, r, most, false, look)
}

// showTagged is show of an answer that gets an ETag if it is tagged. A client that has
// it is answered 304.
func (f *Front) showTagged(w http.ResponseWriter, r *http.Request, most int64, tagged bool, look func() (any, error)) error {
	held, err := f.answers.Take(r.Context(), most)
	defer func() { f.answers.Give(held) }()
	if err != nil {
		return err
	}
	v, err := look()
	if err != nil {
		return err
	}
	b, err := api.Marshal(v)
	if err != nil {
		return err
	}
	if tagged {
		tag := fmt.Sprintf("\"%x\"", sha256.Sum256(b))
		w.Header().Set("ETag", tag)
		if has := r.Header.Get("If-None-Match"); has == "*" || strings.Contains(has, tag) {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	if left := held - int64(len(b)); left > 0 {
		f.answers.Give(left)
		held -= left
	}
	api.WriteJSON(w, http.StatusOK, b)
	return nil
}

// What an answer can take in memory, in bytes: an entry of a list, and one signal or
// delivery in full.
const entryBytes = 8 << 10

func (f *Front) detailBytes() int64 { return 1<<20 + 4*f.Table().Config.Server.MaxBody }

func (f *Front) getLog(w http.ResponseWriter, r *http.Request, q *query) error {
	follow := oneOf(q, "follow", "true", "false") == "true"
	least := 1
	if follow {
		least = 0
	}
	filter := queue.LogFilter{
		Route: q.values["route"], Type: q.values["signal_type"], Since: q.time("since"), Until: q.time("until"),
		Verdicts: listOf(q, "verdict", verdictForm, verdicts), Statuses: listOf(q, "status", statusesForm, statuses), Text: q.values["text"],
		Limit: q.number("limit", defaultPage, least, maxPage), After: q.values["after"],
	}
	q.id("signal", &filter.Signal)
	q.id("delivery", &filter.Delivery)
	if q.err != nil {
		return q.err
	}
	if follow {
		return f.follow(w, r, q, filter)
	}
	return f.show(w, r, int64(filter.Limit+1)*entryBytes, func() (any, error) {
		page, err := f.Queue.Log(r.Context(), filter)
		return api.LogPage{Entries: list(page.Entries), Next: page.Next, SearchedTo: api.OrNull(page.SearchedTo.UTC())}, q.cursor(err)
	})
}

func (f *Front) getDeliveries(w http.ResponseWriter, r *http.Request, q *query) error {
	filter := queue.Filter{
		State: oneOf(q, "state", states...), Reason: oneOf(q, "reason", reasons...), Route: q.values["route"], Type: q.values["signal_type"], Body: q.values["body"],
		Since: q.time("since"), Until: q.time("until"), Limit: q.number("limit", defaultPage, 1, maxPage), After: q.values["after"],
	}
	q.id("signal", &filter.Signal)
	if q.err != nil {
		return q.err
	}
	return f.show(w, r, int64(filter.Limit+1)*entryBytes, func() (any, error) {
		page, err := f.Queue.Deliveries(r.Context(), filter)
		return api.DeliveryPage{Deliveries: list(page.Deliveries), Next: page.Next, SearchedTo: api.OrNull(page.SearchedTo.UTC())}, q.cursor(err)
	})
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

func (f *Front) getDelivery(w http.ResponseWriter, r *http.Request, _ *query) error {
	id, err := deliveryID(r)
	if err != nil {
		return err
	}
	return f.showTagged(w, r, f.detailBytes(), true, func() (any, error) {
		d, err := f.Queue.Delivery(id)
		err = cmp.Or(err, d.Damage)
		body, format := table.Readable(d.Body, d.Shape)
		return api.Delivery{Info: d.Info, Request: f.Table().Request(&d), Body: body, Format: format, SignalBody: d.SignalBody, Log: list(d.Log)}, err
	})
}

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
		err := f.stream(w, r, "read all signals", func(ctx context.Context, s *api.Lines) error {
			broken = f.Queue.EachSignal(ctx, filter, func(i queue.Signal) error { return s.SendJSON(storedSignal(i)) })
			if broken == nil {
				broken = s.Send(nil) // there may have been none
			}
			return broken
		})
		if err == nil && broken != nil {
			panic(http.ErrAbortHandler) // so that the client notices that lines are missing
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

func storedSignal(s queue.Signal) api.StoredSignal {
	return api.StoredSignal{ID: s.ID, Type: s.Type, ReceivedAt: s.ID.Time(), Signal: s.Body, Config: s.Config}
}
