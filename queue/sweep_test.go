package queue

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"signalpost/queue/record"
)

// keysOf counts the keys with each of the prefixes.
func (r *rig) keysOf(prefixes ...byte) int {
	r.t.Helper()
	n := 0
	for _, p := range prefixes {
		err := r.engine.Load().store.Scan([]byte{p}, []byte{p + 1}, func(_, _ []byte) (bool, error) { n++; return true, nil })
		if err != nil {
			r.t.Fatal(err)
		}
	}
	return n
}

func (r *rig) wantGone(ids ...DeliveryID) {
	r.t.Helper()
	for _, id := range ids {
		if _, err := r.Queue.Delivery(id); !errors.Is(err, ErrNotFound) {
			r.t.Errorf("%s is still there: %v", id, err)
		}
	}
}

// made is what the route's counts say was ever made of it, and has expired.
func (r *rig) made(route string) (made, expired int64) {
	c := r.sender(route).route.Counts()
	return c.Made, c.Expired
}

func TestFinishedDeliveriesExpire(t *testing.T) {
	bulk(t)
	for _, out := range []Outcome{ok200, no410} {
		bubble(t, string(out.Verdict), func(t *testing.T) {
			r := newRigOn(t, vfs.NewMem(), Limits{Retention: 3 * time.Hour}, route("crm"), route("other"))
			r.set(0, always(out))
			var ids []DeliveryID
			for n := range 100 {
				a := Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: []byte("{}")}, Deliveries: []Made{{Route: "crm", Body: []byte("1")}, {Route: "other"}, {Route: "crm", Error: "boom"}}}
				a.Deliveries = a.Deliveries[:n%4%3+n%2]
				r.putAll(a)
				for k := range a.Deliveries {
					ids = append(ids, a.ID.Delivery(k+1))
				}
				time.Sleep(time.Minute)
			}
			time.Sleep(3*time.Hour - 101*time.Minute)
			for _, id := range ids {
				if d := r.detail(id); len(d.Log) != 1 {
					t.Errorf("before its retention is over it is %+v", d)
				}
			}
			time.Sleep(50 * time.Minute)
			left := 0
			for _, id := range ids {
				if _, err := r.Queue.Delivery(id); err == nil {
					left++
				}
			}
			if left == 0 || left == len(ids) {
				t.Errorf("half-way %d of %d are left", left, len(ids))
			}
			time.Sleep(2 * time.Hour)
			r.wantGone(ids...)
			if n := r.keysOf(record.SignalPrefix, record.DeliveryPrefix, record.BodyPrefix, record.ExtraPrefix, record.DuePrefix, record.LogPrefix); n != 0 {
				t.Errorf("%d keys are left behind", n)
			}
			s := r.status("crm")
			if made, expired := r.made("crm"); made == 0 || made != expired || s.Pending+s.Delivered+s.Dead+s.Discarded != 0 {
				t.Errorf("%d made, %d expired, status %+v", made, expired, s)
			}
		})
	}
}

func TestUnmatchedSignalIsKeptAndExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigOn(t, vfs.NewMem(), Limits{Retention: time.Hour})
		id := r.put()
		time.Sleep(59 * time.Minute)
		if s, infos, err := r.Queue.Signal(id); err != nil || infos == nil || len(infos) != 0 || s.ID != id {
			t.Errorf("it is %+v with %v, %v", s, infos, err)
		}
		time.Sleep(3 * time.Minute)
		_, _, err := r.Queue.Signal(id)
		mustBe(t, err, ErrNotFound)
		if n := r.keysOf(record.SignalPrefix); n != 0 {
			t.Errorf("%d signals are left behind", n)
		}
	})
}

