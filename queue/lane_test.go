package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"signalpost/queue/lane"
	"signalpost/queue/store"
)

func TestConcurrencyIsNeverExceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		crm := route("crm")
		r := newRig(t, crm)
		r.set(time.Second, nil)
		ids := r.putMany("crm", 100)
		time.Sleep(2500 * time.Millisecond)
		if n := r.mostActive("crm"); n != 8 {
			t.Errorf("%d at once, want 8", n)
		}
		crm.Concurrency = 3
		r.configure(crm)
		time.Sleep(1400 * time.Millisecond) // those under way may end first
		r.mostActive("crm")
		time.Sleep(5 * time.Second)
		if n := r.mostActive("crm"); n != 3 {
			t.Errorf("%d at once, want 3 after the change", n)
		}
		crm.Concurrency = 20
		r.configure(crm)
		synctest.Wait()
		if n := r.mostActive("crm"); n != 20 {
			t.Errorf("%d at once, want 20 after the second change", n)
		}
		time.Sleep(time.Minute)
		once(t, r.taken(), ids)
	})
}

func TestLoweredConcurrencyHoldsForProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		crm := route("crm")
		r := newRig(t, crm)
		r.set(0, func(s shot) (Outcome, error) {
			if s.Delivery.ID[15] == 1 && s.attempt == 1 {
				time.Sleep(10 * time.Minute) // a few hang
			}
			return no503, nil
		})
		batch := Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: []byte(`{}`)}}
		batch.Deliveries = append(batch.Deliveries, Made{Route: "crm"})
		r.putAll(batch)
		synctest.Wait()
		more := Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: []byte(`{}`)}}
		more.Deliveries = []Made{{Route: "other"}}
		for range 20 {
			more.Deliveries = append(more.Deliveries, Made{Route: "crm"})
		}
		r.putAll(more)
		synctest.Wait()
		if s := r.status("crm"); s.State != RouteFailing {
			t.Fatalf("the route is %s", s.State)
		}
		crm.Concurrency = 1
		r.configure(crm)
		r.mostActive("crm")
		time.Sleep(5 * time.Minute)
		if n := r.mostActive("crm"); n != 1 {
			t.Errorf("%d at once, want 1", n)
		}
		time.Sleep(time.Hour)
		if n := len(r.taken()); n < 40 {
			t.Errorf("%d attempts: the probes did not go on", n)
		}
	})
}

func TestRate(t *testing.T) {
	bulk(t)
	const s, m = time.Second, time.Minute
	tests := []struct {
		name   string
		rate   float64
		n      int
		within time.Duration
		most   int
	}{
		{"50 a second", 50, 500, s, 100}, // a burst of a second's worth, and what a second gives
		{"1 a minute", 1.0 / 60, 10, m - time.Millisecond, 1},
		{"0.5 a second", 0.5, 20, 2*s - time.Millisecond, 1},
		{"2.5 a second", 2.5, 50, s, 5},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T) {
			crm := route("crm")
			crm.Rate = test.rate
			r := newRig(t, crm)
			time.Sleep(time.Hour) // the bucket is full
			start := time.Now()
			ids := r.putMany("crm", test.n)
			// A reload in the midst earns nothing.
			for range 10 {
				time.Sleep(time.Duration(float64(test.n) / test.rate / 20 * float64(s)))
				r.configure(crm)
			}
			time.Sleep(time.Duration(float64(test.n) / test.rate * float64(s)))
			shots := r.taken()
			once(t, shots, ids)
			at := offsets(start, shots)
			slices.Sort(at)
			for i := range at {
				n, _ := slices.BinarySearch(at, at[i]+test.within)
				if n-i > test.most {
					t.Fatalf("%d attempts in %v, want at most %d", n-i, test.within, test.most)
				}
			}
			ideal := time.Duration(float64(test.n-1) / test.rate * float64(s))
			if last := at[len(at)-1]; last > ideal+ideal/10+s || last < ideal-2*s {
				t.Errorf("the last attempt came after %v, want about %v", last, ideal)
			}
		})
	}
	bubble(t, "restarts do not add up to bursts", func(t *testing.T) {
		crm := route("crm")
		crm.Rate = 50
		r := newRig(t, crm)
		r.putMany("crm", 200)
		start := time.Now()
		for range 10 {
			time.Sleep(100 * time.Millisecond)
			r.restart()
		}
		if n := len(r.taken()); n > 50+15 {
			t.Errorf("%d attempts in %v with 10 restarts, want about 50", n, time.Since(start))
		}
	})
	bubble(t, "a restart gives no attempt away", func(t *testing.T) {
		crm := route("crm")
		crm.Rate = 1.0 / 3600
		r := newRig(t, crm)
		start := time.Now()
		ids := r.putMany("crm", 3)
		for range 10 {
			time.Sleep(17 * time.Minute)
			r.restart()
		}
		time.Sleep(time.Minute)
		shots := r.taken()
		once(t, shots, ids)
		at := offsets(start, shots)
		slices.Sort(at)
		if len(at) != 3 || at[1]-at[0] < time.Hour || at[2]-at[1] < time.Hour {
			t.Errorf("attempts at %v: want an hour between them", at)
		}
	})
	bubble(t, "a rate that is lifted holds no more", func(t *testing.T) {
		crm := route("crm")
		crm.Rate = 1.0 / 3600
		r := newRig(t, crm)
		ids := r.putMany("crm", 100)
		synctest.Wait()
		crm.Rate = 0
		r.configure(crm)
		synctest.Wait()
		once(t, r.taken(), ids)
	})
}

