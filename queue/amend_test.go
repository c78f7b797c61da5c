package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"signalpost/queue/lane"
	"signalpost/queue/record"

	"signalpost/queue/store"
)

// shape is a Reshape that makes the bodies, whatever the signal.
func shape(to ...string) Reshape {
	return func(Signal, string) ([]Made, error) { return bodies(to...), nil }
}

// bodies are deliveries that were made, of whatever route.
func bodies(of ...string) (made []Made) {
	for _, body := range of {
		made = append(made, Made{Body: []byte(body)})
	}
	return made
}

func (r *rig) retry(id DeliveryID) {
	r.t.Helper()
	if err := r.Retry(id, false, nil); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) discard(f Filter, want int) {
	r.t.Helper()
	if n, err := r.DiscardAll(context.Background(), f, true); n != want || err != nil {
		r.t.Errorf("a dry run would discard %d, %v; want %d", n, err, want)
	}
	if n, err := r.DiscardAll(context.Background(), f, false); n != want || err != nil {
		r.t.Errorf("%d were discarded, %v; want %d", n, err, want)
	}
}

func TestRetryStartsTheScheduleAnew(t *testing.T) {
	tests := []struct {
		name string
		make func(r *rig) DeliveryID // leaves it after two attempts or three
		made int
	}{
		{"exhausted", func(r *rig) DeliveryID {
			id := r.put("crm").Delivery(1)
			time.Sleep(time.Minute)
			r.wantState(id, StateDead, Exhausted)
			return id
		}, 3},
		{"discarded", func(r *rig) DeliveryID {
			id := r.put("crm").Delivery(1)
			time.Sleep(1500 * time.Millisecond)
			r.discard(Filter{State: StatePending}, 1)
			r.wantState(id, StateDead, Discarded)
			return id
		}, 2},
		{"delivered", func(r *rig) DeliveryID {
			r.set(0, func(s shot) (Outcome, error) {
				if s.attempt == 3 {
					return ok200, nil
				}
				return no404, nil
			})
			id := r.put("crm").Delivery(1)
			time.Sleep(time.Minute)
			r.wantState(id, StateDelivered, "")
			return id
		}, 3},
		{"pending", func(r *rig) DeliveryID {
			id := r.put("crm").Delivery(1)
			time.Sleep(1500 * time.Millisecond)
			r.wantState(id, StatePending, "")
			return id
		}, 2},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T) {
			r := newRig(t, route("crm"))
			r.schedule("crm", Schedule{Attempts: 3, First: time.Second, Window: 3 * time.Second})
			r.set(0, always(no404))
			id := test.make(r)
			body := r.detail(id).Body
			if n := len(r.taken()); n != test.made {
				t.Fatalf("%d attempts before", n)
			}
			r.set(0, always(no404))
			start := time.Now()
			r.retry(id)
			time.Sleep(time.Minute)
			shots := r.taken()
			wantTimes(t, offsets(start, shots), []time.Duration{0, time.Second, 3 * time.Second})
			for i, s := range shots {
				if s.attempt != test.made+i+1 || s.Delivery.ID != id || !bytes.Equal(s.Body, body) {
					t.Errorf("attempt %d is %+v", test.made+i+1, s)
				}
			}
			r.wantState(id, StateDead, Exhausted)
			if d := r.detail(id); d.Attempts != test.made+3 {
				t.Errorf("it has %d attempts, want %d", d.Attempts, test.made+3)
			}
		})
	}
	bubble(t, "again and again, as it waits", func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.SetPaused("crm", true)
		id := r.put("crm").Delivery(1)
		for range 10 {
			r.retry(id)
		}
		time.Sleep(time.Second)
		for range 10 {
			r.retry(id)
		}
		if s := r.status("crm"); !s.OldestDue.Equal(time.Now()) || s.Pending != 1 {
			t.Errorf("status is %+v", s)
		}
		r.SetPaused("crm", false)
		synctest.Wait()
		once(t, r.taken(), []DeliveryID{id})
	})
	bubble(t, "what is under way is left to itself", func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.set(time.Second, nil)
		id := r.put("crm").Delivery(1)
		synctest.Wait()
		r.retry(id)
		time.Sleep(time.Minute)
		once(t, r.taken(), []DeliveryID{id})
		r.wantState(id, StateDelivered, "")
	})
	bubble(t, "not of a route that is gone", func(t *testing.T) {
		r := newRig(t, route("crm"))
		id := r.put("crm").Delivery(1)
		synctest.Wait()
		r.configure(route("other"))
		mustBe(t, r.Retry(id, false, nil), ErrHeld)
		if n, err := r.RetryAll(context.Background(), Filter{State: StateDelivered}, false, nil, false); n != 0 || err != nil {
			t.Errorf("%d were retried, %v", n, err)
		}
		r.wantState(id, StateDelivered, "")
	})
}

