package queue

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

var faultsFor = flag.Duration("faults.for", 15*time.Second, "how long TestFaults picks faults at random; all of them take several minutes")

var errInjected = errors.New("injected fault")

// A fault is in the at-th operation on the disk, and, if it lasts, in all like
// it from then on until it is mended.
type fault struct {
	at    int64
	err   error
	after bool // the operation is carried out, and reports an error all the same
	lasts bool

	n      atomic.Int64
	mended atomic.Bool
	met    atomic.Pointer[fsOp]
}

func (f *fault) hook(o fsOp, after bool) error {
	if o.kind == "usage" { // asked each second, and never trusted
		return nil
	}
	n := f.n.Load()
	if !after {
		n = f.n.Add(1)
	}
	if f.mended.Load() || f.at == 0 || after != f.after || n < f.at {
		return nil
	}
	if met := f.met.Load(); met != nil {
		if !f.lasts || met.read() != o.read() {
			return nil
		}
	} else if !f.met.CompareAndSwap(nil, &o) {
		return nil
	}
	return &os.PathError{Op: o.kind, Path: o.name, Err: f.err}
}

func (f *fault) String() string {
	s := fmt.Sprintf("operation %d reports %q", f.at, f.err)
	if met := f.met.Load(); met != nil {
		s = fmt.Sprintf("operation %d, %s %s, reports %q", f.at, met.kind, met.name, f.err)
	}
	if f.after {
		s += " though it is carried out"
	}
	if f.lasts {
		s += ", and so do all after it"
	}
	return s
}

// TestFaults fails each operation on the disk of a workload in turn: once or
// from then on, carried out or not. The bubble it runs in ends only if every
// goroutine does, so nothing hangs and nothing is left behind. It takes a random
// part of the faults; -faults.for=20m takes all.
func TestFaults(t *testing.T) {
	none := &fault{}
	synctest.Test(t, func(t *testing.T) { faultScenario(t, none) })
	ops := none.n.Load()
	t.Logf("%d operations", ops)
	var faults []*fault
	step := int64(1)
	if testing.Short() || raceEnabled {
		step = 150
	}
	for at := rand.Int64N(step) + 1; at <= ops; at += step {
		for i, err := range []error{errInjected, syscall.ENOSPC, syscall.EIO} {
			kind := (int(at)/int(step) + i) % 4 // each operation meets three of the four kinds, each error all
			faults = append(faults, &fault{at: at, err: err, after: kind&1 != 0, lasts: kind&2 != 0})
		}
	}
	var met atomic.Int64
	var wg sync.WaitGroup
	work := make(chan *fault)
	for range 2 {
		wg.Go(func() {
			for f := range work {
				if !t.Failed() {
					synctest.Test(t, func(t *testing.T) { faultScenario(t, f) })
				}
				if f.met.Load() != nil {
					met.Add(1)
				}
			}
		})
	}
	rand.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
	start := time.Now()
	for i, f := range faults {
		if time.Since(start) > *faultsFor {
			faults = faults[:i]
			break
		}
		work <- f
	}
	close(work)
	wg.Wait()
	t.Logf("%d faults, %d met", len(faults), met.Load())
	if n := met.Load(); n == 0 || int(n) < len(faults)*3/4 { // a run may be over before the last operations
		t.Errorf("only %d of %d faults were met", n, len(faults))
	}
}

