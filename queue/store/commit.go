package store

import (
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"signalpost/queue/record"
)

// An Operation changes the store. One goroutine, the committer, has all
// operations write, in order, many to a batch; another, the finisher, tells
// them the end, in the same order.
type Operation interface {
	// Write adds the operation's keys. It cannot fail and reads nothing of deliveries from the store.
	Write(b *Batch)
	// Done is called once: with nil when what was written can be read and is on
	// disk, else with the reason it may not be.
	Done(err error)
	// Urgent asks for an fsync of what it writes at once. Others are on disk within LazySync.
	Urgent() bool
}

const (
	// LazySync is the longest time that an operation which is not urgent waits for an fsync to begin.
	LazySync = 5 * time.Millisecond

	// GroupBytes is after how many bytes a batch takes no further operation.
	GroupBytes = 4 << 20

	// GroupOps is how many operations one batch takes at most.
	GroupOps = 4096
)

// A group is one batch and the operations in it.
type group struct {
	batch   *pebble.Batch
	ops     []Operation
	entries []Entry
	counts  []routeCounts
	tail    Tail
	empty   bool // nothing was written
	sync    bool // all before it is on disk, too, when it is
	err     error
}

type routeCounts struct {
	route  *Route
	counts record.Counts
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
	g.closeBatch()
	clear(g.ops)
	clear(g.entries)
	clear(g.counts)
	*g = group{ops: g.ops[:0], entries: g.entries[:0], counts: g.counts[:0]}
	groups.Put(g)
}

func (g *group) closeBatch() {
	if g.batch != nil {
		_ = g.batch.Close()
		g.batch = nil
	}
}

// Submit hands the operation to the committer, and waits while that is behind,
// unless the store has failed: its disk may never answer.
func (s *Store) Submit(op Operation) {
	s.submitting.RLock()
	defer s.submitting.RUnlock()
	if s.closed {
		op.Done(ErrClosed)
		return
	}
	select {
	case s.ops <- op:
		return
	default:
	}
	select {
	case s.ops <- op:
	case <-s.failed:
		op.Done(s.Err())
	}
}

// Await waits for the end of an operation that was submitted, unless the
// store fails: nothing of it is acknowledged any more, and its disk may never
// answer.
func (s *Store) Await(end <-chan error) error {
	select {
	case err := <-end:
		return err
	case <-s.failed:
	}
	select {
	case err := <-end: // it may have ended well just before
		return err
	default:
		return s.Err()
	}
}

// Do submits an urgent operation and waits for its end. After an error write
// may yet be called.
func (s *Store) Do(write func(*Batch)) error {
	op := &doOp{f: write, end: make(chan error, 1)}
	s.Submit(op)
	return s.Await(op.end)
}

type doOp struct {
	f   func(*Batch)
	end chan error
}

func (o *doOp) Write(b *Batch) { o.f(b) }
func (o *doOp) Done(err error) { o.end <- err }
func (o *doOp) Urgent() bool   { return true }

// commit runs until ops is closed and everything in it is written and synced.
func (s *Store) commit() {
	defer close(s.groups)
	b := &Batch{s: s, tail: s.tail, highest: s.tail.Newest}
	defer b.close()
	unsynced := 0             // operations that can be read and are not synced
	var lazy <-chan time.Time // set while a batch that can be read is not synced
	for {
		var first Operation
		select {
		case op, ok := <-s.ops:
			if !ok {
				if lazy != nil {
					s.groups <- s.syncGroup(b)
				}
				return
			}
			first = op
		case <-lazy:
			lazy, unsynced = nil, 0
			s.groups <- s.syncGroup(b)
			continue
		}
		g := s.build(b, first, unsynced)
		unsynced += len(g.ops)
		switch {
		case g.sync:
			lazy, unsynced = nil, 0
		case lazy == nil && !g.empty:
			lazy = time.After(LazySync)
		}
		s.groups <- g
	}
}