func TestReshape(t *testing.T) {
	raw := `{"signal_type":"lead"}`
	tests := []struct {
		name    string
		was     Made
		shape   Reshape
		always  bool
		state   State
		why     Reason
		body    string
		extras  []string
		written bool // the body has a key of its own
	}{
		{"one body", Made{Body: []byte("1")}, shape("2"), true, StateDelivered, "", "2", nil, true},
		{"one that is the signal", Made{Body: []byte("1")}, shape(raw), true, StateDelivered, "", raw, nil, true},
		{"one for what was forwarded", Made{}, shape("2"), true, StateDelivered, "", "2", nil, true},
		{"three", Made{Body: []byte("1")}, shape("2", "3", raw), true, StateDelivered, "", "2", []string{"3", raw}, true},
		{"none", Made{Body: []byte("1")}, shape(), true, StateDead, Filtered, "1", nil, true},
		{"an error", Made{Body: []byte("1")}, func(Signal, string) ([]Made, error) { return nil, errors.New("boom") }, true, StateDead, Transform, "", nil, true},
		{"not asked for", Made{Body: []byte("1")}, shape("2"), false, StateDelivered, "", "1", nil, true},
		{"of a failed expression, always", Made{Error: "boom"}, shape("2", "3"), false, StateDelivered, "", "2", []string{"3"}, true},
		{"of a failed expression, to the signal", Made{Error: "boom"}, shape(raw), false, StateDelivered, "", raw, nil, false},
		{"of a failed expression, none", Made{Error: "boom"}, shape(), false, StateDead, Filtered, "", nil, false},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T) {
			r := newRig(t, route("crm"))
			r.set(0, always(no410))
			test.was.Route = "crm"
			sig := Signal{ID: r.NewSignalID(), Type: "lead", Traceparent: "tp", Body: []byte(raw)}
			r.putAll(Accepted{Signal: sig, Deliveries: []Made{test.was}})
			id := sig.ID.Delivery(1)
			synctest.Wait()
			r.set(0, nil)
			before := r.taken()
			err := r.Retry(id, test.always, func(s Signal, route string) ([]Made, error) {
				if s.ID != sig.ID || s.Type != sig.Type || s.Traceparent != "tp" || string(s.Body) != raw || route != "crm" {
					t.Errorf("it is asked to shape %+v for %s", s, route)
				}
				return test.shape(s, route)
			})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			r.wantState(id, test.state, test.why)
			d := r.detail(id)
			if string(d.Body) != test.body {
				t.Errorf("the body is %q, want %q", d.Body, test.body)
			}
			if written := r.stored(record.BodyKey(nil, id)) != nil; written != test.written {
				t.Errorf("a body of its own: %v, want %v", written, test.written)
			}
			if test.state == StateDead {
				want := Entry{Time: d.Last.Time, Delivery: id, Signal: sig.ID, Route: "crm", Type: "lead", Verdict: Dead, Reason: test.why, Error: d.Last.Error}
				if *d.Last != want || (d.Last.Error == "boom") != (test.why == Transform) {
					t.Errorf("logged %+v", d.Last)
				}
			}
			// The first result keeps the id; further ones are deliveries of the same signal.
			for range 2 {
				_, infos, err := r.Queue.Signal(sig.ID)
				if err != nil || len(infos) != 1+len(test.extras) || infos[0].ID != id {
					t.Fatalf("the signal has %d deliveries, %v; want %d", len(infos), err, 1+len(test.extras))
				}
				for i, body := range test.extras {
					e := r.detail(infos[1+i].ID)
					if string(e.Body) != body || e.State != StateDelivered || e.Signal != sig.ID || e.Attempts != 1 || e.Type != "lead" || e.Traceparent != "tp" {
						t.Errorf("extra %d is %+v", i, e)
					}
					if own := r.stored(record.BodyKey(nil, e.ID)) != nil; own != (body != raw) {
						t.Errorf("extra %d has a body of its own: %v", i, own)
					}
				}
				ids := deliveryIDs(infos)
				if got := deliveryIDs(r.all(Filter{Signal: sig.ID})); !slices.Equal(got, newestFirst(ids)) {
					t.Errorf("the list of the signal's has %v, want %v", got, ids)
				}
				log := r.entries(LogFilter{Signal: sig.ID, Limit: 2})
				if want := len(r.entries(LogFilter{Limit: 10})); len(log) != want {
					t.Errorf("the log of the signal has %d entries, want %d", len(log), want)
				}
				r.restart()
			}
			n := 0
			for _, s := range slices.Concat(before, r.taken()) {
				if s.Delivery.Signal != sig.ID || s.Traceparent != "tp" {
					t.Errorf("the courier got %+v", s)
				}
				n++
			}
			want := len(before) + len(test.extras)
			if test.state == StateDelivered {
				want++
			}
			if n != want {
				t.Errorf("%d attempts, want %d", n, want)
			}
		})
	}
	bubble(t, "one that cannot be done now", func(t *testing.T) {
		r := newRig(t, route("crm"))
		id := r.put("crm").Delivery(1)
		synctest.Wait()
		before := r.detail(id)
		busy := fmt.Errorf("%w: busy", ErrUnavailable)
		mustBe(t, r.Retry(id, true, func(Signal, string) ([]Made, error) { return nil, busy }), ErrUnavailable)
		n, err := r.RetryAll(context.Background(), Filter{State: StateDelivered}, true, func(Signal, string) ([]Made, error) { return nil, busy }, false)
		if mustBe(t, err, ErrUnavailable); n != 0 {
			t.Errorf("%d were retried", n)
		}
		synctest.Wait()
		if after := r.detail(id); !reflect.DeepEqual(after, before) {
			t.Errorf("it is %+v, and was %+v", after, before)
		}
	})
	bubble(t, "an extra is retried as any other", func(t *testing.T) {
		r := newRig(t, route("crm"))
		sig := r.put("crm")
		synctest.Wait()
		if err := r.Retry(sig.Delivery(1), true, shape("1", "2")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		extra := r.all(Filter{})[0].ID
		if err := r.Retry(extra, true, shape("3", "4")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, infos, _ := r.Queue.Signal(sig); len(infos) != 3 {
			t.Errorf("the signal has %d deliveries, want 3", len(infos))
		}
		if d := r.detail(extra); string(d.Body) != "3" || d.Attempts != 2 {
			t.Errorf("it is %+v", d)
		}
	})
}

func TestRetryAllAndDiscardReachWhatMatches(t *testing.T) {
	bulk(t)
	ctx := context.Background()
	tests := []struct {
		name string
		f    Filter
	}{
		{"dead", Filter{State: StateDead}},
		{"delivered", Filter{State: StateDelivered}},
		{"route", Filter{State: StateDead, Route: "crm"}},
		{"type", Filter{State: StateDelivered, Type: "lead"}},
		{"reason", Filter{State: StateDead, Reason: Gone}},
		{"since", Filter{State: StateDelivered, Since: time.Date(2000, 1, 1, 0, 20, 0, 0, time.UTC)}},
		{"until", Filter{State: StateDead, Until: time.Date(2000, 1, 1, 0, 20, 0, 0, time.UTC)}},
		{"limit and cursor are ignored", Filter{State: StateDelivered, Limit: 1, After: "dlv_00000000000000000000000000"}},
	}
	for _, test := range tests {
		bubble(t, "retry, "+test.name, func(t *testing.T) {
			r := history(t)
			f := test.f
			f.After = ""
			want := deliveryIDs(r.all(f))
			if len(want) == 0 {
				t.Fatal("the test has none of these")
			}
			everything := r.entries(LogFilter{Limit: 1000})
			if n, err := r.RetryAll(ctx, test.f, false, shape("1"), true); n != len(want) || err != nil {
				t.Errorf("a dry run would retry %d, %v; want %d", n, err, len(want))
			}
			synctest.Wait()
			if n := r.entries(LogFilter{Limit: 1000}); len(n) != len(everything) {
				t.Error("a dry run has changed something")
			}
			r.taken()
			r.set(0, nil)
			if n, err := r.RetryAll(ctx, test.f, false, shape("1"), false); n != len(want) || err != nil {
				t.Errorf("%d were retried, %v; want %d", n, err, len(want))
			}
			for _, id := range want {
				r.wantState(id, StatePending, "")
			}
		})
	}
	for _, f := range []Filter{{State: StatePending}, {State: StateHeld}, {State: StateDead}, {Route: "crm"}, {Type: "lead", State: StateHeld}} {
		bubble(t, fmt.Sprintf("discard, %s %s %s", f.State, f.Route, f.Type), func(t *testing.T) {
			r := history(t)
			var want []DeliveryID
			for _, i := range r.all(f) {
				if i.State != StateDelivered {
					want = append(want, i.ID)
				}
			}
			delivered := deliveryIDs(r.all(Filter{State: StateDelivered}))
			r.discard(f, len(want))
			for _, id := range want {
				r.wantState(id, StateDead, Discarded)
				if last := r.detail(id).Last; last.Attempt != 0 || last.Reason != Discarded || last.Type == "" {
					t.Errorf("logged %+v", last)
				}
			}
			r.discard(f, 0)
			if got := deliveryIDs(r.all(Filter{State: StateDelivered})); !slices.Equal(got, delivered) {
				t.Error("what was delivered has changed")
			}
			r.restart()
			for _, name := range []string{"crm", "other", "slow"} {
				r.SetPaused(name, false)
			}
			r.taken()
			time.Sleep(2 * time.Hour)
			for _, s := range r.taken() {
				if slices.Contains(want, s.Delivery.ID) {
					t.Errorf("%s was attempted after it had been discarded", s.Delivery.ID)
				}
			}
		})
	}
	bubble(t, "thousands", func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.SetPaused("crm", true)
		ids := r.putMany("crm", 3*amendItems+7)
		r.discard(Filter{State: StatePending}, len(ids))
		if held, ready := r.inMemory("crm"); held != 0 || ready != 0 {
			t.Errorf("%d held, %d ready", held, ready)
		}
		if n, err := r.RetryAll(ctx, Filter{State: StateDead, Reason: Discarded}, true, shape("1", "2"), false); n != len(ids) || err != nil {
			t.Errorf("%d were retried, %v; want %d", n, err, len(ids))
		}
		if s := r.status("crm"); s.Pending != 2*int64(len(ids)) || s.Dead != 0 {
			t.Errorf("status is %+v", s)
		}
		r.SetPaused("crm", false)
		synctest.Wait()
		once(t, r.taken(), deliveryIDs(r.all(Filter{Limit: 1000})))
	})
	bubble(t, "until the context ends", func(t *testing.T) {
		r := history(t)
		done, cancel := context.WithCancel(ctx)
		cancel()
		if n, err := r.DiscardAll(done, Filter{}, false); n != 0 || !errors.Is(err, context.Canceled) {
			t.Errorf("%d were discarded, %v", n, err)
		}
	})
	bubble(t, "one whose shaping fails for want of a Reshape is left", func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.SetPaused("crm", true)
		a := Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: []byte("{}")}, Deliveries: []Made{{Route: "crm", Error: "boom"}, {Route: "crm"}}}
		r.putAll(a)
		if err := r.Retry(a.ID.Delivery(1), false, nil); err == nil {
			t.Error("no error")
		}
		// The claims of those before it in the batch are given back.
		if _, err := r.RetryAll(ctx, Filter{}, false, nil, false); err == nil {
			t.Error("no error")
		}
		r.wantState(a.ID.Delivery(1), StateDead, Transform)
		r.SetPaused("crm", false)
		synctest.Wait()
		once(t, r.taken(), []DeliveryID{a.ID.Delivery(2)})
	})
}

