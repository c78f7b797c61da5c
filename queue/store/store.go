// Package store keeps signals, deliveries and the log of attempts in a Pebble
// database, which only it and package disk know of. All changes go through one
// committer, which gathers those that wait into one batch; a finisher waits for
// the disk and tells who asked. So every batch sees those before it, and counts are exact.
//
//	commit.go   committer and finisher: where a batch is written and its fsync awaited
//	batch.go    what operations write to; chain.go order_by, rows.go statistics, causes.go why routes fail
//	log.go      a [Log] in place of Pebble's own write-ahead log and its fsync
//	sweep.go    what expires, is too old, or has to make room
//	space.go    limits, the disk's free space, files that are missing: whether signals are accepted
//	open.go     opening, and what is refused; check.go proves a store that is not open
package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"signalpost/queue/record"
	"signalpost/queue/store/disk"
)

// FS is a file system; DefaultFS is the machine's.
type FS = vfs.FS

// DefaultFS is the machine's file system.
var DefaultFS = vfs.Default

// What a store answers with.
var (
	// ErrClosed: the store is closed.
	ErrClosed = errors.New("queue closed")
	// ErrUnavailable: the store takes no new signals now; the text says why.
	ErrUnavailable = errors.New("not accepting signals")
	// ErrFailed: the store has failed, and another may be open in its place.
	ErrFailed = fmt.Errorf("%w: the store has failed and is being opened again", ErrUnavailable)
	// ErrNotFound: there is no such thing, or it has expired.
	ErrNotFound = errors.New("not found")
)

// Options are what a store is opened with. The functions are called by the
// store's goroutines; none may wait for an operation of the store to end, but TooOld.
type Options struct {
	Log      *slog.Logger
	Now      func() time.Time // the clock on the wall; it may be set
	LowEvery int              // batches after which a route's low-water mark is moved up
	Journal  Log              // nil: Pebble's own
	Prompt   bool             // every operation is urgent

	// Low is a time before which nothing pending of the route is due.
	Low func(r *Route) record.Millis
	// Logged is called with new entries of the log, in their order, once they are
	// on disk. It must not keep the slice.
	Logged func([]Entry)
	// Grown is called when new entries can be read.
	Grown func()
	// Promoting is called when a delivery that was behind another of its order is being
	// written as due, and Promoted when that is on disk, or failed.
	Promoting func(r *Route, due record.Millis, id record.DeliveryID)
	Promoted  func(r *Route, due record.Millis, id record.DeliveryID, err error)
	// TooOld ends what has been pending since before, of those found.
	TooOld func(ctx context.Context, found []record.DeliveryID, before record.Millis) error
}

// An Entry is an entry of the log and when it was made.
type Entry struct {
	At record.Stamp
	record.Entry
	RouteName string

	// What the numbers in Sent stand for. Who writes an entry sets these.
	ConfigHash, PeerAddress, RequestText string
}

// A Found is a delivery as it was found.
type Found struct {
	ID record.DeliveryID
	record.Delivery
}

// A Store is one open database and what runs on it. When it fails it is
// closed, and its owner opens another.
type Store struct {
	o      Options
	folder *disk.Folder
	shield *disk.Shield
	db     *pebble.DB
	log    *slog.Logger
	limits atomic.Pointer[Limits]

	routesMu sync.RWMutex
	byName   map[string]*Route          // never removed from; guarded by routesMu
	byNum    map[record.RouteNum]*Route // the same; guarded by routesMu
	lastNum  record.RouteNum            // the committer's

	texts      texts
	minute     time.Time // the committer's: the newest that there are statistics of
	minuteBack bool      // the committer's: the clock was set back behind it

	chains   map[record.ChainAt]*chain // the committer's
	readable atomic.Uint64             // the number of the newest batch that can be read

	lastSignal record.SignalID // the newest when the store was opened

	submitting sync.RWMutex
	closed     bool // guarded by submitting
	ops        chan Operation
	groups     chan *group

	tailMu sync.Mutex
	tail   Tail // guarded by tailMu

	failure atomic.Pointer[error]
	failed  chan struct{} // closed when failure is set
	started atomic.Bool
	writes  disk.Call // the committer's calls of Pebble
	syncs   disk.Call // the finisher's

	reportMu sync.Mutex
	reported map[string]bool // files and faults that were logged

	space space

	readMu   sync.Mutex
	reading  sync.WaitGroup // calls of Read; added to with readMu held
	dbClosed bool           // no further ones begin; guarded by readMu

	// Finished is held while finished deliveries are looked at to be deleted, and
	// shared while one is taken out of its state.
	Finished sync.RWMutex

	stopTend  context.CancelFunc
	tending   sync.WaitGroup // sweeper and disk watch
	stopWatch context.CancelFunc
	watching  sync.WaitGroup
	writing   sync.WaitGroup // committer and finisher
}

