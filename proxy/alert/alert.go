// Package alert decides what of the sidecar's health is told, and when: [alerts]
// of the config. It goes by what package health decided and by the queue's log, and
// judges nothing itself; it does no I/O, and time is handed in. Whoever owns a
// [Teller] asks it what is due, has each put into the queue as a signal, with its
// note, and says so.
//
// Of a kind and route there is one alert in a while ([config.Alerts].Every), over
// restarts too: the notes come back. An alert is of a state that begins, never
// of an attempt; where it began while one was not to be told, it is told when that
// is over, if it still holds. A recovery follows its alert always, and nothing else.
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

// gather is how long deaths are gathered before they are told.
const gather = 5 * time.Second

// A Teller knows what was told. It is safe for concurrent use.
type Teller struct {
	began time.Time

	mu     sync.Mutex
	told   map[key]*told
	deaths map[string]*deaths // by route: those that are yet to be told
}

type key struct{ kind, route string }

// String is the name of the note.
func (k key) String() string { return k.kind + "/" + k.route }

// told is when an alert was told last. As JSON it is the note.
type told struct {
	At     time.Time `json:"at"`
	Open   bool      `json:"open"` // what it told of holds still, as far as is known
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	before bool      // it is open from before a restart, and the state was not seen since
}

type deaths struct {
	count int64
	first time.Time // of them
	of    map[queue.Reason]int64
}

// New returns a Teller that begins now.
func New(now time.Time) *Teller {
	return &Teller{began: now, told: map[key]*told{}, deaths: map[string]*deaths{}}
}

// Remember takes up the notes of those before it. What cannot be read counts as not told.
func (t *Teller) Remember(notes map[string][]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, value := range notes {
		var was told
		if kind, route, ok := strings.Cut(name, "/"); ok && json.Unmarshal(value, &was) == nil {
			was.before = was.Open
			t.told[key{kind, route}] = &was
		}
	}
}

// Observe takes entries of the delivery log as they are written.
func (t *Teller) Observe(batch []queue.Entry) {
	for i := range batch {
		if e := &batch[i]; e.Verdict == queue.Dead && e.Reason != queue.Discarded && e.Reason != queue.Filtered {
			t.died(e)
		}
	}
}

func (t *Teller) died(e *queue.Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.deaths[e.Route]
	if d == nil {
		d = &deaths{first: e.Time, of: map[queue.Reason]int64{}}
		t.deaths[e.Route] = d
	}
	d.count++
	d.of[e.Reason]++
}

// Forget forgets the deaths that were not told: nobody wants to be.
func (t *Teller) Forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.deaths)
}

// A Due is an alert that is to be told now.
type Due struct {
	api.Alert
	Note *queue.Note // to be stored with it
	key  key
	now  told
	of   map[queue.Reason]int64 // the deaths that it tells of
}

// Due is what is to be told now, by the config and the state of this moment.
func (t *Teller) Due(c *config.Alerts, f health.Facts, h api.Health) []Due {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := round{Teller: t, c: c, now: f.Now, routes: map[string]*queue.RouteStatus{}}
	for i := range f.Queue.Routes {
		r.routes[f.Queue.Routes[i].Name] = &f.Queue.Routes[i]
	}
	for _, code := range []string{"config_rejected", "store_low"} {
		why := reason(h, "", code)
		r.state(key{code, ""}, why)
		r.recover(key{code, ""}, why == nil, nil)
	}
	names := slices.Collect(maps.Keys(r.routes))
	for k := range t.told {
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
	*Teller
	c      *config.Alerts
	now    time.Time
	routes map[string]*queue.RouteStatus
	due    []Due
}

// may is whether an alert may be told, and whether somebody wants it.
func (r *round) may(k key) bool {
	if !slices.Contains(r.c.On, k.kind) {
		return false
	}
	was := r.told[k]
	since := time.Duration(0)
	if was != nil {
		since = r.now.Sub(was.At)
	}
	return was == nil || since < 0 || since >= r.c.Every // before the last one: the clock was set back
}

// state tells of a state that holds, unless why is nil, and was not told.
func (r *round) state(k key, why *api.Reason) {
	was := r.told[k]
	switch {
	case why == nil:
	case was != nil && was.Open:
		was.before = false
	case r.may(k):
		r.tell(k, k.kind, why.Code, why.Text, why.Since, 0, told{At: r.now, Open: true, Reason: why.Code, Since: why.Since})
	}
}

// recover ends a state that was told, if it is over, and tells so of a route. How a
// route fares is unknown after a restart, until it has delivered or has
// nothing to deliver: s, nil if it has gone, knows.
func (r *round) recover(k key, over bool, s *queue.RouteStatus) {
	was := r.told[k]
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
	r.tell(k, "recovered", was.Reason, text, was.Since, 0, now)
}

// dead tells of deaths that were gathered for long enough.
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
	r.tell(k, "dead", string(reasons[0]), text, d.first, d.count, told{At: r.now})
	r.due[len(r.due)-1].of = maps.Clone(d.of)
}

// tell adds an alert to what is due; now is what holds once it is told.
func (r *round) tell(k key, kind, reason, text string, since time.Time, count int64, now told) {
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

// Told is called when an alert is on disk.
func (t *Teller) Told(d Due) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.told[d.key] = &d.now
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
