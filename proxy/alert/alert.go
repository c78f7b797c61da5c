// Package alert decides which alerts are sent, and when: [alerts] of the config. It
// goes by what package health decided and by the queue's log, and judges nothing
// itself; it does no I/O, and time is handed in. The owner of an [Alerter] asks it
// what is due, puts each alert into the queue as a signal, with its note, and then
// calls Sent.
//
// Of each kind and route at most one alert is sent in [config.Alerts].Every, also over
// restarts, since the queue keeps the notes. An alert is about a state that begins, never about an attempt.
// One that is not due yet is sent later, if the state still holds. A recovery is sent
// after its alert, always, and never otherwise.
package alert

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/config"
	"signalpost/proxy/health"
	"signalpost/proxy/term"
	"signalpost/queue"
)

// gather is how long deaths are gathered before an alert of them.
const gather = 5 * time.Second

// An Alerter knows which alerts were sent. It is safe for concurrent use.
type Alerter struct {
	began time.Time

	mu     sync.Mutex
	sent   map[key]*sent
	deaths map[string]*deaths // by route: those of which no alert was sent yet
}

type key struct{ kind, route string }

// String is the name of the note.
func (k key) String() string { return k.kind + "/" + k.route }

// sent is the last alert of a kind and route. As JSON it is the note.
type sent struct {
	At     time.Time `json:"at"`
	Open   bool      `json:"open"` // its state still holds, as far as is known
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	before bool      // it is open from before a restart, and the state was not seen since
}

type deaths struct {
	count int64
	first time.Time // of them
	of    map[queue.Reason]int64
}

// New returns an Alerter that begins now.
func New(now time.Time) *Alerter {
	return &Alerter{began: now, sent: map[key]*sent{}, deaths: map[string]*deaths{}}
}

// Remember takes up the notes of earlier processes. A note that cannot be read counts as
// an alert that was not sent.
func (t *Alerter) Remember(notes map[string][]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, value := range notes {
		var was sent
		if kind, route, ok := strings.Cut(name, "/"); ok && json.Unmarshal(value, &was) == nil {
			was.before = was.Open
			t.sent[key{kind, route}] = &was
		}
	}
}

// Observe takes entries of the delivery log as they are written.
func (t *Alerter) Observe(batch []queue.Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range batch {
		e := &batch[i]
		if e.Verdict != queue.Dead || e.Reason == queue.Discarded || e.Reason == queue.Filtered {
			continue
		}
		d := t.deaths[e.Route]
		if d == nil {
			d = &deaths{first: e.Time, of: map[queue.Reason]int64{}}
			t.deaths[e.Route] = d
		}
		if e.Time.Before(d.first) {
			d.first = e.Time
		}
		d.count++
		d.of[e.Reason]++
	}
}

// Missed takes entries that are older than the Alerter: the deaths that were not told before a
// restart are still to be told.
func (t *Alerter) Missed(batch []queue.Entry) {
	t.mu.Lock()
	batch = slices.DeleteFunc(batch, func(e queue.Entry) bool {
		last := t.sent[key{"dead", e.Route}]
		return last != nil && !e.Time.After(last.At)
	})
	t.mu.Unlock()
	t.Observe(batch)
}

// Forget forgets the deaths of which no alert was sent: the config wants none.
func (t *Alerter) Forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.deaths)
}

// A Due is an alert that is to be sent now.
type Due struct {
	api.Alert
	Note *queue.Note // to be stored with it
	key  key
	now  sent
	of   map[queue.Reason]int64 // the deaths that it is about
}

