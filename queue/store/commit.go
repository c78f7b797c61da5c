package store

import (
	"cmp"
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
	// Write adds the operation's keys. It cannot fail, and reads nothing of deliveries from the store but by [Batch.Order].
	Write(b *Batch)
	// Done is called once: with nil when what was written can be read and is on
	// disk, else with the reason it may not be.
	Done(err error)
	// Urgent asks that it is written at once. Others wait for more to come, for LazySync at most.
	Urgent() bool
}

const (
	// LazySync is the longest time that an operation which is not urgent waits for others.
	LazySync = 5 * time.Millisecond

	// GroupBytes is after how many bytes a batch takes no further operation.
	GroupBytes = 4 << 20

	// GroupOps is how many operations one batch takes at most.
	GroupOps = 4096
)

// A group is one batch and the operations in it.
type group struct {
	batch    *pebble.Batch
	ops      []Operation
	entries  []Entry
	counts   []routeCounts
	promoted []promotion
	number   uint64
	tail     Tail
	empty    bool // nothing was written
	err      error
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

// free returns a group to the pool. One that failed is left to the garbage
// collector: Pebble may still hold its batch.
func (g *group) free() {
	_ = g.batch.Close()
	clear(g.ops)
	clear(g.entries)
	clear(g.counts)
	clear(g.promoted)
	*g = group{ops: g.ops[:0], entries: g.entries[:0], counts: g.counts[:0], promoted: g.promoted[:0]}
	groups.Put(g)
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

// Do submits an urgent operation and waits for its end, which done, if it is given, is
// told as well. After an error both may yet be called.
func (s *Store) Do(write func(*Batch), done ...func(error)) error {
	op := &doOp{write, done, make(chan error, 1)}
	s.Submit(op)
	return s.Await(op.end)
}

type doOp struct {
	write func(*Batch)
	done  []func(error)
	end   chan error
}

func (o *doOp) Urgent() bool   { return true }
func (o *doOp) Write(b *Batch) { o.write(b) }

func (o *doOp) Done(err error) {
	for _, done := range o.done {
		done(err)
	}
	o.end <- err
}

// runCommitter writes what is submitted, until ops is closed and empty.
func (s *Store) runCommitter() {
	defer close(s.groups)
	b := &Batch{s: s, tail: s.tail, highest: s.tail.Newest, k: make([]byte, 0, 64)}
	defer b.close()
	for op := range s.ops {
		s.groups <- s.build(b, op)
	}
}

// build makes one batch of first and what else waits, and of what comes until
// one of them is urgent or first has waited for long enough.
func (s *Store) build(b *Batch, first Operation) *group {
	g := newGroup(s.db)
	b.forgetChains()
	b.number++
	b.group, b.minute = g, s.o.Now().UTC().Truncate(time.Minute)
	var late <-chan time.Time
	urgent := s.o.Prompt
	for op, more := first, true; more; {
		g.ops = append(g.ops, op)
		op.Write(b)
		urgent = urgent || op.Urgent() || len(g.promoted) > 0
		if len(g.ops) >= GroupOps || b.size >= GroupBytes {
			break
		}
		if urgent {
			select {
			case op, more = <-s.ops:
			default:
				more = false
			}
			continue
		}
		if late == nil {
			late = time.After(LazySync)
		}
		select {
		case op, more = <-s.ops:
		case <-late:
			more = false
		}
	}
	b.writeChains()
	g.counts = b.writeCounts(g.counts)
	b.gather(g.batch)
	g.tail, g.number = b.tail, b.number
	g.empty = g.batch.Empty()
	s.space.grown(g.batch.Len())
	if !g.empty { // Pebble makes no fsync of an empty batch
		g.err = s.startCommit(g.batch)
	}
	if s.o.Journal == nil {
		s.publish(g)
	}
	return g
}

// startCommit begins to make a batch readable and durable. Without a Log it can be read
// when this returns. A panic of Pebble's is an error here; the shield leaves it no cause
// that is known.
func (s *Store) startCommit(b *pebble.Batch) (err error) {
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
	if s.o.Journal == nil {
		err = s.db.ApplyNoSyncWait(b, pebble.Sync)
	}
	return cmp.Or(err, s.Err()) // Pebble says what it cannot survive to its logger
}

// awaitCommit waits for the fsync, or appends to the Log. Then the batch, and all before
// it, is durable.
func (s *Store) awaitCommit(b *pebble.Batch) error {
	var position uint64
	if s.o.Journal != nil {
		var err error
		if position, err = s.o.Journal.Append(b.Repr()); err != nil {
			return fmt.Errorf("log: %w", err)
		}
	}
	s.syncs.Begin()
	defer s.syncs.End()
	if s.o.Journal != nil {
		return s.apply(b, position)
	}
	if err := b.SyncWait(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

// runFinisher waits for the disk and tells the operations, until the committer ends.
func (s *Store) runFinisher() {
	for g := range s.groups {
		if g.err == nil { // nothing follows a batch that is not there
			g.err = s.Err()
		}
		if g.err == nil && !g.empty {
			if err := s.awaitCommit(g.batch); err != nil {
				g.err = fmt.Errorf("store: %w", err)
				s.Fail(g.err)
			}
		}
		if g.err == nil {
			g.err = s.Err()
		}
		if s.o.Journal != nil {
			s.publish(g)
		}
		for _, op := range g.ops {
			op.Done(g.err)
		}
		for _, p := range g.promoted {
			s.o.Promoted(p.route, p.due, p.id, g.err)
		}
		if g.err == nil {
			if len(g.entries) > 0 && s.o.Logged != nil {
				s.o.Logged(g.entries)
			}
			g.free()
		}
	}
}

// publish shows the counts to readers, once what they say is there to be found.
func (s *Store) publish(g *group) {
	if g.err != nil {
		return
	}
	s.readable.Store(g.number)
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
