package explain

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/sign"
	"signalpost/proxy/table"
	"signalpost/proxy/term"
	"signalpost/queue"
)

// A timeline is one delivery being explained.
type timeline struct {
	*explanation
	ctx   context.Context
	d     queue.Detail
	r     *table.Route // nil if it has gone
	wait  queue.Wait
	steps []api.Step
	at    time.Time // the end of the last step
	until time.Time // when the wait ends that is being told
	round int       // attempts since it came, or was last sent again by hand
}

// notable is how late an attempt has to be to have a step for its wait.
const notable = 50 * time.Millisecond

// delivery explains one delivery, the nth of its route.
func (s *explanation) delivery(ctx context.Context, id queue.DeliveryID, nth int) (e api.ExplainedDelivery, err error) {
	l := &timeline{explanation: s, ctx: ctx}
	if l.d, err = s.Queue.Delivery(id); err != nil {
		return e, err
	}
	if l.wait, err = s.Queue.Waiting(id); err != nil {
		return e, err
	}
	l.r, l.at = s.t.Route(l.d.Route), l.d.Created
	l.step("made", l.at, l.at, "", "Made of the signal: due at once.")
	due := l.at
	for i := range l.d.Log {
		if due, err = l.entry(i, due); err != nil {
			return e, err
		}
	}
	if l.d.State == queue.StatePending || l.d.State == queue.StateHeld {
		if err := l.unfinished(); err != nil {
			return e, err
		}
	}
	e = api.ExplainedDelivery{Info: l.d.Info, Steps: l.steps}
	e.Next, e.NextAt = l.next()
	e.Today, e.TodayBody, e.TodayFormat = s.differences(&l.d, nth)
	return e, nil
}

// step adds a step; one that goes on has no end. A wait that only continues the last one is joined to it.
func (l *timeline) step(kind string, from, to time.Time, code, text string) *api.Step {
	s := api.Step{Kind: kind, From: from.UTC(), Code: code, Text: text}
	if !to.IsZero() {
		to = to.UTC()
		s.To, l.at = &to, to
	}
	if n := len(l.steps) - 1; n >= 0 && kind == "wait" && l.steps[n].Kind == kind && l.steps[n].Text == text && l.steps[n].To.Equal(s.From) {
		s.From, l.steps = l.steps[n].From, l.steps[:n]
	}
	l.steps = append(l.steps, s)
	return &l.steps[len(l.steps)-1]
}

// entry adds the steps of the i-th entry of the log and of the wait before, which was due at
// a time. It returns when the next attempt is due, zero if none is.
func (l *timeline) entry(i int, due time.Time) (time.Time, error) {
	e := &l.d.Log[i]
	began := e.Time.Add(-e.Took())
	if sent := l.d.Requests[i].At; sent.After(l.at) && sent.Before(began.Add(time.Millisecond)) {
		began = sent
	}
	if e.Attempt == 0 {
		began = e.Time
	}
	began = later(began, l.at)
	switch {
	case e.Attempt == 0 && i > 0 && due.IsZero():
		l.finished(i, began)
	case e.Trigger == queue.Manual, i > 0 && due.IsZero():
		l.again(i, began)
	case !due.IsZero():
		l.untilDue(i, earlier(due, began))
		if err := l.late(began, e.Trigger); err != nil {
			return due, err
		}
	}
	if e.Attempt == 0 {
		l.step("end", e.Time, e.Time, string(e.Reason), endText(e))
		return time.Time{}, nil
	}
	l.round++
	l.attempt(i, began)
	if e.Verdict != queue.Retry {
		return time.Time{}, nil
	}
	if i == len(l.d.Log)-1 && !l.wait.Due.IsZero() { // what the entry says is when it can really be sent
		return l.wait.Due, nil
	}
	if e.NextAttempt == nil {
		return time.Time{}, nil
	}
	return *e.NextAttempt, nil
}

// again adds that somebody sent the delivery again, at a time after the entry before the i-th.
func (l *timeline) again(i int, at time.Time) {
	l.round = 0
	if i > 0 && l.d.Log[i-1].Verdict != queue.Retry {
		l.finished(i, at)
	} else {
		l.untilDue(i, at)
	}
	text := "Somebody sent it again: due at once, and the schedule starts over."
	if l.d.OutOfOrder {
		text += " It goes out of order: it waits for none of its order_by, and none for it."
	}
	l.step("made", at, at, "", text)
}

