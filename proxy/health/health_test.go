package health

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"signalpost/proxy/api"
	"signalpost/queue"
)

var now = time.Date(2026, 11, 27, 16, 30, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return now.Add(-d) }

// well are facts of which nothing needs anyone, of a route that works.
func well() (Facts, *queue.RouteStatus) {
	f := Facts{
		Now:            now,
		Queue:          queue.Status{Accepting: true, Bytes: 1 << 20, Free: 100 << 30, Routes: []queue.RouteStatus{{Name: "crm", State: queue.RouteOK, Pending: 3, Delivered: 5}}},
		Limits:         queue.Limits{MaxSize: 10 << 30, MinFree: 256 << 20},
		PausedByConfig: func(string) bool { return false },
	}
	return f, &f.Queue.Routes[0]
}

func TestDecide(t *testing.T) {
	byConfig := func(string) bool { return true }
	tests := []struct {
		name  string
		facts func(f *Facts, r *queue.RouteStatus)
		level api.Level
		want  []string // route, code, since as a time back
		says  []string // of the first
	}{
		{"nothing", func(*Facts, *queue.RouteStatus) {}, "ok", nil, nil},

		{"failing", func(f *Facts, r *queue.RouteStatus) {
			r.State, r.FailingSince, r.NextProbe, r.LastError = queue.RouteFailing, ago(27*time.Minute), now.Add(24*time.Second), "answered 503 Service Unavailable"
		}, "bad", []string{"crm failing 27m0s"}, []string{"answered 503", "3 deliveries wait, and only probes are sent: the next at 2026-11-27T16:30:24Z", "signalpost resume crm"}},
		{"failing waits for what is due", func(f *Facts, r *queue.RouteStatus) {
			r.State, r.FailingSince, r.Pending = queue.RouteFailing, ago(time.Minute), 0
		}, "bad", []string{"crm failing 1m0s"}, []string{"Nothing waits", "when something is due"}},
		{"failing, and what is due waits for it", func(f *Facts, r *queue.RouteStatus) {
			r.State, r.FailingSince, r.OldestDue = queue.RouteFailing, ago(time.Hour), ago(time.Hour)
		}, "bad", []string{"crm failing 1h0m0s"}, nil},
		{"failing when it was paused", func(f *Facts, r *queue.RouteStatus) {
			r.State, r.FailingSince, r.PausedSince = queue.RoutePaused, ago(time.Hour), ago(time.Minute)
		}, "ok", nil, nil},

		{"refused", func(f *Facts, r *queue.RouteStatus) {
			r.Refusals, r.RefusedSince, r.LastError = 5, ago(3*time.Hour), "answered 401 Unauthorized"
		}, "bad", []string{"crm refused 3h0m0s"}, []string{"The last 5 attempts were refused: answered 401", "signalpost retry --route crm --state pending"}},
		{"refused, and dead of it", func(f *Facts, r *queue.RouteStatus) { r.Refusals, r.RefusedSince, r.Dead = 5000, ago(time.Hour), 2 },
			"bad", []string{"crm refused 1h0m0s"}, []string{"signalpost retry --route crm --state dead"}},
		{"refused four times", func(f *Facts, r *queue.RouteStatus) { r.Refusals, r.RefusedSince = 4, ago(time.Hour) }, "ok", nil, nil},

		{"dying", func(f *Facts, r *queue.RouteStatus) {
			r.Died, r.DiedSince, r.Dead, r.LastError = 50000, ago(time.Minute), 50000, "answered 410 Gone"
		}, "warn",
			[]string{"crm dying 1m0s"}, []string{"50000 deliveries died", "410 Gone", "signalpost retry --route crm --state dead"}},
		{"one has died", func(f *Facts, r *queue.RouteStatus) { r.Died, r.DiedSince = 1, ago(0) }, "warn", []string{"crm dying 0s"}, []string{"1 delivery died", "sent again or discarded since"}},
		{"some died long ago", func(f *Facts, r *queue.RouteStatus) { r.Dead = 50000 }, "ok", nil, nil},
		{"some are discarded", func(f *Facts, r *queue.RouteStatus) { r.Discarded = 50000 }, "ok", nil, nil},

		{"behind", func(f *Facts, r *queue.RouteStatus) { r.OldestDue = ago(15 * time.Minute) }, "warn", []string{"crm behind 15m0s"}, []string{"3 deliveries wait", "concurrency"}},
		{"a little behind", func(f *Facts, r *queue.RouteStatus) { r.OldestDue = ago(15*time.Minute - time.Millisecond) }, "ok", nil, nil},
		{"behind as it is paused", func(f *Facts, r *queue.RouteStatus) {
			r.State, r.OldestDue, r.PausedSince = queue.RoutePaused, ago(time.Hour), ago(time.Hour)
		}, "ok", nil, nil},

		{"held", func(f *Facts, r *queue.RouteStatus) {
			r.State, r.Held, r.Pending, r.HeldSince, r.OldestDue = queue.RouteGone, 1, 0, ago(time.Hour), ago(time.Hour)
		}, "warn", []string{"crm held 1h0m0s"}, []string{"1 delivery waits", "signalpost discard --route crm --state held"}},
		{"gone without anything", func(f *Facts, r *queue.RouteStatus) { r.State, r.Pending = queue.RouteGone, 0 }, "ok", nil, nil},

		{"paused by somebody", func(f *Facts, r *queue.RouteStatus) {
			r.State, r.PausedByAPI, r.PausedSince = queue.RoutePaused, true, ago(time.Hour+time.Second)
		}, "warn", []string{"crm paused 1h0m1s"}, []string{"signalpost resume crm"}},
		{"paused by the config", func(f *Facts, r *queue.RouteStatus) {
			f.PausedByConfig = byConfig
			r.State, r.PausedSince = queue.RoutePaused, ago(2*time.Hour)
		}, "warn", []string{"crm paused 2h0m0s"}, []string{"set paused = false in the config"}},
		{"paused by both", func(f *Facts, r *queue.RouteStatus) {
			f.PausedByConfig = byConfig
			r.State, r.PausedByAPI, r.PausedSince = queue.RoutePaused, true, ago(2*time.Hour)
		}, "warn", []string{"crm paused 2h0m0s"}, []string{"set paused = false in the config, then signalpost resume crm"}},
		{"paused for an hour", func(f *Facts, r *queue.RouteStatus) { r.State, r.PausedSince = queue.RoutePaused, ago(time.Hour) }, "ok", nil, nil},

		{"not accepting", func(f *Facts, _ *queue.RouteStatus) {
			f.Queue.Accepting, f.Queue.Reason, f.Queue.Bytes, f.Queue.Routes[0].Delivered = false, "not accepting signals: the store is full: raise it", 10<<30, 0
		}, "bad", []string{" not_accepting 0s"}, []string{"New signals are refused: the store is full: raise it"}},
		{"store low", func(f *Facts, r *queue.RouteStatus) { f.Queue.Bytes, r.Delivered = 9<<30+1, 0 }, "warn", []string{" store_low 0s"}, []string{"of queue.max_size"}},
		{"store low, but history can go", func(f *Facts, r *queue.RouteStatus) { f.Queue.Bytes = 9<<30 + 1 }, "ok", nil, nil},
		{"store low, and hardly any history", func(f *Facts, r *queue.RouteStatus) { f.Queue.Bytes, r.Pending, r.Delivered = 9<<30+1, 90, 10 }, "warn", []string{" store_low 0s"}, []string{"of queue.max_size"}},
		{"store low, and some history", func(f *Facts, r *queue.RouteStatus) { f.Queue.Bytes, r.Dead, r.Delivered = 9<<30+1, 89, 11 }, "ok", nil, nil},
		{"store not yet low", func(f *Facts, r *queue.RouteStatus) { f.Queue.Bytes, r.Delivered = 9<<30, 0 }, "ok", nil, nil},
		{"disk low", func(f *Facts, _ *queue.RouteStatus) { f.Queue.Bytes, f.Queue.Free = 9<<30, 256<<20+1<<30-2 }, "warn",
			[]string{" store_low 0s"}, []string{"above queue.min_free"}},
		{"disk not yet low", func(f *Facts, _ *queue.RouteStatus) { f.Queue.Bytes, f.Queue.Free = 9<<30, 256<<20+1<<30 }, "ok", nil, nil},
		{"disk unknown", func(f *Facts, _ *queue.RouteStatus) { f.Queue.Free = 0 }, "ok", nil, nil},

		{"config rejected", func(f *Facts, _ *queue.RouteStatus) {
			f.ConfigError, f.ConfigSince = errors.New("signalpost.toml:3:1: no such key\nsignalpost.toml:4:1: nor this"), ago(time.Hour)
		}, "warn", []string{" config_rejected 1h0m0s"}, []string{"signalpost.toml:3:1: no such key, and more). Fix", "signalpost check"}},
		{"log dropped", func(f *Facts, _ *queue.RouteStatus) {
			f.DroppedSince, f.DroppedLast = ago(time.Hour), ago(15*time.Minute)
		},
			"warn", []string{" log_dropped 1h0m0s"}, []string{"Lines of"}},
		{"log dropped long ago", func(f *Facts, _ *queue.RouteStatus) {
			f.DroppedSince, f.DroppedLast = ago(time.Hour), ago(15*time.Minute+1)
		}, "ok", nil, nil},

		{"all at once, worst first", func(f *Facts, r *queue.RouteStatus) {
			f.Queue.Accepting = false
			f.ConfigError, f.ConfigSince, f.DroppedLast, f.DroppedSince = errors.New("x"), ago(time.Hour), now, ago(time.Minute)
			r.State, r.FailingSince, r.Refusals, r.RefusedSince, r.Died, r.DiedSince = queue.RouteFailing, ago(time.Minute), 7, ago(time.Hour), 1, ago(time.Minute)
			other := func(name string, r queue.RouteStatus) {
				r.Name = name
				f.Queue.Routes = append(f.Queue.Routes, r)
			}
			other("b", queue.RouteStatus{State: queue.RouteFailing, FailingSince: ago(time.Hour)})
			other("a", queue.RouteStatus{State: queue.RouteFailing, FailingSince: ago(time.Minute)})
			other("gone", queue.RouteStatus{State: queue.RouteGone, Held: 1, HeldSince: ago(time.Minute)})
			other("late", queue.RouteStatus{State: queue.RouteOK, OldestDue: ago(time.Hour)})
			other("off", queue.RouteStatus{State: queue.RoutePaused, PausedSince: ago(3 * time.Hour)})
		}, "bad", []string{" not_accepting 0s", "b failing 1h0m0s", "a failing 1m0s", "crm failing 1m0s", "crm refused 1h0m0s", " config_rejected 1h0m0s", "crm dying 1m0s", "late behind 1h0m0s", "gone held 1m0s", "off paused 3h0m0s", " log_dropped 1m0s"}, nil},
	}
	seen := map[string]bool{}
	for _, test := range tests {
		f, r := well()
		test.facts(&f, r)
		h := Decide(f, api.Health{})
		if h.Level != test.level || h.Reasons == nil {
			t.Errorf("%s: level %s, want %s; %+v", test.name, h.Level, test.level, h.Reasons)
		}
		var got []string
		for _, r := range h.Reasons {
			seen[r.Code] = true
			got = append(got, fmt.Sprint(r.Route, " ", r.Code, " ", now.Sub(r.Since)))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
			continue
		}
		if test.name == "paused by the config" && strings.Contains(h.Reasons[0].Text, "signalpost resume") { // which is refused
			t.Errorf("%s: %q", test.name, h.Reasons[0].Text)
		}
		for _, part := range test.says {
			if !strings.Contains(h.Reasons[0].Text, part) {
				t.Errorf("%s: %q does not say %q", test.name, h.Reasons[0].Text, part)
			}
		}
	}
	for _, c := range codes {
		if !seen[c.code] {
			t.Errorf("nothing is %s", c.code)
		}
	}
}