func TestPause(t *testing.T) {
	paused := func(r Route) Route { r.Paused = true; return r }
	tests := []struct {
		name string
		hold func(r *rig)
		free func(r *rig)
	}{
		{"by the config", func(r *rig) { r.configure(paused(route("crm")), route("other")) }, func(r *rig) { r.configure(route("crm"), route("other")) }},
		{"by SetPaused", func(r *rig) {
			if err := r.SetPaused("crm", true); err != nil {
				t.Error(err)
			}
		}, func(r *rig) {
			if err := r.SetPaused("crm", false); err != nil {
				t.Error(err)
			}
		}},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T) {
			r := newRig(t, route("crm"), route("other"))
			r.set(time.Second, nil)
			first := r.put("crm")
			synctest.Wait()
			test.hold(r) // the attempt under way goes on
			id := r.put("crm", "other")
			time.Sleep(time.Hour)
			r.restart()
			r.configure(r.routes...)
			time.Sleep(time.Hour)
			once(t, r.taken(), []DeliveryID{first.Delivery(1), id.Delivery(2)})
			s := r.status("crm")
			if s.State != RoutePaused || s.Pending != 1 || s.Held != 0 || !s.OldestDue.Equal(id.Time()) {
				t.Errorf("while it is paused its status is %+v", s)
			}
			if byAPI := test.name == "by SetPaused"; s.PausedByAPI != byAPI {
				t.Errorf("PausedByAPI is %v", s.PausedByAPI)
			}
			r.wantState(id.Delivery(1), StatePending, "")
			test.free(r)
			time.Sleep(2 * time.Second)
			once(t, r.taken(), []DeliveryID{id.Delivery(1)})
			if s := r.status("crm"); s.State != RouteOK {
				t.Errorf("afterwards it is %s", s.State)
			}
		})
	}
	bubble(t, "either is enough", func(t *testing.T) {
		r := newRig(t, paused(route("crm")))
		r.SetPaused("crm", true)
		id := r.put("crm")
		r.configure(route("crm"))
		time.Sleep(time.Minute)
		r.configure(paused(route("crm")))
		r.SetPaused("crm", false)
		time.Sleep(time.Minute)
		if n := len(r.taken()); n != 0 {
			t.Fatalf("%d attempts", n)
		}
		r.configure(route("crm"))
		synctest.Wait()
		once(t, r.taken(), []DeliveryID{id.Delivery(1)})
	})
	bubble(t, "of an unknown route", func(t *testing.T) {
		r := newRig(t, route("crm"))
		mustBe(t, r.SetPaused("nobody", true), ErrNotFound)
	})
}

func TestGoneRouteIsHeldUntilItIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, route("crm"), route("other"))
		r.SetPaused("crm", true)
		ids := r.putMany("crm", 3)
		r.set(0, always(no404))
		r.SetPaused("crm", false)
		synctest.Wait()
		r.configure(route("other")) // three retries are on disk
		more := r.put("crm", "other").Delivery(1)
		unknown := r.put("new").Delivery(1)
		time.Sleep(time.Minute)
		r.taken()
		for range 2 {
			time.Sleep(time.Hour)
			s := r.status("crm")
			if s.State != RouteGone || s.Held != 4 || s.Pending != 0 {
				t.Errorf("status is %+v", s)
			}
			for _, id := range append(slices.Clone(ids), more, unknown) {
				r.wantState(id, StateHeld, "")
				if d := r.detail(id); d.NextAttempt != nil {
					t.Errorf("held, but the next attempt is at %v", d.NextAttempt)
				}
				mustBe(t, r.Retry(id, false, nil), ErrHeld)
			}
			r.restart()
		}
		mustBe(t, r.SetPaused("crm", true), ErrNotFound)
		for _, s := range r.taken() {
			if s.Route != "other" {
				t.Errorf("an attempt of a held delivery: %+v", s)
			}
		}
		r.set(0, nil)
		r.configure(route("crm"), route("other"), route("new"))
		time.Sleep(time.Minute)
		var sent []shot
		for _, s := range r.taken() {
			if s.Route != "other" {
				sent = append(sent, s)
			}
		}
		once(t, sent, append(ids, more, unknown))
	})
}

func TestRetryAfterHoldsTheRoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, route("crm"), route("other"))
		busy := Outcome{Verdict: Retry, Status: 429, Fault: true, Gap: 90 * time.Second, Hold: 90 * time.Second}
		r.set(0, always(busy))
		start := time.Now()
		first := r.put("crm").Delivery(1)
		synctest.Wait()
		r.set(0, nil)
		second := r.put("crm", "other")
		time.Sleep(2 * time.Minute)
		at := map[DeliveryID][]time.Duration{}
		for _, s := range r.taken() {
			at[s.Delivery.ID] = append(at[s.Delivery.ID], s.at.Sub(start).Truncate(time.Second))
		}
		want := map[DeliveryID][]time.Duration{
			first:              {0, 90 * time.Second},
			second.Delivery(1): {90 * time.Second},
			second.Delivery(2): {0},
		}
		for id, w := range want {
			if !slices.Equal(at[id], w) {
				t.Errorf("%s was attempted at %v, want %v", id, at[id], w)
			}
		}
	})
	bubble(t, "not without Hold", func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.set(0, always(Outcome{Verdict: Retry, Status: 404, Gap: time.Hour}))
		r.put("crm")
		synctest.Wait()
		r.put("crm")
		synctest.Wait()
		if n := len(r.taken()); n != 2 {
			t.Errorf("%d attempts, want 2", n)
		}
	})
}

func TestFailingRouteSendsOnlyProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := route("crm")
		one.Concurrency = 1
		r := newRig(t, one, route("other"))
		r.set(0, func(s shot) (Outcome, error) {
			if s.Route == "other" {
				return ok200, nil
			}
			return no503, nil
		})
		r.SetPaused("crm", true)
		start := time.Now()
		var ids []DeliveryID
		for range 100 {
			ids = append(ids, r.put("crm").Delivery(1))
			time.Sleep(time.Millisecond)
		}
		resumed := time.Now()
		r.SetPaused("crm", false)
		synctest.Wait()
		if s := r.status("crm"); s.State != RouteFailing || !s.FailingSince.Equal(resumed) || s.LastError != no503.Error || s.Pending != 100 {
			t.Errorf("after five failures it is %+v", s)
		}
		five := r.taken()
		once(t, five, ids[:5])

		// Its neighbour is as fast as ever.
		fast := r.putMany("other", 100)
		synctest.Wait()
		once(t, r.taken(), fast)

		time.Sleep(10 * time.Minute)
		probes := r.taken()
		var want []time.Duration
		for at, gap := time.Duration(0), time.Second; at+gap < 10*time.Minute; gap = min(2*gap, time.Minute) {
			at += gap
			want = append(want, at)
		}
		wantTimes(t, offsets(resumed, probes), want)
		if n := r.mostActive("crm"); n != 1 {
			t.Errorf("%d probes at once", n)
		}
		// Each probe is of the delivery longest due at its time, and charged.
		next := map[DeliveryID]time.Time{}
		for i, id := range ids {
			next[id] = start.Add(time.Duration(i) * time.Millisecond)
		}
		tried := map[DeliveryID]int{}
		gaps := usual.Gaps()
		for i, s := range slices.Concat(five, probes) {
			for id, at := range next {
				if at.Before(next[s.Delivery.ID]) {
					t.Errorf("attempt %d is of %s, but %s is due since longer", i, s.Delivery.ID, id)
				}
			}
			tried[s.Delivery.ID]++
			if s.attempt != tried[s.Delivery.ID] {
				t.Errorf("attempt %d of %s is its %d.", s.attempt, s.Delivery.ID, tried[s.Delivery.ID])
			}
			next[s.Delivery.ID] = s.at.Add(gaps[s.attempt-1]).Truncate(time.Millisecond)
		}
		for _, id := range ids {
			if d := r.detail(id); d.Attempts != tried[id] {
				t.Errorf("%s was charged %d attempts, want %d", id, d.Attempts, tried[id])
			}
		}
	})
}

