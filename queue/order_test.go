package queue

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// inOrder puts a signal for each key, and returns their deliveries to the route; one of "" has none.
func (r *rig) inOrder(route string, keys ...string) (ids []DeliveryID) {
	r.t.Helper()
	var batch []Accepted
	for _, key := range keys {
		a := Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: []byte(`{}`)}, Deliveries: []Made{{Route: route, Order: key}}}
		batch, ids = append(batch, a), append(ids, a.ID.Delivery(1))
	}
	r.putAll(batch...)
	return ids
}

// names are the deliveries that were attempted, as places in ids, "1,2,2", the unknown as "?".
func names(shots []shot, ids []DeliveryID) string {
	var all []string
	slices.SortStableFunc(shots, func(a, b shot) int { // at once is in any order
		return cmp.Or(a.at.Compare(b.at), bytes.Compare(a.Delivery.ID[:], b.Delivery.ID[:]))
	})
	for _, s := range shots {
		if i := slices.Index(ids, s.Delivery.ID); i >= 0 {
			all = append(all, fmt.Sprint(i+1))
		} else {
			all = append(all, "?")
		}
	}
	return strings.Join(all, ",")
}

func (r *rig) wantShots(ids []DeliveryID, want string) {
	r.t.Helper()
	synctest.Wait()
	if got := names(r.taken(), ids); got != want {
		r.t.Errorf("attempted were %s, want %s", got, want)
	}
}

func (r *rig) wantWaits(id DeliveryID, behind DeliveryID) {
	r.t.Helper()
	d := r.detail(id)
	if d.State != StatePending || d.WaitsFor == nil || *d.WaitsFor != behind || d.NextAttempt != nil {
		r.t.Errorf("%s does not wait for %s: %+v", id, behind, d.Info)
	}
}

// no404For answers 404 to those, and 200 to all others.
func no404For(ids ...DeliveryID) func(shot) (Outcome, error) {
	return func(s shot) (Outcome, error) {
		if slices.Contains(ids, s.Delivery.ID) {
			return no404, nil
		}
		return ok200, nil
	}
}

// Deliveries of one order go one at a time, over retries and restarts, and hold
// back no others.
func TestOrder(t *testing.T) {
	bubble(t, "one at a time", func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.set(time.Second, nil)
		ids := r.inOrder("crm", "a", "a", "b", "", "a", "")
		r.wantShots(ids, "1,3,4,6")
		r.wantWaits(ids[1], ids[0])
		r.wantWaits(ids[4], ids[0])
		time.Sleep(time.Second)
		r.wantShots(ids, "2")
		r.wantWaits(ids[4], ids[1])
		ids = append(ids, r.inOrder("crm", "a", "b")...)
		r.wantShots(ids, "8")
		time.Sleep(3 * time.Second)
		r.wantShots(ids, "5,7")
	})
	bubble(t, "another route has an order of its own", func(t *testing.T) {
		r := newRig(t, route("crm"), route("other"))
		r.set(time.Second, nil)
		a, b := r.inOrder("crm", "a"), r.inOrder("other", "a")
		r.wantShots([]DeliveryID{a[0], b[0]}, "1,2")
	})
	bubble(t, "over retries and a restart", func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.schedule("crm", Schedule{Attempts: 3, First: time.Minute, Window: 3 * time.Minute})
		ids := r.inOrder("crm", "a", "a", "a")
		r.wantShots(ids, "1,2,3")
		r.set(0, func(s shot) (Outcome, error) { return no404, nil })
		ids = r.inOrder("crm", "a", "a", "b")
		r.wantShots(ids, "1,3")
		r.restart()
		r.wantShots(ids, "")
		r.wantWaits(ids[1], ids[0])
		time.Sleep(90 * time.Second)
		r.wantShots(ids, "1,3")
		r.set(0, no404For(ids[0]))
		time.Sleep(time.Hour)
		r.wantShots(ids, "1,2,3")
		r.wantState(ids[0], StateDead, Exhausted)
		r.wantState(ids[1], StateDelivered, "")
	})
	bubble(t, "over a pause, a reload and a config without it", func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.SetPaused("crm", true)
		ids := r.inOrder("crm", "a", "a")
		r.wantShots(ids, "")
		r.configure()
		if d := r.detail(ids[1]); d.State != StateHeld || d.WaitsFor == nil {
			t.Errorf("it is %+v", d.Info)
		}
		r.configure(route("crm"))
		r.SetPaused("crm", false)
		r.wantShots(ids, "1,2")
	})
	bubble(t, "while the route is failing", func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.set(0, always(no503))
		ids := r.inOrder("crm", "a", "a", "b", "c", "d", "e", "f")
		time.Sleep(20 * time.Second)
		if got := names(r.taken(), ids); strings.Contains(got, "2") {
			t.Errorf("attempted were %s", got)
		}
		r.set(0, nil)
		time.Sleep(time.Hour)
		got := names(r.taken(), ids)
		if one, two := strings.Index(got, "1"), strings.Index(got, "2"); one < 0 || two < one {
			t.Errorf("then %s", got)
		}
	})
	bubble(t, "a rate", func(t *testing.T) {
		r := newRig(t, Route{Name: "crm", Concurrency: 8, Rate: 1})
		ids := r.inOrder("crm", "a", "b", "a", "b")
		time.Sleep(10 * time.Second)
		r.wantShots(ids, "1,2,3,4")
	})
}

