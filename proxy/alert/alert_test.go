package alert

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/config"
	"signalpost/proxy/health"
	"signalpost/queue"
)

var start = time.Date(2026, 11, 28, 2, 0, 0, 0, time.UTC)

// A world is what an Alerter sees, at a time.
type world struct {
	*Alerter
	c       config.Alerts
	now     time.Time
	routes  []queue.RouteStatus
	reasons []api.Reason
	notes   map[string][]byte
}

func newWorld() *world {
	w := &world{Alerter: New(start), now: start, notes: map[string][]byte{},
		c:      config.Alerts{Route: "ops", On: []string{"failing", "recovered", "dead", "config_rejected", "store_low"}, Every: 15 * time.Minute},
		routes: []queue.RouteStatus{{Name: "crm", State: queue.RouteOK, Pending: 12, Dead: 3}, {Name: "ops", State: queue.RouteOK}},
	}
	return w
}

// is makes the health have these reasons alone, each ROUTE:CODE, and lets a time pass.
func (w *world) is(after time.Duration, reasons ...string) *world {
	w.now = w.now.Add(after)
	var now []api.Reason
	for _, text := range reasons {
		route, code, _ := strings.Cut(text, ":")
		r := api.Reason{Route: route, Code: code, Text: "It is " + code + ".", Since: w.now}
		for _, was := range w.reasons {
			if was.Route == route && was.Code == code {
				r.Since = was.Since
			}
		}
		now = append(now, r)
	}
	w.reasons = now
	return w
}

func (w *world) dies(n int, route string, reason queue.Reason) *world {
	batch := make([]queue.Entry, n)
	for i := range batch {
		batch[i] = queue.Entry{Time: w.now, Route: route, Verdict: queue.Dead, Reason: reason}
	}
	w.Observe(batch)
	return w
}

func (w *world) due() []Due {
	return w.Due(&w.c, health.Facts{Now: w.now, Queue: queue.Status{Routes: w.routes}}, api.Health{Reasons: w.reasons})
}

// tells checks what is told now, each TYPE ROUTE REASON and a count.
func (w *world) tells(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for _, d := range w.due() {
		text := strings.TrimPrefix(d.Type, "signalpost.") + " " + d.Route + " " + d.Reason
		if d.Count > 0 {
			text += fmt.Sprintf(" %d", d.Count)
		}
		got = append(got, text)
		w.notes[d.Note.Name] = d.Note.Value
		w.Sent(d)
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("at %s it tells %q, want %q", w.now.Sub(start), got, want)
	}
}

// restarts is a new Teller with the notes of the old one.
func (w *world) restarts() *world {
	w.Alerter = New(w.now)
	w.Remember(w.notes)
	return w
}

func TestStates(t *testing.T) {
	w := newWorld()
	w.is(0).tells(t)
	w.is(time.Second, "crm:failing", "crm:dying", ":log_dropped").tells(t, "route_failing crm failing")
	w.is(time.Second, "crm:failing").tells(t)
	w.is(time.Hour, "crm:refused").tells(t) // of the same kind
	w.is(time.Second).tells(t, "route_recovered crm failing")
	w.is(time.Second).tells(t)

	w.is(time.Hour, "crm:refused").tells(t, "route_failing crm refused")
	w.is(time.Second).tells(t, "route_recovered crm refused")
	w.is(time.Minute, "crm:failing").tells(t) // too soon
	w.is(time.Minute).tells(t)                // and so is nothing told of its end
	w.is(time.Minute, "crm:failing").tells(t)
	w.is(15*time.Minute, "crm:failing").tells(t, "route_failing crm failing") // it holds still
	w.is(time.Second).tells(t, "route_recovered crm failing")                 // whenever that is

	w.is(time.Hour, ":config_rejected", ":store_low").tells(t, "config_rejected  config_rejected", "store_low  store_low")
	w.is(time.Hour, ":config_rejected").tells(t)
	w.is(time.Second).tells(t)
	w.is(time.Hour, ":config_rejected").tells(t, "config_rejected  config_rejected")
	w.is(time.Hour, ":store_low").tells(t, "store_low  store_low")
	w.is(time.Hour, ":not_accepting").tells(t)
	w.is(time.Hour, ":store_low").tells(t) // as before

	w.is(time.Hour, "ops:failing", "ops:refused").dies(5, "ops", queue.Exhausted).is(time.Hour, "ops:failing").tells(t) // its own route
}

// What could not be stored is due still.
func TestNotTold(t *testing.T) {
	w := newWorld().is(time.Second, "crm:failing").dies(3, "crm", queue.Gone).is(6*time.Second, "crm:failing")
	if n := len(w.due()); n != 2 {
		t.Fatalf("%d are due", n)
	}
	w.tells(t, "route_failing crm failing", "deliveries_dead crm gone 3")
}