// failing is a rig whose route crm has just begun to fail, with n more deliveries due.
func failing(t *testing.T, n int, routes ...Route) (*rig, []DeliveryID) {
	r := newRig(t, routes...)
	r.set(0, always(no503))
	ids := r.putMany("crm", n)
	synctest.Wait()
	if s := r.status("crm"); s.State != RouteFailing {
		t.Fatalf("the route is %s after %d failures", s.State, len(r.taken()))
	}
	r.taken()
	return r, ids
}

func TestFailingRouteRecovers(t *testing.T) {
	bubble(t, "step by step", func(t *testing.T) {
		r, _ := failing(t, 200, route("crm"))
		r.set(time.Second, nil)
		r.mostActive("crm")
		var most []int
		for range 12 {
			time.Sleep(time.Second)
			synctest.Wait()
			r.endpoint.mu.Lock()
			most = append(most, r.active["crm"])
			r.endpoint.mu.Unlock()
		}
		// After the gap of a second one probe; each success then lets one more go at once.
		if want := []int{1, 1, 2}; !slices.Equal(most[:3], want) {
			t.Errorf("%v attempts at once, second by second; want %v first", most, want)
		}
		if !slices.IsSorted(most) || most[len(most)-1] != 8 {
			t.Errorf("%v attempts at once, want them to grow to 8", most)
		}
		time.Sleep(time.Hour)
		if s := r.status("crm"); s.State != RouteOK || s.Pending != 0 || s.Delivered != 200 || !s.FailingSince.IsZero() {
			t.Errorf("afterwards it is %+v", s)
		}
	})
	clears := []struct {
		name string
		do   func(r *rig)
	}{
		{"another target", func(r *rig) {
			other := route("crm")
			other.Target = "https://elsewhere"
			r.configure(other)
		}},
		{"a resume", func(r *rig) { r.SetPaused("crm", false) }},
		{"a restart", func(r *rig) { r.restart() }},
	}
	for _, c := range clears {
		bubble(t, "at once by "+c.name, func(t *testing.T) {
			r, ids := failing(t, 100, route("crm"))
			tried := map[DeliveryID]bool{}
			for _, id := range ids {
				if r.detail(id).Attempts > 0 {
					tried[id] = true
				}
			}
			r.set(time.Second, nil)
			r.mostActive("crm")
			c.do(r)
			synctest.Wait()
			if n := r.mostActive("crm"); n != 8 {
				t.Errorf("%d at once, want 8", n)
			}
			if s := r.status("crm"); s.State != RouteOK {
				t.Errorf("it is %s", s.State)
			}
		})
	}
	bubble(t, "not by a reload that leaves the target", func(t *testing.T) {
		r, _ := failing(t, 100, route("crm"))
		changed := route("crm")
		changed.Concurrency = 4
		r.configure(changed)
		synctest.Wait()
		if n := len(r.taken()); n != 0 {
			t.Errorf("%d attempts", n)
		}
	})
	bubble(t, "by an answer that blames the payload", func(t *testing.T) {
		r, _ := failing(t, 100, route("crm"))
		r.set(0, always(no404))
		time.Sleep(1500 * time.Millisecond)
		if s := r.status("crm"); s.State != RouteOK {
			t.Errorf("it is %s", s.State)
		}
	})
	bubble(t, "failures of the old target do not count against the new", func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.set(15*time.Second, always(no503))
		r.putMany("crm", 8)
		synctest.Wait()
		r.set(0, nil)
		other := route("crm")
		other.Target = "https://elsewhere"
		time.Sleep(time.Second)
		r.configure(other)
		time.Sleep(15 * time.Second)
		if s := r.status("crm"); s.State != RouteOK {
			t.Errorf("it is %s", s.State)
		}
	})
	bubble(t, "a second time as the first", func(t *testing.T) {
		r, _ := failing(t, 50, route("crm"))
		r.set(0, nil)
		time.Sleep(time.Hour)
		r.taken()
		r.set(0, always(no503))
		start := time.Now()
		r.putMany("crm", 50)
		time.Sleep(8 * time.Second)
		probes := offsets(start, r.taken())
		wantTimes(t, probes[len(probes)-3:], []time.Duration{time.Second, 3 * time.Second, 7 * time.Second})
	})
}