func TestDiscardOfWhatIsUnderWay(t *testing.T) {
	tests := []struct {
		name  string
		out   Outcome
		state State
		why   Reason
	}{
		{"no further attempt is made", no404, StateDead, Discarded},
		{"delivered is delivered", ok200, StateDelivered, ""},
		{"dead is dead", no410, StateDead, Gone},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T) {
			r := newRig(t, route("crm"))
			r.set(time.Minute, always(test.out))
			id := r.put("crm").Delivery(1)
			synctest.Wait()
			r.discard(Filter{State: StatePending}, 1)
			r.wantState(id, StatePending, "")
			time.Sleep(2 * time.Hour)
			r.wantState(id, test.state, test.why)
			if d := r.detail(id); d.Attempts != 1 || len(d.Log) != 1 || d.Log[0].NextAttempt != nil {
				t.Errorf("it is %+v with the log %+v", d.Info, d.Log)
			}
			once(t, r.taken(), []DeliveryID{id})
		})
	}
}

func TestDiscardOne(t *testing.T) {
	tests := []struct {
		name  string
		make  func(r *rig) DeliveryID
		err   error
		state State // after an hour
		why   Reason
	}{
		{"pending", func(r *rig) DeliveryID {
			r.SetPaused("crm", true)
			return r.put("crm").Delivery(1)
		}, nil, StateDead, Discarded},
		{"waiting for its next attempt", func(r *rig) DeliveryID {
			r.set(0, always(no404))
			return r.put("crm").Delivery(1)
		}, nil, StateDead, Discarded},
		{"held", func(r *rig) DeliveryID {
			r.SetPaused("crm", true)
			id := r.put("crm").Delivery(1)
			r.configure(route("other"))
			return id
		}, nil, StateDead, Discarded},
		{"under way, and fails", func(r *rig) DeliveryID {
			r.set(time.Minute, always(no404))
			return r.put("crm").Delivery(1)
		}, nil, StateDead, Discarded},
		{"under way, and gets there", func(r *rig) DeliveryID {
			r.set(time.Minute, nil)
			return r.put("crm").Delivery(1)
		}, nil, StateDelivered, ""},
		{"delivered", func(r *rig) DeliveryID { return r.put("crm").Delivery(1) }, ErrFinished, StateDelivered, ""},
		{"dead", func(r *rig) DeliveryID {
			r.set(0, always(no410))
			return r.put("crm").Delivery(1)
		}, ErrFinished, StateDead, Gone},
		{"unknown", func(r *rig) DeliveryID { return r.NewSignalID().Delivery(1) }, ErrNotFound, "", ""},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T) {
			r := newRig(t, route("crm"))
			neighbour := r.put("crm").Delivery(1)
			synctest.Wait()
			id := test.make(r)
			synctest.Wait()
			r.taken()
			err := r.Discard(id)
			if !errors.Is(err, test.err) {
				t.Errorf("error is %v, want %v", err, test.err)
			}
			if test.err == ErrFinished && !strings.Contains(err.Error(), "it is "+string(test.state)) {
				t.Errorf("the error does not say what it is: %v", err)
			}
			r.SetPaused("crm", false)
			time.Sleep(time.Hour)
			if n := len(r.taken()); n != 0 {
				t.Errorf("%d attempts were made after", n)
			}
			r.wantState(neighbour, StateDelivered, "")
			if test.err == ErrNotFound {
				return
			}
			r.wantState(id, test.state, test.why)
			if d := r.detail(id); test.err == nil && d.Last.NextAttempt != nil {
				t.Errorf("another attempt was announced: %+v", d.Last)
			}
		})
	}
}

