package queue

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"signalpost/queue/record"
)

// stats are the statistics of the route, of so long ago until now.
func (r *rig) stats(route string, back, step time.Duration) []Point {
	r.t.Helper()
	all, err := r.Stats(r.t.Context(), StatsFilter{Routes: route, Since: r.now().Add(-back), Until: r.now().Add(time.Second), Step: step})
	if err != nil || len(all) != 1 || all[0].Route != route {
		r.t.Fatalf("statistics of %q are %+v, %v", route, all, err)
	}
	return all[0].Points
}

// sum adds up the points; the latency is the largest.
func sum(points []Point) (s Point) {
	s.Failed = map[Class]int64{}
	for _, p := range points {
		s.Accepted += p.Accepted
		s.Delivered += p.Delivered
		s.Dead += p.Dead
		for c, n := range p.Failed {
			s.Failed[c] += n
		}
		for most, ms := range map[**float64]*float64{&s.P50: p.P50, &s.P95: p.P95, &s.P99: p.P99} {
			if ms != nil && (*most == nil || *ms > **most) {
				*most = ms
			}
		}
	}
	return s
}

func (p Point) is(accepted, delivered, dead int64, failed map[Class]int64) bool {
	return p.Accepted == accepted && p.Delivered == delivered && p.Dead == dead && maps.Equal(p.Failed, failed)
}

// TestStatistics: they are exact, over restarts in the midst of a minute, from
// minutes to hours, and go after 90 days.
func TestStatistics(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, route("crm"), route("idle"))
		later := r.setClock()
		time.Sleep(10 * time.Second)
		r.schedule("crm", brief(2))
		answers := map[int64]Outcome{0: ok200, 1: no404, 2: no410, 3: {Verdict: Retry, Class: ClassTimeout, Error: "timeout"}}
		n := int64(0)
		r.set(0, func(s shot) (Outcome, error) {
			o := answers[n%4]
			if s.attempt > 1 {
				o = ok200
			}
			if s.attempt == 1 {
				n++
			}
			o.Duration = time.Duration(n) * time.Millisecond
			return o, nil
		})
		for range 100 {
			r.put("crm")
			time.Sleep(10 * time.Millisecond)
		}
		dead := r.put()
		r.putAll(Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead"}, Deliveries: []Made{{Route: "crm", Error: "no"}}})
		_ = dead
		time.Sleep(20 * time.Second)
		r.restart()
		r.put("crm") // in the same minute
		time.Sleep(5 * time.Second)
		failed := map[Class]int64{Class4xx: 50, ClassTimeout: 25}
		want := func(what string, points []Point) {
			t.Helper()
			if s := sum(points); !s.is(102, 76, 26, failed) {
				t.Errorf("%s: the sum is %+v, want 102 accepted, 76 delivered, 26 dead, failed %v", what, s, failed)
			}
		}
		points := r.stats("crm", time.Hour, time.Minute)
		want("minutes", points)
		if len(points) > 2 || points[0].Time.Second() != 0 {
			t.Errorf("points before the first minute, or beside it: %+v", points)
		}
		// Of 100 first attempts of 1 to 100 ms, and 50 that repeat one: as good as the same.
		for share, got := range map[float64]*float64{50: sum(points).P50, 99: sum(points).P99} {
			if off := math.Abs(*got/share - 1); off > 0.2 {
				t.Errorf("p%v is %v ms", share, *got)
			}
		}
		if s := sum(r.stats("idle", time.Hour, time.Minute)); !s.is(0, 0, 0, map[Class]int64{}) || s.P99 != nil {
			t.Errorf("nothing happened on it: %+v", s)
		}
		deaths := r.entries(LogFilter{Verdicts: []Verdict{Dead}})
		if s := r.status("crm"); s.Recent != (Recent{76, 50, 25}) || s.Died != 26 || !s.DiedSince.Equal(deaths[len(deaths)-1].Time) {
			t.Errorf("the last 15 minutes: %+v", s)
		}
		time.Sleep(16 * time.Minute)
		if s := r.status("crm"); s.Recent != (Recent{}) || s.Died != 0 || !s.DiedSince.IsZero() {
			t.Errorf("16 minutes later: %+v", s)
		}
		minutes := r.count(record.MinutePrefix)
		later.Store(int64(50 * time.Hour))
		time.Sleep(3 * time.Minute) // a sweep
		want("hours", r.stats("crm", 52*time.Hour, time.Hour))
		if m, h := r.count(record.MinutePrefix), r.count(record.HourPrefix); m >= minutes || h == 0 {
			t.Errorf("%d minutes, now %d and %d hours", minutes, m, h)
		}
		r.restart()
		want("days", r.stats("crm", 72*time.Hour, 24*time.Hour))
		later.Store(int64(92 * 24 * time.Hour))
		r.put("crm")
		time.Sleep(3 * time.Minute)
		if s := sum(r.stats("crm", 95*24*time.Hour, 24*time.Hour)); s.Accepted != 1 || r.count(record.HourPrefix) != 0 {
			t.Errorf("after 90 days %+v is left", s)
		}
	})
}

