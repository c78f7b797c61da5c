package queue

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// wallRig is a rig whose clock on the wall can be set, and what it logs.
func wallRig(t *testing.T, routes ...Route) (r *rig, ahead *atomic.Int64, said *lines) {
	t.Helper()
	ahead, said = new(atomic.Int64), &lines{}
	r = &rig{t: t, fs: vfs.NewMem(), endpoint: &endpoint{}, routes: routes}
	r.options = Options{
		Path: storePath, Courier: r.endpoint, Log: slog.New(slog.NewTextHandler(said, nil)),
		clock: func(at time.Time) time.Time { return at.Add(time.Duration(ahead.Load())) },
	}
	r.open()
	t.Cleanup(r.close)
	return r, ahead, said
}

// TestClockSetRight: a clock that was a day ahead, and is set right again,
// makes nothing wait longer than its schedule says, and the log's times follow it.
func TestClockSetRight(t *testing.T) {
	const day = 24 * time.Hour
	for _, test := range []struct {
		name  string
		right func(r *rig, ahead *atomic.Int64)
	}{
		{"while it runs", func(_ *rig, ahead *atomic.Int64) {
			time.Sleep(time.Second)
			ahead.Store(0)
		}},
		{"at once", func(_ *rig, ahead *atomic.Int64) { ahead.Store(0) }},
		{"while it is stopped", func(r *rig, ahead *atomic.Int64) {
			r.close()
			ahead.Store(0)
			r.open()
		}},
	} {
		bubble(t, test.name, func(t *testing.T) {
			r, ahead, said := wallRig(t, route("crm"), route("new"), route("again"))
			r.schedule("crm", Schedule{Attempts: 3, First: 4 * time.Second, Window: 10 * time.Second})
			r.set(0, always(no404))
			r.SetPaused("new", true)
			before := r.put("crm").Delivery(1) // tried by the right clock: it keeps its time
			again := r.put("again").Delivery(1)
			synctest.Wait()
			r.SetPaused("again", true)
			ahead.Store(int64(day))
			tried := r.put("crm").Delivery(1)
			waits := r.put("new").Delivery(1)
			if err := r.Queue.Retry(again, false, nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second / 2)
			if d := r.detail(tried); d.NextAttempt == nil || time.Until(*d.NextAttempt) < day {
				t.Fatalf("while the clock is ahead it is %+v", d.Info)
			}
			test.right(r, ahead)
			set := time.Now()
			r.taken()
			r.SetPaused("new", false)
			r.SetPaused("again", false)
			time.Sleep(1500 * time.Millisecond) // it is noticed
			for _, id := range []DeliveryID{before, tried} {
				if d := r.detail(id); d.State == StatePending && d.NextAttempt.After(time.Now().Add(7*time.Second)) {
					t.Errorf("%s is %+v at %v", id, d.Info, time.Now())
				}
			}
			time.Sleep(30 * time.Second)
			n := map[DeliveryID]int{}
			for _, s := range r.taken() {
				n[s.Delivery.ID]++
				if s.Delivery.ID == tried && n[tried] == 1 && s.at.Sub(set) > 6*time.Second {
					t.Errorf("it is tried again %v after the clock was set right", s.at.Sub(set))
				}
			}
			if n[tried] != 2 || n[waits] < 1 || n[again] < 1 {
				t.Errorf("attempts since: %d, %d, %d", n[tried], n[waits], n[again])
			}
			r.wantState(before, StateDead, Exhausted)
			r.wantState(tried, StateDead, Exhausted)
			if e := r.detail(tried).Log; len(e) != 3 || !e[1].Time.Before(e[0].Time) || e[2].Time.After(time.Now()) {
				t.Errorf("its log is %+v", e)
			}
			if n := strings.Count(strings.Join(said.text, ""), "the clock was "); n != map[string]int{"while it runs": 2, "at once": 1, "while it is stopped": 3}[test.name] {
				t.Errorf("it says %q", said.text)
			}
		})
	}
}

