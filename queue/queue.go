package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"signalpost/queue/lane"
	"signalpost/queue/record"
	"signalpost/queue/store"
	"signalpost/queue/store/disk"
)

// A Queue is one open store and the senders of its deliveries. All methods
// can be called by many goroutines at once.
type Queue struct {
	o      Options
	log    *slog.Logger
	fs     store.FS
	folder *disk.Folder // of the engine; nil: none is open

	engine atomic.Pointer[engine]

	mu     sync.Mutex // held while an engine is configured, or replaced
	limits Limits     // guarded by mu
	routes []Route    // guarded by mu; nil before the first Configure
	closed atomic.Bool

	ids     record.IDs
	claims  sync.Map // of the idempotency keys whose first request is under way: a channel that is closed at its end, by record.IdemHash
	refused refusals

	stop context.CancelFunc
	wg   sync.WaitGroup
}

// Open opens the store, making it if there is none, and finds out what is
// pending in a time that does not depend on how much that is. Nothing is sent
// before Configure. A store that cannot be opened is left as it is; the error
// says what to do.
func Open(o Options) (*Queue, error) { return open(o, store.DefaultFS) }

func open(o Options, fs store.FS) (_ *Queue, err error) {
	q := &Queue{o: o, log: o.Log, limits: o.Limits.WithDefaults()}
	if q.log == nil {
		q.log = slog.New(slog.DiscardHandler)
	}
	if q.o.clock == nil {
		q.o.clock = func(t time.Time) time.Time { return t }
	}
	q.fs = fs
	e, err := q.newEngine()
	if err != nil {
		return nil, errors.Join(err, q.closeFolder())
	}
	newest := e.store.LastSignal()
	q.ids.Above(newest)
	if ahead := newest.Time().Sub(q.now()); ahead > time.Minute {
		q.log.Warn(fmt.Sprintf("the newest signal was accepted %v ahead of now: the clock was wrong then, or is now; "+
			"what is accepted until it has caught up is kept for so much longer than queue.retention and queue.max_age say", ahead.Round(time.Second)))
	}
	e.store.Start(q.limits)
	q.engine.Store(e)
	ctx, cancel := context.WithCancel(context.Background())
	q.stop = cancel
	q.wg.Go(func() { q.reopenFailed(ctx) })
	q.wg.Go(func() { q.watchClock(ctx) })
	return q, nil
}

// openFolder opens the folder of the store, which that of a log may change, and
// returns the log; nil: it has none.
func (q *Queue) openFolder() (l Log, err error) {
	path := q.o.Path
	if q.o.Journal != nil {
		if path, l, err = q.o.Journal(); err != nil {
			return nil, err
		}
	}
	if q.folder != nil && q.folder.Path == path {
		return l, nil
	}
	if err := q.closeFolder(); err != nil {
		return nil, err
	}
	q.folder, err = disk.Open(path, q.fs)
	return l, err
}

func (q *Queue) closeFolder() error {
	if q.folder == nil {
		return nil
	}
	f := q.folder
	q.folder = nil
	return f.Close()
}

// now is the time on the wall clock, which may be set; durations are measured with time.Now.
func (q *Queue) now() time.Time { return q.o.clock(time.Now()) }

// Configure sets the limits and the complete list of routes, and starts or
// stops sending as they say. Deliveries of routes that are not in the list
// are held. What SetPaused said of a route stays. An error that wraps
// ErrUnavailable says that the store has failed: what was asked holds as soon
// as it is open again.
func (q *Queue) Configure(l Limits, routes []Route) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed.Load() {
		return ErrClosed
	}
	q.limits, q.routes = l.WithDefaults(), routes
	return q.engine.Load().configure(q.limits, q.routes)
}

