package budget

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/itchyny/gojq"
)

func begin(s *Session) *Run {
	r := new(Run)
	r.Begin(s)
	return r
}

// gojq asks for Done before each instruction: see internals.go.
func TestDone(t *testing.T) {
	q, err := gojq.Parse("[range(1000) | . + 1] | length")
	if err != nil {
		t.Fatal(err)
	}
	r := begin(nil)
	r.steps = 1 << 30
	if v, _ := q.RunWithContext(r, nil).Next(); v != 1000 {
		t.Fatal(v)
	}
	if n := 1<<30 - r.steps; n < 5000 {
		t.Errorf("Done was asked for %d times in 1000 iterations", n)
	}
	// A run that has ended goes on for no instruction, and cannot be caught.
	r = begin(nil)
	want := r.Fail(Failed, "over")
	q, _ = gojq.Parse(`try 1 catch 2, 3`)
	if v, _ := q.RunWithContext(r, nil).Next(); v != want {
		t.Errorf("a run that has ended yields %v", v)
	}
}

// loop asks for Done until the run ends.
func loop(r *Run) {
	for r.Err() == nil {
		r.Done()
	}
}

func TestLightBecomesHeavy(t *testing.T) {
	for name, f := range map[string]func(r *Run){
		"time":   loop,
		"memory": func(r *Run) { r.Charge(lightBytes + 1) },
		"room":   func(r *Run) { r.Room(lightBytes + 1) },
		"call":   func(r *Run) { r.Spend(lightTime) },
		"string": func(r *Run) { r.Made(strings.Repeat("x", lightBytes)) },
	} {
		r := begin(nil)
		if f(r); !r.IsHeavy() {
			t.Errorf("%s: %v", name, r.Err())
		}
	}
}

// A heavy run ends after its own time; what it waits does not count.
func TestOwnTime(t *testing.T) {
	began := time.Now()
	err := Heavy(nil, func(r *Run) {
		r.pause(func() { time.Sleep(2 * MaxTime) })
		for range 1000 {
			r.Done()
		}
		time.Sleep(2 * MaxTime) // the processor is elsewhere
		for range 1000 {
			r.Done()
		}
	})
	if err != nil {
		t.Errorf("after %v, nearly all of it waiting: %v", time.Since(began), err)
	}
	var own time.Duration
	if err := Heavy(nil, func(r *Run) { loop(r); own = r.own }); err != errTimeout {
		t.Errorf("a loop without end: %v", err)
	}
	if own < MaxTime || own > 2*MaxTime {
		t.Errorf("it took %v of its own", own)
	}
}