// Whatever becomes of the first of an order, the next goes; and what becomes of
// one behind changes nothing for the others.
func TestOrderAmended(t *testing.T) {
	all := Filter{Limit: 10}
	discard := func(r *rig, id DeliveryID) error { return r.Discard(id) }
	retry := func(r *rig, id DeliveryID) error { return r.Retry(id, false, nil) }
	reshape := func(to ...Made) func(r *rig, id DeliveryID) error {
		return func(r *rig, id DeliveryID) error {
			return r.Retry(id, true, func(Signal, string) ([]Made, error) { return to, nil })
		}
	}
	failed := func(r *rig, id DeliveryID) error {
		return r.Retry(id, true, func(Signal, string) ([]Made, error) { return nil, errors.New("boom") })
	}
	for name, test := range map[string]struct {
		do   func(r *rig, id DeliveryID) error
		to   int    // which of four of one order, of which the first fails; a fifth, of another order, fails too
		want string // what is attempted then, and in a minute
	}{
		"discard the first":            {discard, 1, "2,3,4"},
		"discard one behind":           {discard, 2, ""},
		"discard the last":             {discard, 4, ""},
		"retry the first":              {retry, 1, "1"},
		"retry one behind":             {retry, 2, ""},
		"reshape the first":            {reshape(Made{Order: "a", Body: []byte("1")}), 1, "1"},
		"reshape one behind":           {reshape(Made{Order: "a", Body: []byte("1")}), 3, ""},
		"the first has no order":       {reshape(Made{}), 1, "1,2,3,4"},
		"one behind has no order":      {reshape(Made{}), 3, "3"},
		"one behind leads a new order": {reshape(Made{Order: "c"}), 3, "3"},
		"the first leads a new order":  {reshape(Made{Order: "c"}), 1, "1,2,3,4"},
		"the first goes behind":        {reshape(Made{Order: "b"}), 1, "2,3,4"},
		"one behind goes behind":       {reshape(Made{Order: "b"}), 3, ""},
		"the first fails in shape":     {failed, 1, "2,3,4"},
		"one behind fails in shape":    {failed, 2, ""},
		"the first is filtered":        {reshape(), 1, "2,3,4"},
		"one more behind":              {reshape(Made{Order: "a"}, Made{Order: "a"}), 1, "1"},
		"one more of no order":         {reshape(Made{Order: "a"}, Made{}), 1, "1,?"},
		"all are discarded": {func(r *rig, _ DeliveryID) error {
			_, err := r.DiscardAll(context.Background(), Filter{State: StatePending}, false)
			return err
		}, 1, ""},
		"all are retried": {func(r *rig, _ DeliveryID) error {
			_, err := r.RetryAll(context.Background(), Filter{State: StatePending}, false, nil, false)
			return err
		}, 1, "1,5"},
		"all have no order": {func(r *rig, _ DeliveryID) error {
			_, err := r.RetryAll(context.Background(), Filter{State: StatePending}, true, func(Signal, string) ([]Made, error) { return []Made{{}}, nil }, false)
			return err
		}, 1, "1,2,3,4,5"},
	} {
		bubble(t, name, func(t *testing.T) {
			r := newRig(t, route("crm"))
			r.schedule("crm", Schedule{Attempts: 10, First: time.Minute, Window: time.Hour})
			r.set(0, always(no404))
			ids := r.inOrder("crm", "a", "a", "a", "a", "b")
			r.set(0, no404For(ids[0], ids[4]))
			r.wantShots(ids, "1,5")
			if err := test.do(r, ids[test.to-1]); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			r.wantShots(ids, test.want)
			r.restart() // which checks it
			r.set(0, nil)
			time.Sleep(2 * time.Hour)
			for _, i := range r.all(all) {
				if i.State == StatePending {
					t.Errorf("%s waits for ever: %+v", i.ID, i)
				}
			}
		})
	}
}