// An expression that takes its time holds up nobody but who asked for it.
func TestSlowReshapeHoldsUpNobody(t *testing.T) {
	bubble(t, "others amend meanwhile", func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.set(0, always(no410))
		ids := r.putMany("crm", 3)
		synctest.Wait()
		r.SetPaused("crm", true)
		begun, release := make(chan DeliveryID, len(ids)), make(chan struct{})
		ended := make(chan error)
		go func() {
			_, err := r.RetryAll(context.Background(), Filter{State: StateDead}, true, func(s Signal, _ string) ([]Made, error) {
				begun <- s.ID.Delivery(1)
				<-release
				return bodies("late"), nil
			}, false)
			ended <- err
		}()
		if id := <-begun; id != ids[2] {
			t.Errorf("it begins with %s", id)
		}
		// One of those that it will come to goes ahead, one after a sweep.
		if err := r.Retry(ids[0], true, shape("early")); err != nil {
			t.Error(err)
		}
		if err := r.engine.Load().store.Sweep(context.Background()); err != nil {
			t.Error(err)
		}
		r.retry(ids[2])
		r.put("crm")
		close(release)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		for i, want := range []string{"early", "late", `{"signal_type":"lead"}`} {
			if d := r.detail(ids[i]); string(d.Body) != want || d.State != StatePending {
				t.Errorf("delivery %d is %s, %q; want %q", i, d.State, d.Body, want)
			}
		}
	})
	bubble(t, "one that has come to need it is shaped after all", func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.set(0, always(no410))
		id := r.put("crm").Delivery(1)
		r.putAll(Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: []byte("{}")}, Deliveries: []Made{{Route: "crm", Error: "boom"}}})
		synctest.Wait()
		r.SetPaused("crm", true)
		first := true
		n, err := r.RetryAll(context.Background(), Filter{State: StateDead}, false, func(Signal, string) ([]Made, error) {
			if first { // the other has been found with its body, which goes now
				first = false
				if err := r.Retry(id, true, func(Signal, string) ([]Made, error) { return nil, errors.New("boom") }); err != nil {
					t.Error(err)
				}
			}
			return bodies("new"), nil
		}, false)
		if n != 2 || err != nil {
			t.Errorf("%d were retried, %v", n, err)
		}
		if d := r.detail(id); d.State != StatePending || string(d.Body) != "new" {
			t.Errorf("it is %s with the body %q", d.State, d.Body)
		}
	})
	bubble(t, "large bodies do not add up", func(t *testing.T) {
		bulk(t)
		r := newRig(t, route("crm"))
		r.set(0, always(no410))
		ids := r.putMany("crm", 40)
		synctest.Wait()
		r.SetPaused("crm", true)
		body, shapings := noise(1<<20), 0
		n, err := r.RetryAll(context.Background(), Filter{State: StateDead}, true, func(Signal, string) ([]Made, error) {
			shapings++
			if kept := shapings - int(r.status("crm").Pending); kept > store.GroupBytes>>20 {
				t.Fatalf("%d bodies of 1 MiB are in memory", kept)
			}
			return bodies(string(body)), nil
		}, false)
		if n != len(ids) || err != nil || shapings != len(ids) {
			t.Errorf("%d were retried, %v; %d shaped", n, err, shapings)
		}
	})
	bubble(t, "it ends with its context", func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.set(0, always(no410))
		r.putMany("crm", 3)
		synctest.Wait()
		ctx, cancel := context.WithCancel(context.Background())
		n, err := r.RetryAll(ctx, Filter{State: StateDead}, true, func(Signal, string) ([]Made, error) {
			cancel()
			return bodies("1"), nil
		}, false)
		if n != 0 || !errors.Is(err, context.Canceled) {
			t.Errorf("%d were retried, %v", n, err)
		}
	})
}