// A signal stays with all its deliveries while one of them is owed or young.
func TestFanOutExpiresTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigOn(t, vfs.NewMem(), Limits{Retention: time.Hour, MaxAge: 1000 * time.Hour}, route("crm"), route("slow"))
		r.SetPaused("slow", true)
		before := r.put("crm")
		both := r.put("crm", "slow")
		after := r.put("crm")
		time.Sleep(4 * time.Hour)
		r.wantGone(before.Delivery(1), after.Delivery(1))
		for n := range 2 {
			if d := r.detail(both.Delivery(n + 1)); string(d.SignalBody) == "" || d.Type != "lead" {
				t.Errorf("delivery %d is %+v", n, d)
			}
		}
		r.wantState(both.Delivery(1), StateDelivered, "")
		if s := r.status("crm"); s.Delivered != 1 {
			t.Errorf("status is %+v", s)
		}
		r.restart()
		r.SetPaused("slow", false)
		synctest.Wait()
		r.wantState(both.Delivery(2), StateDelivered, "")
		time.Sleep(50 * time.Minute)
		r.detail(both.Delivery(1))
		time.Sleep(time.Hour)
		r.wantGone(both.Delivery(1), both.Delivery(2))
		if n := r.keysOf(record.SignalPrefix, record.DeliveryPrefix, record.LogPrefix); n != 0 {
			t.Errorf("%d keys are left behind", n)
		}
	})
}

// A retry makes an old delivery young again, and its signal with it.
func TestExtrasOutliveAndExpireWithTheirSignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigOn(t, vfs.NewMem(), Limits{Retention: time.Hour, MaxAge: 1000 * time.Hour}, route("crm"))
		sig := r.put("crm")
		time.Sleep(50 * time.Minute)
		if err := r.Retry(sig.Delivery(1), true, shape("1", "2", "3")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.SetPaused("crm", true)
		_, infos, err := r.Queue.Signal(sig)
		if err != nil || len(infos) != 3 {
			t.Fatalf("%d deliveries, %v", len(infos), err)
		}
		time.Sleep(30 * time.Minute)
		r.retry(infos[2].ID) // it waits, and all wait with it
		time.Sleep(5 * time.Hour)
		for _, i := range infos[2:] {
			if d := r.detail(i.ID); len(d.SignalBody) == 0 {
				t.Errorf("it is %+v", d)
			}
		}
		if _, _, err := r.Queue.Signal(sig); err != nil {
			t.Error(err)
		}
		r.SetPaused("crm", false)
		time.Sleep(3 * time.Hour)
		if n := r.keysOf(record.SignalPrefix, record.DeliveryPrefix, record.BodyPrefix, record.ExtraPrefix, record.DuePrefix, record.LogPrefix); n != 0 {
			t.Errorf("%d keys are left behind", n)
		}
	})
}

