package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// history is a rig with deliveries of every kind: to two routes, of two types,
// over some hours.
func history(t *testing.T) *rig {
	r := newRig(t, route("crm"), route("other"), route("gone"), route("slow"))
	for _, name := range []string{"crm", "other", "gone", "slow"} { // deliveries are at their end within the hour
		r.schedule(name, Schedule{Attempts: 10, First: 5 * time.Second, Window: time.Hour})
	}
	r.SetPaused("slow", true)
	r.SetPaused("gone", true)
	outs := []Outcome{ok200, no404, no410, no503}
	var i atomic.Int64
	r.set(0, func(s shot) (Outcome, error) {
		return outs[int(i.Add(1))%len(outs)], nil
	})
	for n := range 40 {
		kind := []string{"lead", "expansion"}[n%2]
		a := Accepted{Signal: Signal{ID: r.NewSignalID(), Type: kind, Body: []byte("{}")}}
		for k := range n % 4 {
			a.Deliveries = append(a.Deliveries, Made{Route: []string{"crm", "other", "crm"}[k]})
		}
		switch {
		case n%7 == 0:
			a.Deliveries = append(a.Deliveries, Made{Route: "slow"}, Made{Route: "gone"})
		case n%11 == 0:
			a.Deliveries = append(a.Deliveries, Made{Route: "crm", Error: "boom"})
		}
		r.putAll(a)
		time.Sleep(time.Minute + 123456*time.Nanosecond)
	}
	r.SetPaused("crm", true)
	r.SetPaused("other", true)
	synctest.Wait()
	r.configure(route("crm"), route("other"), route("slow"))
	return r
}

func TestDeliveriesFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := history(t)
		every := r.all(Filter{Limit: 1000})
		if len(every) < 60 {
			t.Fatalf("only %d deliveries", len(every))
		}
		if ids := deliveryIDs(every); !slices.Equal(ids, newestFirst(ids)) {
			t.Error("they are not newest first")
		}
		mid := every[len(every)/2]
		tests := []struct {
			name string
			f    Filter
			want func(i Info) bool
		}{
			{"all", Filter{}, func(Info) bool { return true }},
			{"pending", Filter{State: StatePending}, func(i Info) bool { return i.State == StatePending }},
			{"held", Filter{State: StateHeld}, func(i Info) bool { return i.State == StateHeld }},
			{"delivered", Filter{State: StateDelivered}, func(i Info) bool { return i.State == StateDelivered }},
			{"dead", Filter{State: StateDead}, func(i Info) bool { return i.State == StateDead }},
			{"route", Filter{Route: "other"}, func(i Info) bool { return i.Route == "other" }},
			{"type", Filter{Type: "lead"}, func(i Info) bool { return i.Type == "lead" }},
			{"signal", Filter{Signal: mid.Signal}, func(i Info) bool { return i.Signal == mid.Signal }},
			{"reason", Filter{Reason: Transform}, func(i Info) bool { return i.Reason == Transform }},
			{"since, inclusive", Filter{Since: mid.Created}, func(i Info) bool { return !i.Created.Before(mid.Created) }},
			{"since between milliseconds", Filter{Since: mid.Created.Add(1)}, func(i Info) bool { return i.Created.After(mid.Created) }},
			{"until, exclusive", Filter{Until: mid.Created}, func(i Info) bool { return i.Created.Before(mid.Created) }},
			{"until between milliseconds", Filter{Until: mid.Created.Add(1)}, func(i Info) bool { return !i.Created.After(mid.Created) }},
			{"several", Filter{State: StateDead, Route: "crm", Type: "expansion", Since: every[len(every)-5].Created}, func(i Info) bool {
				return i.State == StateDead && i.Route == "crm" && i.Type == "expansion" && !i.Created.Before(every[len(every)-5].Created)
			}},
			{"signal and state", Filter{Signal: mid.Signal, State: mid.State}, func(i Info) bool { return i.Signal == mid.Signal && i.State == mid.State }},
		}
		for _, test := range tests {
			var want []DeliveryID
			for _, i := range every {
				if test.want(i) {
					want = append(want, i.ID)
				}
			}
			if len(want) == 0 {
				t.Errorf("%s: the test has none of these", test.name)
			}
			for _, limit := range []int{1, 3, len(want), 1000} {
				test.f.Limit = limit
				if got := deliveryIDs(r.all(test.f)); !slices.Equal(got, want) {
					t.Errorf("%s, %d a page: %d deliveries, want %d", test.name, limit, len(got), len(want))
				}
			}
			// Their number is known: no page promises another that is empty.
			if page, err := r.Deliveries(context.Background(), test.f); err != nil || page.Next != "" || len(page.Deliveries) != len(want) {
				t.Errorf("%s: one page has %d, next %q, %v", test.name, len(page.Deliveries), page.Next, err)
			}
		}
		for _, f := range []Filter{
			{Route: "nobody"}, {Signal: r.NewSignalID()}, {Since: time.Now().Add(time.Hour)}, {Until: time.Unix(0, 0)},
			{Since: mid.Created, Until: mid.Created}, {Since: mid.Created, Until: mid.Created.Add(-time.Hour)},
			{Signal: SignalID(mid.ID)}, // no signal's id
		} {
			if got := r.all(f); len(got) != 0 {
				t.Errorf("%+v finds %d", f, len(got))
			}
		}
		for _, after := range []string{"x", "dlv_", mid.Signal.String()} {
			if _, err := r.Deliveries(context.Background(), Filter{Limit: 1, After: after}); err == nil {
				t.Errorf("the cursor %q is taken", after)
			}
		}
		for _, i := range every {
			d := r.detail(i.ID)
			if d.Info.State != i.State || d.Attempts != i.Attempts || (i.NextAttempt != nil) != (i.State == StatePending) {
				t.Errorf("the list has %+v, alone it is %+v", i, d.Info)
			}
			if i.Attempts > 0 && (i.Last == nil || *i.Last != d.Log[len(d.Log)-1]) {
				t.Errorf("the list has the last entry %+v, alone it is %+v", i.Last, d.Log)
			}
		}
	})
}

func TestLogFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := history(t)
		every := r.entries(LogFilter{Limit: 1000})
		if len(every) < 60 || !slices.IsSortedFunc(every, func(a, b Entry) int { return b.Time.Compare(a.Time) }) {
			t.Fatalf("%d entries, or not newest first", len(every))
		}
		seen := map[time.Time]bool{}
		for _, e := range every {
			if seen[e.Time] {
				t.Errorf("two entries of %v", e.Time)
			}
			seen[e.Time] = true
		}
		mid := every[len(every)/2]
		tests := []struct {
			name string
			f    LogFilter
			want func(e Entry) bool
		}{
			{"all", LogFilter{}, func(Entry) bool { return true }},
			{"route", LogFilter{Route: "other"}, func(e Entry) bool { return e.Route == "other" }},
			{"type", LogFilter{Type: "lead"}, func(e Entry) bool { return e.Type == "lead" }},
			{"signal", LogFilter{Signal: mid.Signal}, func(e Entry) bool { return e.Signal == mid.Signal }},
			{"delivery", LogFilter{Delivery: mid.Delivery}, func(e Entry) bool { return e.Delivery == mid.Delivery }},
			{"verdict", LogFilter{Verdicts: []Verdict{Dead}}, func(e Entry) bool { return e.Verdict == Dead }},
			{"status", LogFilter{Statuses: []StatusRange{{503, 503}}}, func(e Entry) bool { return e.Status == 503 }},
			{"since, inclusive", LogFilter{Since: mid.Time}, func(e Entry) bool { return !e.Time.Before(mid.Time) }},
			{"until, exclusive", LogFilter{Until: mid.Time}, func(e Entry) bool { return e.Time.Before(mid.Time) }},
			{"signal since", LogFilter{Signal: mid.Signal, Since: mid.Time}, func(e Entry) bool { return e.Signal == mid.Signal && !e.Time.Before(mid.Time) }},
			{"several", LogFilter{Route: "crm", Verdicts: []Verdict{Retry}, Statuses: []StatusRange{{404, 404}}}, func(e Entry) bool {
				return e.Route == "crm" && e.Verdict == Retry && e.Status == 404
			}},
		}
		for _, test := range tests {
			var want []Entry
			for _, e := range every {
				if test.want(e) {
					want = append(want, e)
				}
			}
			if len(want) == 0 {
				t.Errorf("%s: the test has none of these", test.name)
			}
			for _, limit := range []int{1, 2, 7, len(want), 1000} {
				test.f.Limit = limit
				got := r.entries(test.f)
				if !slices.EqualFunc(got, want, sameEntry) {
					t.Errorf("%s, %d a page: %d entries, want %d", test.name, limit, len(got), len(want))
				}
			}
		}
		for _, f := range []LogFilter{
			{Route: "nobody"}, {Signal: r.NewSignalID()}, {Delivery: r.NewSignalID().Delivery(1)}, {Until: time.Unix(0, 0)},
			{Since: time.Now().Add(time.Hour)}, {Since: mid.Time, Until: mid.Time.Add(-time.Hour)},
		} {
			if got := r.entries(f); len(got) != 0 {
				t.Errorf("%+v finds %d", f, len(got))
			}
		}
		for _, after := range []string{"x", "00", "0011223344556677ff"} {
			if _, err := r.Log(context.Background(), LogFilter{Limit: 1, After: after}); err == nil {
				t.Errorf("the cursor %q is taken", after)
			}
		}
	})
}