// TestLogAfterTheClockWasSetBack: entries made since are found and followed,
// none takes the place of another, and all can be read when the clock gets there.
func TestLogAfterTheClockWasSetBack(t *testing.T) {
	bubble(t, "followed", func(t *testing.T) {
		r, ahead, _ := wallRig(t, route("crm"))
		followed := map[DeliveryID]bool{}
		first := make(chan struct{}, 1000)
		go func() {
			_ = r.Follow(t.Context(), LogFilter{}, nil, func(e Entry) error {
				followed[e.Delivery] = true
				first <- struct{}{}
				return nil
			})
		}()
		synctest.Wait()
		ahead.Store(int64(10 * time.Second))
		ids := r.putMany("crm", 50)
		time.Sleep(time.Second)
		ahead.Store(0)
		for range 30 { // over the time that the first seem to be of
			ids = append(ids, r.putMany("crm", 10)...)
			time.Sleep(500 * time.Millisecond)
		}
		synctest.Wait()
		for _, id := range ids {
			if !followed[id] {
				t.Fatalf("%s was not followed", id)
			}
		}
		entries := r.entries(LogFilter{Limit: 100})
		if len(entries) != len(ids) {
			t.Errorf("the log has %d entries, want %d", len(entries), len(ids))
		}
		for i := range entries[1:] {
			if !entries[i+1].Time.Before(entries[i].Time) {
				t.Error("the log is not in the order of its times")
			}
		}
		if newest := r.detail(ids[len(ids)-1]).Last.Time; time.Since(newest).Abs() > time.Second {
			t.Errorf("the newest entry is of %v, it is %v", newest, time.Now())
		}
	})
	bubble(t, "to the nanosecond", func(t *testing.T) {
		r, ahead, _ := wallRig(t, route("crm"))
		ahead.Store(int64(time.Minute))
		ids := r.putMany("crm", 100) // one nanosecond after the other
		time.Sleep(time.Second)
		ahead.Store(int64(59*time.Second) + 50) // the same nanoseconds once more
		ids = append(ids, r.putMany("crm", 10)...)
		ahead.Store(int64(57 * time.Second))
		time.Sleep(2*time.Second + 20)
		ids = append(ids, r.putMany("crm", 100)...)
		time.Sleep(time.Second)
		if n := len(r.entries(LogFilter{Limit: 100})); n != len(ids) {
			t.Errorf("the log has %d entries, want %d", n, len(ids))
		}
		for _, id := range ids {
			if n := len(r.entries(LogFilter{Delivery: id, Limit: 10})); n != 1 {
				t.Fatalf("%s has %d entries", id, n)
			}
		}
	})
}

// TestRateAfterTheClockWasSetBack: a route with a rate does not wait for the
// clock to get to its newest attempt.
func TestRateAfterTheClockWasSetBack(t *testing.T) {
	bubble(t, "rate", func(t *testing.T) {
		slow := route("crm")
		slow.Rate = 1
		r, ahead, _ := wallRig(t, slow)
		ahead.Store(int64(24 * time.Hour))
		r.put("crm")
		time.Sleep(time.Second)
		r.close()
		ahead.Store(0)
		r.open()
		r.taken()
		r.put("crm")
		time.Sleep(3 * time.Second)
		if n := len(r.taken()); n != 1 {
			t.Error(fmt.Sprint(n, " attempts in three seconds"))
		}
	})
}

// TestClockSetBackAsTheStoreFails: the log's times are looked for where there
// are entries of tomorrow, and not for ever where none can be read any more.
func TestClockSetBackAsTheStoreFails(t *testing.T) {
	bubble(t, "failed", func(t *testing.T) {
		r, ahead, _ := wallRig(t, route("a"))
		ahead.Store(int64(24 * time.Hour))
		r.put("a")
		synctest.Wait()
		ahead.Store(0)
		r.set(0, func(shot) (Outcome, error) { time.Sleep(time.Second); return ok200, nil })
		late := r.put("a").Delivery(1)
		synctest.Wait()
		r.engine.Load().store.Fail(errors.New("as if the disk were full"))
		time.Sleep(time.Minute)
		if err := r.Ready(); err != nil {
			t.Error(err)
		}
		r.wantState(late, StateDelivered, "")
	})
}
