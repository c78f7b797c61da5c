package queue

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"signalpost/queue/record"
)

// stored is the value of a key, nil if there is none.
func (r *rig) stored(k []byte) []byte {
	r.t.Helper()
	v, err := r.engine.Load().store.Get(k)
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

func TestPutMakesDeliveries(t *testing.T) {
	raw := []byte("{ \"signal_type\" : \"lead\",\t\"n\": 12345678901234567890.10, \"u\": \"\\u00e9é\" }\r\n")
	tests := []struct {
		name  string
		made  []Made
		want  []string // bodies in the order of the ids; "" for none
		bytes int      // bodies stored beside the signal
	}{
		{"unmatched", nil, nil, 0},
		{"forwarded", []Made{{Route: "crm"}}, []string{string(raw)}, 0},
		{"shaped", []Made{{Route: "crm", Body: []byte("null")}}, []string{"null"}, 1},
		{"shaped to what it was", []Made{{Route: "crm", Body: bytes.Clone(raw)}}, []string{string(raw)}, 0},
		{"fan-out", []Made{{Route: "crm"}, {Route: "other", Body: []byte(`"x"`)}}, []string{string(raw), `"x"`}, 1},
		{"several results", []Made{{Route: "crm", Body: []byte("1")}, {Route: "crm", Body: []byte("1")}, {Route: "crm", Body: []byte("2")}}, []string{"1", "1", "2"}, 3},
		{"dead on arrival", []Made{{Route: "crm", Error: "where: boom"}, {Route: "other"}}, []string{"", string(raw)}, 0},
	}
	for _, test := range tests {
		bubble(t, test.name, func(t *testing.T) {
			r := newRig(t, route("crm"), route("other"))
			sig := Signal{ID: r.NewSignalID(), Type: "lead", Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Body: raw}
			r.putAll(Accepted{Signal: sig, Deliveries: test.made})
			synctest.Wait()

			got, infos, err := r.Queue.Signal(sig.ID)
			if err != nil || !bytes.Equal(got.Body, raw) || got.Type != sig.Type || got.Traceparent != sig.Traceparent || got.ID != sig.ID {
				t.Errorf("the signal is %+v, %v", got, err)
			}
			if len(infos) != len(test.want) {
				t.Fatalf("it has %d deliveries, want %d", len(infos), len(test.want))
			}
			sent := map[DeliveryID]shot{}
			for _, s := range r.taken() {
				sent[s.Delivery.ID] = s
			}
			stored := 0
			for i, body := range test.want {
				id := sig.ID.Delivery(i + 1)
				d := r.detail(id)
				if infos[i].ID != id || d.Route != test.made[i].Route || string(d.Body) != body || !bytes.Equal(d.SignalBody, raw) || d.Type != "lead" || d.Signal != sig.ID || !d.Created.Equal(sig.ID.Time()) {
					t.Errorf("delivery %d is %+v", i, d)
				}
				if r.stored(record.BodyKey(nil, id)) != nil {
					stored++
				}
				s, ok := sent[id]
				if body == "" {
					want := Entry{Time: d.Log[0].Time, Delivery: id, Signal: sig.ID, Route: "crm", Type: "lead", Verdict: Dead, Reason: Transform, Error: "where: boom"}
					if ok || d.State != StateDead || d.Reason != Transform || len(d.Log) != 1 || d.Log[0] != want {
						t.Errorf("dead on arrival, but it is %+v", d)
					}
					continue
				}
				want := Delivery{ID: id, Signal: sig.ID, Route: d.Route, Type: "lead", Traceparent: sig.Traceparent, Body: []byte(body)}
				if !ok || d.State != StateDelivered || s.Delivery.Type != want.Type || s.Traceparent != want.Traceparent || s.Delivery.Signal != sig.ID || s.Route != d.Route || string(s.Body) != body {
					t.Errorf("the courier got %+v, want %+v", s, want)
				}
			}
			if stored != test.bytes {
				t.Errorf("%d bodies are stored beside the signal, want %d", stored, test.bytes)
			}
		})
	}
}

// What waits on disk is read as it was put.
func TestBodiesComeBackFromDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.SetPaused("crm", true)
		raw := []byte{' ', '{', '}', 0, 0xff, '\n'}
		a := Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Traceparent: "tp", Body: raw}, Deliveries: []Made{
			{Route: "crm"}, {Route: "crm", Body: []byte("1 ")}, {Route: "crm", Shape: "a"}, {Route: "crm", Shape: "b", Body: []byte("1 ")}, {Route: "crm", Shape: "old"},
		}}
		r.putAll(a)
		if err := r.Retry(a.ID.Delivery(5), true, func(Signal, string) ([]Made, error) { return []Made{{Shape: "new", Body: raw}}, nil }); err != nil {
			t.Fatal(err)
		}
		r.restart()
		r.SetPaused("crm", false)
		synctest.Wait()
		shots := r.taken()
		slices.SortFunc(shots, func(a, b shot) int { return bytes.Compare(a.Delivery.ID[:], b.Delivery.ID[:]) })
		for i, want := range [][]byte{raw, []byte("1 "), raw, []byte("1 "), raw} {
			shape := []string{"", "", "a", "b", "new"}[i]
			if d := r.detail(a.ID.Delivery(i + 1)); !bytes.Equal(d.Body, want) || d.Shape != shape {
				t.Errorf("it is shown as %+v", d)
			}
			if d := shots[i].Delivery; !bytes.Equal(d.Body, want) || d.Shape != shape || d.Traceparent != "tp" || d.Type != "lead" || d.Signal != a.ID || d.ID != a.ID.Delivery(i+1) {
				t.Errorf("the courier got %+v", d)
			}
		}
	})
}

