package queue

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// An operation changes the store. One goroutine, the committer, has all
// operations write, in order, many to a batch; another, the finisher, tells
// them the end, in the same order.
type operation interface {
	// write adds the operation's keys. It cannot fail and reads nothing from the store.
	write(w *writer)
	// done is called once: with nil when what was written can be read, and, if
	// the operation is urgent, is on disk; else with the reason it is not.
	done(err error)
	// urgent asks for an fsync of what it writes at once. Others are on disk within lazySync.
	urgent() bool
}

const (
	lazySync   = 5 * time.Millisecond // longest time an applied operation waits for an fsync
	groupOps   = 4096                 // operations of one batch at most
	groupBytes = 4 << 20              // bytes after which a batch takes no further operation
)

// A group is one batch and the operations in it.
type group struct {
	batch   *pebble.Batch
	ops     []operation
	entries []Entry
	empty   bool // nothing was written
	sync    bool // an fsync comes of it
	err     error
}

// groups are those that are done with, for their memory.
var groups = sync.Pool{New: func() any { return new(group) }}

func newGroup(db *pebble.DB) *group {
	g := groups.Get().(*group)
	g.batch = db.NewBatch()
	return g
}

// free gives back what a group holds. One that failed is left to the garbage
// collector: Pebble may still hold its batch.
func (g *group) free() {
	_ = g.batch.Close()
	clear(g.ops)
	clear(g.entries)
	*g = group{ops: g.ops[:0], entries: g.entries[:0]}
	groups.Put(g)
}

// submit hands the operation to the committer, and waits while that is behind,
// unless the engine has failed: its disk may never answer.
func (e *engine) submit(op operation) {
	e.submitting.RLock()
	defer e.submitting.RUnlock()
	if e.closed {
		op.done(ErrClosed)
		return
	}
	select {
	case e.ops <- op:
		return
	default:
	}
	select {
	case e.ops <- op:
	case <-e.failed:
		op.done(e.broken())
	}
}

// await waits for the end of an operation that was submitted, unless the
// engine fails: nothing of it is acknowledged any more, and its disk may never
// answer.
func (e *engine) await(end <-chan error) error {
	select {
	case err := <-end:
		return err
	case <-e.failed:
	}
	select {
	case err := <-end: // it may have ended well just before
		return err
	default:
		return e.broken()
	}
}

// do submits an urgent operation and waits for its end. After an error write
// may yet be called.
func (e *engine) do(write func(*writer)) error {
	op := &waiting{f: write, end: make(chan error, 1)}
	e.submit(op)
	return e.await(op.end)
}

type waiting struct {
	f   func(*writer)
	end chan error
}

func (o *waiting) write(w *writer) { o.f(w) }
func (o *waiting) done(err error)  { o.end <- err }
func (o *waiting) urgent() bool    { return true }

// commit runs until ops is closed and everything in it is written and synced.
func (e *engine) commit() {
	defer close(e.groups)
	w := &writer{e: e, last: e.lastStamp}
	defer w.close()
	var lazy <-chan time.Time // set while an applied operation is not synced
	for {
		var first operation
		select {
		case op, ok := <-e.ops:
			if !ok {
				if lazy != nil {
					e.groups <- e.syncGroup()
				}
				return
			}
			first = op
		case <-lazy:
			lazy = nil
			e.groups <- e.syncGroup()
			continue
		}
		g := e.build(w, first)
		switch {
		case g.sync:
			lazy = nil
		case lazy == nil && !g.empty:
			lazy = time.After(lazySync)
		}
		e.groups <- g
	}
}

// build makes one batch of first and what else waits, and applies it.
func (e *engine) build(w *writer, first operation) *group {
	g := newGroup(e.db)
	w.entries = g.entries
	for op := first; ; {
		g.ops = append(g.ops, op)
		g.sync = g.sync || op.urgent()
		op.write(w)
		if len(g.ops) >= groupOps || w.size >= groupBytes {
			break
		}
		var ok bool
		select {
		case op, ok = <-e.ops:
		default:
		}
		if !ok {
			break
		}
	}
	w.writeCounts()
	w.gather(g.batch)
	g.entries, w.entries = w.entries, nil
	g.empty = g.batch.Empty()
	g.sync = g.sync && !g.empty // Pebble makes none of an empty batch
	if e.written += g.batch.Len(); e.written >= lookBytes {
		e.written = 0
		nudge(e.look)
	}
	g.err = e.apply(g.batch, g.sync)
	w.publish()
	return g
}

// nudge has who waits on c, which holds one, look again, now or when it next waits.
func nudge(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// syncGroup is a group of no operation that brings all before it to disk.
func (e *engine) syncGroup() *group {
	g := newGroup(e.db)
	g.sync = true
	if g.err = g.batch.LogData(nil, nil); g.err == nil {
		g.err = e.apply(g.batch, true)
	}
	return g
}

// apply makes the batch readable and, with sync, starts its fsync. A panic of
// Pebble's is an error here; the shield leaves it no cause that is known.
func (e *engine) apply(b *pebble.Batch, sync bool) (err error) {
	if err := e.broken(); err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("store: commit: %v", p)
		}
		if err != nil {
			e.fail(err)
		}
	}()
	e.busy.Store(e.clock())
	defer e.busy.Store(0)
	if sync {
		err = e.db.ApplyNoSyncWait(b, pebble.Sync)
	} else {
		err = e.db.Apply(b, pebble.NoSync)
	}
	if err == nil {
		err = e.broken() // Pebble says what it cannot survive to its logger
	}
	return err
}