func TestAnswersThatBlameThePayloadDoNotTrip(t *testing.T) {
	for _, out := range []Outcome{no404, no410} {
		bubble(t, fmt.Sprint(out.Status), func(t *testing.T) {
			r := newRig(t, route("crm"))
			r.set(0, always(out))
			ids := r.putMany("crm", 100)
			synctest.Wait()
			once(t, r.taken(), ids)
			if s := r.status("crm"); s.State != RouteOK {
				t.Errorf("it is %s", s.State)
			}
		})
	}
	bubble(t, "every fifth", func(t *testing.T) {
		one := route("crm")
		one.Concurrency = 1
		r := newRig(t, one)
		n := 0
		r.set(0, func(shot) (Outcome, error) {
			if n++; n%5 == 0 {
				return no404, nil
			}
			return no503, nil
		})
		ids := r.putMany("crm", 100)
		synctest.Wait()
		once(t, r.taken(), ids)
	})
}

func TestAttemptWithoutVerdictIsNotCharged(t *testing.T) {
	bubble(t, "its context ended", func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.set(time.Hour, nil)
		id := r.put("crm").Delivery(1)
		time.Sleep(time.Minute)
		if err := r.Close(grace(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		r.open()
		synctest.Wait()
		shots := r.taken()
		if len(shots) != 2 || shots[1].attempt != 1 || shots[1].at.Sub(shots[0].at) != 70*time.Second {
			t.Errorf("attempts were %+v", shots)
		}
		if d := r.detail(id); d.State != StatePending || d.Attempts != 0 || d.Last != nil {
			t.Errorf("it is %+v", d.Info)
		}
	})
	bubble(t, "it ends within the grace", func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.set(5*time.Second, nil)
		ids := r.putMany("crm", 20)
		synctest.Wait()
		start := time.Now()
		if err := r.Close(grace(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d != 5*time.Second {
			t.Errorf("Close took %v", d)
		}
		r.open()
		if s := r.status("crm"); s.Delivered != 8 {
			t.Errorf("%d are delivered, want 8", s.Delivered)
		}
		time.Sleep(time.Minute)
		once(t, r.taken(), ids)
	})
	bubble(t, "the courier knows no such route", func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.set(0, func(shot) (Outcome, error) { return Outcome{}, errors.New("no such route") })
		ids := r.putMany("crm", 30)
		time.Sleep(10 * time.Second)
		if n := len(r.taken()); n < 100 || n > 1000 {
			t.Errorf("%d calls in 10 s, want neither a stop nor a tight loop", n)
		}
		for _, id := range ids {
			if d := r.detail(id); d.Attempts != 0 || d.State != StatePending {
				t.Errorf("it is %+v", d.Info)
			}
		}
		synctest.Wait()
		r.taken()
		r.set(0, nil)
		time.Sleep(time.Second)
		once(t, r.taken(), ids)
	})
	bubble(t, "a probe", func(t *testing.T) {
		r, _ := failing(t, 20, route("crm"))
		r.set(0, func(shot) (Outcome, error) { return Outcome{}, errors.New("no such route") })
		time.Sleep(5 * time.Second)
		r.set(0, nil)
		time.Sleep(2 * time.Minute)
		if s := r.status("crm"); s.State != RouteOK || s.Delivered != 20 {
			t.Errorf("it is %+v", s)
		}
	})
}

func TestStatusTellsWhatIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, route("crm"), route("idle"))
		r.set(0, always(no404))
		r.put("crm")
		synctest.Wait()
		if s := r.status("crm"); !s.OldestDue.IsZero() || s.Pending != 1 || s.LastErrorAt.IsZero() || !s.LastSuccess.IsZero() {
			t.Errorf("nothing is due, but status is %+v", s)
		}
		r.SetPaused("crm", true)
		due := time.Now().Add(5 * time.Second)
		time.Sleep(time.Minute)
		if s := r.status("crm"); !s.OldestDue.Equal(due) {
			t.Errorf("due since %v, want %v", s.OldestDue, due)
		}
		r.SetPaused("crm", false)
		r.set(0, nil)
		time.Sleep(time.Second)
		r.put("crm")
		synctest.Wait()
		if s := r.status("crm"); !s.OldestDue.IsZero() || !s.LastSuccess.Equal(time.Now()) {
			t.Errorf("status is %+v", s)
		}
		if s := r.status("idle"); s.State != RouteOK || s.Pending != 0 || !s.OldestDue.IsZero() {
			t.Errorf("status is %+v", s)
		}
	})
}