func faultScenario(t *testing.T, f *fault) {
	w := newWorldOf(7, Limits{})
	w.courier.gentle.Store(true)
	w.fs = &hookFS{FS: w.mem, hook: f.hook}
	fatal := func(what string, err error) {
		t.Helper()
		f.mended.Store(true)
		if w.q != nil {
			_ = w.q.Close(context.Background())
		}
		t.Fatalf("%s: %s: %v", f, what, err)
	}
	// A fault while it opens is an error that names the store; without the fault it opens.
	reopen := func() {
		for {
			q, err := open(w.options, w.fs)
			if err == nil {
				w.q = q
				if err := q.Configure(w.limits, worldRoutes); err != nil && !errors.Is(err, ErrUnavailable) {
					fatal("configure", err)
				}
				return
			}
			if f.met.Load() == nil {
				fatal("open, no fault yet", err)
			}
			if !strings.Contains(err.Error(), storePath) {
				fatal("open names no store", err)
			}
			if f.mended.Load() {
				fatal("open, the fault mended", err)
			}
			f.mended.Store(true)
		}
	}
	cutAfter := false
	put := func() bool {
		err := w.put(w.q, []Accepted{w.accepted(w.rng)}, fmt.Sprint("key", w.rng.Uint64()))
		if err != nil && (!errors.Is(err, ErrUnavailable) || f.met.Load() == nil) {
			fatal("put", err)
		}
		// What is acknowledged in spite of the fault is on disk, whatever comes next.
		if met := f.met.Load(); err == nil && met != nil && !met.read() && !cutAfter {
			cutAfter = true
			if err := w.verify(w.cut(w.mem, 0, nil, "after the first put since the fault"), false); err != nil {
				fatal("power cut", err)
			}
		}
		return err == nil
	}
	flush := func() {
		e := w.q.engine.Load()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		go func() {
			select {
			case <-e.store.Failed():
				cancel()
			case <-ctx.Done():
			}
		}()
		_ = e.store.Read(func(db *pebble.DB) error {
			return errors.Join(db.Flush(), db.Compact(ctx, []byte{0}, []byte{0xff}, false))
		})
	}
	look := func() {
		_, _ = w.q.Deliveries(context.Background(), Filter{Limit: 10})
		_, _ = w.q.Log(context.Background(), LogFilter{Limit: 10})
		_ = w.q.Status()
	}
	reopen()
	for range 4 {
		put()
		look()
	}
	flush()
	for range 2 {
		put()
		time.Sleep(20 * time.Millisecond)
	}
	flush()
	put()
	_ = w.q.Close(context.Background()) // it may say that it could not
	reopen()
	for range 3 {
		put()
		look()
	}
	w.mu.Lock()
	for _, s := range w.signals {
		s.retried, s.discarded, s.reshaped = true, true, true
	}
	w.mu.Unlock()
	_, _ = w.q.RetryAll(context.Background(), Filter{State: StateDead}, false, reshapeTest, false)
	_ = w.q.SetPaused("a", true)
	_ = w.q.SetPaused("a", false)
	flush()
	put()
	time.Sleep(3 * time.Second)
	f.mended.Store(true)

	// Once the fault has gone it accepts again by itself, and delivers.
	for i := 0; ; i++ {
		if err := w.q.Ready(); err == nil && put() {
			break
		}
		if i > 60 {
			fatal("it does not accept again", w.q.Ready())
		}
		time.Sleep(time.Second)
	}
	w.takenBack(w.q)
	// A Configure that failed is repeated by whoever asked for it.
	if err := w.q.Configure(w.limits, worldRoutes); err != nil {
		fatal("configure", err)
	}
	_ = w.q.SetPaused("a", false)
	for i := 0; ; i++ {
		left := int64(0)
		for _, r := range w.q.Status().Routes {
			left += r.Pending + r.Held
		}
		if left == 0 {
			break
		}
		if i > 900 {
			fatal("it does not deliver", fmt.Errorf("%d are left: %+v", left, w.q.Status()))
		}
		time.Sleep(time.Second)
	}
	put()
	c := w.cut(w.mem, 0, nil, "at the end")
	if err := w.q.Close(context.Background()); err != nil {
		fatal("close", err)
	}
	for _, c := range []cut{c, w.cut(w.mem, 0, nil, "closed")} {
		if err := w.verify(c, false); err != nil {
			fatal(c.what, err)
		}
	}
}

// hang is a disk that does not answer until it is released.
type hang struct {
	on      atomic.Bool
	release chan struct{}
}

func (h *hang) hook(o fsOp, after bool) error {
	if h.on.Load() && !after && !o.read() {
		<-h.release
	}
	return nil
}