func sameEntry(a, b Entry) bool {
	same := (a.NextAttempt == nil) == (b.NextAttempt == nil)
	if same && a.NextAttempt != nil {
		same = a.NextAttempt.Equal(*b.NextAttempt)
	}
	a.NextAttempt, b.NextAttempt = nil, nil
	return same && a == b
}

// Pages that are read while more comes in neither repeat nor leave out what was there before.
func TestPagesWhileMoreComesIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.putMany("crm", 100)
		synctest.Wait()
		log, deliveries := r.entries(LogFilter{Limit: 1000}), deliveryIDs(r.all(Filter{Limit: 1000}))
		var gotLog []Entry
		var got []DeliveryID
		for f, g := (LogFilter{Limit: 7}), (Filter{Limit: 7}); ; {
			found, err := r.Log(context.Background(), f)
			page, next := found.Entries, found.Next
			if err != nil {
				t.Fatal(err)
			}
			listed, err := r.Deliveries(context.Background(), g)
			infos, more := listed.Deliveries, listed.Next
			if err != nil {
				t.Fatal(err)
			}
			gotLog, got = append(gotLog, page...), append(got, deliveryIDs(infos)...)
			if f.After, g.After = next, more; next == "" || more == "" {
				break
			}
			r.put("crm")
			synctest.Wait()
		}
		if !slices.EqualFunc(gotLog, log, sameEntry) {
			t.Errorf("%d entries over the pages, want %d", len(gotLog), len(log))
		}
		if !slices.Equal(got, deliveries) {
			t.Errorf("%d deliveries over the pages, want %d", len(got), len(deliveries))
		}
	})
}

func TestNotFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, route("crm"))
		none := r.NewSignalID()
		_, _, err := r.Queue.Signal(none)
		mustBe(t, err, ErrNotFound)
		_, err = r.Queue.Delivery(none.Delivery(1))
		mustBe(t, err, ErrNotFound)
		mustBe(t, r.Retry(none.Delivery(1), false, nil), ErrNotFound)
	})
}

func TestStatusCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := history(t)
		for range 2 {
			want := map[string]map[State]int64{}
			for _, i := range r.all(Filter{Limit: 1000}) {
				if want[i.Route] == nil {
					want[i.Route] = map[State]int64{}
				}
				want[i.Route][i.State]++
			}
			s := r.Status()
			if !s.Accepting || s.Reason != "" || s.Bytes == 0 || s.Unaccounted != 0 || len(s.Routes) != 4 {
				t.Errorf("status is %+v", s)
			}
			for _, rs := range s.Routes {
				got := map[State]int64{StatePending: rs.Pending, StateHeld: rs.Held, StateDelivered: rs.Delivered, StateDead: rs.Dead + rs.Discarded}
				for state, n := range got {
					if want[rs.Name][state] != n {
						t.Errorf("%s: %d %s, want %d", rs.Name, n, state, want[rs.Name][state])
					}
				}
			}
			r.restart()
		}
	})
}