// What is sent again when it was finished waits for none, and none for it.
func TestOutOfOrder(t *testing.T) {
	bubble(t, "sent again", func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.set(0, always(no410))
		ids := r.inOrder("crm", "a")
		r.wantShots(ids, "1")
		r.set(0, always(no404))
		ids = append(ids, r.inOrder("crm", "a", "a")...)
		r.wantShots(ids, "2")
		r.retry(ids[0])
		r.wantShots(ids, "1")
		if d := r.detail(ids[0]); !d.OutOfOrder || d.WaitsFor != nil {
			t.Errorf("it is %+v", d.Info)
		}
		r.wantWaits(ids[2], ids[1])
		r.set(0, no404For(ids[0]))
		time.Sleep(time.Minute)
		r.wantShots(ids, "1,2,3,1")
		if err := r.Retry(ids[0], true, func(Signal, string) ([]Made, error) { return []Made{{}}, nil }); err != nil {
			t.Fatal(err)
		}
		if d := r.detail(ids[0]); d.OutOfOrder {
			t.Errorf("without an order it is %+v", d.Info)
		}
		r.retry(ids[2])
		if d := r.detail(ids[2]); !d.OutOfOrder {
			t.Errorf("delivered, and sent again: %+v", d.Info)
		}
	})
	bubble(t, "too old", func(t *testing.T) {
		r := newRigOn(t, vfs.NewMem(), Limits{MaxAge: time.Hour}, route("crm"))
		r.set(0, always(no404))
		r.schedule("crm", Schedule{Attempts: 100, First: time.Minute, Window: 100 * time.Hour})
		ids := r.inOrder("crm", "a", "a", "a")
		time.Sleep(30 * time.Minute)
		r.retry(ids[2])
		time.Sleep(45 * time.Minute)
		r.wantState(ids[0], StateDead, TooOld)
		r.wantState(ids[1], StateDead, TooOld)
		r.wantState(ids[2], StatePending, "")
		time.Sleep(20 * time.Minute)
		r.wantState(ids[2], StateDead, TooOld)
	})
}

// A referee sees to it that deliveries of one order go one at a time, and in order.
type referee struct {
	mu    sync.Mutex
	order map[DeliveryID]string
	free  map[DeliveryID]bool // may go out of it
	way   map[string]DeliveryID
	ended map[DeliveryID]bool
	fault string
}

func newReferee() *referee {
	return &referee{order: map[DeliveryID]string{}, free: map[DeliveryID]bool{}, way: map[string]DeliveryID{}, ended: map[DeliveryID]bool{}}
}

func (f *referee) begin(id DeliveryID) (end func(finished bool)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := f.order[id]
	if key == "" || f.free[id] {
		return func(bool) {}
	}
	if other, busy := f.way[key]; busy {
		f.fault = fmt.Sprintf("%s began while %s of the same order was under way", id, other)
	}
	for other, k := range f.order {
		if k == key && bytes.Compare(other[:], id[:]) < 0 && !f.ended[other] && !f.free[other] {
			f.fault = fmt.Sprintf("%s went before %s", id, other)
		}
	}
	f.way[key] = id
	return func(finished bool) {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.way, key)
		f.ended[id] = f.ended[id] || finished
	}
}

// Whatever is done at once to deliveries of a few orders, they go one at a time,
// all of them, and the store holds.
func TestOrderRaces(t *testing.T) {
	for seed := range uint64(many(16)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { orderRaces(t, seed) })
	}
}

