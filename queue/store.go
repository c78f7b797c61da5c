package queue

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
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
// Format 1 has no newest attempt in the c keys.
const storeFormat = 2

// An engine is the store, opened once, and what runs on it. When the store
// fails it is left, and the queue makes another.
type engine struct {
	o      *Options
	fs     vfs.FS // not shielded
	shield *shield
	db     *pebble.DB
	log    *slog.Logger
	limits atomic.Pointer[Limits]

	lanesMu sync.RWMutex
	lanes   map[string]*lane   // never removed from; guarded by lanesMu
	byNum   map[routeNum]*lane // the same; guarded by lanesMu
	lastNum routeNum           // the committer's

	lastStamp  stamp    // of the newest log entry when the store was opened
	lastSignal SignalID // the newest then

	putting    sync.RWMutex // held shared by each Put, to its end
	submitting sync.RWMutex
	closed     bool // guarded by submitting
	ops        chan operation
	groups     chan *group

	folder os.FileInfo // of the store when the queue opened it; nil: not known yet

	failure atomic.Pointer[error]
	failed  chan struct{} // closed when failure is set
	started atomic.Bool
	made    time.Time
	busy    atomic.Int64 // since when by clock the committer waits for Pebble; 0: it does not
	syncing atomic.Int64 // the same of the finisher

	damageMu sync.Mutex
	damaged  map[string]bool // files and faults that were reported

	written   int                    // the committer's: bytes since it last asked for a look at the disk
	look      chan struct{}          // asks for one
	shed      chan struct{}          // asks for history to go
	relimited chan struct{}          // tells the sweeper that the limits are new
	refusal   atomic.Pointer[string] // why the disk admits no new signals, nil if it does
	bytes     atomic.Int64           // as the disk watch last saw them
	free      atomic.Int64
	reserved  atomic.Int64 // free bytes that are kept in any case
	evicted   atomic.Int64
	shedding  time.Time    // the sweeper's: when it last said that history is shed
	handoff   atomic.Int64 // bytes of bodies that wait in lanes

	readMu   sync.Mutex
	readers  int       // calls of read under way; guarded by readMu
	dbClosed bool      // no further ones begin; guarded by readMu
	unread   sync.Cond // readers is 0

	amending sync.Mutex // held while a finished delivery is taken out of its state

	follow sync.Mutex
	logged chan struct{} // closed and replaced when the log grows; guarded by follow; nil: nobody waits

	attempts  context.Context // ended when attempts have to stop
	cancel    context.CancelFunc
	workers   workers
	puts      sync.Pool // of *putOp that have ended well: of any other it is not known whether it has
	stopTend  context.CancelFunc
	tending   sync.WaitGroup // sweeper and disk watch
	stopWatch context.CancelFunc
	watching  sync.WaitGroup
	writing   sync.WaitGroup // committer and finisher
}

