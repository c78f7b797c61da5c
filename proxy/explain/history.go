package explain

import (
	"slices"
	"sync"
	"time"

	"signalpost/queue"
)

// mostSpans bounds the spans that are kept of a route.
const mostSpans = 64

// A History remembers when each route was kept from sending, and by what. It knows what
// it is shown now and then, and misses what came and went between two looks. It is safe
// for concurrent use.
type History struct {
	mu    sync.Mutex
	spans map[string][]span // by route, in order of their beginnings
}

// A span is a time for which a route was kept from sending.
type span struct {
	code     string
	from, to time.Time // to is zero while it goes on
	by       []string  // of a pause: config, api
}

// Look records the state of the routes at a time.
func (h *History) Look(now time.Time, routes []queue.RouteStatus, pausedByConfig func(route string) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range routes {
		r := &routes[i]
		var by []string
		if r.State == queue.RoutePaused && pausedByConfig(r.Name) {
			by = append(by, "config")
		}
		if r.State == queue.RoutePaused && r.PausedByAPI {
			by = append(by, "api")
		}
		h.note(r.Name, "paused", r.State == queue.RoutePaused, r.PausedSince, now, by)
		h.note(r.Name, "failing", r.State == queue.RouteFailing, r.FailingSince, now, nil)
		h.note(r.Name, "held", r.State == queue.RouteGone, r.HeldSince, now, nil)
	}
}

// note notes whether a route is kept from sending for a reason now, and since when.
func (h *History) note(route, code string, kept bool, since, now time.Time, by []string) {
	all := h.spans[route]
	for i := range slices.Backward(all) {
		s := &all[i]
		if s.code != code || !s.to.IsZero() {
			continue
		}
		if kept && slices.Equal(s.by, by) {
			return
		}
		s.to = now
		since = now // by somebody else
		break
	}
	if !kept {
		return
	}
	if since.IsZero() || since.After(now) {
		since = now
	}
	h.add(route, span{code: code, from: since, by: by})
}

func (h *History) add(route string, s span) {
	if h.spans == nil {
		h.spans = map[string][]span{}
	}
	all := append(h.spans[route], s)
	h.spans[route] = all[max(len(all)-mostSpans, 0):]
}

// Hold notes that an answer asked for nothing to be sent on a route for so long.
func (h *History) Hold(route string, now time.Time, d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.add(route, span{code: "retry_after", from: now, to: now.Add(d)})
}

// during are the spans of a route that have a part between two times, cut to that, in
// order and without overlapping: where two do, the one that ends later counts.
func (h *History) during(route string, from, to time.Time) (spans []span) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.spans[route] {
		if s.to.IsZero() || s.to.After(to) {
			s.to = to
		}
		if s.from.Before(from) {
			s.from = from
		}
		if s.from.Before(s.to) {
			spans = append(spans, s)
		}
	}
	slices.SortStableFunc(spans, func(a, b span) int { return a.from.Compare(b.from) })
	kept := spans[:0]
	for _, s := range spans {
		if n := len(kept); n > 0 && s.from.Before(kept[n-1].to) {
			s.from = kept[n-1].to
		}
		if s.from.Before(s.to) {
			kept = append(kept, s)
		}
	}
	return kept
}