func orderRaces(t *testing.T, seed uint64) {
	f := newReferee()
	r := newRig(t, route("crm"), route("other")).lazily()
	rng := rand.New(rand.NewPCG(seed, 1))
	roll := func(n int) int { f.mu.Lock(); defer f.mu.Unlock(); return rng.IntN(n) }
	r.schedule("crm", Schedule{Attempts: 3, First: time.Millisecond, Window: 3 * time.Millisecond})
	r.schedule("other", Schedule{Attempts: 3, First: time.Millisecond, Window: 3 * time.Millisecond})
	r.set(0, func(s shot) (Outcome, error) {
		end := f.begin(s.Delivery.ID)
		time.Sleep(time.Duration(roll(300)) * time.Microsecond)
		out := [...]Outcome{ok200, ok200, no404, no410}[roll(4)]
		end(out.Verdict != Retry || s.Step == 3)
		return out, nil
	})
	var mu sync.Mutex
	var ids []DeliveryID
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for range 40 {
				mu.Lock() // so that it is known in which order they are put
				a := Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: []byte("{}")}}
				f.mu.Lock()
				for n := range 3 {
					to := []string{"crm", "other"}[rng.IntN(2)]
					key := []string{"a", "b", ""}[rng.IntN(3)]
					id := a.ID.Delivery(n + 1)
					a.Deliveries = append(a.Deliveries, Made{Route: to, Order: key})
					if ids = append(ids, id); key != "" {
						f.order[id] = to + key
					}
				}
				f.mu.Unlock()
				err := r.Put([]Accepted{a}, nil, nil)
				mu.Unlock()
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 3 {
		load.Go(func() {
			for range 60 {
				mu.Lock()
				var id DeliveryID
				if len(ids) > 0 {
					id = ids[len(ids)-1-roll(min(len(ids), 40))]
				}
				mu.Unlock()
				switch {
				case id == DeliveryID{}:
				case roll(3) > 0:
					f.mu.Lock()
					f.ended[id] = true // before it is: the next one may go before Discard returns
					f.mu.Unlock()
					if err := r.Discard(id); err != nil && !errors.Is(err, ErrFinished) {
						t.Error(err)
					}
				default: // it may be finished: then it is out of order
					f.mu.Lock()
					f.free[id] = true
					f.mu.Unlock()
					if err := r.Retry(id, false, nil); err != nil {
						t.Error(err)
					}
				}
				time.Sleep(time.Duration(roll(500)) * time.Microsecond)
			}
		})
	}
	load.Wait()
	r.idle("crm")
	r.idle("other")
	if f.fault != "" {
		t.Error(f.fault)
	}
}

// What waits behind a key is not in memory, costs others nothing, and goes as fast as it can.
func TestOrderBacklog(t *testing.T) {
	bulk(t)
	r := newRig(t, route("crm")).lazily()
	const n, sent = 20_000, 1000
	release := make(chan struct{})
	var first DeliveryID
	r.set(0, func(s shot) (Outcome, error) {
		if s.Delivery.ID == first {
			select {
			case <-release:
			default:
				return Outcome{}, context.Canceled // it is due again in a moment
			}
		}
		return ok200, nil
	})
	keys := slices.Repeat([]string{"busy"}, 1000)
	first = r.NewSignalID().Delivery(1)
	r.putAll(Accepted{Signal: Signal{ID: first.Signal(), Type: "lead", Body: []byte("{}")}, Deliveries: []Made{{Route: "crm", Order: "busy"}}})
	for range n / len(keys) {
		r.inOrder("crm", keys...)
	}
	if held, ready := r.inMemory("crm"); held > 1 || ready > 0 {
		t.Errorf("%d are held in memory, %d ready", held, ready)
	}
	other := r.inOrder("crm", "other")
	r.until("another order goes", func() bool { return r.detail(other[0]).State == StateDelivered })
	r.restart()
	if held, ready := r.inMemory("crm"); held > 1 || ready > 1 {
		t.Errorf("%d are held in memory, %d ready, after a restart", held, ready)
	}
	// Most are given up, which is not to be walked over again and again.
	most := r.all(Filter{Limit: 1000})[n-sent].ID.Time()
	if _, err := r.DiscardAll(context.Background(), Filter{State: StatePending, Since: most}, false); err != nil {
		t.Fatal(err)
	}
	close(release)
	r.idle("crm")
}