func TestDeaths(t *testing.T) {
	w := newWorld().dies(10000, "crm", queue.Exhausted).dies(2, "crm", queue.Gone).dies(9, "crm", queue.Discarded).dies(9, "crm", queue.Filtered)
	w.is(gather - 1).tells(t)
	w.is(1)
	a := w.due()[0].Alert
	if !strings.HasPrefix(a.Text, "10002 deliveries died (exhausted 10000, gone 2).") || !a.Since.Equal(start) || a.Pending != 12 || a.Dead != 3 {
		t.Errorf("%+v", a)
	}
	due := w.due()
	w.dies(5, "crm", queue.Gone) // while it is stored
	w.Sent(due[0])
	w.is(gather).tells(t)
	w.is(15*time.Minute-gather-1).dies(1, "crm", queue.TooOld).tells(t)
	w.is(1).tells(t, "deliveries_dead crm gone 6")
	w.is(time.Hour).tells(t)

	w.dies(7, "crm", queue.Gone).is(time.Hour)
	w.Forget()
	w.tells(t)
}

func TestOn(t *testing.T) {
	w := newWorld()
	w.c.On = []string{"recovered", "store_low"}
	w.dies(3, "crm", queue.Gone).is(time.Hour, "crm:failing", ":config_rejected").tells(t)
	w.is(time.Second).tells(t) // whose alert was not told
	w.c.On = []string{"failing"}
	w.is(time.Second, "crm:failing").tells(t, "route_failing crm failing")
	w.is(time.Second).tells(t)

	w.c.On, w.c.Route = []string{"dead"}, "crm" // what nobody asked for then is not told later
	w.dies(2, "crm", queue.Gone).dies(1, "ops", queue.Gone).is(gather).tells(t, "deliveries_dead ops gone 1")
	w.c.Route = "ops"
	w.is(time.Hour).tells(t)
}

// Deaths that were gathered and not told are told after a restart, once.
func TestDeathsOverRestarts(t *testing.T) {
	var log []queue.Entry
	dies := func(w *world, n int) {
		for range n {
			log = append([]queue.Entry{{Time: w.now, Route: "crm", Verdict: queue.Dead, Reason: queue.Gone}}, log...)
		}
	}
	w := newWorld()
	dies(w, 3)
	w.is(time.Second).restarts().Missed(slices.Clone(log))
	w.tells(t)
	w.is(gather-time.Second).tells(t, "deliveries_dead crm gone 3")
	w.is(time.Second)
	dies(w, 2)
	w.is(time.Minute).restarts().Missed(slices.Clone(log))
	w.tells(t)
	w.is(15*time.Minute).tells(t, "deliveries_dead crm gone 2")
	w.restarts().Missed(slices.Clone(log))
	w.is(time.Hour).tells(t)
}

func TestRestarts(t *testing.T) {
	fails := func() *world {
		w := newWorld()
		w.is(time.Second, "crm:failing").tells(t, "route_failing crm failing")
		return w.restarts()
	}
	w := fails() // the breaker is closed now, which says nothing
	w.is(time.Second).tells(t)
	w.is(time.Second, "crm:failing").tells(t)
	w.is(time.Second).tells(t, "route_recovered crm failing")
	w.restarts().is(time.Second).tells(t)
	w.is(time.Minute, "crm:failing").tells(t) // once in 15 minutes, by whomever
	w.is(time.Hour, "crm:failing").tells(t, "route_failing crm failing")

	for name, change := range map[string]func(w *world){
		"it has delivered":       func(w *world) { w.routes[0].LastSuccess = w.now },
		"nothing waits":          func(w *world) { w.routes[0].Pending = 0 },
		"it is paused":           func(w *world) { w.routes[0].State = queue.RoutePaused },
		"it has gone":            func(w *world) { w.routes = w.routes[1:] },
		"it is well for so long": func(w *world) { w.now = w.now.Add(health.Recently) },
		"a note that nobody reads": func(w *world) {
			w.Remember(map[string][]byte{"x": nil, "failing/y": []byte("?")})
			w.routes[0].Pending = 0
		},
		"the clock has been set":    func(w *world) { w.routes[0].Pending = 0; w.now = start.Add(-time.Hour) },
		"the table was not there":   func(w *world) { w.Forget(); w.routes[0].Pending = 0 },
		"only its recovery is told": func(w *world) { w.c.On = []string{"recovered"}; w.routes[0].Pending = 0 },
	} {
		w := fails().is(time.Second)
		change(w)
		t.Log(name)
		w.tells(t, "route_recovered crm failing")
	}

	w = newWorld()
	w.is(time.Second, ":store_low").tells(t, "store_low  store_low")
	w.restarts().is(time.Hour, ":store_low").tells(t)
	w.is(time.Second).is(0).tells(t)
	w.is(time.Second, ":store_low").tells(t, "store_low  store_low")
}

// A clock that was set back hinders nothing.
func TestClock(t *testing.T) {
	w := newWorld()
	w.is(0, "crm:failing").tells(t, "route_failing crm failing")
	w.is(time.Second).tells(t, "route_recovered crm failing")
	w.is(-24*time.Hour, "crm:failing").tells(t, "route_failing crm failing")
}
