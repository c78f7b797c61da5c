package explain

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/term"
	"signalpost/queue"
)

// late adds the waits that made a delivery late, which was due at the end of the last step
// and sent at a time. Some the history has; the others are inferred from the route's log.
func (l *timeline) late(until time.Time, trigger queue.Trigger) error {
	if until.Sub(l.at) < notable {
		return nil
	}
	l.until = until
	var spans []span
	if l.Started.After(l.at) { // what was before is not known, but for this
		spans = append(spans, span{code: "stopped", from: l.at, to: earlier(l.Started.Add(time.Second), until)}) // a start takes a moment
	}
	for _, s := range append(spans, l.History.during(l.d.Route, l.at, until)...) {
		from := later(s.from, l.at)
		if !s.to.After(from) {
			continue
		}
		if err := l.unrecorded(from, trigger); err != nil {
			return err
		}
		l.step("wait", from, s.to, s.code, l.spanText(s))
	}
	return l.unrecorded(until, trigger)
}

func (l *timeline) spanText(s span) string {
	switch s.code {
	case "paused":
		return "The route was paused by the " + api.Pausers(s.by) + "."
	case "failing":
		return "The route was failing: only probes were sent."
	case "held":
		return "The route was not in the config."
	case "retry_after":
		return "An answer asked that nothing be sent on this route (Retry-After)."
	}
	return fmt.Sprintf("The sidecar was started at %s. Before, it was not running, or held this back; which is not known.", stamp(l.Started))
}

// unrecorded adds a wait that the history has nothing of.
func (l *timeline) unrecorded(until time.Time, trigger queue.Trigger) error {
	if until.Sub(l.at) < notable {
		return nil
	}
	if trigger == queue.Probe {
		l.step("wait", l.at, until, "failing", "The route was failing: this attempt was a probe.")
		return nil
	}
	code, text, err := l.busy(l.at, until)
	if err == nil {
		l.step("wait", l.at, until, code, text)
	}
	return err
}

// busy infers from the route's log, and its limits of today, what kept it from sending more.
func (l *timeline) busy(from, to time.Time) (code, text string, err error) {
	const unknown = "Why is not known: the machine was short of something, its disk was slow, or the route was held for less than a few seconds."
	if l.d.WaitsFor != nil { // all its life
		return "order", l.behind(), nil
	}
	if first, err := l.older(from); err != nil || first != "" {
		return "order", first, err
	}
	if l.r == nil {
		return "unknown", unknown, nil
	}
	page, err := l.Queue.Log(l.ctx, queue.LogFilter{Route: l.d.Route, Since: from, Until: to.Add(l.r.Timeout + time.Second), Limit: queue.MostAhead})
	if err != nil {
		return "", "", err
	}
	var used time.Duration // by attempts, all together
	began, probes := 0, 0
	for _, e := range page.Entries {
		if e.Attempt == 0 || e.Delivery == l.d.ID {
			continue
		}
		start := e.Time.Add(-e.Took())
		if !start.Before(to) || !e.Time.After(from) {
			continue
		}
		used += earlier(e.Time, to).Sub(later(start, from))
		if !start.Before(from) {
			began++
		}
		if e.Trigger == queue.Probe {
			probes++
		}
		if len(page.Entries) == queue.MostAhead { // the log of this time is not seen whole
			from = later(from, page.Entries[len(page.Entries)-1].Time)
		}
	}
	whole := to.Sub(from)
	switch {
	case probes > 0:
		return "failing", fmt.Sprintf("The route was failing: %s sent meanwhile.", term.Count(probes, "probe")), nil
	case used > whole/2*time.Duration(l.r.Concurrency):
		return "concurrency", fmt.Sprintf("Other attempts of the route were under way, %d at once by its concurrency.", l.r.Concurrency), nil
	case l.r.Rate > 0 && float64(began) > l.r.Rate*whole.Seconds()/2-1:
		return "rate", fmt.Sprintf("The route's rate: %s began meanwhile.", term.Count(began, "other attempt")), nil
	}
	return "unknown", unknown, nil
}

// older is the delivery of the same order that ended last, from a time up to the first attempt,
// if one did: this one waited for it. When it ended is known to the millisecond.
func (l *timeline) older(from time.Time) (text string, err error) {
	if ordered, err := l.Queue.SameOrder(l.d.ID, l.d.ID); err != nil || !ordered || slices.ContainsFunc(l.steps, func(s api.Step) bool { return s.Kind == "attempt" }) {
		return "", err
	}
	page, err := l.Queue.Log(l.ctx, queue.LogFilter{Route: l.d.Route, Since: from, Until: l.until.Add(time.Second), Limit: queue.MostAhead})
	if err != nil {
		return "", err
	}
	looks := 100
	for _, e := range page.Entries { // newest first
		if e.Verdict == queue.Retry || e.Delivery == l.d.ID || e.Time.After(l.until.Add(time.Millisecond)) {
			continue
		}
		same, err := l.Queue.SameOrder(l.d.ID, e.Delivery)
		switch looks--; {
		case same && err == nil:
			return fmt.Sprintf("An older delivery of the same order_by went first: %s, which ended at %s.", e.Delivery, stamp(e.Time)), nil
		case looks == 0, err != nil && !errors.Is(err, queue.ErrNotFound):
			return "", err
		}
	}
	return "", nil
}