// A call that ends late holds its place, and nobody waits for it.
func TestLateCall(t *testing.T) {
	release := make(chan struct{})
	s := NewSession(t.Context(), ForTries)
	defer s.Close()
	began := time.Now()
	err := Heavy(s, func(r *Run) {
		r.Spend(MaxTime / 2)
		<-release // gojq does not come back
		for range heavySteps + 1 {
			r.Done()
		}
		if r.Err() != errTimeout {
			t.Errorf("afterwards: %v", r.Err())
		}
	})
	if took := time.Since(began); err != errTimeout || took < MaxTime {
		t.Errorf("%v after %v", err, took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	s2 := NewSession(ctx, ForTries)
	defer s2.Close()
	if err := Heavy(s2, func(*Run) { t.Error("there was a place") }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with its place taken: %v", err)
	}
	close(release)
	if err := Heavy(s, func(*Run) {}); err != nil {
		t.Errorf("once it has ended: %v", err)
	}
	// What would not end in time does not begin.
	if err := Heavy(s, func(r *Run) {
		if r.Spend(2 * MaxTime) {
			t.Error("there was time for a call that takes too long")
		}
	}); err != errTimeout {
		t.Error(err)
	}
}

// A run ends with the context of its session.
func TestContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := NewSession(ctx, ForTries)
	defer s.Close()
	time.AfterFunc(10*time.Millisecond, cancel)
	ended := make(chan struct{})
	err := Heavy(s, func(r *Run) { loop(r); close(ended) })
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-ended // long before its time is over: nothing goes on for nobody
}

// mebibyte makes a string in no time of the run's.
func mebibyte(r *Run) (s string) {
	r.pause(func() { s = strings.Repeat("x", 1<<20) })
	return s
}

func TestMemory(t *testing.T) {
	var keep []string
	err := Heavy(nil, func(r *Run) {
		for len(keep) < 200 && r.Err() == nil {
			s := mebibyte(r)
			keep = append(keep, s)
			r.Made(s)
			r.Made(s) // the same one counts once
		}
	})
	if err != errMemory || len(keep) < 75 || len(keep) > 85 {
		t.Errorf("%d MiB held: %v", len(keep), err)
	}
	runtime.KeepAlive(keep)
	// What is not held any more does not count.
	if err := Heavy(nil, func(r *Run) {
		for range 300 {
			r.Made(mebibyte(r))
		}
	}); err != nil {
		t.Errorf("300 MiB made, none held: %v", err)
	}
	if err := Heavy(nil, func(r *Run) { r.Room(maxRun + 1) }); err != errMemory {
		t.Error(err)
	}
	for _, n := range []int{-1, -1 << 62} {
		if err := Heavy(nil, func(r *Run) { r.Room(n) }); err != errMemory {
			t.Errorf("Room(%d): %v", n, err)
		}
	}
}

// Runs grow to the most there is, however many want to at once, and have never
// more than the pool.
func TestGrow(t *testing.T) {
	p := pools[ForSignals]
	var held, most atomic.Int64
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			err := Heavy(nil, func(r *Run) {
				granted := 0
				for r.small < maxRun-(1<<20) && r.Charge(1<<20) {
					now := held.Add(int64(r.granted - granted))
					granted = r.granted
					for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
					}
				}
				held.Add(int64(-granted))
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if most.Load() > 112<<20 || most.Load() < maxRun-stepBytes {
		t.Errorf("at most %d MiB were held at once", most.Load()>>20)
	}
	if p.free != 112<<20 || len(p.running) != 0 || len(p.waiting) != 0 {
		t.Errorf("%d MiB are free, %d run, %d wait", p.free>>20, len(p.running), len(p.waiting))
	}
}

func (s *Session) keep(n int64) error {
	s.results.Add(n)
	return s.take()
}

// What is yielded stays on the account of its session.
func TestResults(t *testing.T) {
	p := pools[ForTries]
	before := p.results
	s := NewSession(t.Context(), ForTries)
	for range 10 {
		if err := s.keep(1 << 20); err != nil {
			t.Fatal(err)
		}
	}
	r := begin(s)
	if r.Keep(100<<20) || r.Err() != ErrBusy && !r.IsHeavy() {
		t.Errorf("more than there is: %v", r.Err())
	}
	r.Discard()
	other := NewSession(t.Context(), ForTries)
	done := make(chan bool)
	go func() { done <- other.keep(27<<20) == nil }()
	select {
	case <-done:
		t.Error("there was room for 27 MiB beside 10")
	case <-time.After(20 * time.Millisecond):
	}
	s.Close()
	if err := s.keep(20 << 20); err != nil { // by a run that nobody waits for
		t.Error(err)
	}
	if !<-done {
		t.Error("no room for 27 MiB alone")
	}
	other.Close()
	if p.results != before {
		t.Errorf("%d bytes of results are left, were %d", p.results, before)
	}
}

// A session with a place leaves the next one to a session that has none.
func TestPlacesGoRound(t *testing.T) {
	stop := make(chan struct{})
	hungry := NewSession(t.Context(), ForSignals)
	defer hungry.Close()
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			for range 4 {
				select {
				case <-stop:
					return
				default:
					Heavy(hungry, loop)
				}
			}
		})
	}
	time.Sleep(10 * time.Millisecond)
	modest := NewSession(t.Context(), ForSignals)
	defer modest.Close()
	began := time.Now()
	for range 3 {
		if err := Heavy(modest, func(*Run) {}); err != nil {
			t.Error(err)
		}
	}
	// Beside 160 runaways it would be one in forty turns.
	took := time.Since(began)
	close(stop)
	all.Wait()
	if rest := time.Since(began) - took; took > rest {
		t.Errorf("three runs took %v, what was left of 40 others then %v", took, rest)
	}
}

func TestClip(t *testing.T) {
	for in, want := range map[string]string{"abc": "abc", "0123456789": "0123 ...", "01é3456789": "01é ...", "012é456789": "012 ..."} {
		if got := Clip(in, 8); got != want {
			t.Errorf("Clip(%q) = %q, want %q", in, got, want)
		}
	}
}