// finished adds that the delivery was delivered or dead until a time after the entry before the i-th.
func (l *timeline) finished(i int, until time.Time) {
	l.step("wait", l.at, until, "finished", fmt.Sprintf("It was %s, until somebody sent it again.", l.d.Log[i-1].Verdict))
}

func endText(e *queue.Entry) string {
	switch e.Reason {
	case queue.Transform:
		return "Dead, reason transform: " + e.Error
	case queue.Filtered:
		return "Dead, reason filtered: somebody had it made again, and the signal did not pass any more."
	case queue.TooOld:
		return "Dead, reason too_old: it waited longer than queue.max_age."
	case queue.Discarded:
		return "Dead, reason discarded: somebody gave it up."
	}
	return strings.TrimSuffix(fmt.Sprintf("%s, reason %s: %s", e.Verdict, e.Reason, e.Error), ": ")
}

// attempt adds the attempt of the i-th entry.
func (l *timeline) attempt(i int, began time.Time) {
	e := &l.d.Log[i]
	a := &api.ExplainedAttempt{Entry: *e, Request: l.t.SentBy(&l.d, i), Signed: []api.Signed{}}
	if a.Request != nil {
		for _, name := range slices.Sorted(maps.Keys(a.Request.Headers)) {
			if a.Request.Headers[name] != "[signature]" {
				continue
			}
			a.Signed = append(a.Signed, l.signed(name, e, l.d.Requests[i].At))
		}
	}
	text := fmt.Sprintf("Attempt %d: ", e.Attempt)
	switch {
	case e.Verdict == queue.Delivered:
		text += fmt.Sprintf("delivered, answered %d", e.Status)
	case e.Error != "":
		text += e.Error
	default:
		text += fmt.Sprintf("answered %d", e.Status)
	}
	if e.Verdict == queue.Dead {
		text += fmt.Sprintf(". Dead, reason %s", e.Reason)
	}
	text += fmt.Sprintf(", after %s.", term.Span(e.Took()))
	l.step("attempt", began, later(e.Time, began), string(e.Verdict), text).Attempt = a
}

// signed is what the signature in a header of an attempt was over. Only the config knows a form
// of the route's own.
func (l *timeline) signed(header string, e *queue.Entry, at time.Time) api.Signed {
	may := sign.Presets()
	if l.r != nil && e.Config == l.t.Config.Hash {
		may = l.r.Signatures
		for _, f := range l.r.Forms {
			if strings.EqualFold(f.Header, header) {
				return api.Signed{Header: header, Over: f.Text.Source}
			}
		}
	}
	s := api.Signed{Header: header}
	if s.Preset, s.Over = sign.PresetsOf(header, may, l.d.ID.String(), at); s.Preset == "" {
		s.Over = "a text that the config of then has, which is not kept"
		return s
	}
	s.Over += "{body}"
	return s
}

// untilDue adds the wait until the delivery was due, which the attempt before the i-th
// entry has set.
func (l *timeline) untilDue(i int, due time.Time) {
	if i == 0 || !due.After(l.at) {
		return
	}
	code, text := l.gap(&l.d.Log[i-1], due.Sub(l.at))
	l.step("wait", l.at, due, code, text)
}

// gap is what set the gap after an attempt.
func (l *timeline) gap(before *queue.Entry, gap time.Duration) (code, text string) {
	if l.r == nil || before.Config != l.t.Config.Hash {
		return "schedule", "The schedule of the config of then, or what the answer's Retry-After made of it."
	}
	s := l.r.Retry
	if gaps := s.Gaps(); l.round >= 1 && l.round <= len(gaps) {
		if most := time.Duration(float64(gaps[l.round-1]) * (1 + s.Jitter)); gap > most+10*time.Millisecond {
			return "retry_after", fmt.Sprintf("The answer asked for it (Retry-After); the schedule alone has %s.", term.Span(gaps[l.round-1]))
		}
	}
	return "schedule", fmt.Sprintf("Schedule: the gap before attempt %d of %d.", l.round+1, s.Attempts)
}