// Tens of thousands of dead deliveries go again at once: signals are accepted
// and deliveries made all the while, and what waits, waits on disk.
func TestRetryOfTensOfThousands(t *testing.T) {
	crm, other := route("crm"), route("other")
	r := newRigOn(t, vfs.NewMem(), Limits{}, crm, other)
	r.set(0, always(no410))
	ids := r.putMany("crm", many(20_000))
	r.idle("crm")
	r.taken()
	r.set(0, func(s shot) (Outcome, error) {
		if s.Delivery.Route == "crm" {
			time.Sleep(100 * time.Microsecond) // slower than they come
		}
		return ok200, nil
	})
	ended := make(chan error)
	go func() {
		n, err := r.RetryAll(context.Background(), Filter{State: StateDead}, false, nil, false)
		if err == nil && n != len(ids) {
			err = fmt.Errorf("%d were retried, want %d", n, len(ids))
		}
		ended <- err
	}()
	var puts []DeliveryID
	for retrying := true; retrying; {
		puts = append(puts, r.put("other").Delivery(1))
		if held, ready := r.inMemory("crm"); ready > lane.MaxReady || held > lane.MaxReady+2*amendItems {
			t.Fatalf("%d are held in memory, %d of them ready", held, ready)
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
			retrying = false
		default:
		}
	}
	r.idle("other")
	shots := r.taken()
	again := 0
	for _, s := range shots {
		if s.Delivery.Route == "crm" {
			again++
		}
	}
	if len(puts) < 10 || again == 0 || again == len(ids) && !raceEnabled {
		t.Errorf("until all were due, %d signals were accepted and %d of %d sent again", len(puts), again, len(ids))
	}
	r.idle("crm")
	once(t, append(shots, r.taken()...), append(puts, ids...))
}