func TestWhatWaitsTooLongDies(t *testing.T) {
	bulk(t)
	tests := []struct {
		name string
		hold func(r *rig)
	}{
		{"paused", func(r *rig) { r.SetPaused("crm", true) }},
		{"held", func(r *rig) { r.configure(route("other")) }},
		{"failing", func(r *rig) {
			r.set(0, always(no503))
		}},
		{"rate-limited", func(r *rig) {
			crm := route("crm")
			crm.Rate = 1.0 / 100000
			r.configure(crm)
		}},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T) {
			r := newRigOn(t, vfs.NewMem(), Limits{MaxAge: time.Hour, Retention: 2 * time.Hour}, route("crm"))
			test.hold(r)
			ids := r.putMany("crm", 700)
			time.Sleep(50 * time.Minute)
			young := r.put("crm").Delivery(1)
			n := len(r.all(Filter{Limit: 1000, Reason: TooOld}))
			if n > 0 {
				t.Errorf("%d died before their time", n)
			}
			time.Sleep(12 * time.Minute)
			if d := r.detail(young); d.Reason == TooOld {
				t.Errorf("it died before its time: %+v", d.Info)
			}
			n = 0
			for _, id := range ids {
				switch d := r.detail(id); {
				case d.State != StateDead && d.State != StateDelivered:
					t.Fatalf("%s is %+v", id, d.Info)
				case d.Reason == TooOld:
					n++
					if d.Last.Attempt != 0 || d.Last.Verdict != Dead || d.Last.Reason != TooOld || d.Last.Type != "lead" {
						t.Fatalf("logged %+v", d.Last)
					}
				}
			}
			if n < len(ids)-200 {
				t.Errorf("%d of %d died of their age", n, len(ids))
			}
			if test.name == "held" {
				r.configure(route("crm"))
			}
			time.Sleep(150 * time.Minute)
			r.wantGone(ids...)
		})
	}
	bubble(t, "not what is under way", func(t *testing.T) {
		r := newRigOn(t, vfs.NewMem(), Limits{MaxAge: time.Second}, route("crm"))
		r.set(time.Minute, nil)
		id := r.put("crm").Delivery(1)
		time.Sleep(2 * time.Minute)
		r.wantState(id, StateDelivered, "")
	})
	bubble(t, "one that is sent again counts from then", func(t *testing.T) {
		r := newRigOn(t, vfs.NewMem(), Limits{MaxAge: time.Hour, Retention: 4 * time.Hour}, route("crm"))
		r.SetPaused("crm", true)
		id := r.put("crm").Delivery(1)
		time.Sleep(90 * time.Minute)
		r.wantState(id, StateDead, TooOld)
		if err := r.Retry(id, false, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Minute)
		r.wantState(id, StatePending, "")
		time.Sleep(20 * time.Minute)
		r.wantState(id, StateDead, TooOld)
	})
	bubble(t, "a retry after that is an attempt at least", func(t *testing.T) {
		r := newRigOn(t, vfs.NewMem(), Limits{MaxAge: time.Hour}, route("crm"))
		r.SetPaused("crm", true)
		id := r.put("crm").Delivery(1)
		time.Sleep(3 * time.Hour)
		r.wantState(id, StateDead, TooOld)
		r.SetPaused("crm", false)
		r.retry(id)
		synctest.Wait()
		r.wantState(id, StateDelivered, "")
	})
}

// Limits that a reload changes hold at the next sweep.
func TestChangedLimitsHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, route("crm"))
		id := r.put("crm").Delivery(1)
		time.Sleep(time.Hour)
		r.limits.Retention = time.Minute
		r.configure(r.routes...)
		time.Sleep(2 * time.Minute)
		r.wantGone(id)
	})
}

// Signals come with ids that are ahead of the clock where that went back:
// what has expired is counted once, and what is young stays.
func TestSweepWhereTheClockWentBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigOn(t, vfs.NewMem(), Limits{Retention: time.Hour, MaxAge: time.Minute}, route("crm"))
		ids := r.putMany("crm", 5)
		r.Queue.ids.Next(time.Now().Add(50 * time.Minute))
		ids = append(ids, r.putMany("crm", 5)...)
		synctest.Wait()
		for range 30 {
			time.Sleep(5 * time.Minute)
			made, expired := r.made("crm")
			s := r.status("crm")
			if made != 10 || expired+s.Delivered != 10 {
				t.Fatalf("%d made, %d expired, %d delivered", made, expired, s.Delivered)
			}
			if n := len(r.all(Filter{})); n != int(s.Delivered) {
				t.Fatalf("%d deliveries, %d are counted", n, s.Delivered)
			}
		}
		r.wantGone(ids...)
	})
}

// A delivery that is sent again between the sweeper's look and its verdict is
// not too old any more.
func TestSentAgainIsNotTooOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.set(0, always(no410))
		id := r.put("crm").Delivery(1)
		time.Sleep(time.Hour)
		seen := record.MillisOf(time.Now())
		time.Sleep(time.Second)
		r.SetPaused("crm", true)
		r.retry(id)
		if err := r.engine.Load().endTooOld(t.Context(), []DeliveryID{id}, seen); err != nil {
			t.Error(err)
		}
		r.wantState(id, StatePending, "")
	})
}