// unfinished adds what a delivery that is pending or held waits for now.
func (l *timeline) unfinished() error {
	due, i := l.wait.Due, len(l.d.Log)
	if last := l.d.Last; last != nil && (last.NextAttempt == nil || due.Before(last.NextAttempt.Add(-notable))) && due.After(last.Time) {
		if l.again(i, due); due.After(l.now) {
			due = l.now // by a clock that was set
		}
	}
	if due.After(l.at) && l.round > 0 && due.After(l.now) && !l.wait.Attempted {
		code, text := l.gap(&l.d.Log[i-1], due.Sub(l.at))
		l.step("wait", l.at, time.Time{}, code, text)
		return nil
	}
	l.untilDue(i, earlier(due, l.now))
	if l.wait.Attempted {
		l.step("attempt", later(due, l.at), time.Time{}, "under_way", fmt.Sprintf("Attempt %d is under way.", l.d.Attempts+1))
		return nil
	}
	code, text := l.blocked()
	l.at = later(due, l.at)
	before := earlier(later(l.Started, l.at), l.now) // it may have waited for something else
	for _, s := range slices.Backward(l.History.during(l.d.Route, l.at, l.now)) {
		if s.to.Before(l.now) {
			before = s.to
			break
		}
		if s.code == code {
			before = s.from
			break
		}
	}
	if err := l.late(before, ""); err != nil {
		return err
	}
	l.step("wait", l.at, time.Time{}, code, text)
	return nil
}

// blocked is what keeps the delivery, which is due, from being sent now.
func (l *timeline) blocked() (code, text string) {
	w, status := l.wait, queue.RouteStatus{}
	for _, r := range l.Queue.Status().Routes {
		if r.Name == l.d.Route {
			status = r
		}
	}
	ahead := ""
	switch {
	case w.Ahead == 1:
		ahead = " One other is due before it."
	case w.Ahead >= queue.MostAhead:
		ahead = fmt.Sprintf(" %d or more are due before it.", queue.MostAhead)
	case w.Ahead > 1:
		ahead = fmt.Sprintf(" %d are due before it.", w.Ahead)
	}
	since := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return " since " + stamp(t)
	}
	until := func(what string) string {
		if w.Until.IsZero() {
			return "."
		}
		return what + stamp(w.Until) + "."
	}
	failing := "The route is failing" + since(status.FailingSince) + ": only probes are sent"
	switch {
	case l.d.State == queue.StateHeld:
		return "held", "The route is not in the config" + since(status.HeldSince) + "."
	case l.d.WaitsFor != nil:
		return "order", l.behind()
	case w.Unreadable:
		return "disk", "It cannot be read from disk. It is tried again every two minutes; see the sidecar's log."
	}
	switch w.Block {
	case "paused":
		return "paused", "The route is paused" + since(status.PausedSince) + " by the " + api.Pausers(l.pausedBy(l.d.Route)) + "."
	case "failing":
		return "failing", failing + until(", the next at ") + ahead
	case "probing":
		return "failing", failing + ", and one is under way." + ahead
	case "recovering":
		return "failing", "The route works again, and goes back to full concurrency step by step." + ahead
	case "hold":
		return "retry_after", "An answer asked that nothing be sent on this route (Retry-After), or the machine lacked something" + until(": until ") + ahead
	case "concurrency":
		return "concurrency", fmt.Sprintf("%s of the route under way, its concurrency.%s", term.Count(w.Active, "attempt"), ahead)
	case "disk":
		return "disk", "The disk is slow: outcomes of attempts wait to be recorded." + ahead
	case "rate":
		return "rate", "The route's rate: the next may begin at " + stamp(w.Until) + "." + ahead
	case "stopping":
		return "stopped", "The sidecar is stopping."
	}
	return "unknown", "Nothing holds it: it is about to be sent." + ahead
}

// behind is about the delivery that this one waits for.
func (l *timeline) behind() string {
	return "An older delivery of the same order_by goes first: " + l.d.WaitsFor.String() + "."
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
