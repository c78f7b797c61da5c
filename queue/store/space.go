package store

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/time/rate"
)

// Limits bound what the store keeps. A field of zero means its default in the
// contract, but for MinFree, where it means none.
type Limits struct {
	MaxSize     int64         // bytes on disk, at which new signals are refused; history is shed a little below
	MinFree     int64         // free bytes of the file system below which new signals are refused
	MaxAge      time.Duration // a delivery still pending so long after its signal came becomes dead, too_old
	Retention   time.Duration // how long finished deliveries, their payloads and the delivery log are kept
	DedupWindow time.Duration // how long an idempotency key is remembered
}

// WithDefaults has the defaults in place of zeros.
func (l Limits) WithDefaults() Limits {
	l.MaxSize = cmp.Or(max(l.MaxSize, 0), 10<<30)
	l.MinFree = max(l.MinFree, 0)
	l.MaxAge = cmp.Or(max(l.MaxAge, 0), 7*day)
	l.Retention = cmp.Or(max(l.Retention, 0), 3*day)
	l.DedupWindow = cmp.Or(max(l.DedupWindow, 0), day)
	return l
}

// shedAt is the size of the store from which on history goes: a little before
// signals are refused, so that none is while there is history to shed. The
// store grows by a flush, some 8 MiB, at a time.
func (l *Limits) shedAt() int64 {
	early := min(max(l.MaxSize/16, 16<<20), 64<<20)
	return l.MaxSize - min(early, l.MaxSize/4)
}

const (
	// lookBytes is after how many bytes written the disk is looked at, be it sooner than usual.
	lookBytes = 4 << 20

	// leastFree is what is kept free of the disk in any case: room to settle
	// deliveries, and to open the store again after a failure, when what is in its
	// logs is written to tables before the logs go. Signals are refused below it,
	// history is shed below half of it. Of a small disk it is a quarter.
	leastFree = 64 << 20
)

// A space is what is known of the room on the disk, and what comes of it: that signals are
// refused, or history is shed.
type space struct {
	written   int           // the committer's: bytes since it last asked for a look
	look      chan struct{} // asks for one
	shed      chan struct{} // asks for history to go
	relimited chan struct{} // tells the sweeper that the limits are new
	refusal   atomic.Value  // a string: why the disk admits no new signals, "" if it does
	bytes     atomic.Int64  // of the store, at the last look
	free      atomic.Int64  // of the disk, when that was last known
	least     atomic.Int64  // leastFree, of this disk
	evicted   atomic.Int64
	shedLog   rate.Sometimes // logs that history is shed
}

func newSpace() space {
	return space{look: make(chan struct{}, 1), shed: make(chan struct{}, 1), relimited: make(chan struct{}, 1), shedLog: rate.Sometimes{Interval: shedLogged}}
}

func (r *space) grown(bytes int) {
	if r.written += bytes; r.written >= lookBytes {
		r.written = 0
		notify(r.look)
	}
}

// Size is what the store takes of the disk, how much of that is free, and
// how many deliveries have been shed since the store was opened.
func (s *Store) Size() (bytes, free, evicted int64) {
	return s.space.bytes.Load(), s.space.free.Load(), s.space.evicted.Load()
}

// excess is how many bytes of history have to go; 0 or less: none.
func (s *Store) excess() int64 {
	return max(s.space.bytes.Load()-s.limits.Load().shedAt()+1, s.space.least.Load()/2-s.space.free.Load())
}

// watchDisk watches the disk until ctx ends.
func (s *Store) watchDisk(ctx context.Context) {
	disk := time.NewTicker(lookEvery)
	defer disk.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.space.look:
		case <-disk.C:
		}
		s.lookAtDisk()
		if s.excess() > 0 {
			notify(s.space.shed)
		}
	}
}

// lookAtDisk finds out how much room there is and whether the files are those
// that were opened, and with it whether signals are accepted.
func (s *Store) lookAtDisk() {
	why := cmp.Or(s.filesProblem(), s.roomProblem())
	was, _ := s.space.refusal.Swap(why).(string)
	switch {
	case was == "" && why != "":
		s.log.Error("not accepting signals", slog.String("err", why))
	case was != "" && why == "":
		s.log.Info("accepting signals again")
	}
}

// roomProblem is why there is no room for signals, or "".
func (s *Store) roomProblem() string {
	limits := s.limits.Load()
	_ = s.Read(func(db *pebble.DB) error {
		m := db.Metrics()
		// Pebble keeps a few log files to write them anew. They are room, and
		// shedding history would not make them go.
		s.space.bytes.Store(int64(m.DiskSpaceUsage() - m.WAL.ObsoletePhysicalSize))
		return nil
	})
	if b := s.space.bytes.Load(); b >= limits.MaxSize {
		return fmt.Sprintf("the store has %s, queue.max_size is %s: fix the receivers of what is pending, or discard it; lower queue.retention if most of it is dead; or raise queue.max_size", size(b), size(limits.MaxSize))
	}
	u, err := s.folder.FS.GetDiskUsage(s.folder.Path)
	if err != nil {
		return ""
	}
	s.space.free.Store(int64(u.AvailBytes))
	s.space.least.Store(min(leastFree, int64(u.TotalBytes/4)))
	least := max(limits.MinFree, s.space.least.Load())
	if int64(u.AvailBytes) >= least {
		return ""
	}
	what := "queue.min_free"
	if least > limits.MinFree {
		what = "in any case, whatever queue.min_free says"
	}
	return fmt.Sprintf("the disk of %s has %s free, %s are needed (%s): free some", s.folder.Path, size(int64(u.AvailBytes)), size(least), what)
}

// size is a number of bytes for people.
func size(bytes int64) string {
	if bytes < 1<<30 {
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
}

// filesProblem is why the files are not those that were opened, or "".
func (s *Store) filesProblem() string {
	if err := s.folder.Moved(); err != nil {
		return err.Error()
	}
	// Whoever removes files removes one after the other: a look in the midst of it sees some.
	lost := s.folder.Lost()
	gone := s.shield.Missing()
	if len(gone) == 0 || s.Err() != nil {
		if lost != "" {
			return lost
		}
		if err := s.folder.Unlocked(); err != nil {
			return err.Error()
		}
		return ""
	}
	for _, name := range gone {
		if !strings.HasSuffix(name, ".log") {
			return fmt.Sprintf("store %s: %s: put what is gone back, or restore the folder from a backup, and restart signalpost; until then it delivers what it still can", s.folder.Path, removedOrCut(gone))
		}
	}
	// What the logs held is in memory, too. No more is accepted before it is in tables.
	why := fmt.Sprintf("store %s: %s; what was accepted has been written to tables: restart signalpost", s.folder.Path, removedOrCut(gone))
	s.space.refusal.Store(why)
	s.log.Error("not accepting signals", slog.String("err", why))
	if err := s.Read(func(db *pebble.DB) error { return db.Flush() }); err != nil {
		s.Fail(fmt.Errorf("store %s: %s, and what it held cannot be kept: %w", s.folder.Path, removedOrCut(gone), err))
		return why
	}
	s.shield.Forget(gone)
	s.folder.MarkLost(why)
	return why
}

func removedOrCut(files []string) string {
	if len(files) == 1 {
		return "its file " + files[0] + " has been removed or cut"
	}
	return "its files " + firstFew(files, ", ") + " have been removed or cut"
}