// SetPaused pauses a route, or resumes it, durably: that survives a restart and
// every Configure. Resuming clears the failing state. The error wraps ErrNotFound
// if the route is unknown.
func (q *Queue) SetPaused(route string, paused bool) error {
	e := q.engine.Load()
	r := e.store.Route(route)
	if r == nil || e.sender(r).state(record.IsPending) == StateHeld {
		return fmt.Errorf("route %q: %w", route, ErrNotFound)
	}
	byConfig := ask(e.sender(r), (*lane.Lane).PausedByConfig)
	err := e.store.Do(func(b *store.Batch) {
		c := b.Count(r)
		c.Paused, c.PausedSince = paused, since(paused || byConfig, c.PausedSince, record.MillisOf(q.now()))
		if !paused {
			c.FaultSince = 0
		}
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	e.sender(r).update(func(l *lane.Lane) { l.Pause(r.Counts().Paused, time.Now()) }) // as the store says by now
	what := "route resumed"
	if paused {
		what = "route paused"
	}
	q.log.Info(what, slog.String("route", route))
	return nil
}

// Fail marks a route as failing: another queue has found that its endpoint fails.
func (q *Queue) Fail(route string) {
	e := q.engine.Load()
	if r := e.store.Route(route); r != nil {
		e.sender(r).update(func(l *lane.Lane) { l.Fail(time.Now()) })
	}
}

// Close refuses new signals, lets the attempts under way finish until ctx
// ends, then cancels them, uncharged, and closes the store. No goroutine is left.
func (q *Queue) Close(ctx context.Context) error {
	if q.closed.Swap(true) {
		return nil
	}
	func() { q.mu.Lock(); defer q.mu.Unlock() }() // a Configure under way ends first
	q.stop()
	q.wg.Wait()
	return errors.Join(q.engine.Load().close(ctx), q.closeFolder())
}

// reopenFailed opens the store anew when it has failed, until ctx ends: what
// made it fail (a full disk, mostly) may pass.
func (q *Queue) reopenFailed(ctx context.Context) {
	var last *engine
	var opened time.Time
	wait, said := firstReopen, ""
	for {
		e := q.engine.Load()
		select {
		case <-ctx.Done():
			return
		case <-e.store.Failed():
		}
		if e != last {
			if time.Since(opened) > lastReopen { // else it failed again: not a passing fault
				wait, said = firstReopen, ""
			}
			e.abandon()
			last = e
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(wait*2, lastReopen)
		err := q.reopen()
		opened = time.Now()
		if errors.Is(err, ErrDeposed) {
			return
		} else if err == nil {
			q.log.Info("the store is open again")
		} else if text := err.Error(); text != said {
			said = text
			q.log.Warn("the store is still closed", slog.Any("err", err))
		}
	}
}

const (
	firstReopen = 200 * time.Millisecond // from a failure of the store to the first try to open it
	lastReopen  = 5 * time.Second        // the time between tries doubles up to this
)

// reopen makes the next engine. It is in place if its configuration alone fails.
func (q *Queue) reopen() error {
	fresh, err := q.newEngine()
	if err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	fresh.store.Start(q.limits)
	if err := q.refused.takeBack(fresh); err != nil {
		fresh.abandon()
		return fmt.Errorf("store %s: what was refused cannot be taken back: %w", q.o.Path, err)
	}
	q.engine.Store(fresh)
	if q.routes == nil {
		return nil
	}
	return fresh.configure(q.limits, q.routes)
}

// NewSignalID makes the id of a signal about to be put: greater than all before.
func (q *Queue) NewSignalID() SignalID { return q.ids.Next(q.now()) }

// Empty reports whether nothing that was accepted is left, nor any history of it.
func (q *Queue) Empty() bool { return q.engine.Load().store.Empty() }

// Snapshot hands over the files of the store as it is at some record of its log,
// and the record's position. The files go when save returns.
func (q *Queue) Snapshot(save func(position uint64, files []File) error) error {
	return q.engine.Load().store.Snapshot(save)
}

// Lock makes the folder if it is missing, and locks it against other processes.
func Lock(path string) (io.Closer, error) {
	f, err := disk.Open(path, store.DefaultFS)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Ready is nil if a Put would be answered; else it wraps ErrUnavailable or
// ErrClosed and says why.
func (q *Queue) Ready() error {
	if q.closed.Load() {
		return ErrClosed
	}
	if q.o.Reach != nil {
		if err := q.o.Reach(); err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	return q.engine.Load().store.Ready()
}

// Digest returns up to where the store, a view of its log, has that, and a hash of all
// in it. It reads the whole store.
func (q *Queue) Digest() (position uint64, sum []byte, err error) {
	return q.engine.Load().store.Digest()
}

// Rebuild makes the view of a log in an empty folder, proves it as Check does, and
// returns its digest.
func Rebuild(path string, l Log) (position uint64, sum []byte, err error) {
	return store.Rebuild(path, store.DefaultFS, l)
}

// Check proves of a store that no process has open what the package's
// documentation lists as proved by it, and changes nothing. Its error joins all
// that it found amiss.
func Check(path string) error { return store.Check(path, store.DefaultFS) }