// pebbleLog passes Pebble's words on. Fatalf must not end the process: it
// marks the engine as failed and returns. Behind a shield nothing is known to call it.
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
		o: &q.o, fs: q.fs, log: q.log, made: time.Now(), folder: q.folder,
		lanes: map[string]*lane{}, byNum: map[routeNum]*lane{},
		ops: make(chan operation, 1024), groups: make(chan *group, 1),
		failed: make(chan struct{}), look: make(chan struct{}, 1), shed: make(chan struct{}, 1), relimited: make(chan struct{}, 1),
	}
	e.unread.L = &e.readMu
	e.attempts, e.cancel = context.WithCancel(context.Background())
	cache := pebble.NewCache(8 << 20)
	defer cache.Unref()
	e.shield = newShield(q.fs, e.fail, func() bool { return e.broken() != nil })
	compactions := newScheduler()
	var told atomic.Pointer[error] // how the last flush or compaction ended
	po := &pebble.Options{
		FS:   e.shield,
		Lock: q.lock, Logger: pebbleLog{e.log, e.fail},
		FormatMajorVersion: pebble.FormatNewest,
		Cache:              cache,
		// A small memtable: all of it is in memory, up to three times, and is
		// replayed at a start. That more tables come of it is made up for by
		// compacting twice as many at a time.
		MemTableSize:          8 << 20,
		L0CompactionThreshold: 8,
		MaxOpenFiles:          256,
		// Compactions that fail, for want of room or on a damaged file, make
		// reads slower. They must not stop what is owed from being settled.
		L0StopWritesThreshold: 1000,
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) {
				// Flushes and compactions are told below, and here a second time with a
				// lock held. What remains are the statistics of a table that cannot be
				// read: Pebble would try again at once, for ever.
				if last := told.Load(); last == nil || !same(*last, err) {
					time.Sleep(backgroundPause)
				}
			},
			FlushEnd: func(i pebble.FlushInfo) {
				told.Store(&i.Err)
				if i.Err != nil && i.Err.Error() != "pebble: empty table" { // all there was had been deleted again
					e.fail(fmt.Errorf("store: flush: %w", i.Err)) // or it would be tried for ever
				}
			},
			CompactionEnd: func(i pebble.CompactionInfo) {
				told.Store(&i.Err)
				compactions.ended(i.Err)
				if i.Err != nil && !errors.Is(i.Err, errShielded) && e.broken() == nil {
					e.reportOnce("a compaction failed; it is tried again", i.Err)
				}
			},
			DataCorruption: func(i pebble.DataCorruptionInfo) {
				if e.broken() != nil {
					return // a failed engine meets what it made half
				}
				e.reportOnce("a file of the store is damaged; what is in it cannot be read: stop signalpost and restore the folder from a backup, or discard the deliveries that cannot be read",
					fmt.Errorf("%s: %w", i.Path, i.Details))
			},
		},
	}
	po.Experimental.CompactionScheduler = compactions
	for i := range po.Levels {
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	if err := e.open(po); err != nil {
		return nil, err
	}
	compactions.begin()
	return e, nil
}

// open opens the database and reads what there is to know. If it cannot,
// it leaves on disk what was there.
func (e *engine) open(po *pebble.Options) (err error) {
	path := e.o.Path
	if err := e.displaced(); e.folder != nil && err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("store %s: cannot be opened: %v; %s", path, p, afterDamage)
		}
	}()
	found, err := strangers(e.fs, path)
	if err != nil {
		return fmt.Errorf("store %s: cannot be read: %w", path, err)
	}
	if len(found) > 0 {
		return fmt.Errorf("store %s: the folder has files (%s), but no marker.manifest file that leads to a store: "+
			"if it is no store, name another or an empty folder in queue.path; if it was one, %s", path, some(found), afterDamage)
	}
	if err := checkLog(e.fs, path); errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("store %s: cannot be opened: %w; have its files belong to who runs signalpost", path, err)
	} else if err != nil {
		return fmt.Errorf("store %s: cannot be opened, and is left as it is: %w; %s", path, err, afterDamage)
	}
	db, err := pebble.Open(path, po)
	if broken := e.broken(); broken != nil && err != nil {
		e.shield.dropTables()
		return fmt.Errorf("store %s: cannot be opened: %w", path, errors.Join(broken, err))
	}
	switch {
	case err != nil && strings.Contains(err.Error(), "unknown format major version"):
		return fmt.Errorf("store %s: a newer version of signalpost wrote it: run that one: %w", path, err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("store %s: cannot be opened: %w; have its files belong to who runs signalpost", path, err)
	case err != nil:
		return fmt.Errorf("store %s: cannot be opened, and is left as it is: %w; if files of it are damaged or missing, %s", path, err, afterDamage)
	}
	e.db = db
	switch err = e.load(); {
	case pebble.IsCorruptionError(err), errors.Is(err, errRecord):
		err = fmt.Errorf("store %s: damaged, and left as it is: %w; %s", path, err, afterDamage)
	case err != nil:
		err = fmt.Errorf("store %s: %w", path, err)
	}
	if broken := e.broken(); broken != nil {
		err = fmt.Errorf("store %s: cannot be written: %w", path, broken)
	}
	if err != nil {
		if cerr := e.closeDB(); cerr != nil {
			err = errors.Join(err, cerr)
		}
	}
	return err
}

const backgroundPause = 250 * time.Millisecond

// same tells whether two errors are one.
func same(a, b error) (yes bool) {
	defer func() { _ = recover() }() // they may not be comparable
	return a == b
}

// afterDamage says what to do with a store that cannot be read. The program
// itself never deletes or resets one.
const afterDamage = "restore the folder from a backup, or move it aside to begin with an empty one"