func TestBacklog(t *testing.T) {
	n := many(50_000)
	bubble(t, "of a paused route is bounded in memory and delivered once", func(t *testing.T) {
		crm := route("crm")
		crm.Paused = true
		r := newRig(t, crm)
		ids := r.putMany("crm", n)
		if held, ready := r.inMemory("crm"); held > lane.MaxReady || ready > lane.MaxReady || ready == 0 {
			t.Errorf("%d held, %d ready", held, ready)
		}
		heldAt := 0
		r.set(0, func(shot) (Outcome, error) {
			held, _ := r.inMemory("crm")
			r.endpoint.mu.Lock()
			defer r.endpoint.mu.Unlock()
			heldAt = max(heldAt, held)
			return ok200, nil
		})
		r.configure(route("crm"))
		synctest.Wait()
		once(t, r.taken(), ids)
		if heldAt > 2*lane.MaxReady+2*store.GroupOps {
			t.Errorf("%d held at once", heldAt)
		}
		time.Sleep(store.LazySync + time.Millisecond)
		if held, ready := r.inMemory("crm"); held != 0 || ready != 0 {
			t.Errorf("%d held, %d ready when all is done", held, ready)
		}
	})
	bubble(t, "is found after a restart", func(t *testing.T) {
		crm := route("crm")
		crm.Paused = true
		r := newRig(t, crm)
		ids := r.putMany("crm", many(10_000))
		r.restart()
		if held, _ := r.inMemory("crm"); held != 0 {
			t.Errorf("%d held after the start", held)
		}
		r.configure(route("crm"))
		synctest.Wait()
		once(t, r.taken(), ids)
	})
	bubble(t, "with large bodies keeps few of them in memory", func(t *testing.T) {
		bulk(t)
		crm := route("crm")
		crm.Concurrency = 1
		r := newRig(t, crm)
		r.set(time.Minute, nil)
		body := noise(1 << 20)
		var ids []DeliveryID
		for range 20 {
			a := Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: body}, Deliveries: []Made{{Route: "crm"}}}
			r.putAll(a)
			ids = append(ids, a.ID.Delivery(1))
		}
		if b := r.engine.Load().memory.Used(); b > handoffBytes || b < handoffBytes/2 {
			t.Errorf("%d bytes wait in memory", b)
		}
		r.set(0, nil)
		time.Sleep(time.Hour)
		once(t, r.taken(), ids)
		if b := r.engine.Load().memory.Used(); b != 0 {
			t.Errorf("%d bytes wait in memory when all is done", b)
		}
	})
}

