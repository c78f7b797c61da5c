package explain

import (
	"fmt"
	"time"

	"signalpost/proxy/term"
	"signalpost/proxy/units"
	"signalpost/queue"
)

// next is what happens next to a delivery, and when, if that is known.
func (l *timeline) next() (text string, at *time.Time) {
	d := &l.d
	limits := l.t.Config.Queue.Limits
	kept := fmt.Sprintf("It is kept for about %s (queue.retention), then forgotten.", units.FormatDuration(limits.Retention))
	switch d.State {
	case queue.StateDelivered:
		return "Nothing. " + kept, nil
	case queue.StateDead:
		again := "signalpost retry " + d.ID.String()
		if l.r == nil {
			return "Nothing. Once the route is back in the config it can be sent again: " + again + ". " + kept, nil
		}
		if d.Reason == queue.Transform || d.Reason == queue.Filtered {
			return "Nothing, unless somebody has it made again: " + again + " --reshape. " + kept, nil
		}
		return "Nothing, unless somebody sends it again: " + again + ". " + kept, nil
	}
	old := fmt.Sprintf(" It is given up (too_old) if it waits for longer than %s (queue.max_age).", units.FormatDuration(limits.MaxAge))
	if d.State == queue.StateHeld || l.r == nil {
		return "Nothing, until the config has a route " + d.Route + " again." + old, nil
	}
	if by := l.pausedBy(d.Route); len(by) > 0 {
		how := "signalpost resume " + d.Route
		if by[0] == "config" {
			if how = "paused = false in the config"; len(by) > 1 {
				how += " and signalpost resume " + d.Route
			}
		}
		return "Nothing, until the route is resumed: " + how + "." + old, nil
	}
	if d.WaitsFor != nil {
		return "Its first attempt, once " + d.WaitsFor.String() + " is delivered or dead, and what else of its order_by is older." + old, nil
	}
	attempts := l.r.Retry.Attempts
	which := fmt.Sprintf("attempt %d", d.Attempts+1)
	if d.Attempts == l.round {
		which = fmt.Sprintf("attempt %d of %d", l.round+1, attempts)
	}
	then := " It is the last: if it fails, the delivery is dead, reason exhausted."
	if gaps := l.r.Retry.Gaps(); l.round < len(gaps) {
		then = fmt.Sprintf(" If it fails, the next comes %s later.", term.Span(gaps[l.round]))
	}
	switch {
	case l.wait.Attempted:
		return "The outcome of " + which + "." + then, nil
	case d.NextAttempt != nil && d.NextAttempt.After(l.now):
		when := *d.NextAttempt
		return fmt.Sprintf("%s, at %s at the earliest.%s", upper(which), stamp(when), then), &when
	}
	return upper(which) + ", as soon as it may." + then, nil
}

func upper(text string) string { return string(text[0]-'a'+'A') + text[1:] }