// TestHungDisk: a disk that does not answer keeps nobody waiting for long,
// and all goes on when it does again.
func TestHungDisk(t *testing.T) {
	bubble(t, "sync", func(t *testing.T) {
		h := &hang{release: make(chan struct{})}
		r := newRigOn(t, &hookFS{FS: vfs.NewMem(), hook: h.hook}, Limits{}, route("a"))
		first := r.put("a")
		h.on.Store(true)
		start := time.Now()
		err := r.Put([]Accepted{{Signal: Signal{ID: r.NewSignalID(), Body: []byte("{}")}}}, nil, nil)
		mustBe(t, err, ErrUnavailable)
		mustBe(t, r.Ready(), ErrUnavailable)
		if took := time.Since(start); took > stallAfter+3*time.Second {
			t.Errorf("Put waited %v", took)
		}
		h.on.Store(false)
		close(h.release)
		time.Sleep(lastReopen * 2)
		if err := r.Ready(); err != nil {
			t.Error(err)
		}
		r.wantState(first.Delivery(1), StateDelivered, "")
		r.put("a")
	})
	ctx := context.Background()
	for name, ask := range map[string]func(r *rig, id DeliveryID) error{
		"retry": func(r *rig, id DeliveryID) error { return r.Retry(id, false, nil) },
		"retry all": func(r *rig, _ DeliveryID) error {
			_, err := r.RetryAll(ctx, Filter{State: StateDead}, true, shape("1"), false)
			return err
		},
		"discard":     func(r *rig, id DeliveryID) error { return r.Discard(id) },
		"discard all": func(r *rig, _ DeliveryID) error { _, err := r.DiscardAll(ctx, Filter{}, false); return err },
		"pause":       func(r *rig, _ DeliveryID) error { return r.SetPaused("a", true) },
		"configure":   func(r *rig, _ DeliveryID) error { return r.Configure(Limits{}, []Route{route("a"), route("c")}) },
		"put, with more of them than the committer's queue takes": func(r *rig, _ DeliveryID) error {
			const many = 3000
			ends := make(chan error)
			for range many {
				id := r.NewSignalID()
				go func() { ends <- r.Put([]Accepted{{Signal: Signal{ID: id, Body: []byte("{}")}}}, nil, nil) }()
			}
			var all []error
			for range many {
				if err := <-ends; !errors.Is(err, ErrUnavailable) {
					return err
				} else if len(all) == 0 {
					all = append(all, err)
				}
			}
			return all[0]
		},
	} {
		bubble(t, name, func(t *testing.T) {
			h := &hang{release: make(chan struct{})}
			r := newRigOn(t, &hookFS{FS: vfs.NewMem(), hook: h.hook}, Limits{}, route("a"), route("b"))
			r.set(0, func(s shot) (Outcome, error) { return map[string]Outcome{"a": no404, "b": no410}[s.Route], nil })
			id := r.put("a", "b").Delivery(1)
			time.Sleep(time.Second)
			r.wantState(id, StatePending, "")
			h.on.Store(true)
			start := time.Now()
			mustBe(t, ask(r, id), ErrUnavailable)
			if took := time.Since(start); took > stallAfter+3*time.Second {
				t.Errorf("it waited %v", took)
			}
			h.on.Store(false)
			close(h.release)
			time.Sleep(lastReopen * 2)
			r.set(0, nil)
			r.put("a")
		})
	}
}