// LastSignal is the newest id, of a signal or delivery, when the store was opened.
func (s *Store) LastSignal() record.SignalID { return s.lastSignal }

// Start begins to commit, sweep and watch the disk.
func (s *Store) Start(l Limits) {
	s.limits.Store(&l)
	s.started.Store(true)
	s.writing.Go(s.runCommitter)
	s.writing.Go(s.runFinisher)
	s.lookAtDisk()
	var tended, watched context.Context
	tended, s.stopTend = context.WithCancel(context.Background())
	watched, s.stopWatch = context.WithCancel(context.Background())
	s.watching.Go(func() { s.watchStalls(watched) })
	s.tending.Go(func() { s.runSweeper(tended) })
	s.tending.Go(func() { s.watchDisk(tended) })
}

// SetLimits replaces the limits.
func (s *Store) SetLimits(l Limits) {
	s.limits.Store(&l)
	notify(s.space.relimited)
}

// Close ends all that runs and closes the database; it may have failed before.
// stop is called when no sweep runs any more, and ends whatever else submits operations.
func (s *Store) Close(stop func()) error {
	defer s.watching.Wait()
	defer s.stopWatch() // last: the disk may fail to answer until then
	s.stopTend()
	s.tending.Wait()
	stop()
	s.submitting.Lock()
	s.closed = true
	s.submitting.Unlock()
	close(s.ops)
	s.writing.Wait()
	if s.Err() == nil {
		s.filesProblem() // logs removed since the last look: memory has what they held
	}
	s.endReading()
	failed := s.Err() != nil // which has been said
	if err := cmp.Or(s.closeDB(), s.Err()); err != nil && !failed {
		return fmt.Errorf("store %s: close: %w", s.folder.Path, err)
	}
	return nil
}

// closeDB closes the database. Behind its shield a failed one closes too.
func (s *Store) closeDB() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	err = s.db.Close()
	if s.Err() != nil {
		s.shield.DropTables()
	}
	return err
}

// Fail marks the store as failed, for good; its owner opens another on the same files.
func (s *Store) Fail(err error) {
	if errors.Is(err, syscall.ENOSPC) {
		err = fmt.Errorf("%w: free some of the disk", err)
	}
	if s.failure.CompareAndSwap(nil, &err) {
		if s.started.Load() {
			s.log.Error("the store failed; nothing is accepted or sent until it can be written again", slog.Any("err", err))
		}
		close(s.failed)
	}
}

// Failed is closed when the store has failed.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Err is why the store cannot be written any more, or nil.
func (s *Store) Err() error {
	if p := s.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// Ready is why a signal would be refused, or nil. It wraps ErrUnavailable.
func (s *Store) Ready() error {
	if err := s.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if why, _ := s.space.refusal.Load().(string); why != "" {
		return fmt.Errorf("%w: %s", ErrUnavailable, why)
	}
	return nil
}

// ReportOnce logs an error that may recur, the first time only, and nothing once the store has failed.
func (s *Store) ReportOnce(msg string, err error, attrs ...any) {
	if s.Err() != nil {
		return // it meets what it made half
	}
	s.reportMu.Lock()
	defer s.reportMu.Unlock()
	key := fmt.Sprint(msg, err, attrs)
	if s.reported[key] || len(s.reported) >= 100 {
		return
	}
	s.reported[key] = true
	s.log.Error(msg, append(attrs, slog.String("err", err.Error()))...) // without Pebble's stacks
}

// watchStalls fails the store if the disk does not answer, so that nobody waits for
// it, until ctx ends.
func (s *Store) watchStalls(ctx context.Context) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		if max(s.writes.Look(), s.syncs.Look()) >= stallLooks {
			s.Fail(fmt.Errorf("store %s: the disk has not answered for %v", s.folder.Path, stallLooks*lookEvery))
		}
	}
}

const (
	lookEvery  = time.Second // between looks at the disk
	stallLooks = 10          // looks at one write that does not end, after which the store has failed
)

// notify wakes the receiver of c, whose buffer holds one, without blocking.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
