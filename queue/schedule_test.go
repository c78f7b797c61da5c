package queue

import (
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestSchedule(t *testing.T) {
	const s, m, h = time.Second, time.Minute, time.Hour
	tests := []struct {
		name   string
		in     Schedule
		factor float64
		gaps   []time.Duration // rounded to seconds
	}{
		{"the default", Schedule{10, 5 * s, 24 * h, 0.1}, 3.233,
			[]time.Duration{5 * s, 16 * s, 52 * s, 169 * s, 546 * s, 1766 * s, 5710 * s, 18459 * s, 59677 * s}},
		{"two attempts: the gap is first", Schedule{2, 5 * s, 24 * h, 0.1}, 1, []time.Duration{5 * s}},
		{"one attempt: no gap", Schedule{1, 5 * s, 24 * h, 0.1}, 1, nil},
		{"no growth", Schedule{5, m, 4 * m, 0}, 1, []time.Duration{m, m, m, m}},
		{"doubling", Schedule{4, s, 7 * s, 0}, 2, []time.Duration{s, 2 * s, 4 * s}},
		{"a window too short has a factor below 1", Schedule{3, 4 * s, 6 * s, 0}, 0.5, []time.Duration{4 * s, 2 * s}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if f := test.in.Factor(); math.Abs(f-test.factor) > 0.001 {
				t.Errorf("the factor is %.4f, want %.4f", f, test.factor)
			}
			gaps := test.in.Gaps()
			var rounded []time.Duration
			for _, g := range gaps {
				rounded = append(rounded, g.Round(time.Second))
			}
			if !slices.Equal(rounded, test.gaps) {
				t.Errorf("the gaps are %v, want %v", rounded, test.gaps)
			}
		})
	}
}

func FuzzSchedule(f *testing.F) {
	f.Add(10, int64(5*time.Second), int64(24*time.Hour))
	f.Add(2, int64(5*time.Second), int64(time.Second))
	f.Add(100, int64(time.Millisecond), int64(30*24*time.Hour))
	f.Add(3, int64(time.Hour), int64(2*time.Hour))
	f.Add(1000, int64(time.Second), int64(1000*time.Second))
	f.Fuzz(func(t *testing.T, attempts int, first, window int64) {
		s := Schedule{Attempts: attempts, First: time.Duration(first), Window: time.Duration(window)}
		if attempts < 3 || attempts > 1000 || first < int64(time.Millisecond) || window < first || window > int64(365*24*time.Hour) {
			return
		}
		factor := s.Factor()
		gaps := s.Gaps()
		if len(gaps) != attempts-1 {
			t.Fatalf("%d gaps for %d attempts", len(gaps), attempts)
		}
		if gaps[0] != s.First {
			t.Errorf("the first gap is %v, want %v", gaps[0], s.First)
		}
		sum := time.Duration(0)
		for _, g := range gaps {
			sum += g
		}
		if d := (sum - s.Window).Abs(); d > time.Millisecond {
			t.Errorf("the gaps of %+v add up to %v, %v off", s, sum, d)
		}
		grow := func(a, b time.Duration) int { return int(min(max(a-b, -1), 1)) }
		if factor >= 1 && !slices.IsSortedFunc(gaps, grow) {
			t.Errorf("the factor is %v, but the gaps do not grow: %v", factor, gaps)
		}
	})
}

func TestGap(t *testing.T) {
	const s, h = time.Second, time.Hour
	plain := Schedule{Attempts: 4, First: 10 * s, Window: 70 * s} // 10, 20, 40
	shaken := plain
	shaken.Jitter = 0.1
	tests := []struct {
		name  string
		s     Schedule
		n     int
		roll  float64
		after time.Duration
		want  time.Duration
	}{
		{"first", plain, 1, 0.9, 0, 10 * s},
		{"last", plain, 3, 0.9, 0, 40 * s},
		{"jitter takes a tenth at most", shaken, 2, 0, 0, 18 * s},
		{"jitter takes nothing in the middle", shaken, 2, 0.5, 0, 20 * s},
		{"jitter adds a tenth at most", shaken, 2, 1, 0, 22 * s},
		{"Retry-After does not shorten", plain, 2, 0.5, 5 * s, 20 * s},
		{"Retry-After lengthens", plain, 2, 0.5, 33 * s, 33 * s},
		{"Retry-After lengthens up to what is left of the window", plain, 2, 0.5, h, 60 * s},
		{"at the last gap nothing more is left", plain, 3, 0.5, h, 40 * s},
		{"the whole window is left at first", plain, 1, 0.5, h, 70 * s},
		{"two attempts: Retry-After up to the window", Schedule{2, 5 * s, 24 * h, 0}, 1, 0.5, 48 * h, 24 * h},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.s.Gap(test.n, test.roll, test.after); (got - test.want).Abs() > time.Microsecond {
				t.Errorf("the gap is %v, want %v", got, test.want)
			}
		})
	}
}