// Shorter limits hold at once, and a reload now and then keeps no sweep from coming.
func TestSweepAfterAReload(t *testing.T) {
	bubble(t, "shorter", func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.SetPaused("crm", true)
		id := r.put("crm").Delivery(1)
		time.Sleep(10 * time.Second)
		r.limits = Limits{MaxAge: time.Second}
		r.configure(route("crm"))
		time.Sleep(time.Second)
		r.wantState(id, StateDead, TooOld)
	})
	bubble(t, "often", func(t *testing.T) {
		r := newRigOn(t, vfs.NewMem(), Limits{MaxAge: time.Hour}, route("crm"))
		r.SetPaused("crm", true)
		id := r.put("crm").Delivery(1)
		for range 62 * 4 {
			time.Sleep(15 * time.Second)
			r.configure(route("crm"))
		}
		r.wantState(id, StateDead, TooOld)
	})
}

// More than one batch of the sweeper's, with what stays in between.
func TestSweepOfThousands(t *testing.T) {
	bulk(t)
	synctest.Test(t, func(t *testing.T) {
		r := newRigOn(t, vfs.NewMem(), Limits{Retention: time.Hour}, route("crm"), route("slow"))
		r.SetPaused("slow", true)
		var stay []SignalID
		n := max(many(3*4096), 4096+500) // more than the sweeper looks at for one batch
		for n > 0 {
			k := min(n, 700)
			r.putMany("crm", k)
			stay = append(stay, r.put("crm", "slow"))
			r.put() // unmatched
			n -= k
		}
		time.Sleep(3 * time.Hour)
		if got := len(r.all(Filter{Limit: 1000})); got != 2*len(stay) {
			t.Errorf("%d deliveries are left, want %d", got, 2*len(stay))
		}
		if got := r.keysOf(record.SignalPrefix); got != len(stay) {
			t.Errorf("%d signals are left, want %d", got, len(stay))
		}
		for _, s := range stay {
			r.wantState(s.Delivery(2), StatePending, "")
		}
	})
}

// A store at its limit sheds what was delivered, the oldest first, and
// nothing else; when that is not enough it takes no more.
func TestFullStoreShedsDeliveredHistory(t *testing.T) {
	bulk(t) // but see TestSweepWhileSignalsComeIn
	synctest.Test(t, func(t *testing.T) {
		limits := Limits{MaxSize: 32 << 20}
		r := newRigOn(t, vfs.NewMem(), limits, route("crm"), route("slow"), route("bad"))
		r.SetPaused("slow", true)
		r.set(0, func(s shot) (Outcome, error) {
			if s.Route == "bad" {
				return no410, nil
			}
			return ok200, nil
		})
		put := func(route string) (id DeliveryID, ok bool) {
			a := Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: noise(32 << 10)}, Deliveries: []Made{{Route: route}}}
			if err := r.Put([]Accepted{a}, nil, nil); err != nil {
				mustBe(t, err, ErrUnavailable)
				return id, false
			}
			synctest.Wait()
			return a.ID.Delivery(1), true
		}
		var stay, history []DeliveryID
		for n := range 2000 {
			var id DeliveryID
			ok := false
			for range 60 { // a full store takes more when some has been shed
				switch {
				case n%100 == 0:
					id, ok = put("slow")
				case n%100 == 1:
					id, ok = put("bad")
				default:
					id, ok = put("crm")
				}
				if ok {
					break
				}
				time.Sleep(time.Second)
			}
			if !ok {
				t.Fatalf("the store takes no more after %d signals: %s", n, r.Status().Reason)
			}
			if n%100 < 2 {
				stay = append(stay, id)
			} else {
				history = append(history, id)
			}
			time.Sleep(100 * time.Millisecond)
		}
		s := r.Status()
		if s.Evicted == 0 || s.Bytes > 2*limits.MaxSize || s.Unaccounted != 0 {
			t.Errorf("status is %+v", s)
		}
		for _, id := range stay {
			if d := r.detail(id); d.State == StateDelivered || len(d.Body) == 0 {
				t.Errorf("it is %+v", d.Info)
			}
		}
		left := r.all(Filter{State: StateDelivered, Limit: 1000})
		if len(left) == 0 || int64(len(left))+s.Evicted != int64(len(history)) {
			t.Errorf("%d are left, %d were shed, of %d", len(left), s.Evicted, len(history))
		}
		for _, i := range left {
			if bytes.Compare(i.ID[:], history[len(history)-len(left)][:]) < 0 {
				t.Errorf("%s is left, though younger ones were shed", i.ID)
			}
			if n := len(r.detail(i.ID).Log); n != 1 {
				t.Errorf("%s is left, and has %d log entries", i.ID, n)
			}
		}
		// What is owed alone fills it in the end.
		for refused := 0; refused < 10; {
			if _, ok := put("slow"); ok {
				refused = 0
			} else {
				refused++
			}
			time.Sleep(time.Second / 2)
		}
		if err := r.Ready(); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("full, but ready: %v", err)
		}
		if s := r.Status(); s.Accepting || s.Reason == "" || len(r.all(Filter{State: StateDelivered})) != 0 {
			t.Errorf("status is %+v", s)
		}
		// Room is made by someone, then it goes on.
		r.discard(Filter{Route: "slow"}, int(r.status("slow").Pending))
		r.limits.MaxSize = 1 << 30
		r.configure(r.routes...)
		time.Sleep(2 * time.Second)
		if err := r.Ready(); err != nil {
			t.Error(err)
		}
	})
}

