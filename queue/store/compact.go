package store

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// compactions schedule Pebble's compactions, one at a time, and after one that
// failed, for want of room or on a damaged file, none for a while: Pebble would
// try again at once, for ever. Unlike Pebble's own scheduler it has no
// goroutine, which a database that fails to open would leave. None runs before
// next has been called: Pebble's Open waits for the end of one that the flush of
// its logs has brought about, which took a second.
type compactions struct {
	db   pebble.DBForCompaction
	busy atomic.Bool  // one runs, or none may
	rest atomic.Int64 // after the last compaction, if it failed: a time.Duration

	granting sync.Mutex // held while db is called; behind it come all locks of Pebble's
	closed   bool       // guarded by granting
}

const (
	firstRest = time.Second // after a compaction that failed, then doubled
	lastRest  = time.Minute
)

func newCompactions() *compactions {
	s := &compactions{}
	s.busy.Store(true)
	return s
}

// ended is told how each compaction ends.
func (s *compactions) ended(err error) {
	rest := time.Duration(0)
	if err != nil {
		rest = min(max(2*time.Duration(s.rest.Load()), firstRest), lastRest)
	}
	s.rest.Store(int64(rest))
}

// next begins the compaction that waits, or lets the next begin that comes.
func (s *compactions) next() {
	s.granting.Lock()
	defer s.granting.Unlock()
	for waiting := true; waiting && !s.closed; {
		if waiting, _ = s.db.GetWaitingCompaction(); waiting && s.db.Schedule(s) {
			return
		}
		s.busy.Store(false)
		// One may have come to wait just before.
		waiting, _ = s.db.GetWaitingCompaction()
		waiting = waiting && s.busy.CompareAndSwap(false, true)
	}
}

// Register is called by a database that opens, Unregister by one that closes, which none calls after that.
func (s *compactions) Register(_ int, db pebble.DBForCompaction) { s.db = db }

func (s *compactions) Unregister() {
	s.granting.Lock()
	defer s.granting.Unlock()
	s.closed = true
}

// TrySchedule asks to begin a compaction; if that is refused, next brings it up again.
func (s *compactions) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	return s.busy.CompareAndSwap(false, true), s
}

// Done is called when a compaction that was granted is over.
func (s *compactions) Done() {
	if rest := time.Duration(s.rest.Load()); rest > 0 {
		time.AfterFunc(rest, s.next)
	} else {
		s.next()
	}
}

// What does not matter to one at a time.

func (s *compactions) UpdateGetAllowedWithoutPermission()                {}
func (s *compactions) Started()                                          {}
func (s *compactions) MeasureCPU(pebble.CompactionGoroutineKind)         {}
func (s *compactions) CumulativeStats(pebble.CompactionGrantHandleStats) {}