// build makes one batch of first and what else waits. It is synced if one of
// them asks for it, or too many before it have not been.
func (s *Store) build(b *Batch, first Operation, unsynced int) *group {
	g := newGroup(s.db)
	g.sync = unsynced >= GroupOps
	b.entries, b.minute = g.entries, s.o.Now().UTC().Truncate(time.Minute)
	for op := first; ; {
		g.ops = append(g.ops, op)
		g.sync = g.sync || op.Urgent()
		op.Write(b)
		if len(g.ops) >= GroupOps || b.size >= GroupBytes {
			break
		}
		var ok bool
		select {
		case op, ok = <-s.ops:
		default:
		}
		if !ok {
			break
		}
	}
	g.counts = b.writeCounts(g.counts)
	b.gather(g.batch)
	g.entries, b.entries, g.tail = b.entries, nil, b.tail
	g.empty = g.batch.Empty()
	g.sync = (g.sync || s.o.Journal != nil) && !g.empty // Pebble makes none of an empty batch
	s.room.grown(g.batch.Len())
	if !g.empty {
		g.err = s.guarded(func() error { return s.write(g.batch, g.sync) })
	}
	if s.o.Journal == nil {
		s.publish(g)
	}
	return g
}

// syncGroup is a group of no operation that brings all before it to disk.
func (s *Store) syncGroup(b *Batch) *group {
	g := newGroup(s.db)
	g.sync, g.tail = true, b.tail
	if g.err = g.batch.LogData(nil, nil); g.err == nil {
		g.err = s.guarded(func() error { return s.write(g.batch, true) })
	}
	return g
}

// guarded makes a write of the committer's. A panic of Pebble's is an error
// here; the shield leaves it no cause that is known.
func (s *Store) guarded(write func() error) (err error) {
	if err := s.Err(); err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("store: commit: %v", p)
		}
		if err != nil {
			s.Fail(err)
		}
	}()
	s.writes.Begin()
	defer s.writes.End()
	if err = write(); err == nil {
		err = s.Err() // Pebble says what it cannot survive to its logger
	}
	return err
}

// finish waits for the disk and tells the operations, until the committer ends.
func (s *Store) finish() {
	var waiting []*group // those whose operations are yet to be told, in order
	for g := range s.groups {
		if g.err == nil && !g.empty {
			s.syncs.Begin()
			if err := s.end(g.batch, g.sync); err != nil {
				g.err = fmt.Errorf("store: sync: %w", err)
				s.Fail(g.err)
			}
			s.syncs.End()
		}
		if g.err == nil {
			g.err = s.Err()
		}
		if s.o.Journal != nil {
			s.publish(g)
		}
		waiting = append(waiting, g)
		if g.err == nil && !g.sync && (!g.empty || len(waiting) > 1) {
			g.closeBatch()
			continue // until the next that syncs
		}
		s.tell(waiting, g.err)
		clear(waiting)
		waiting = waiting[:0]
	}
	s.tell(waiting, s.Err())
}

// publish shows the counts to readers, once what they say is there to be found.
func (s *Store) publish(g *group) {
	if g.err != nil {
		return
	}
	for i := range g.counts {
		c := &g.counts[i]
		c.route.mu.Lock()
		c.route.shown = c.counts
		c.route.mu.Unlock()
	}
	s.tailMu.Lock()
	s.tail = g.tail
	s.tailMu.Unlock()
	if len(g.entries) > 0 && s.o.Grown != nil {
		s.o.Grown()
	}
}

// tell ends the operations of the groups.
func (s *Store) tell(groups []*group, err error) {
	for _, g := range groups {
		for _, op := range g.ops {
			op.Done(err)
		}
		if err == nil {
			if len(g.entries) > 0 && s.o.Logged != nil {
				s.o.Logged(g.entries)
			}
			g.free()
		}
	}
}
