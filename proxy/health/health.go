// Package health decides the health of the sidecar and its routes, from facts alone:
// it keeps no state and does no I/O. GET /status, the metric signalpost_health, the
// dashboard and alerts repeat what Decide returns. Green means that nobody has to act.
//
// A reason has a code for programs, a sentence for people with what to do, and the time
// since which it holds. One without a route is about the sidecar itself:
//
//	bad   not_accepting    new signals are refused
//	      failing          the endpoint does not work: only probes are sent
//	      refused          the receiver has refused so many attempts in a row
//	warn  store_low        new signals will be refused soon
//	      config_rejected  the config file is not what runs
//	      dying            deliveries became dead lately
//	      behind           what is due waits, though nothing holds it
//	      held             deliveries of a route that has gone wait for it
//	      paused           for so long that somebody may have forgotten
//	      log_dropped      lines of the sidecar's own log were lost lately
package health

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/term"
	"signalpost/queue"
)

// Recently is how far back deaths and dropped lines of the log count, and how long
// what is due may wait.
const Recently = 15 * time.Minute

const (
	refusals  = 5         // attempts in a row that make a route refused
	pausedFor = time.Hour // that a pause may last
	lowPart   = 10        // the store is low when less than one in so many parts of its room is left
)

// codes are all there are, worst first.
var codes = []struct {
	code  string
	level api.Level
}{
	{"not_accepting", api.Bad}, {"failing", api.Bad}, {"refused", api.Bad},
	{"store_low", api.Warn}, {"config_rejected", api.Warn}, {"dying", api.Warn}, {"behind", api.Warn},
	{"held", api.Warn}, {"paused", api.Warn}, {"log_dropped", api.Warn},
}

// Facts are the input of Decide. A time is zero where there is none.
type Facts struct {
	Now            time.Time
	Queue          queue.Status
	Limits         queue.Limits // with its defaults
	PausedByConfig func(route string) bool
	ConfigError    error // why the config file is not what runs; nil if it is
	ConfigSince    time.Time
	Dropped        int64     // lines of the log, since the start
	DroppedSince   time.Time // the first of those that were dropped without a long time in between
	DroppedLast    time.Time
}

// Decide returns the health of the whole, worst reason first. before is what it
// said the last time: what has no time of its own holds since it was first said.
func Decide(f Facts, before api.Health) api.Health {
	h := api.Health{Reasons: []api.Reason{}}
	add := func(route, code string, since time.Time, format string, args ...any) {
		r := api.Reason{Route: route, Code: code, Text: fmt.Sprintf(format, args...), Since: cmp.Or(since, f.Now).UTC()}
		if since.IsZero() {
			for _, b := range before.Reasons {
				if b.Route == route && b.Code == code {
					r.Since = b.Since
				}
			}
		}
		h.Reasons = append(h.Reasons, r)
	}
	f.sidecar(add)
	for i := range f.Queue.Routes {
		f.route(&f.Queue.Routes[i], add)
	}
	return leveled(h)
}

// Merge returns h with what another sidecar on host adds. What needs somebody for a
// route is told once.
func Merge(h, other api.Health, host string) api.Health {
	h.Reasons = slices.Clone(h.Reasons)
	for _, r := range other.Reasons {
		if slices.ContainsFunc(h.Reasons, func(was api.Reason) bool {
			return was.Route == r.Route && was.Code == r.Code && (r.Route != "" || was.Text == r.Text)
		}) {
			continue
		}
		if r.Route == "" {
			r.Text = "Sidecar " + host + ": " + r.Text
		}
		h.Reasons = append(h.Reasons, r)
	}
	return leveled(h)
}

// Of is the part of the health of the whole that is a route's, or the sidecar's own if route is "".
func Of(h api.Health, route string) api.Health {
	part := api.Health{Reasons: []api.Reason{}}
	for _, r := range h.Reasons {
		if r.Route == route {
			part.Reasons = append(part.Reasons, r)
		}
	}
	return leveled(part)
}

// leveled sorts the reasons, worst first, and gives h the level of the first.
func leveled(h api.Health) api.Health {
	slices.SortStableFunc(h.Reasons, func(a, b api.Reason) int {
		return cmp.Or(rank(a.Code)-rank(b.Code), a.Since.Compare(b.Since), cmp.Compare(a.Route, b.Route))
	})
	h.Level = api.OK
	if len(h.Reasons) > 0 {
		h.Level = codes[rank(h.Reasons[0].Code)].level
	}
	return h
}

// rank is the place of a code among codes; one of a newer sidecar is the last.
func rank(code string) (i int) {
	for i < len(codes)-1 && codes[i].code != code {
		i++
	}
	return i
}

type adder func(route, code string, since time.Time, format string, args ...any)