// TestDiscardUnderWayIsKept: a delivery that is discarded while an attempt is
// under way is not sent again, if the attempt comes to nothing, either.
func TestDiscardUnderWayIsKept(t *testing.T) {
	under := func(t *testing.T, fs vfs.FS) (*rig, DeliveryID) {
		r := newRigOn(t, fs, Limits{}, route("a"))
		r.set(time.Hour, nil)
		id := r.put("a").Delivery(1)
		synctest.Wait()
		if len(r.taken()) != 1 {
			t.Fatal("no attempt is under way")
		}
		if err := r.Discard(id); err != nil {
			t.Fatal(err)
		}
		r.wantState(id, StatePending, "")
		return r, id
	}
	dead := func(t *testing.T, r *rig, id DeliveryID) {
		t.Helper()
		time.Sleep(time.Minute)
		if s := r.taken(); len(s) > 0 {
			t.Errorf("it was sent again %d times", len(s))
		}
		r.wantState(id, StateDead, Discarded)
		if log := r.detail(id).Log; len(log) != 1 || log[0].Reason != Discarded || log[0].Type != "lead" {
			t.Errorf("its log is %+v", log)
		}
		// Sent again, it is sent.
		r.set(0, nil)
		if err := r.Retry(id, false, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		r.wantState(id, StateDelivered, "")
	}
	bubble(t, "given back by a stop", func(t *testing.T) {
		r, id := under(t, vfs.NewMem())
		r.restart()
		dead(t, r, id)
	})
	bubble(t, "lost by a power cut", func(t *testing.T) {
		mem := vfs.NewCrashableMem()
		_, id := under(t, mem)
		dead(t, newRigOn(t, powerCut(mem, vfs.CrashCloneCfg{}), Limits{}, route("a")), id)
	})
	bubble(t, "given back by the courier", func(t *testing.T) {
		r, id := under(t, vfs.NewMem())
		r.endpoint.set(0, func(s shot) (Outcome, error) { return Outcome{}, context.Canceled })
		r.restart() // the attempt of an hour ends, and the next would come to nothing, too
		dead(t, r, id)
	})
}

// Retries and discards meet attempts in every order there is. In the end each
// delivery is in one state, and what it is agrees with what was attempted.
func TestAmendmentsRaceAttempts(t *testing.T) {
	crm := route("crm")
	crm.Concurrency = 16
	r := newRigOn(t, vfs.NewMem(), Limits{}, crm)
	r.schedule("crm", Schedule{Attempts: 4, First: time.Millisecond, Window: 10 * time.Millisecond, Jitter: 0.5})
	r.set(0, func(shot) (Outcome, error) {
		time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
		return []Outcome{ok200, no404, no404, no410}[rand.IntN(4)], nil
	})
	ids := r.putMany("crm", 1000)
	var racers, putter sync.WaitGroup
	stop := make(chan struct{})
	ctx := context.Background()
	for _, race := range []func() error{
		func() error { _, err := r.RetryAll(ctx, Filter{State: StateDead}, false, nil, false); return err },
		func() error {
			_, err := r.RetryAll(ctx, Filter{State: StateDelivered}, true, shape("1"), false)
			return err
		},
		func() error { _, err := r.DiscardAll(ctx, Filter{State: StatePending}, false); return err },
		func() error { return r.Retry(ids[rand.IntN(len(ids))], true, shape("2")) },
		func() error {
			if err := r.Discard(ids[rand.IntN(len(ids))]); !errors.Is(err, ErrFinished) {
				return err
			}
			return nil
		},
		func() error { return r.engine.Load().store.Sweep(ctx) },
		func() error {
			if n := r.Status().Unaccounted; n != 0 {
				return fmt.Errorf("%d deliveries are unaccounted for", n)
			}
			return nil
		},
		func() error { return r.Configure(Limits{}, []Route{crm}) },
	} {
		racers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := race(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	putter.Go(func() {
		for range 100 {
			r.putMany("crm", 20)
		}
	})
	putter.Wait()
	close(stop)
	racers.Wait()
	r.idle("crm")
	attempts := map[DeliveryID]int{}
	for _, s := range r.taken() {
		attempts[s.Delivery.ID]++
		if s.attempt != attempts[s.Delivery.ID] {
			attempts[s.Delivery.ID] = max(s.attempt, attempts[s.Delivery.ID]) // shots of one delivery come in order
			t.Errorf("attempt %d of %s came out of turn", s.attempt, s.Delivery.ID)
		}
	}
	for _, i := range r.all(Filter{Limit: 1000}) {
		if i.Attempts != attempts[i.ID] {
			t.Errorf("%s was attempted %d times, and charged %d", i.ID, attempts[i.ID], i.Attempts)
		}
	}
}
