package queue

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func (r *rig) problems(back time.Duration) []Problem {
	r.t.Helper()
	p, err := r.Problems(r.t.Context(), r.now().Add(-back))
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// TestProblems: failures are grouped, and what each affects is counted as
// it changes, over a restart.
func TestProblems(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, route("crm"), route("erp"))
		later := r.setClock()
		crm := func(o Outcome) {
			r.set(0, func(s shot) (Outcome, error) {
				if s.Route == "erp" {
					return no404, nil
				}
				return o, nil
			})
		}
		crm(no410)
		var ids []DeliveryID
		for range 10 {
			ids = append(ids, r.put("crm", "erp").Delivery(1))
		}
		r.putAll(Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead"}, Deliveries: []Made{{Route: "crm", Error: "no such key"}}})
		time.Sleep(8 * time.Second) // erp has tried twice
		r.restart()
		want := func(what string, back time.Duration, list ...string) {
			t.Helper()
			var got []string
			for _, p := range r.problems(back) {
				got = append(got, fmt.Sprintf("%s %s %d %s: %d, %d wait, %d dead", p.Route, p.Class, p.Status, p.Error, p.Count, p.Pending, p.Dead))
			}
			if strings.Join(got, "\n") != strings.Join(list, "\n") {
				t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(list, "\n"))
			}
		}
		want("at first", time.Minute,
			"erp 4xx 404 404 Not Found: 20, 10 wait, 0 dead",
			"crm 4xx 410 410 Gone: 10, 0 wait, 10 dead",
			"crm local 0 no such key: 1, 0 wait, 1 dead")
		last := r.entries(LogFilter{Statuses: []StatusRange{{410, 410}}})[0]
		if p := r.problems(time.Minute)[1]; p.Sample != last.Delivery || !p.Last.Equal(last.Time) || p.First.After(p.Last) || p.Last.IsZero() {
			t.Errorf("%+v", p)
		}
		if err := r.Discard(r.problems(time.Minute)[0].Sample); err != nil {
			t.Fatal(err)
		}
		if _, err := r.DiscardAll(t.Context(), Filter{State: StateDead, Reason: Transform}, false); err != nil {
			t.Fatal(err)
		}
		crm(Outcome{Verdict: Retry, Status: 503, Error: "503", Fault: true})
		for _, id := range ids[:4] {
			if err := r.Retry(id, false, nil); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		crm(ok200)
		if err := r.Retry(ids[5], false, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		want("of the last second", 1500*time.Millisecond)
		want("of the last two seconds", 2500*time.Millisecond, "crm 5xx 503 503: 4, 4 wait, 0 dead")
		want("amended", time.Minute,
			"erp 4xx 404 404 Not Found: 20, 9 wait, 0 dead",
			"crm 4xx 410 410 Gone: 10, 0 wait, 5 dead",
			"crm 5xx 503 503: 4, 4 wait, 0 dead",
			"crm local 0 no such key: 1, 0 wait, 0 dead")
		later.Store(int64(2 * time.Hour))
		time.Sleep(30 * time.Second)
		want("of the last minute", time.Minute, "erp 4xx 404 404 Not Found: 9, 9 wait, 0 dead")
		later.Store(int64(90 * 24 * time.Hour)) // all expires, or dies too old
		time.Sleep(3 * time.Minute)
		r.configure(route("crm"))
		time.Sleep(5 * time.Minute)
		want("too old", 100*24*time.Hour, "erp 4xx 404 404 Not Found: 9, 0 wait, 9 dead")
		later.Add(int64(5 * 24 * time.Hour))
		time.Sleep(3 * time.Minute)
		want("expired", 100*24*time.Hour, "erp 4xx 404 404 Not Found: 9, 0 wait, 0 dead")
		later.Add(int64(40 * 24 * time.Hour))
		time.Sleep(3 * time.Minute)
		want("of all time", 200*24*time.Hour)
	})
}

// TestProblemsOutliveTheLog: where it has gone, failures are counted by the hour.
func TestProblemsOutliveTheLog(t *testing.T) {
	bulk(t)
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.set(0, func(shot) (Outcome, error) { return no410, nil })
		time.Sleep(time.Until(time.Now().Truncate(time.Hour).Add(time.Hour + time.Minute)))
		r.put("crm")
		time.Sleep(time.Minute)
		since := r.now()
		r.put("crm")
		time.Sleep(time.Minute)
		if p := r.problems(r.now().Sub(since)); len(p) != 1 || p[0].Count != 1 || p[0].First.Before(since) {
			t.Errorf("by the log: %+v", p)
		}
		time.Sleep(90 * time.Hour)
		if p := r.problems(r.now().Sub(since)); len(p) != 1 || p[0].Count != 2 {
			t.Errorf("without: %+v", p)
		}
	})
}

// TestProblemsAreBounded: an endpoint that says something else each time does
// not fill the store; nothing of it is lost.
func TestProblemsAreBounded(t *testing.T) {
	bulk(t)
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, route("crm"))
		n := 0
		r.set(0, func(s shot) (Outcome, error) {
			n++
			return Outcome{Verdict: Dead, Reason: Gone, Status: 400 + n%2, Error: fmt.Sprint(n, strings.Repeat("é", 600))}, nil
		})
		for hour := range 12 {
			for range 50 {
				r.put("crm")
				time.Sleep(time.Second)
			}
			time.Sleep(time.Hour)
			if hour == 3 {
				r.restart()
			}
		}
		problems, count, dead := r.problems(24*time.Hour), int64(0), int64(0)
		for _, p := range problems {
			count += p.Count
			dead += p.Dead
			if len(p.Error) > 520 {
				t.Errorf("an error of %d bytes is kept", len(p.Error))
			}
		}
		if len(problems) > 257 || count != 600 || dead != 600 || problems[0].Error != "other errors, too many to be told apart" {
			t.Errorf("%d problems with %d attempts, %d dead, first %+v", len(problems), count, dead, problems[0])
		}
	})
}

// TestProblemsSinceWithinAnHour: of the same failure, before and after, only what came after counts.
func TestProblemsSinceWithinAnHour(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.set(0, func(shot) (Outcome, error) { return no410, nil })
		for range 3 {
			r.put("crm")
		}
		time.Sleep(10 * time.Second)
		since := r.now().Add(-5 * time.Second)
		for range 2 {
			r.put("crm")
		}
		time.Sleep(time.Second)
		for _, c := range []struct {
			since time.Time
			count int64
		}{{since, 2}, {since.Add(-time.Minute), 5}, {since.Add(-24 * time.Hour), 5}} {
			p, err := r.Problems(t.Context(), c.since)
			if err != nil || len(p) != 1 || p[0].Count != c.count || p[0].Dead != 5 || p[0].First.Before(c.since) {
				t.Errorf("since %v: %+v, %v", c.since, p, err)
			}
		}
	})
}