// sidecar adds what is of no route.
func (f *Facts) sidecar(add adder) {
	q := &f.Queue
	history, all := int64(0), int64(0)
	for i := range q.Routes {
		r := &q.Routes[i]
		history += r.Delivered
		all += r.Delivered + r.Pending + r.Held + r.Dead + r.Discarded
	}
	left, above := f.Limits.MaxSize-q.Bytes, q.Free-f.Limits.MinFree
	switch {
	case !q.Accepting:
		add("", "not_accepting", time.Time{}, "New signals are refused: %s", strings.TrimPrefix(q.Reason, queue.ErrUnavailable.Error()+": "))
	case q.Free > 0 && above < (q.Bytes+above)/lowPart: // history does not go for it
		add("", "store_low", time.Time{}, "The disk has %s left above queue.min_free, then new signals are refused. Free some, or lower it", term.Size(above))
	case left < f.Limits.MaxSize/lowPart && history <= all/lowPart: // some always comes: alerts, for one
		add("", "store_low", time.Time{}, "The store has %s left of queue.max_size, then new signals are refused, and little or no delivered history can go. Fix the receivers of what is pending, discard what nobody wants (signalpost discard --route NAME --state dead), or raise it", term.Size(left))
	}
	if f.ConfigError != nil {
		fault, _, more := strings.Cut(f.ConfigError.Error(), "\n")
		if more {
			fault += ", and more"
		}
		add("", "config_rejected", f.ConfigSince, "The config file is not what runs (%s). Fix it: it is read again by itself. All its faults: signalpost check", fault)
	}
	if f.Now.Sub(f.DroppedLast) <= Recently {
		add("", "log_dropped", f.DroppedSince, "Lines of the sidecar's own log were lost: what reads its output is too slow, or gone. Fix that, or log less ([log] level)")
	}
}

// route adds what is of one route.
func (f *Facts) route(r *queue.RouteStatus, add adder) {
	because := "" // as the receiver, or the way there, has it
	if r.LastError != "" {
		because = ": " + r.LastError
	}
	if r.State == queue.RouteFailing {
		next := "one is under way, or comes when something is due"
		if !r.NextProbe.IsZero() {
			next = "the next at " + r.NextProbe.UTC().Format(time.RFC3339)
		}
		add(r.Name, "failing", r.FailingSince, "Its endpoint does not work%s. %s, and only probes are sent: %s. It goes on by itself when the endpoint works; at once: signalpost resume %s",
			because, waits(r.Pending), next, r.Name)
	}
	if r.Refusals >= refusals {
		state := "dead"
		if r.Dead == 0 {
			state = "pending"
		}
		add(r.Name, "refused", r.RefusedSince, "The last %d attempts were refused%s. Fix the route or its receiver, then: signalpost retry --route %s --state %s", r.Refusals, because, r.Name, state)
	}
	if r.Died > 0 {
		newest := "" // failure, which is not always what they died of
		if r.LastError != "" {
			newest = " The newest failure: " + r.LastError + "."
		}
		then := fmt.Sprintf("See why (signalpost log --route %[1]s --verdict dead), fix it, then: signalpost retry --route %[1]s --state dead", r.Name)
		if r.Dead == 0 {
			then = "All were sent again or discarded since. See why: signalpost log --route " + r.Name + " --verdict dead"
		}
		add(r.Name, "dying", r.DiedSince, "%s died in the last 15 minutes.%s %s", term.Count(int(r.Died), "delivery"), newest, then)
	}
	if r.State == queue.RouteOK && !r.OldestDue.IsZero() && f.Now.Sub(r.OldestDue) >= Recently {
		add(r.Name, "behind", r.OldestDue, "%s, the oldest for more than 15 minutes. Raise the route's concurrency or rate, or see why its receiver is slow: signalpost stats --route %s", waits(r.Pending), r.Name)
	}
	if r.Held > 0 {
		add(r.Name, "held", r.HeldSince, "%s for a route that is not in the config. Put it back, or discard them: signalpost discard --route %s --state held", waits(r.Held), r.Name)
	}
	if !r.PausedSince.IsZero() && f.Now.Sub(r.PausedSince) > pausedFor {
		resume := "signalpost resume " + r.Name
		if f.PausedByConfig(r.Name) {
			resume = "set paused = false in the config"
			if r.PausedByAPI {
				resume += ", then signalpost resume " + r.Name
			}
		}
		add(r.Name, "paused", r.PausedSince, "It has been paused for more than an hour. %s. To resume it: %s", waits(r.Pending), resume)
	}
}

// waits says how many deliveries wait.
func waits(n int64) string {
	switch n {
	case 0:
		return "Nothing waits"
	case 1:
		return "1 delivery waits"
	}
	return fmt.Sprintf("%d deliveries wait", n)
}