// Due returns what is to be sent now, by the config and the state of this moment.
func (t *Alerter) Due(c *config.Alerts, f health.Facts, h api.Health) []Due {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := round{Alerter: t, c: c, now: f.Now, routes: map[string]*queue.RouteStatus{}}
	for i := range f.Queue.Routes {
		r.routes[f.Queue.Routes[i].Name] = &f.Queue.Routes[i]
	}
	for _, code := range []string{"config_rejected", "store_low"} {
		why := reason(h, "", code)
		r.state(key{code, ""}, why)
		full := code == "store_low" && reason(h, "", "not_accepting") != nil // which is not over
		r.recover(key{code, ""}, why == nil && !full, nil)
	}
	maps.DeleteFunc(t.deaths, func(route string, _ *deaths) bool { return route == c.Route || !slices.Contains(c.On, "dead") }) // nobody asks for these
	names := slices.Collect(maps.Keys(r.routes))
	for k := range t.sent {
		if k.kind == "failing" && r.routes[k.route] == nil { // it may have gone without a trace
			names = append(names, k.route)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if name == c.Route {
			continue
		}
		k, why := key{"failing", name}, reason(h, name, "failing", "refused")
		r.state(k, why)
		r.recover(k, why == nil, r.routes[name])
		r.dead(key{"dead", name})
	}
	return r.due
}

// reason is the reason of a route that has one of the codes, or nil.
func reason(h api.Health, route string, codes ...string) *api.Reason {
	for i, r := range h.Reasons {
		if r.Route == route && slices.Contains(codes, r.Code) {
			return &h.Reasons[i]
		}
	}
	return nil
}

// A round is one look at what is due.
type round struct {
	*Alerter
	c      *config.Alerts
	now    time.Time
	routes map[string]*queue.RouteStatus
	due    []Due
}

// may reports whether the config wants an alert, and the last one is long enough ago.
func (r *round) may(k key) bool {
	if !slices.Contains(r.c.On, k.kind) {
		return false
	}
	was := r.sent[k]
	return was == nil || r.now.Before(was.At) || r.now.Sub(was.At) >= r.c.Every // before it: the clock was set back
}

// state adds the alert of a state that holds, unless why is nil or it was sent.
func (r *round) state(k key, why *api.Reason) {
	was := r.sent[k]
	switch {
	case why == nil:
	case was != nil && was.Open:
		was.before = false
	case r.may(k):
		r.add(k, k.kind, why.Code, why.Text, why.Since, 0, sent{At: r.now, Open: true, Reason: why.Code, Since: why.Since})
	}
}

// recover ends a state of which an alert was sent, if it is over, and adds the recovery of
// a route. s is nil if the route has gone. Whether a route is well is unknown after a
// restart, until it has delivered or has nothing to deliver.
func (r *round) recover(k key, over bool, s *queue.RouteStatus) {
	was := r.sent[k]
	if was == nil || !was.Open || !over {
		return
	}
	if was.before && s != nil && s.State == queue.RouteOK && s.Pending > 0 && !s.LastSuccess.After(was.Since) && r.now.Sub(r.began) < health.Recently {
		return
	}
	if k.kind != "failing" || !slices.Contains(r.c.On, "recovered") {
		was.Open = false
		return
	}
	text := "It works again."
	switch {
	case s == nil || s.State == queue.RouteGone:
		text = "It has gone from the config."
	case s.State == queue.RoutePaused:
		text = "It is paused: nothing is sent."
	case !s.LastSuccess.After(was.Since):
		text = "It is no longer " + was.Reason + "; nothing was delivered since."
	}
	now := *was
	now.Open = false
	r.add(k, "recovered", was.Reason, text, was.Since, 0, now)
}

// dead adds the alert of deaths that were gathered for long enough.
func (r *round) dead(k key) {
	d := r.deaths[k.route]
	if d == nil || r.now.Sub(d.first) < gather || !r.may(k) {
		return
	}
	reasons := slices.SortedFunc(maps.Keys(d.of), func(a, b queue.Reason) int {
		return cmp.Or(cmp.Compare(d.of[b], d.of[a]), strings.Compare(string(a), string(b)))
	})
	var parts []string
	for _, reason := range reasons {
		parts = append(parts, fmt.Sprintf("%s %d", reason, d.of[reason]))
	}
	text := fmt.Sprintf("%s died (%s).", term.Count(int(d.count), "delivery"), strings.Join(parts, ", "))
	if s := r.routes[k.route]; s != nil && s.LastError != "" {
		text += " The newest failure: " + s.LastError + "."
	}
	text += fmt.Sprintf(" See why: signalpost log --route %s --verdict dead", k.route)
	r.add(k, "dead", string(reasons[0]), text, d.first, d.count, sent{At: r.now})
	r.due[len(r.due)-1].of = maps.Clone(d.of)
}

// add adds an alert to what is due; now is its note.
func (r *round) add(k key, kind, reason, text string, since time.Time, count int64, now sent) {
	note, _ := json.Marshal(now) // texts and times
	d := Due{key: k, now: now, Note: &queue.Note{Name: k.String(), Value: note}, Alert: api.Alert{
		Type: config.AlertTypes([]string{kind})[0], Route: k.route, Reason: reason, Text: text, Since: since.UTC(), Count: count, DetectedAt: r.now.UTC().Truncate(time.Second),
	}}
	for name, s := range r.routes {
		if k.route == "" || name == k.route {
			d.Pending += s.Pending
			d.Dead += s.Dead
		}
	}
	r.due = append(r.due, d)
}

// Sent is called when an alert is on disk.
func (t *Alerter) Sent(d Due) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent[d.key] = &d.now
	if left := t.deaths[d.key.route]; left != nil && d.Count > 0 {
		left.first = d.now.At // or soon after
		left.count -= d.Count
		for reason, n := range d.of {
			if left.of[reason] -= n; left.of[reason] == 0 {
				delete(left.of, reason)
			}
		}
		if left.count == 0 {
			delete(t.deaths, d.key.route)
		}
	}
}