func TestFollow(t *testing.T) {
	ctx := context.Background()
	// follow collects what Follow yields until stop is called, which waits for its end.
	follow := func(r *rig, f LogFilter, pause time.Duration) (got *[]Entry, stop func() error) {
		ctx, cancel := context.WithCancel(ctx)
		got = new([]Entry)
		end := make(chan error)
		go func() {
			end <- r.Follow(ctx, f, nil, func(e Entry) error {
				time.Sleep(pause)
				*got = append(*got, e)
				return nil
			})
		}()
		synctest.Wait()
		return got, func() error { cancel(); return <-end }
	}
	oldestFirst := func(r *rig, f LogFilter) []Entry {
		f.Limit = 1000
		all := r.entries(f)
		slices.Reverse(all)
		return all
	}
	for _, pause := range []time.Duration{0, 10 * time.Millisecond} {
		for _, limit := range []int{0, 5, 1000} {
			bubble(t, fmt.Sprintf("from the last %d, each %v", limit, pause), func(t *testing.T) {
				r := newRig(t, route("crm"))
				r.putMany("crm", 20)
				synctest.Wait()
				got, stop := follow(r, LogFilter{Limit: limit}, pause)
				for range 50 {
					r.putMany("crm", 20)
					time.Sleep(time.Millisecond)
				}
				time.Sleep(time.Minute)
				if err := stop(); err != nil {
					t.Error(err)
				}
				all := oldestFirst(r, LogFilter{})
				if want := all[20-min(limit, 20):]; !slices.EqualFunc(*got, want, sameEntry) {
					t.Errorf("it yields %d entries, want %d", len(*got), len(want))
				}
			})
		}
	}
	bubble(t, "what is made as it begins", func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.putMany("crm", 3)
		synctest.Wait()
		told := errors.New("told")
		begin := func() error {
			r.putMany("crm", 1)
			time.Sleep(time.Minute)
			return nil
		}
		if err := r.Follow(ctx, LogFilter{}, begin, func(Entry) error { return told }); err != told {
			t.Error(err)
		}
		if err := r.Follow(ctx, LogFilter{}, func() error { return told }, nil); err != told {
			t.Errorf("begin failed: %v", err)
		}
	})
	bubble(t, "with a filter", func(t *testing.T) {
		r := newRig(t, route("crm"), route("other"))
		r.putMany("crm", 3)
		r.putMany("other", 300)
		synctest.Wait()
		f := LogFilter{Route: "crm", Limit: 2}
		got, stop := follow(r, f, 0)
		r.putMany("other", 300)
		r.putMany("crm", 4)
		time.Sleep(time.Second)
		stop()
		if want := oldestFirst(r, f)[1:]; !slices.EqualFunc(*got, want, sameEntry) {
			t.Errorf("it yields %d entries, want %d", len(*got), len(want))
		}
	})
	bubble(t, "within times", func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.put("crm")
		time.Sleep(time.Minute)
		f := LogFilter{Since: time.Now(), Until: time.Now().Add(10 * time.Minute), Limit: 100}
		got, stop := follow(r, f, 0)
		for range 20 {
			r.put("crm")
			time.Sleep(time.Minute)
		}
		stop()
		if want := oldestFirst(r, f); len(want) != 10 || !slices.EqualFunc(*got, want, sameEntry) {
			t.Errorf("it yields %d entries, want %d", len(*got), len(want))
		}
	})
	bubble(t, "ends with what yield says", func(t *testing.T) {
		r := newRig(t, route("crm"))
		full := errors.New("full")
		for _, limit := range []int{0, 10} {
			r.put("crm")
			synctest.Wait()
			end := make(chan error, 1)
			go func() {
				end <- r.Follow(ctx, LogFilter{Limit: limit}, nil, func(Entry) error { return full })
			}()
			synctest.Wait()
			r.put("crm")
			if err := <-end; err != full {
				t.Errorf("it ends with %v", err)
			}
		}
	})
	bubble(t, "ends at Close with nothing left out", func(t *testing.T) {
		for range 50 {
			r := newRig(t, route("crm"))
			var wg sync.WaitGroup
			n := make([]int, 4)
			for i := range n {
				wg.Go(func() {
					if err := r.Follow(ctx, LogFilter{}, nil, func(Entry) error { n[i]++; return nil }); err != nil {
						t.Error(err)
					}
				})
			}
			synctest.Wait()
			r.putMany("crm", 10)
			synctest.Wait()
			r.close()
			wg.Wait()
			for _, n := range n {
				if n != 10 {
					t.Errorf("it yielded %d entries, want 10", n)
				}
			}
		}
	})
}

func TestObserveSeesEachEntryOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.close()
		var got []Entry
		r.options.Observe = func(batch []Entry) {
			for _, e := range batch {
				if p, err := r.Log(context.Background(), LogFilter{Limit: 1, Since: e.Time, Until: e.Time.Add(1)}); err != nil || len(p.Entries) != 1 {
					t.Errorf("an entry was observed that cannot be read: %v", err)
				}
			}
			got = append(got, batch...)
		}
		r.open()
		r.configure(route("crm"))
		r.set(0, always(no404))
		ids := r.putMany("crm", 50)
		r.putAll(Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: []byte("{}")}, Deliveries: []Made{{Route: "crm", Error: "boom"}}})
		time.Sleep(time.Minute)
		if _, err := r.DiscardAll(context.Background(), Filter{State: StatePending}, false); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		want := r.entries(LogFilter{Limit: 1000})
		slices.Reverse(want)
		if len(want) < 4*len(ids) || !slices.EqualFunc(got, want, sameEntry) {
			t.Errorf("%d entries were observed, want %d", len(got), len(want))
		}
	})
}

// TestFilters: globs, lists, ranges and texts select what they say, and a page
// whose search has walked far says how far.
func TestFilters(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, route("crm-eu"), route("crm-us"), route("erp"))
		r.set(0, func(s shot) (Outcome, error) {
			switch {
			case s.Route == "erp":
				return Outcome{Verdict: Dead, Reason: Gone, Status: 410, Error: "410 Gone", Response: `{"why":"ACME closed"}`}, nil
			case s.Type == "lead.b":
				return Outcome{Verdict: Retry, Class: ClassConnect, Error: "Connection refused", Gap: time.Hour}, nil
			}
			return ok200, nil
		})
		body := `{"account":"Acme"}`
		for _, kind := range []string{"lead.a", "lead.b", "churn"} {
			r.putAll(Accepted{Signal: Signal{ID: r.NewSignalID(), Type: kind, Config: "c1", Body: []byte(`{"signal_type":"` + kind + `"}`)},
				Deliveries: []Made{{Route: "crm-eu"}, {Route: "crm-us", Body: []byte(body)}, {Route: "erp"}}})
		}
		written := `{"a":"Z\u00fcrich \uD83D\udca1 \"so\/so\" \ud83d \n\u12"}` // by a producer that escapes
		r.putAll(Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "escaped", Body: []byte(written)}, Deliveries: []Made{{Route: "zh"}}})
		time.Sleep(time.Second)
		for want, filters := range map[int][]LogFilter{
			9: {{Route: "*"}, {Type: "*"}, {Verdicts: []Verdict{Delivered, Retry, Dead}}},
			6: {{Route: "crm-*"}, {Type: "lead.?"}, {Route: "crm-??", Limit: 2}},
			4: {{Statuses: []StatusRange{{200, 299}}}, {Route: "crm-*", Verdicts: []Verdict{Delivered}}},
			5: {{Statuses: []StatusRange{{500, 599}, {410, 410}, {0, 0}}}, {Verdicts: []Verdict{Retry, Dead}}},
			3: {{Text: "acme"}, {Text: "gone"}, {Text: "410 GONE"}},
			2: {{Text: "connection"}, {Statuses: []StatusRange{{0, 0}}}},
			0: {{Route: "crm"}, {Route: "crm-?"}, {Type: "lead"}, {Text: "nothing"}, {Statuses: []StatusRange{{201, 299}}}},
		} {
			for _, f := range filters {
				if got := r.entries(f); len(got) != want {
					t.Errorf("%+v selects %d entries, want %d", f, len(got), want)
				}
				var followed int
				f.Limit = 100
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				if err := r.Follow(ctx, f, nil, func(Entry) error { followed++; return nil }); err != nil || followed != want {
					t.Errorf("%+v follows %d entries, want %d: %v", f, followed, want, err)
				}
			}
		}
		for want, filters := range map[int][]Filter{
			6: {{Route: "crm-*"}, {Type: "lead.*"}},
			3: {{Body: "Acme"}, {Body: `"signal_type":"churn"`}, {Route: "*us", Body: "signal_type"}},
			1: {{Route: "crm-us", Type: "churn", Body: "Acme"}, {Body: "Zürich 💡 \"so/so\" \uFFFD \nu12"}, {Body: `Z\u00fcrich \uD83D`}, {Body: `\"so\/so`}},
			0: {{Route: "crm"}, {Body: "acme"}, {Body: "ürichs"}},
		} {
			for _, f := range filters {
				if got := r.all(f); len(got) != want {
					t.Errorf("%+v selects %d deliveries, want %d", f, len(got), want)
				}
			}
		}
	})
}