func TestPutFromManyAtOnce(t *testing.T) {
	r := newRig(t, route("crm"), route("other"))
	var wg sync.WaitGroup
	var mu sync.Mutex
	var ids []DeliveryID
	for range 16 {
		wg.Go(func() {
			for i := range 50 {
				a := Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: []byte(`{}`)}, Deliveries: []Made{{Route: "crm"}, {Route: "other", Body: fmt.Append(nil, i)}}}
				if err := r.Put([]Accepted{a}, nil, nil); err != nil {
					t.Error(err)
				}
				mu.Lock()
				ids = append(ids, a.ID.Delivery(1), a.ID.Delivery(2))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	r.idle("crm")
	r.idle("other")
	once(t, r.taken(), ids)
}

func TestPutRefuses(t *testing.T) {
	bubble(t, "after Close", func(t *testing.T) {
		r := newRig(t, route("crm"))
		a := Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: []byte("{}")}}
		if err := r.Close(grace(0)); err != nil {
			t.Fatal(err)
		}
		mustBe(t, r.Put([]Accepted{a}, nil, nil), ErrClosed)
		mustBe(t, r.Ready(), ErrClosed)
		mustBe(t, r.Configure(Limits{}, nil), ErrClosed)
		_, _, err := r.Claim(context.Background(), "k", [32]byte{})
		mustBe(t, err, ErrClosed)
		_, err = r.Deliveries(context.Background(), Filter{Limit: 1})
		mustBe(t, err, ErrClosed)
		mustBe(t, r.Retry(a.ID.Delivery(1), false, nil), ErrClosed)
		_, err = r.DiscardAll(context.Background(), Filter{}, false)
		mustBe(t, err, ErrClosed)
		mustBe(t, r.SetPaused("crm", true), ErrClosed)
		if s := r.Status(); s.Accepting {
			t.Error("it says that it accepts signals")
		}
	})
	bubble(t, "too many deliveries", func(t *testing.T) {
		r := newRig(t, route("crm"))
		a := Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: []byte("{}")}, Deliveries: make([]Made, MaxDeliveries+1)}
		mustBe(t, r.Put([]Accepted{a}, nil, nil), ErrUnavailable)
		_, _, err := r.Queue.Signal(a.ID)
		mustBe(t, err, ErrNotFound)
	})
}

// A store that has failed is opened again after a moment. Close need not wait for that.
func TestCloseAfterTheStoreFailed(t *testing.T) {
	for _, wait := range []time.Duration{0, time.Millisecond, 199 * time.Millisecond, 200 * time.Millisecond, time.Minute} {
		bubble(t, wait.String(), func(t *testing.T) {
			r := newRig(t, route("crm"))
			id := r.put("crm").Delivery(1)
			r.engine.Load().store.Fail(errors.New("no such disk"))
			time.Sleep(wait)
			if err := r.Close(grace(0)); err != nil {
				t.Error(err)
			}
			r.open()
			synctest.Wait()
			r.wantState(id, StateDelivered, "")
		})
	}
}

