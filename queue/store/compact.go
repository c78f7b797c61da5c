package store

import (
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// compactions schedule Pebble's compactions: as many at once as Pebble asks
// for, but after one that failed, for want of room or on a damaged file, none
// for a while. Pebble would try again at once, for ever. Unlike Pebble's own
// scheduler it has no goroutine, which a database that fails to open would leave.
// None runs before begin has been called: Pebble's Open waits for the end of
// one that the flush of its logs has brought about, which took a second.
type compactions struct {
	db pebble.DBForCompaction

	mu       sync.Mutex
	begun    bool
	over     *sync.Cond // granting has become false
	running  int
	granting bool
	closed   bool
	rest     time.Duration // after the last compaction, if it failed
	until    time.Time     // none begins before
	timer    *time.Timer
}

const (
	firstRest = time.Second // after a compaction that failed, then doubled
	lastRest  = time.Minute
)

func newCompactions() *compactions {
	s := &compactions{}
	s.over = sync.NewCond(&s.mu)
	return s
}

// begin lets them run.
func (s *compactions) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun = true
	s.later(0)
}

// ended is told how each compaction ends.
func (s *compactions) ended(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.rest = 0
		return
	}
	s.rest = min(max(2*s.rest, firstRest), lastRest)
	s.until = time.Now().Add(s.rest)
	s.later(s.rest)
}

// later has grant called after d. mu is held.
func (s *compactions) later(d time.Duration) {
	switch {
	case s.closed, !s.begun:
	case s.timer == nil:
		s.timer = time.AfterFunc(d, s.grant)
	default:
		s.timer.Reset(d)
	}
}

// grant begins the compactions that wait, as many as may run. It is called
// with none of Pebble's locks held.
func (s *compactions) grant() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.granting {
		return
	}
	s.granting = true
	for !s.closed && !time.Now().Before(s.until) {
		running := s.running
		s.mu.Unlock()
		waiting := s.db.GetAllowedWithoutPermission() > running
		if waiting {
			waiting, _ = s.db.GetWaitingCompaction()
		}
		if waiting {
			waiting = s.db.Schedule(s)
		}
		s.mu.Lock()
		if !waiting {
			break
		}
		s.running++
	}
	s.granting = false
	s.over.Broadcast()
}

func (s *compactions) Register(_ int, db pebble.DBForCompaction) { s.db = db }

func (s *compactions) Unregister() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
	for s.granting {
		s.over.Wait()
	}
}

func (s *compactions) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || !s.begun || time.Now().Before(s.until) || s.running >= s.db.GetAllowedWithoutPermission() {
		return false, nil
	}
	s.running++
	return true, s
}

// UpdateGetAllowedWithoutPermission is called with Pebble's locks held.
func (s *compactions) UpdateGetAllowedWithoutPermission() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !time.Now().Before(s.until) {
		s.later(0)
	}
}

// What Pebble tells of a compaction that was granted.

func (s *compactions) Started() {}

func (s *compactions) MeasureCPU(pebble.CompactionGoroutineKind) {}

func (s *compactions) CumulativeStats(pebble.CompactionGrantHandleStats) {}

func (s *compactions) Done() {
	s.mu.Lock()
	s.running--
	s.mu.Unlock()
	s.grant()
}