// A backlog is drained while signals come in, attempts fail and come due
// again, the route is paused and resumed, and the queue restarted.
func TestBacklogUnderFire(t *testing.T) {
	crm := route("crm")
	crm.Concurrency = 32
	r := newRig(t, crm)
	r.schedule("crm", Schedule{Attempts: 50, First: time.Millisecond, Window: time.Second, Jitter: 0.5})
	r.SetPaused("crm", true)
	ids := r.putMany("crm", many(15_000))
	delivered := map[DeliveryID]int{}
	r.set(0, func(s shot) (Outcome, error) {
		if rand.IntN(4) == 0 {
			return no404, nil
		}
		r.endpoint.mu.Lock()
		defer r.endpoint.mu.Unlock()
		delivered[s.Delivery.ID]++
		return ok200, nil
	})
	for range 2 {
		r.SetPaused("crm", false)
		var wg sync.WaitGroup
		var mu sync.Mutex
		for range 4 {
			wg.Go(func() {
				for range many(24) {
					batch := make([]Accepted, 50)
					var more []DeliveryID
					for i := range batch {
						batch[i] = Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: []byte(`{}`)}, Deliveries: []Made{{Route: "crm", Body: []byte(`1`)}}}
						more = append(more, batch[i].ID.Delivery(1))
					}
					r.putAll(batch...)
					mu.Lock()
					ids = append(ids, more...)
					mu.Unlock()
				}
			})
		}
		wg.Go(func() {
			for range 20 {
				r.SetPaused("crm", true)
				r.SetPaused("crm", false)
				if _, err := r.RetryAll(context.Background(), Filter{State: StatePending, Since: time.Now().Add(-time.Millisecond)}, false, nil, false); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Wait()
		r.restart()
	}
	r.idle("crm")
	if len(delivered) != len(ids) {
		t.Errorf("%d deliveries arrived, want %d", len(delivered), len(ids))
	}
	for _, id := range ids {
		if delivered[id] != 1 {
			// A second time is allowed only to what a restart has interrupted: none was, they take no time.
			t.Errorf("%s was delivered %d times", id, delivered[id])
		}
	}
}

// What is put is due before what waits for its next attempt, whichever of
// them the low-water mark was moved up to.
func TestRestartFindsWhatIsDueBeforeARetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.set(0, always(Outcome{Verdict: Retry, Status: 404, Gap: time.Hour}))
		r.put("crm") // its retry, in an hour, is all there is
		synctest.Wait()
		r.set(0, nil)
		for range lowEvery { // each moves the counts, and nothing else is owed
			r.SetPaused("crm", false)
			r.SetPaused("crm", true)
		}
		r.taken()
		id := r.put("crm").Delivery(1)
		r.restart()
		r.SetPaused("crm", false)
		synctest.Wait()
		once(t, r.taken(), []DeliveryID{id})
		time.Sleep(2 * time.Hour)
		if n := len(r.taken()); n != 1 {
			t.Errorf("%d attempts in two hours, want the one retry", n)
		}
	})
}

// grace is a context that ends after d.
func grace(d time.Duration) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(d, cancel)
	return ctx
}

func TestStoreIsOnePerProcess(t *testing.T) {
	r := newRigOn(t, vfs.NewMem(), Limits{}, route("crm"))
	if _, err := open(r.options, r.fs); err == nil {
		t.Error("a second queue opened the same store")
	}
}

// TestBodiesOfWhatIsNotSent: a route that sends nothing leaves the memory for
// bodies to those that do.
func TestBodiesOfWhatIsNotSent(t *testing.T) {
	for name, stop := range map[string]func(r *rig){
		"gone":   func(r *rig) { r.configure(route("b")) },
		"paused": func(r *rig) { _ = r.SetPaused("a", true) },
		"paused by the config": func(r *rig) {
			p := route("a")
			p.Paused = true
			r.configure(p, route("b"))
		},
		"failing": func(r *rig) {
			r.set(0, always(no503))
			time.Sleep(time.Minute)
		},
	} {
		bubble(t, name, func(t *testing.T) {
			one := route("a")
			one.Concurrency = 1
			r := newRig(t, one, route("b"))
			r.set(time.Second, nil)
			body := noise(1 << 10)
			for range 100 {
				r.putAll(Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: body}, Deliveries: []Made{{Route: "a"}}})
			}
			synctest.Wait()
			if n := r.engine.Load().memory.Used(); n < 90<<10 {
				t.Fatalf("%d bytes are in memory", n)
			}
			stop(r)
			if n := r.engine.Load().memory.Used(); n != 0 {
				t.Errorf("%d bytes are in memory", n)
			}
			r.putAll(Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: body}, Deliveries: []Made{{Route: "a"}}})
			synctest.Wait()
			if n := r.engine.Load().memory.Used(); n != 0 {
				t.Errorf("%d bytes are in memory after a signal more", n)
			}
			// All of it is sent when the route sends again.
			r.set(0, nil)
			_ = r.SetPaused("a", false)
			r.configure(route("a"), route("b"))
			time.Sleep(time.Hour)
			if s := r.status("a"); s.Delivered != 101 {
				t.Errorf("in the end: %+v", s)
			}
		})
	}
}