// The sweeper at work while signals come in and are delivered.
func TestSweepWhileSignalsComeIn(t *testing.T) {
	r := newRigOn(t, vfs.NewMem(), Limits{Retention: time.Millisecond, DedupWindow: time.Millisecond}, route("crm"), route("other"))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range many(2000) {
			r.put("crm", "other")
		}
	}()
	for sweeping := true; sweeping; {
		select {
		case <-done:
			sweeping = false
		default:
		}
		if err := r.engine.Load().store.Sweep(context.Background()); err != nil {
			t.Fatal(err)
		}
		if n := r.Status().Unaccounted; n != 0 {
			t.Fatalf("%d deliveries are unaccounted for", n)
		}
	}
	r.idle("crm")
	r.idle("other")
	n := len(r.taken())
	if n != 2*many(2000) {
		t.Errorf("%d attempts, want %d", n, 2*many(2000))
	}
	if made, _ := r.made("crm"); made != int64(many(2000)) {
		t.Errorf("%d made", made)
	}
}

// TestClockOnceAhead: what was accepted while the clock was a year ahead is
// history that can be shed, and said at the next start.
func TestClockOnceAhead(t *testing.T) {
	bulk(t)
	bubble(t, "ahead", func(t *testing.T) {
		r := newRigOn(t, vfs.NewMem(), Limits{MaxSize: 64 << 20}, route("a"))
		r.ids.Next(time.Now().Add(365 * 24 * time.Hour))
		for n := range 2400 {
			a := Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: noise(64 << 10)}, Deliveries: []Made{{Route: "a"}}}
			if err := r.Put([]Accepted{a}, nil, nil); err != nil {
				t.Fatalf("refused after %d signals, all delivered, %d of them shed: %v", n, r.Status().Evicted, err)
			}
			time.Sleep(time.Second)
		}
		if r.Status().Evicted == 0 {
			t.Error("nothing was shed")
		}
		said := &lines{}
		r.options.Log = slog.New(slog.NewTextHandler(said, nil))
		r.restart()
		if !strings.Contains(strings.Join(said.text, ""), "8759h") {
			t.Errorf("the next start says %q", said.text)
		}
	})
}
