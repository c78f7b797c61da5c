package budget

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A Class says on whose account expressions run. Those of one class never wait
// for those of the other.
type Class int

// The classes of sessions.
const (
	ForSignals Class = iota // what the app sends, and what is made anew of it
	ForTries                // what somebody tries out
)

// MaxWait is how long a session may wait for room among others, none of its runs
// getting any.
const MaxWait = 10 * time.Second

// maxWaitInAll is how long a session may wait from the first time on, even if its runs
// get room now and then: its client gives up at some time.
const maxWaitInAll = 3 * MaxWait

const (
	freeResults = 64 << 10  // bytes a session's results may take without being counted
	resultBlock = 256 << 10 // bytes that are counted at once
)

// pools by class. A try that yields more than its pool holds cannot be shown.
var pools = [...]*pool{
	ForSignals: newPool(min(max(runtime.GOMAXPROCS(0), 2), 4), 112<<20, 104<<20),
	ForTries:   newPool(1, maxRun, 32<<20),
}

// A Session is the use one request makes of expressions: what its runs yield
// stays on its account until it is closed. It is safe for concurrent use. The
// nil session is one for signals that never ends and is not counted.
type Session struct {
	ctx     context.Context
	pool    *pool
	results atomic.Int64 // bytes
	free    int64        // of them that are not counted

	// With the pool locked.
	counted int64 // bytes taken from the pool for results
	closed  bool
	running int
	waited  time.Time // when it first had to wait
	granted time.Time // when it was last given something
}

// NewSession begins a session, which must be closed. Its heavy runs end with
// ctx's error when ctx does.
func NewSession(ctx context.Context, class Class) *Session {
	return &Session{ctx: ctx, pool: pools[class], free: freeResults}
}

// Close ends the session: what its runs have yielded is stored, or needed no
// more.
func (s *Session) Close() {
	p := s.pool
	p.mu.Lock()
	s.closed = true // there may be a run that nobody waits for
	counted := s.counted
	p.mu.Unlock()
	if counted > 0 {
		p.change(func() { p.results += counted })
	}
}

// take takes the room for what has been added to the results. It waits for it.
func (s *Session) take() error {
	if s.results.Load() > s.pool.maxResults {
		return ErrBusy // it would wait for itself
	}
	return s.wait(func() bool {
		more := s.results.Load() - s.free - s.counted
		if s.closed || more <= 0 {
			return true
		}
		if more = (more + resultBlock - 1) / resultBlock * resultBlock; s.pool.results < more {
			return false
		}
		s.pool.results -= more
		s.counted += more
		return true
	})
}

// wait calls try, which has the pool locked, until it succeeds, the session's
// context ends, or the session has waited for too long.
func (s *Session) wait(try func() bool) error {
	p := s.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting[s]++
	defer func() {
		if p.waiting[s]--; p.waiting[s] == 0 {
			delete(p.waiting, s)
		}
	}()
	for began := time.Now(); !try(); {
		if s.waited.IsZero() {
			s.waited = began
		}
		if s.granted.After(began) {
			began = s.granted
		}
		left := min(time.Until(began.Add(MaxWait)), time.Until(s.waited.Add(maxWaitInAll)))
		if left <= 0 {
			return ErrBusy
		}
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
		case <-time.After(left):
		case <-s.ctx.Done():
		}
		p.mu.Lock()
		if err := s.ctx.Err(); err != nil {
			return err
		}
	}
	s.granted = time.Now()
	return nil
}

// A pool is what the runs of a class share.
type pool struct {
	places     int // heavy runs at once
	maxResults int64

	mu      sync.Mutex
	running map[*Run]struct{}
	waiting map[*Session]int
	free    int   // bytes no run has
	results int64 // bytes no session has
	changed chan struct{}
}

func newPool(places, memory int, results int64) *pool {
	return &pool{
		places: places, maxResults: results,
		running: make(map[*Run]struct{}), waiting: make(map[*Session]int), free: memory, results: results, changed: make(chan struct{}),
	}
}

// change calls f, which gives something back, and wakes all who wait.
func (p *pool) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

// grant gives the run r n bytes more, provided that at least one run can then still
// grow to maxRun. The pool is locked.
func (p *pool) grant(r *Run, n int) bool {
	most := r.granted + n
	for other := range p.running {
		most = max(most, other.granted)
	}
	if p.free < n || p.free-n+most < maxRun {
		return false
	}
	p.free -= n
	r.granted += n
	return true
}

// enter gives r a place. A session that has one does not get another while a session
// without one waits. The pool is locked.
func (p *pool) enter(r *Run) bool {
	if len(p.running) == p.places {
		return false
	}
	if r.session.running > 0 {
		for other := range p.waiting {
			if other.running == 0 {
				return false
			}
		}
	}
	if !p.grant(r, baseBytes) {
		return false
	}
	p.running[r] = struct{}{}
	r.session.running++
	return true
}

func (p *pool) leave(r *Run) {
	p.change(func() {
		delete(p.running, r)
		r.session.running--
		p.free += r.granted
	})
}
