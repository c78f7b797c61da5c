package budget

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// MaxTime is how long a run may take.
const MaxTime = 100 * time.Millisecond

const (
	lightTime  = 2 * time.Millisecond
	tick       = time.Millisecond      // more than that between two looks at the clock is looked into
	slack      = 4                     // times its estimate a call may take
	briefly    = 20 * time.Microsecond // need not be estimated
	lightSteps = 256                   // instructions between two looks of a light run
	heavySteps = 32                    // and of a heavy one
	unknown    = 10 * time.Millisecond // that count at most between two looks where the time of a thread is not known
)

// A Run is one evaluation of an expression. It is used by one goroutine. It is
// the context gojq runs under: see internals.go.
//
// What an expression calls reports to it what it will take; where that is
// refused the run has ended, and the call returns [Run.Err], which the
// expression has no way to catch.
type Run struct {
	session *Session
	light   bool
	steps   int // until the clock is read
	err     error
	done    chan struct{} // nil, or closed when err is set
	kept    int           // bytes of results

	memory

	started time.Duration // by the clock of the thread of a heavy run, if that has one

	mu        sync.Mutex // guards the following, which the caller of a heavy run looks at
	own       time.Duration
	last      time.Time     // of the last look at the clock
	allowance time.Duration // what may pass until the next look and count as the run's
	waiting   bool          // for others
	abandoned bool          // nobody waits for the run any more
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (s *Session) orUncounted() *Session {
	if s == nil {
		return &Session{ctx: context.Background(), pool: pools[ForSignals], free: 1 << 62}
	}
	return s
}

// Begin makes r a light run of the session, whatever it was.
func (r *Run) Begin(s *Session) {
	*r = Run{session: s.orUncounted(), light: true, steps: lightSteps}
	r.granted = lightBytes
}

// IsHeavy reports that a light run has ended because it is none: it must begin
// again.
func (r *Run) IsHeavy() bool { return r.err == errHeavy }

// Heavy calls f with a heavy run, on a goroutine of its own, once there is a
// place. What f leaves may be used only if the error is nil; f may still be
// running otherwise.
func Heavy(s *Session, f func(r *Run)) error {
	s = s.orUncounted()
	r := &Run{session: s, allowance: tick}
	if err := s.wait(func() bool { return s.pool.enter(r) }); err != nil {
		return err
	}
	r.last = time.Now()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer s.pool.leave(r)
		runtime.LockOSThread() // whose clock is the run's
		defer runtime.UnlockOSThread()
		r.started, _ = threadTime()
		f(r)
	}()
	t := time.NewTimer(MaxTime)
	defer t.Stop()
	for {
		select {
		case <-ended:
			return r.err
		case <-s.ctx.Done():
			r.remaining(true)
			return s.ctx.Err()
		case <-t.C:
			left := r.remaining(false)
			if left <= 0 {
				r.remaining(true)
				return errTimeout
			}
			t.Reset(left)
		}
	}
}

// remaining is how long a heavy run may go on, as its caller sees it, who may leave.
func (r *Run) remaining(leave bool) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.abandoned = r.abandoned || leave
	if r.waiting {
		return tick
	}
	// A little more, so that the run itself finds out first if it can.
	return MaxTime + 2*tick - r.own - min(time.Since(r.last), r.allowance)
}

// Err is what ended the run: an [*Error], or that of the session's context.
func (r *Run) Err() error { return r.err }

// Fail ends the run, unless it has ended, and returns what ended it.
func (r *Run) Fail(kind Kind, format string, args ...any) error {
	return r.end(Errorf(kind, format, args...))
}

func (r *Run) end(err error) error {
	if r.err == nil {
		r.err, r.done = err, closed
	}
	return r.err
}

// look reads the clock, and ends a run whose time is over.
func (r *Run) look() {
	now := time.Now()
	r.mu.Lock()
	gap := now.Sub(r.last)
	r.steps = heavySteps
	switch {
	case r.light && r.last.IsZero(): // nearly all end before
		r.steps = lightSteps
	case r.light:
		r.own += gap
		r.steps = lightSteps
	case gap <= r.allowance:
		r.own += gap
	default: // a call that was not estimated, or the processor was elsewhere
		if t, ok := threadTime(); ok {
			r.own = t - r.started
		} else {
			r.own += min(gap, unknown)
		}
		r.steps = 0
	}
	r.last, r.allowance = now, tick
	own, abandoned := r.own, r.abandoned
	r.mu.Unlock()
	switch {
	case r.light && own > lightTime:
		r.end(errHeavy)
	case abandoned, own > MaxTime:
		r.end(errTimeout)
	}
}

// Limit is how long the run may take.
func (r *Run) Limit() time.Duration {
	if r.light {
		return lightTime
	}
	return MaxTime
}

// Own is how long the run has taken so far.
func (r *Run) Own() time.Duration {
	r.look()
	return r.own
}

// Spend accounts for a call that is about to take so long, by a low estimate.
// It reports whether there is the time for it; if not, the run has ended.
func (r *Run) Spend(estimate time.Duration) bool {
	if estimate < briefly || r.err != nil {
		return r.err == nil
	}
	if r.light && estimate > lightTime/2 {
		r.end(errHeavy)
		return false
	}
	r.look()
	if r.own+estimate > MaxTime {
		r.end(errTimeout)
	}
	r.mu.Lock()
	r.allowance += slack * estimate
	r.mu.Unlock()
	return r.err == nil
}

// pause calls f, whose time is not the run's.
func (r *Run) pause(f func()) {
	r.look()
	r.mu.Lock()
	r.waiting = true
	r.mu.Unlock()
	f()
	r.mu.Lock()
	r.last, r.waiting = time.Now(), false
	if t, ok := threadTime(); ok && !r.light {
		r.started = t - r.own
	}
	r.mu.Unlock()
}

// Keep counts n bytes of results on the account of the session, and waits for
// the room. It reports whether there was; if not, the run has ended.
func (r *Run) Keep(n int) bool {
	if r.err != nil {
		return false
	}
	r.kept += n
	if s := r.session; s.results.Add(int64(n)) > s.free {
		r.pause(func() {
			if err := s.take(); err != nil {
				r.end(err)
			}
		})
	}
	return r.err == nil
}

// Discard gives back what has been kept: the run has no results.
func (r *Run) Discard() {
	r.session.results.Add(int64(-r.kept))
	r.kept = 0
}