// TestQuantiles: each is within 5 % of what it stands for.
func TestQuantiles(t *testing.T) {
	for us := 1.0; us < 3e10; us *= 1.037 {
		var h record.Histogram
		d := time.Duration(us) * time.Microsecond
		h.Add(d)
		if got := h.Quantile(0.99); math.Abs(float64(got)/float64(d)-1) > 0.05 {
			t.Errorf("%v became %v", d, got)
		}
	}
	var h record.Histogram
	for i := range 1000 {
		h.Add(time.Duration(i+1) * time.Millisecond)
	}
	for _, share := range []float64{0.01, 0.5, 0.95, 0.99, 1} {
		want := share * float64(time.Second)
		if got := h.Quantile(share); math.Abs(float64(got)/want-1) > 0.05 {
			t.Errorf("p%v is %v, want %v", 100*share, got, time.Duration(want))
		}
	}
}

// TestStatusOutlivesRestarts: what is known of a route's past is there again.
func TestStatusOutlivesRestarts(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, route("crm"), route("erp"))
		r.set(0, func(s shot) (Outcome, error) {
			switch {
			case s.Route == "erp":
				return no503, nil
			case s.attempt < 8:
				return no404, nil
			}
			return ok200, nil
		})
		began := time.Now()
		r.put("crm", "erp", "gone")
		time.Sleep(10 * time.Minute) // five attempts
		before := r.status("crm")
		if before.Refusals != 5 || !before.RefusedSince.Equal(began) || before.LastError != no404.Error || before.LastErrorAt.IsZero() || !before.LastSuccess.IsZero() {
			t.Errorf("crm: %+v", before)
		}
		if s := r.status("erp"); s.State != RouteFailing || s.Refusals != 0 || !s.FailingSince.Equal(began) || !s.NextProbe.After(time.Now()) {
			t.Errorf("erp: %+v", s)
		}
		r.configure(route("crm"))
		if s := r.status("erp"); s.State != RouteGone || !s.FailingSince.IsZero() {
			t.Errorf("erp, gone for now: %+v", s)
		}
		r.configure(route("crm"), route("erp"))
		if err := r.SetPaused("crm", true); err != nil {
			t.Fatal(err)
		}
		paused := time.Now()
		time.Sleep(time.Minute)
		r.routes = []Route{route("crm")}
		r.restart()
		gone := time.Now()
		time.Sleep(time.Minute)
		r.restart()
		if s := r.status("crm"); s.Refusals != 5 || !s.RefusedSince.Equal(began) || s.LastError != no404.Error || !s.LastErrorAt.Equal(before.LastErrorAt) || !s.PausedSince.Equal(paused) {
			t.Errorf("crm after restarts: %+v", s)
		}
		if s := r.status("erp"); s.State != RouteGone || !s.HeldSince.Equal(gone) {
			t.Errorf("erp, gone: %+v", s)
		}
		r.configure(route("crm"), route("erp"))
		for range 5 {
			r.put("erp")
		}
		time.Sleep(time.Second)
		if s := r.status("erp"); s.State != RouteFailing || !s.FailingSince.Equal(began) || !s.HeldSince.IsZero() {
			t.Errorf("erp, failing again: %+v", s)
		}
		if err := r.SetPaused("crm", false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(8 * time.Hour)
		s := r.status("crm")
		if s.Refusals != 0 || !s.RefusedSince.IsZero() || !s.PausedSince.IsZero() || s.LastSuccess.Before(s.LastErrorAt) {
			t.Errorf("crm, delivered: %+v", s)
		}
		r.restart()
		if again := r.status("crm"); again.LastSuccess != s.LastSuccess || again.LastErrorAt != s.LastErrorAt {
			t.Errorf("crm: %+v, then %+v", s, again)
		}
	})
}

// TestRefusalsEnd when nothing is pending or dead any more.
func TestRefusalsEnd(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.set(0, always(no410))
		for range 6 {
			r.put("crm")
		}
		time.Sleep(time.Second)
		if s := r.status("crm"); s.Refusals != 6 || s.Dead != 6 {
			t.Errorf("refused: %+v", s)
		}
		if n, err := r.DiscardAll(t.Context(), Filter{State: StateDead}, false); n != 6 || err != nil {
			t.Fatal(n, err)
		}
		if s := r.status("crm"); s.Refusals != 0 || s.Dead != 0 {
			t.Errorf("all discarded: %+v", s)
		}
		for _, o := range []Outcome{no410, {Verdict: Dead, Reason: Gone, Status: 429, Class: Class4xx}, no410} {
			r.set(0, always(o))
			r.put("crm")
			time.Sleep(time.Second)
		}
		if s := r.status("crm"); s.Refusals != 1 {
			t.Errorf("429 between two 410: %+v", s)
		}
	})
}

