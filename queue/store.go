package queue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// storeFormat is the layout that doc.go draws. A store of a later format is
// refused, one of an earlier format is brought up to date when it is opened.
const storeFormat = 1

// An engine is the store, opened once, and what runs on it. When the store
// fails it is left, and the queue makes another.
type engine struct {
	o      *Options
	fs     vfs.FS
	db     *pebble.DB
	log    *slog.Logger
	limits atomic.Pointer[Limits]

	lanesMu sync.RWMutex
	lanes   map[string]*lane   // never removed from; guarded by lanesMu
	byNum   map[routeNum]*lane // the same; guarded by lanesMu
	lastNum routeNum           // the committer's

	lastStamp  stamp    // of the newest log entry when the store was opened
	lastSignal SignalID // the newest then

	submitting sync.RWMutex
	closed     bool // guarded by submitting
	ops        chan operation
	groups     chan *group

	failure atomic.Pointer[error]
	failed  chan struct{} // closed when failure is set

	refusal atomic.Pointer[string] // why the disk admits no new signals, nil if it does
	bytes   atomic.Int64           // as the disk watch last saw them
	free    atomic.Int64
	evicted atomic.Int64
	handoff atomic.Int64 // bytes of bodies that wait in lanes

	readMu   sync.RWMutex // held shared by every reader of db
	dbClosed bool         // guarded by readMu

	amending sync.Mutex // held while a finished delivery is taken out of its state

	follow sync.Mutex
	logged chan struct{} // closed and replaced when the log grows; guarded by follow; nil: nobody waits

	attempts context.Context // ended when attempts have to stop
	cancel   context.CancelFunc
	sending  sync.WaitGroup // workers and refills
	stopTend context.CancelFunc
	tending  sync.WaitGroup // sweeper and disk watch
	writing  sync.WaitGroup // committer and finisher
}

// pebbleLog passes Pebble's words on. Fatalf must not end the process: it
// marks the engine as failed and returns.
type pebbleLog struct {
	log  *slog.Logger
	fail func(error)
}

func (l pebbleLog) Infof(string, ...any) {}
func (l pebbleLog) Errorf(f string, args ...any) {
	l.log.Warn("store: " + strings.TrimSpace(fmt.Sprintf(f, args...)))
}
func (l pebbleLog) Fatalf(f string, args ...any) { l.fail(fmt.Errorf("store: "+f, args...)) }

func (q *Queue) newEngine() (*engine, error) {
	e := &engine{
		o: &q.o, fs: q.fs, log: q.log,
		lanes: map[string]*lane{}, byNum: map[routeNum]*lane{},
		ops: make(chan operation, 1024), groups: make(chan *group, 1),
		failed: make(chan struct{}),
	}
	e.attempts, e.cancel = context.WithCancel(context.Background())
	cache := pebble.NewCache(8 << 20)
	defer cache.Unref()
	po := &pebble.Options{
		FS: q.fs, Lock: q.lock, Logger: pebbleLog{e.log, e.fail},
		FormatMajorVersion: pebble.FormatNewest,
		Cache:              cache,
		MemTableSize:       16 << 20,
		MaxOpenFiles:       256,
	}
	for i := range po.Levels {
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	db, err := pebble.Open(q.o.Path, po)
	if err != nil {
		return nil, fmt.Errorf("store %s: cannot be opened, and is left as it is: %w", q.o.Path, err)
	}
	e.db = db
	if err = e.load(); err == nil {
		err = e.broken()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("store %s: %w", q.o.Path, err), db.Close())
	}
	return e, nil
}