// TestRefusedIsTakenBack: what a disk that did not answer, or reported an
// error, brought to disk all the same has been refused, and is not there when
// the store is open again; nor does its idempotency key answer.
func TestRefusedIsTakenBack(t *testing.T) {
	for name, meet := range map[string]func(h *hang, o fsOp, after bool) error{
		"no answer": func(h *hang, o fsOp, after bool) error { return h.hook(o, after) },
		"an error": func(h *hang, o fsOp, after bool) error {
			if after && h.on.CompareAndSwap(true, false) {
				return errInjected
			}
			return nil
		},
	} {
		bubble(t, name, func(t *testing.T) {
			h := &hang{release: make(chan struct{})}
			r := newRigOn(t, &hookFS{FS: vfs.NewMem(), hook: func(o fsOp, after bool) error {
				if o.kind == "sync" && strings.HasSuffix(o.name, ".log") {
					return meet(h, o, after)
				}
				return nil
			}}, Limits{}, route("a"), route("b"), route("c"))
			if l, ok := logs.Load(r.fs); ok { // its record is there, and nobody is told
				l.(*memLog).fault = func() string {
					if h.on.CompareAndSwap(true, false) {
						return "lost"
					}
					return ""
				}
			}
			kept := r.put("a", "b")
			if err := r.SetPaused("c", true); err != nil {
				t.Fatal(err)
			}
			ordered := r.inOrder("c", "1")
			synctest.Wait()
			time.Sleep(time.Second)
			before := r.Status()

			batch := []Accepted{
				{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: []byte(`{"a":1}`)}, Deliveries: []Made{{Route: "a"}, {Route: "b", Body: []byte("2")}, {Route: "new", Error: "no"}, {Route: "c", Order: "1"}, {Route: "c", Order: "2"}, {Route: "c", Order: "2"}}},
				{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: []byte(`{"b":1}`)}},
			}
			digest := sha256.Sum256([]byte("body"))
			claim, _, err := r.Claim(t.Context(), "key", digest)
			if err != nil {
				t.Fatal(err)
			}
			h.on.Store(true)
			mustBe(t, r.Put(batch, claim, []byte("answer")), ErrUnavailable)
			claim.Release()
			h.on.Store(false)
			close(h.release)
			time.Sleep(2 * lastReopen)
			if err := r.Ready(); err != nil {
				t.Fatal(err)
			}
			r.taken()
			time.Sleep(time.Hour)
			if s := r.taken(); len(s) > 0 {
				t.Errorf("refused, and sent: %v", s)
			}
			for _, a := range batch {
				_, _, err := r.Signal(a.ID)
				mustBe(t, err, ErrNotFound)
			}
			if all := r.all(Filter{Limit: 10}); len(all) != 3 {
				t.Errorf("there are %+v", all)
			}
			if log := r.entries(LogFilter{Limit: 10}); len(log) != 2 {
				t.Errorf("the log is %+v", log)
			}
			after := r.Status()
			for i, want := range before.Routes {
				if got := after.Routes[i]; got.Delivered != want.Delivered || got.Dead != 0 || got.Pending != want.Pending {
					t.Errorf("%+v, want %+v", got, want)
				}
			}
			ordered = append(ordered, r.inOrder("c", "1", "2")...)
			if err := r.SetPaused("c", false); err != nil {
				t.Fatal(err)
			}
			r.wantShots(ordered, "1,2,3")
			r.wantState(kept.Delivery(1), StateDelivered, "")
			claim, answer, err := r.Claim(t.Context(), "key", digest)
			if err != nil || claim == nil {
				t.Fatalf("the key answers %q, %v", answer, err)
			}
			if err := r.Put(batch[1:], claim, []byte("answer")); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestHungLog: likewise where only the log hangs, and nobody but the store's
// own watch can notice: while it is configured after it was opened again, and
// while it closes.
func TestHungLog(t *testing.T) {
	hung := func(t *testing.T) (r *rig, on func(), release func()) {
		h := &hang{release: make(chan struct{})}
		r = newRigOn(t, &hookFS{FS: vfs.NewMem(), hook: func(o fsOp, after bool) error {
			if o.kind == "sync" && strings.HasSuffix(o.name, ".log") {
				return h.hook(o, after)
			}
			return nil
		}}, Limits{}, route("a"))
		return r, func() { h.on.Store(true) }, func() { h.on.Store(false); close(h.release) }
	}
	answered := func(t *testing.T, r *rig) {
		t.Helper()
		start := time.Now()
		mustBe(t, r.Put([]Accepted{{Signal: Signal{ID: r.NewSignalID(), Body: []byte("{}")}}}, nil, nil), ErrUnavailable)
		if took := time.Since(start); took > stallAfter+3*time.Second {
			t.Errorf("Put waited %v", took)
		}
	}
	bubble(t, "opened again", func(t *testing.T) {
		r, on, release := hung(t)
		failed := r.engine.Load()
		failed.store.Fail(errors.New("as if the disk were full"))
		mustBe(t, r.Configure(Limits{}, []Route{route("a"), route("new")}), ErrUnavailable) // so that the next has a name to write
		on()
		for r.engine.Load() == failed {
			time.Sleep(time.Millisecond)
		}
		answered(t, r)
		release()
		time.Sleep(2 * lastReopen)
		r.put("new")
	})
	bubble(t, "closing", func(t *testing.T) {
		r, on, release := hung(t)
		on()
		var all sync.WaitGroup
		all.Go(func() { answered(t, r) })
		synctest.Wait()
		all.Go(func() { _ = r.Close(context.Background()) })
		time.Sleep(stallAfter + 5*time.Second)
		release()
		all.Wait()
	})
}

// TestCompactionThatFailsIsNoFailure: reads get slower, and that is all.
func TestCompactionThatFailsIsNoFailure(t *testing.T) {
	bubble(t, "compaction", func(t *testing.T) {
		var full atomic.Bool
		r := newRigOn(t, &hookFS{FS: vfs.NewMem(), hook: func(o fsOp, after bool) error {
			if full.Load() && (o.kind == "create" || o.kind == "write") && strings.HasSuffix(o.name, ".sst") {
				return &os.PathError{Op: o.kind, Path: o.name, Err: syscall.ENOSPC}
			}
			return nil
		}}, Limits{}, route("a"))
		e := r.engine.Load()
		for range 2 {
			r.put("a")
			synctest.Wait()
			r.flush() // all of it: Compact would flush the rest, and a flush that fails is a failure
		}
		full.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // it is tried again and again
		defer cancel()
		err := e.store.Read(func(db *pebble.DB) error { return db.Compact(ctx, []byte{0}, []byte{0xff}, false) })
		if err == nil {
			t.Error("it was compacted without room for it")
		}
		if r.engine.Load() != e || e.store.Err() != nil {
			t.Errorf("the store failed: %v", e.store.Err())
		}
		id := r.put("a").Delivery(1)
		synctest.Wait()
		r.wantState(id, StateDelivered, "")
		full.Store(false)
	})
}

// TestFlushesFailForEver: with no room for tables but for the log, Put refuses
// instead of waiting for a flush, and goes on when there is room.
func TestFlushesFailForEver(t *testing.T) {
	bubble(t, "flush", func(t *testing.T) {
		var full atomic.Bool
		mem := vfs.NewMem()
		r := newRigOn(t, &hookFS{FS: mem, hook: func(o fsOp, after bool) error {
			if full.Load() && o.kind == "write" && strings.HasSuffix(o.name, ".sst") {
				return &os.PathError{Op: o.kind, Path: o.name, Err: syscall.ENOSPC}
			}
			return nil
		}}, Limits{}, route("a"))
		full.Store(true)
		var acked []SignalID
		refused := 0
		body := noise(1 << 20)
		for range 200 {
			a := Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: body}, Deliveries: []Made{{Route: "a"}}}
			if err := r.Put([]Accepted{a}, nil, nil); err == nil {
				acked = append(acked, a.ID)
			} else {
				mustBe(t, err, ErrUnavailable)
				if !strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
					t.Errorf("the reason is %q", err)
				}
				refused++
			}
		}
		if refused == 0 {
			t.Error("nothing was refused")
		}
		full.Store(false)
		time.Sleep(time.Minute)
		for _, id := range acked {
			r.wantState(id.Delivery(1), StateDelivered, "")
		}
		r.put("a")
	})
}