func some(names []string) string {
	if len(names) > 3 {
		names = append(names[:3:3], "…")
	}
	return strings.Join(names, ", ")
}

// reportOnce logs what Pebble meets again and again.
func (e *engine) reportOnce(msg string, err error) {
	e.damageMu.Lock()
	defer e.damageMu.Unlock()
	key := msg + err.Error()
	if e.damaged[key] || len(e.damaged) >= 100 {
		return
	}
	if e.damaged == nil {
		e.damaged = map[string]bool{}
	}
	e.damaged[key] = true
	e.log.Error(msg, slog.String("err", err.Error())) // without Pebble's stacks
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
		// The first log of a new store is in an old format that tells of no fsyncs: see checkLog.
		if err := e.db.Flush(); err != nil {
			return err
		}
	default:
		f, n := binary.Uvarint(v)
		if n <= 0 || f > storeFormat {
			return fmt.Errorf("its format is %d, this program knows formats up to %d: run the newer version that wrote it", f, storeFormat)
		}
		if f < storeFormat {
			if err := e.db.Set([]byte{keyMeta}, binary.AppendUvarint(nil, storeFormat), pebble.Sync); err != nil {
				return err
			}
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
	err = e.scanBack([]byte{keySignal}, []byte{keySignal + 1}, func(k, _ []byte) (bool, error) {
		copy(e.lastSignal[:], k[1:])
		return false, nil
	})
	if err != nil {
		return err
	}
	// A delivery that a retry added took its id from the same row.
	return e.scanBack([]byte{keyDelivery}, []byte{keyDelivery + 1}, func(k, _ []byte) (bool, error) {
		var id DeliveryID
		copy(id[:], k[1:])
		if s := id.signal(); bytes.Compare(s[:], e.lastSignal[:]) > 0 {
			e.lastSignal = s
		}
		return false, nil
	})
}

// start begins committing, sweeping and watching. Lanes begin with configure.
func (e *engine) start(l Limits) {
	e.limits.Store(&l)
	e.started.Store(true)
	e.writing.Add(2)
	go func() { defer e.writing.Done(); e.commit() }()
	go func() { defer e.writing.Done(); e.finish() }()
	ctx, cancel := context.WithCancel(context.Background())
	e.stopTend = cancel
	e.watchDisk()
	watched, cancel := context.WithCancel(context.Background())
	e.stopWatch = cancel
	e.watching.Add(1)
	go func() { defer e.watching.Done(); e.watch(watched) }()
	e.tending.Add(2)
	go func() { defer e.tending.Done(); e.tend(ctx) }()
	go func() { defer e.tending.Done(); e.tendDisk(ctx) }()
}

// configure makes the lanes follow the routes. All names have numbers on disk when it returns.
func (e *engine) configure(limits Limits, routes []Route) error {
	e.limits.Store(&limits)
	nudge(e.relimited)
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
	e.workers.end()
	idle := make(chan struct{})
	go func() { e.workers.running.Wait(); close(idle) }()
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

// close ends all that runs and closes the database. It may have been
// abandoned before; no two call it at once.
func (e *engine) close(ctx context.Context) error {
	if e.closed {
		return nil
	}
	defer e.watching.Wait()
	defer e.stopWatch() // last: the disk may fail to answer until then
	e.stopTend()
	e.tending.Wait()
	e.stopSending(ctx)
	e.stopWriting()
	e.endReading()
	e.wakeFollowers() // those that looked since stopWriting
	before := e.broken()
	if err := e.closeDB(); err != nil && before == nil {
		return fmt.Errorf("store %s: close: %w", e.o.Path, err)
	}
	if err := e.broken(); err != nil && before == nil {
		return fmt.Errorf("store %s: close: %w", e.o.Path, err)
	}
	return nil
}

// closeDB closes the database. Behind its shield a failed one closes too.
func (e *engine) closeDB() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	err = e.db.Close()
	if e.broken() != nil {
		e.shield.dropTables()
	}
	return err
}

// abandon stops all that runs on a store that has failed, and waits until
// every Put on it has said what it refused.
func (e *engine) abandon() {
	func() { e.putting.Lock(); defer e.putting.Unlock() }()
	e.cancel()
	_ = e.close(context.Background())
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