// due are the times from the first attempt on at which the schedule has attempts.
func due(s Schedule) []time.Duration {
	at := []time.Duration{0}
	for _, g := range s.Gaps() {
		at = append(at, at[len(at)-1]+g.Truncate(time.Millisecond))
	}
	return at
}

func wantTimes(t *testing.T, got, want []time.Duration) {
	t.Helper()
	near := func(a, b time.Duration) bool { return (a - b).Abs() <= time.Duration(len(want))*time.Millisecond }
	if !slices.EqualFunc(got, want, near) {
		t.Errorf("attempts were at\n%v, want\n%v", got, want)
	}
}

func TestAttemptsComeWhenTheyAreDue(t *testing.T) {
	bulk(t)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.set(0, always(no404))
		start := time.Now()
		id := r.put("crm").Delivery(1)
		synctest.Wait()
		d := r.detail(id)
		if want := start.Add(5 * time.Second); d.NextAttempt == nil || !d.NextAttempt.Equal(want) || d.State != StatePending || d.Attempts != 1 {
			t.Errorf("after one attempt it is %+v, want the next at %v", d.Info, want)
		}
		time.Sleep(25 * time.Hour)
		shots := r.taken()
		wantTimes(t, offsets(start, shots), due(usual))
		for i, s := range shots {
			if s.attempt != i+1 || s.Delivery.ID != id {
				t.Errorf("shot %d is attempt %d of %s", i, s.attempt, s.Delivery.ID)
			}
		}
		d = r.detail(id)
		if d.State != StateDead || d.Reason != Exhausted || d.Attempts != 10 || len(d.Log) != 10 || d.NextAttempt != nil {
			t.Errorf("after the last attempt it is %+v with %d log entries", d.Info, len(d.Log))
		}
		for i, e := range d.Log {
			want := Entry{Time: e.Time, Delivery: id, Signal: d.Signal, Route: "crm", Type: "lead", Attempt: i + 1, Verdict: Retry, Status: 404, Error: no404.Error, NextAttempt: e.NextAttempt, Trigger: Scheduled, Class: Class4xx}
			if i == 9 {
				want.Verdict, want.Reason = Dead, Exhausted
			}
			if e != want || (e.NextAttempt == nil) != (i == 9) || i < 9 && !e.NextAttempt.Equal(shots[i+1].at) {
				t.Errorf("entry %d is %+v", i, e)
			}
		}
	})
}

func TestAttemptsComeWhenTheyAreDueOverRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hour := usual
		hour.Window = time.Hour
		r := newRig(t, route("crm"))
		r.schedule("crm", hour)
		r.set(0, always(no404))
		start := time.Now()
		id := r.put("crm").Delivery(1)
		for range 20 {
			time.Sleep(5*time.Minute + 123*time.Millisecond)
			r.restart()
		}
		wantTimes(t, offsets(start, r.taken()), due(hour))
		r.wantState(id, StateDead, Exhausted)
	})
}

func TestGapRunsFromTheEndOfTheAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.set(15*time.Second, always(no404))
		start := time.Now()
		r.put("crm")
		time.Sleep(30 * time.Second)
		wantTimes(t, offsets(start, r.taken()), []time.Duration{0, 20 * time.Second})
	})
}

func TestChangedScheduleReachesQueuedDeliveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.set(0, always(no404))
		start := time.Now()
		id := r.put("crm").Delivery(1)
		time.Sleep(time.Second)
		r.schedule("crm", Schedule{Attempts: 3, First: time.Second, Window: 3 * time.Second})
		time.Sleep(time.Hour)
		// The second was due before the change, the gap after it is the second of the new schedule.
		wantTimes(t, offsets(start, r.taken()), []time.Duration{0, 5 * time.Second, 7 * time.Second})
		r.wantState(id, StateDead, Exhausted)

		id = r.put("crm").Delivery(1)
		synctest.Wait()
		r.schedule("crm", Schedule{Attempts: 1, First: time.Second, Window: 3 * time.Second})
		time.Sleep(time.Hour)
		r.wantState(id, StateDead, Exhausted)
		if n := len(r.taken()); n != 2 {
			t.Errorf("%d attempts, want 2: fewer are allowed when the second ends", n)
		}
	})
}

func TestVerdictDecides(t *testing.T) {
	tests := []struct {
		name  string
		out   Outcome
		state State
		why   Reason
	}{
		{"delivered", ok200, StateDelivered, ""},
		{"dead at once", no410, StateDead, Gone},
		{"again", no503, StatePending, ""},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T) {
			r := newRig(t, route("crm"))
			out := test.out
			out.Duration, out.Response = 1500*time.Microsecond, "thanks"
			r.set(0, always(out))
			id := r.put("crm").Delivery(1)
			synctest.Wait()
			r.wantState(id, test.state, test.why)
			last := r.detail(id).Last
			if last.Verdict != out.Verdict || last.Reason != test.why || last.Status != out.Status || last.DurationMS != 1.5 || last.Response != "thanks" || last.Error != out.Error {
				t.Errorf("logged %+v", last)
			}
		})
	}
}