// TestSearchesAreBounded: a search that finds nothing ends with a cursor, tells
// how far it came, goes on from there, and ends with its context.
func TestSearchesAreBounded(t *testing.T) {
	bulk(t)
	r := newRig(t, route("crm"))
	r.putMany("crm", scanMost+1000)
	r.idle("crm")
	page, err := r.Log(t.Context(), LogFilter{Text: "nothing", Limit: 10})
	if err != nil || len(page.Entries) != 0 || page.Next == "" || page.SearchedTo.IsZero() {
		t.Errorf("%+v, %v", page, err)
	}
	page, err = r.Log(t.Context(), LogFilter{Text: "nothing", Limit: 10, After: page.Next})
	if err != nil || page.Next != "" || !page.SearchedTo.IsZero() {
		t.Errorf("the next: %+v, %v", page, err)
	}
	n := 0
	for f := (Filter{Body: "nothing", Limit: 10}); ; n++ {
		page, err := r.Deliveries(t.Context(), f)
		if err != nil || len(page.Deliveries) != 0 || (page.Next == "") != page.SearchedTo.IsZero() {
			t.Fatalf("%+v, %v", page, err)
		}
		if f.After = page.Next; f.After == "" {
			break
		}
	}
	if n < 5 {
		t.Errorf("a search in bodies read 100,000 of them in %d pages", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err1 := r.Log(ctx, LogFilter{Text: "nothing", Limit: 10})
	_, err2 := r.Deliveries(ctx, Filter{Body: "nothing", Limit: 10})
	_, _, err3 := r.Signals(ctx, SignalFilter{Type: "nothing", Limit: 10})
	err4 := r.EachSignal(ctx, SignalFilter{}, func(Signal) error { return nil })
	for _, err := range []error{err1, err2, err3, err4} {
		mustBe(t, err, context.Canceled)
	}
}

// TestSignals: in pages newest first, and all of them oldest first.
func TestSignals(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, route("crm"))
		var ids []SignalID
		for i := range 600 {
			a := Accepted{Signal: Signal{ID: r.NewSignalID(), Type: fmt.Sprint("lead.", i%2), Config: "c1", Body: []byte(`{"n":1}`)}}
			if i%3 == 0 {
				a.Deliveries = []Made{{Route: "crm"}}
			}
			r.putAll(a)
			ids = append(ids, a.ID)
			time.Sleep(time.Second)
		}
		var paged, streamed []SignalID
		for f := (SignalFilter{Limit: 100}); ; {
			page, next, err := r.Signals(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range page {
				if s.Config != "c1" || string(s.Body) != `{"n":1}` || s.Type == "" {
					t.Fatalf("%+v", s)
				}
				paged = append(paged, s.ID)
			}
			if f.After = next; next == "" {
				break
			}
		}
		each := func(f SignalFilter) (got []SignalID) {
			err := r.EachSignal(t.Context(), f, func(s Signal) error { got = append(got, s.ID); return nil })
			if err != nil {
				t.Error(err)
			}
			return got
		}
		streamed = each(SignalFilter{})
		if !slices.Equal(streamed, ids) {
			t.Errorf("%d signals are streamed of %d", len(streamed), len(ids))
		}
		slices.Reverse(paged)
		if !slices.Equal(paged, ids) {
			t.Errorf("%d signals are in pages of %d", len(paged), len(ids))
		}
		if got := each(SignalFilter{Type: "*.1", Since: ids[100].Time(), Until: ids[200].Time()}); len(got) != 50 || got[0] != ids[101] {
			t.Errorf("%d of a type and time", len(got))
		}
		if page, next, err := r.Signals(t.Context(), SignalFilter{Type: "*.1", Since: ids[100].Time(), Until: ids[200].Time(), Limit: 50}); len(page) != 50 || next != "" || err != nil || page[0].ID != ids[199] {
			t.Errorf("a page of %d, next %q, %v", len(page), next, err)
		}
		told := errors.New("told")
		if err := r.EachSignal(t.Context(), SignalFilter{}, func(Signal) error { return told }); err != told {
			t.Errorf("an error of the reader's is %v", err)
		}
	})
}