// What has no time of its own holds since it was first said.
func TestSince(t *testing.T) {
	f, _ := well()
	f.Queue.Accepting = false
	first := Decide(f, api.Health{Reasons: []api.Reason{{Code: "store_low", Since: ago(time.Hour)}, {Route: "crm", Code: "not_accepting", Since: ago(time.Hour)}}})
	f.Now = now.Add(time.Minute)
	second := Decide(f, first)
	if since := second.Reasons[0].Since; !since.Equal(now) {
		t.Errorf("since %s", since)
	}
	f.Queue.Accepting = true
	good := Decide(f, second)
	f.Queue.Accepting = false
	if since := Decide(f, good).Reasons[0].Since; !since.Equal(f.Now) {
		t.Errorf("the second time since %s", since)
	}
}

func TestOf(t *testing.T) {
	f, r := well()
	r.Died = 1
	f.Queue.Routes = append(f.Queue.Routes, queue.RouteStatus{Name: "b", State: queue.RouteFailing})
	h := Decide(f, api.Health{})
	for route, want := range map[string]api.Level{"": "ok", "crm": "warn", "b": "bad", "none": "ok"} {
		got := Of(h, route)
		if got.Level != want || got.Reasons == nil || len(got.Reasons) > 1 {
			t.Errorf("%q: %+v, want %s", route, got, want)
		}
	}
}

// TestMerge: what needs somebody is told once of a route, and of each sidecar itself.
func TestMerge(t *testing.T) {
	reason := func(route, code, text string) api.Reason {
		return api.Reason{Route: route, Code: code, Text: text, Since: now}
	}
	own := leveled(api.Health{Reasons: []api.Reason{reason("crm", "dying", "a"), reason("", "config_rejected", "x")}})
	other := leveled(api.Health{Reasons: []api.Reason{
		reason("crm", "dying", "b"), reason("crm", "failing", "c"), reason("", "config_rejected", "x"), reason("", "config_rejected", "y"), reason("", "of a newer version", "z"),
	}})
	var got []string
	h := Merge(own, other, "n2")
	for _, r := range h.Reasons {
		got = append(got, r.Route+" "+r.Code+" "+r.Text)
	}
	want := []string{"crm failing c", " config_rejected x", " config_rejected Sidecar n2: y", "crm dying a", " of a newer version Sidecar n2: z"}
	if !slices.Equal(got, want) || h.Level != api.Bad || len(own.Reasons) != 2 {
		t.Errorf("%s: got %q, want %q", h.Level, got, want)
	}
}