// TestNextAttemptWaitsForTheProbe: of what waits on a failing route, lists tell
// no time before the next probe.
func TestNextAttemptWaitsForTheProbe(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r, ids := failing(t, 20, route("crm"))
		r.set(0, always(no503))
		time.Sleep(7500 * time.Millisecond)
		s := r.status("crm")
		if s.State != RouteFailing || !s.NextProbe.After(time.Now()) {
			t.Fatalf("%+v", s)
		}
		for _, id := range ids {
			d := r.detail(id)
			if d.State != StatePending || d.NextAttempt.Before(s.NextProbe) {
				t.Errorf("it waits until %v, before the probe at %v: %+v", d.NextAttempt, s.NextProbe, d.Info)
			}
			if n := len(d.Log); n > 0 && (d.Log[n-1].NextAttempt.Before(s.NextProbe) || d.Last.NextAttempt.Before(s.NextProbe)) {
				t.Errorf("its last attempt says %v", d.Last.NextAttempt)
			}
		}
		// The probe after half a minute is due again before the next one comes.
		time.Sleep(25500 * time.Millisecond)
		newest := r.entries(LogFilter{Limit: 1})[0]
		if s = r.status("crm"); newest.NextAttempt.Before(s.NextProbe) || s.NextProbe.Sub(newest.Time) < 30*time.Second {
			t.Errorf("the log says that %+v, the next probe is at %v", newest, s.NextProbe)
		}
	})
}

// What happens in the first second of a minute is told in that second.
func TestStatisticsOfAMinuteThatBegins(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.put("crm")
		time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute + 300*time.Millisecond)))
		r.put("crm")
		time.Sleep(300 * time.Millisecond)
		for until, accepted := range map[time.Time][]int64{time.Now(): {1, 1}, time.Now().Truncate(time.Minute): {1}} {
			all, err := r.Stats(t.Context(), StatsFilter{Since: until.Add(-time.Hour), Until: until, Step: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			var got []int64
			for _, p := range all[0].Points {
				got = append(got, p.Accepted)
			}
			if !slices.Equal(got, accepted) {
				t.Errorf("until %v: accepted %v, want %v", until, got, accepted)
			}
		}
	})
}

// TestStatisticsAreNoMoreThanAsked: points are those of the range, and bounded.
func TestStatisticsAreNoMoreThanAsked(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, route("crm-eu"), route("crm-us"), route("erp"))
		r.put("crm-eu", "crm-us", "erp")
		time.Sleep(90 * time.Minute)
		all, err := r.Stats(t.Context(), StatsFilter{Routes: "crm-*", Since: time.Now().Add(-time.Hour), Step: 5 * time.Minute})
		if err != nil || len(all) != 2 || all[0].Route != "crm-eu" || len(all[1].Points) != 12 {
			t.Errorf("%+v, %v", all, err)
		}
		if _, err := r.Stats(t.Context(), StatsFilter{Since: time.Now().Add(-time.Hour), Step: time.Millisecond}); !errors.Is(err, ErrTooMuch) {
			t.Errorf("3,600,000 points were made: %v", err)
		}
		// What one route may have, three may not have together.
		third := time.Hour / (MostPoints / 3)
		for routes, want := range map[string]error{"crm-eu": nil, "": ErrTooMuch} {
			if _, err := r.Stats(t.Context(), StatsFilter{Routes: routes, Since: time.Now().Add(-90 * time.Minute), Step: third}); !errors.Is(err, want) {
				t.Errorf("routes %q: %v, not %v", routes, err, want)
			}
		}
		if s := sum(all[0].Points); s.Accepted != 0 {
			t.Errorf("the range has what is outside: %s", fmt.Sprint(s))
		}
	})
}

// TestStatusAdd: what several queues have of a route is added up, and the worse of it is told.
func TestStatusAdd(t *testing.T) {
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	s := Status{Bytes: 5, Accepting: true, Unaccounted: 1, Routes: []RouteStatus{
		{Name: "b", State: RouteOK, Pending: 1, Dead: 1, OldestDue: at(9), LastSuccess: at(5), LastError: "old", LastErrorAt: at(1), Refusals: 1, RefusedSince: at(1)},
	}}
	s.Add(Status{Bytes: 7, Unaccounted: 2, Evicted: 3, Routes: []RouteStatus{
		{Name: "a", State: RoutePaused, Held: 1},
		{Name: "b", State: RouteFailing, Pending: 2, Died: 4, OldestDue: at(3), FailingSince: at(4), LastSuccess: at(2), LastError: "new", LastErrorAt: at(6), Refusals: 7, RefusedSince: at(8), PausedByAPI: true, Recent: Recent{Retry: 2}},
	}})
	want := Status{Bytes: 5, Accepting: true, Unaccounted: 3, Evicted: 3, Routes: []RouteStatus{
		{Name: "a", State: RoutePaused, Held: 1},
		{Name: "b", State: RouteFailing, Pending: 3, Dead: 1, Died: 4, OldestDue: at(3), FailingSince: at(4), LastSuccess: at(5), LastError: "new", LastErrorAt: at(6), Refusals: 7, RefusedSince: at(8), PausedByAPI: true, Recent: Recent{Retry: 2}},
	}}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("got  %+v\nwant %+v", s, want)
	}
}