// Routes that a reload brings while the store has failed are not forgotten:
// their deliveries go out when it is open again.
func TestConfigureWhileTheStoreHasFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, route("crm"))
		r.engine.Load().store.Fail(errors.New("no such disk"))
		r.routes = []Route{route("crm"), route("late")}
		mustBe(t, r.Configure(r.limits, r.routes), ErrUnavailable)
		time.Sleep(time.Minute)
		if err := r.Ready(); err != nil {
			t.Fatal(err)
		}
		id := r.put("late").Delivery(1)
		synctest.Wait()
		r.wantState(id, StateDelivered, "")
	})
}

// Closing while much is going on: everyone gets an answer, and what was answered is there.
func TestCloseUnderFire(t *testing.T) {
	fs := vfs.NewMem()
	r := newRigOn(t, fs, Limits{}, route("crm"))
	r.set(time.Millisecond, func(s shot) (Outcome, error) { return no404, nil })
	var wg sync.WaitGroup
	var mu sync.Mutex
	var kept []DeliveryID
	started := make(chan struct{}, 100)
	for range 8 {
		wg.Go(func() {
			for {
				a := Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: []byte(`{}`)}, Deliveries: []Made{{Route: "crm"}}}
				if err := r.Put([]Accepted{a}, nil, nil); err != nil {
					mustBe(t, err, ErrClosed)
					return
				}
				mu.Lock()
				kept = append(kept, a.ID.Delivery(1))
				mu.Unlock()
				select {
				case started <- struct{}{}:
				default:
				}
			}
		})
	}
	closed := func(err error) bool { return errors.Is(err, ErrClosed) }
	wg.Go(func() {
		for {
			if _, err := r.RetryAll(context.Background(), Filter{State: StateDead}, false, nil, false); err != nil {
				if !closed(err) {
					t.Error(err)
				}
				return
			}
		}
	})
	wg.Go(func() {
		for {
			if _, err := r.DiscardAll(context.Background(), Filter{State: StatePending}, false); err != nil {
				if !closed(err) {
					t.Error(err)
				}
				return
			}
		}
	})
	wg.Go(func() {
		for {
			if err := r.SetPaused("crm", false); err != nil {
				mustBe(t, err, ErrClosed)
				return
			}
		}
	})
	for range 4 {
		wg.Go(func() {
			if err := r.Follow(context.Background(), LogFilter{Limit: 1}, nil, func(Entry) error { return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	for range cap(started) {
		<-started
	}
	if err := r.Close(grace(time.Millisecond)); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if err := check(storePath, fs); err != nil {
		t.Error(err)
	}
	r.open()
	for _, id := range kept {
		r.detail(id)
	}
}

func TestIdempotencyKey(t *testing.T) {
	ctx := context.Background()
	digest := sha256.Sum256([]byte("a"))
	other := sha256.Sum256([]byte("b"))
	accept := func(r *rig, key string, d [32]byte, answer string) {
		t.Helper()
		c, replay, err := r.Claim(ctx, key, d)
		if err != nil || c == nil || replay != nil {
			r.t.Fatalf("claim of a free key: %v, %q, %v", c, replay, err)
		}
		a := Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: []byte("{}")}}
		if err := r.Put([]Accepted{a}, c, []byte(answer)); err != nil {
			r.t.Fatal(err)
		}
		c.Release() // after Put it is nothing
	}
	wantReplay := func(r *rig, key, answer string) {
		r.t.Helper()
		c, replay, err := r.Claim(ctx, key, digest)
		if err != nil || c != nil || string(replay) != answer {
			r.t.Errorf("claim of a bound key: %v, %q, %v; want %q", c, replay, err, answer)
			if c != nil {
				c.Release() // or the next claim would wait for it
			}
		}
	}
	bubble(t, "answers the same again, over a restart too", func(t *testing.T) {
		r := newRig(t)
		accept(r, "k", digest, "first")
		accept(r, "other", other, "second")
		for range 2 {
			wantReplay(r, "k", "first")
			_, _, err := r.Claim(ctx, "k", other)
			mustBe(t, err, ErrKeyReused)
			r.restart()
		}
	})
	bubble(t, "is free again when released", func(t *testing.T) {
		r := newRig(t)
		c, _, err := r.Claim(ctx, "k", other)
		if err != nil {
			t.Fatal(err)
		}
		c.Release()
		c.Release()
		accept(r, "k", digest, "first")
		wantReplay(r, "k", "first")
	})
	bubble(t, "second waits for the first", func(t *testing.T) {
		r := newRig(t)
		first, _, _ := r.Claim(ctx, "k", digest)
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, _, err := r.Claim(short, "k", digest); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting past the deadline: %v", err)
		}
		answers := make(chan string, 10)
		for range 10 {
			go func() {
				_, replay, err := r.Claim(ctx, "k", digest)
				if err != nil {
					t.Error(err)
				}
				answers <- string(replay)
			}()
		}
		synctest.Wait()
		if len(answers) > 0 {
			t.Error("one did not wait")
		}
		if err := r.Put(nil, first, []byte("first")); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if a := <-answers; a != "first" {
				t.Errorf("a waiting request got %q", a)
			}
		}
	})
	bubble(t, "one at a time gets it when it is released", func(t *testing.T) {
		r := newRig(t)
		var wg sync.WaitGroup
		holders := 0
		for range 20 {
			wg.Go(func() {
				c, _, err := r.Claim(ctx, "k", digest)
				if err != nil || c == nil {
					t.Errorf("%v, %v", c, err)
					return
				}
				if holders++; holders != 1 {
					t.Errorf("%d hold it", holders)
				}
				time.Sleep(time.Second)
				holders--
				c.Release()
			})
		}
		wg.Wait()
	})
	bubble(t, "is forgotten after the window, not before", func(t *testing.T) {
		r := newRigOn(t, vfs.NewMem(), Limits{DedupWindow: time.Hour})
		accept(r, "k", digest, "first")
		time.Sleep(time.Hour)
		wantReplay(r, "k", "first")
		time.Sleep(2 * time.Millisecond)
		accept(r, "k", digest, "second") // before the sweeper has been there
		time.Sleep(59 * time.Minute)     // it has been there, and has left the second
		wantReplay(r, "k", "second")
		r.restart()
		wantReplay(r, "k", "second")
		time.Sleep(2 * time.Hour)
		n := 0
		for _, prefix := range []byte{record.IdemPrefix, record.IdemTimePrefix} {
			if err := r.engine.Load().store.Scan([]byte{prefix}, []byte{prefix + 1}, func(_, _ []byte) (bool, error) { n++; return true, nil }); err != nil {
				t.Fatal(err)
			}
		}
		if n != 0 {
			t.Errorf("%d keys are left behind", n)
		}
		accept(r, "k", other, "third")
	})
	// However the sweeper and a new binding meet, the binding is not swept out.
	// It looks at all keys before it forgets them: some are bound in between.
	bubble(t, "bound anew while the sweeper is at it", func(t *testing.T) {
		r := newRigOn(t, vfs.NewMem(), Limits{DedupWindow: time.Second})
		e := r.engine.Load()
		for range 10 {
			for n := range 100 {
				accept(r, fmt.Sprint(n), digest, "old")
			}
			time.Sleep(time.Second + 2*time.Millisecond)
			done := make(chan error)
			go func() { done <- e.store.Sweep(ctx) }()
			for n := range 100 {
				accept(r, fmt.Sprint(n), digest, "new")
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			for n := range 100 {
				wantReplay(r, fmt.Sprint(n), "new")
			}
			time.Sleep(2 * time.Second)
		}
	})
	bubble(t, "is bound by a batch of no delivery", func(t *testing.T) {
		r := newRig(t)
		c, _, _ := r.Claim(ctx, "", digest)
		if err := r.Put(nil, c, nil); err != nil {
			t.Fatal(err)
		}
		c, replay, err := r.Claim(ctx, "", digest)
		if c != nil || replay == nil || err != nil {
			t.Errorf("claim of a bound key with an empty answer: %v, %v, %v", c, replay, err)
		}
	})
}

// What is noted with a signal is there after a restart, the newest under each name.
func TestNotes(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		r := newRig(t, route("crm"))
		for _, n := range []Note{{"a", []byte("1")}, {"b/c", []byte{}}, {"a", []byte("2")}} {
			r.putAll(Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: []byte("{}")}, Note: &n})
		}
		r.restart()
		notes, err := r.Notes()
		if err != nil || len(notes) != 2 || string(notes["a"]) != "2" || notes["b/c"] == nil {
			t.Errorf("%q, %v", notes, err)
		}
	})
}