// finish waits for each group's fsync and tells its operations, until the committer ends.
func (e *engine) finish() {
	for g := range e.groups {
		if g.err == nil && g.sync {
			e.syncing.Store(e.clock())
			if err := g.batch.SyncWait(); err != nil {
				g.err = fmt.Errorf("store: sync: %w", err)
				e.fail(g.err)
			}
			e.syncing.Store(0)
		}
		if err := e.broken(); err != nil && g.err == nil {
			g.err = err
		}
		for _, op := range g.ops {
			op.done(g.err)
		}
		if g.err == nil {
			if len(g.entries) > 0 {
				if e.o.Observe != nil {
					e.o.Observe(g.entries)
				}
				e.wakeFollowers()
			}
			g.free()
		}
	}
}

// A writer adds to the committer's batch. It belongs to the committer.
type writer struct {
	e       *engine
	parts   [1 << 8]*pebble.Batch // by the first byte of the keys, nil until there is one
	size    int                   // bytes in parts
	touched []*lane
	last    stamp             // of the newest log entry
	entries []Entry           // of this batch
	k, v    []byte            // scratch
	lowPut  SignalID          // lowest id put since the sweeper set it to maxSignal
	bound   map[idemHash]bool // the keys bound since the sweeper made it; nil while it does not look
}

// A batch in memory refuses nothing that it is given here, so its errors are
// faults of this program.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (w *writer) set(k, v []byte)         { must(w.part(k, len(v)).Set(k, v, nil)) }
func (w *writer) delete(k []byte)         { must(w.part(k, 0).Delete(k, nil)) }
func (w *writer) deleteRange(a, b []byte) { must(w.part(a, len(b)).DeleteRange(a, b, nil)) }

// part is where a change of the key goes. Keys of a kind are kept together,
// in the order they came: that is nearly the order they are stored in, and
// Pebble inserts neighbours one after the other at a fraction of the cost.
func (w *writer) part(k []byte, more int) *pebble.Batch {
	w.size += len(k) + more
	p := w.parts[k[0]]
	if p == nil {
		p = w.e.db.NewBatch()
		w.parts[k[0]] = p
	}
	return p
}

// gather moves everything to the batch.
func (w *writer) gather(b *pebble.Batch) {
	for _, p := range w.parts {
		if p != nil && !p.Empty() {
			must(b.Apply(p, nil))
			p.Reset()
		}
	}
	w.size = 0
}

func (w *writer) close() {
	for _, p := range w.parts {
		if p != nil {
			_ = p.Close()
		}
	}
}

// owe adds a delivery to what is due. The lane is promised it: it is not
// looked for on disk until offer or forget.
func (w *writer) owe(l *lane, due millis, id DeliveryID) {
	w.k = dueKey(w.k[:0], l.num, due, id)
	w.set(w.k, nil)
	l.counts.low = min(l.counts.low, due) // written with the batch: who owes changes the counts
	l.promise(id, due)
}

// paid removes what owe added. A single delete would do, and vanish sooner,
// but Pebble's compactions panic, and end the process, where they cannot read
// on from one (v2.1.7, internal/compact, skipDueToSingleDeleteElision).
func (w *writer) paid(l *lane, due millis, id DeliveryID) {
	w.k = dueKey(w.k[:0], l.num, due, id)
	w.delete(w.k)
}

// stamp is the time of a new log entry.
func (w *writer) stamp() stamp {
	w.last = max(w.last+1, toStamp(time.Now()))
	return w.last
}

// log writes an entry of the delivery log and returns its stamp.
func (w *writer) log(l *lane, r *logRecord) stamp {
	at := w.stamp()
	w.k, w.v = logKey(w.k[:0], at), r.append(w.v[:0])
	w.set(w.k, w.v)
	w.entries = append(w.entries, r.entry(at, l.name))
	return at
}

func (w *writer) putDelivery(id DeliveryID, r *deliveryRecord) {
	w.k, w.v = deliveryKey(w.k[:0], id), r.append(w.v[:0])
	w.set(w.k, w.v)
}

// count returns the totals of the route, to be changed; they go into this batch.
func (w *writer) count(l *lane) *counts {
	if !l.touched {
		l.touched = true
		w.touched = append(w.touched, l)
	}
	return &l.counts
}

// lane finds the route's lane. A name the store does not know gets a number in this batch.
func (w *writer) lane(name string) *lane {
	if l := w.e.lane(name); l != nil {
		return l
	}
	l := w.e.addLane(name, w.e.lastNum+1)
	w.e.lastNum = l.num
	w.k = routeKey(w.k[:0], l.num)
	w.set(w.k, []byte(name))
	w.count(l)
	return l
}

func (w *writer) writeCounts() {
	for _, l := range w.touched {
		l.raiseLow()
		w.k, w.v = countsKey(w.k[:0], l.num), l.counts.append(w.v[:0])
		w.set(w.k, w.v)
	}
}

// publish shows the counts to readers once the batch can be read: what they
// say is then there to be found.
func (w *writer) publish() {
	for i, l := range w.touched {
		l.publish()
		l.touched = false
		w.touched[i] = nil
	}
	w.touched = w.touched[:0]
}

// fail ends the engine's life. What it may hold on disk, the next one finds.
func (e *engine) fail(err error) {
	if errors.Is(err, syscall.ENOSPC) {
		err = fmt.Errorf("%w: free some of the disk", err)
	}
	if e.failure.CompareAndSwap(nil, &err) {
		if e.started.Load() {
			e.log.Error("the store failed; nothing is accepted or sent until it can be written again", slog.Any("err", err))
		}
		close(e.failed)
	}
}

// broken is why the store cannot be written any more, or nil.
func (e *engine) broken() error {
	if p := e.failure.Load(); p != nil {
		return *p
	}
	return nil
}