// load reads what is known of the routes: a few keys each, however much they owe.
func (e *engine) load() error {
	switch v, err := e.get([]byte{keyMeta}); {
	case err != nil:
		return err
	case v == nil:
		it, err := e.db.NewIter(nil)
		if err != nil {
			return err
		}
		empty := !it.First()
		if err := it.Close(); err != nil {
			return err
		}
		if !empty {
			return errors.New("this is no store of Signalpost: name another folder in queue.path")
		}
		if err := e.db.Set([]byte{keyMeta}, binary.AppendUvarint(nil, storeFormat), pebble.Sync); err != nil {
			return err
		}
	default:
		if f, n := binary.Uvarint(v); n <= 0 || f > storeFormat {
			return fmt.Errorf("its format is %d, this program knows formats up to %d: run the newer version that wrote it", f, storeFormat)
		}
	}
	err := e.scan([]byte{keyRoute}, []byte{keyRoute + 1}, func(k, v []byte) (bool, error) {
		if len(k) != 5 {
			return false, fmt.Errorf("route key % x: %w", k, errRecord)
		}
		l := e.addLane(string(v), routeNum(binary.BigEndian.Uint32(k[1:])))
		e.lastNum = max(e.lastNum, l.num)
		return true, nil
	})
	if err != nil {
		return err
	}
	err = e.scan([]byte{keyCounts}, []byte{keyCounts + 1}, func(k, v []byte) (bool, error) {
		c, err := parseCounts(v)
		if err != nil || len(k) != 5 {
			return false, fmt.Errorf("counts % x: %w", k, errors.Join(err, errRecord))
		}
		l := e.byNum[routeNum(binary.BigEndian.Uint32(k[1:]))]
		if l == nil {
			return false, fmt.Errorf("counts % x of no route: %w", k, errRecord)
		}
		l.counts = c
		l.resume(c)
		return true, nil
	})
	if err != nil {
		return err
	}
	err = e.scanBack([]byte{keyLog}, []byte{keyLog + 1}, func(k, _ []byte) (_ bool, err error) {
		e.lastStamp, err = parseLogKey(k)
		return false, err
	})
	if err != nil {
		return err
	}
	return e.scanBack([]byte{keySignal}, []byte{keySignal + 1}, func(k, _ []byte) (bool, error) {
		copy(e.lastSignal[:], k[1:])
		return false, nil
	})
}

// start begins committing, sweeping and watching the disk. Lanes begin with configure.
func (e *engine) start(l Limits) {
	e.limits.Store(&l)
	e.writing.Add(2)
	go func() { defer e.writing.Done(); e.commit() }()
	go func() { defer e.writing.Done(); e.finish() }()
	ctx, cancel := context.WithCancel(context.Background())
	e.stopTend = cancel
	e.watchDisk()
	e.tending.Add(1)
	go func() { defer e.tending.Done(); e.tend(ctx) }()
}

// configure makes the lanes follow the routes. All names have numbers on disk when it returns.
func (e *engine) configure(limits Limits, routes []Route) error {
	e.limits.Store(&limits)
	lanes := make(map[*lane]bool, len(routes))
	err := e.do(func(w *writer) {
		for i := range routes {
			lanes[w.lane(routes[i].Name)] = true
		}
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	for i := range routes {
		e.lane(routes[i].Name).configure(&routes[i])
	}
	for _, l := range e.allLanes() {
		if !lanes[l] {
			l.configure(nil)
		}
	}
	return nil
}

// stopSending ends all lanes: no attempt begins any more; those under way
// have until ctx ends, then they are cancelled, uncharged.
func (e *engine) stopSending(ctx context.Context) {
	for _, l := range e.allLanes() {
		l.stop()
	}
	idle := make(chan struct{})
	go func() { e.sending.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-ctx.Done():
	}
	e.cancel()
	<-idle
}

func (e *engine) stopWriting() {
	e.submitting.Lock()
	e.closed = true
	e.submitting.Unlock()
	close(e.ops)
	e.writing.Wait()
	e.wakeFollowers()
}

func (e *engine) close(ctx context.Context) error {
	e.stopTend()
	e.tending.Wait()
	e.stopSending(ctx)
	e.stopWriting()
	e.readMu.Lock()
	defer e.readMu.Unlock()
	e.dbClosed = true
	if e.broken() != nil {
		e.leave()
		return nil
	}
	if err := e.db.Close(); err != nil {
		return fmt.Errorf("store %s: close: %w", e.o.Path, err)
	}
	return nil
}

// abandon stops all that runs on a store that has failed.
func (e *engine) abandon() {
	e.cancel()
	_ = e.close(context.Background())
}

// leave tries to close a database that has failed. Pebble can panic or wait
// for ever there, so it is given a moment, and then its memory is given up.
func (e *engine) leave() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = recover() }()
		_ = e.db.Close()
	}()
	select {
	case <-done:
	case <-time.After(2 * time.Second):
		e.log.Warn("the failed store does not close; its memory stays taken until a restart")
	}
}

// ready is why a Put would be refused, or nil.
func (e *engine) ready() error {
	if err := e.broken(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if why := e.refusal.Load(); why != nil {
		return fmt.Errorf("%w: %s", ErrUnavailable, *why)
	}
	return nil
}

func (e *engine) lane(name string) *lane {
	e.lanesMu.RLock()
	defer e.lanesMu.RUnlock()
	return e.lanes[name]
}

func (e *engine) laneOf(n routeNum) *lane {
	e.lanesMu.RLock()
	defer e.lanesMu.RUnlock()
	return e.byNum[n]
}

func (e *engine) allLanes() []*lane {
	e.lanesMu.RLock()
	defer e.lanesMu.RUnlock()
	all := make([]*lane, 0, len(e.lanes))
	for _, l := range e.lanes {
		all = append(all, l)
	}
	return all
}

func (e *engine) addLane(name string, n routeNum) *lane {
	l := newLane(e, name, n)
	e.lanesMu.Lock()
	defer e.lanesMu.Unlock()
	e.lanes[name], e.byNum[n] = l, l
	return l
}

// read calls f while the store is kept open; ErrClosed if it is not.
func (e *engine) read(f func(db *pebble.DB) error) error {
	e.readMu.RLock()
	defer e.readMu.RUnlock()
	if e.dbClosed {
		return ErrClosed
	}
	if err := f(e.db); err != nil {
		return fmt.Errorf("store %s: %w", e.o.Path, err)
	}
	return nil
}

// get returns a copy of the key's value, or nil if there is no such key.
func (e *engine) get(k []byte) (v []byte, err error) {
	err = e.read(func(db *pebble.DB) error {
		b, closer, err := db.Get(k)
		if errors.Is(err, pebble.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		v = append([]byte{}, b...)
		return closer.Close()
	})
	return v, err
}

// scan calls f with each key from lo to before hi, in order, until it says
// stop. k and v are f's only for the call.
func (e *engine) scan(lo, hi []byte, f func(k, v []byte) (more bool, err error)) error {
	return e.iterate(lo, hi, (*pebble.Iterator).First, (*pebble.Iterator).Next, f)
}

// scanBack is scan from hi down to lo.
func (e *engine) scanBack(lo, hi []byte, f func(k, v []byte) (more bool, err error)) error {
	return e.iterate(lo, hi, (*pebble.Iterator).Last, (*pebble.Iterator).Prev, f)
}

func (e *engine) iterate(lo, hi []byte, first, next func(*pebble.Iterator) bool, f func(k, v []byte) (bool, error)) error {
	return e.read(func(db *pebble.DB) (err error) {
		it, err := db.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: hi})
		if err != nil {
			return err
		}
		defer func() {
			if cerr := it.Close(); err == nil {
				err = cerr
			}
		}()
		for ok := first(it); ok; ok = next(it) {
			v, err := it.ValueAndErr()
			if err != nil {
				return err
			}
			if more, err := f(it.Key(), v); err != nil || !more {
				return err
			}
		}
		return it.Error()
	})
}
