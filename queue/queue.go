package queue

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A Queue is one open store and the lanes that send what it owes. All methods
// can be called by many goroutines at once.
type Queue struct {
	o    Options
	fs   vfs.FS
	log  *slog.Logger
	lock *pebble.Lock

	folder os.FileInfo // of the store when it was opened; nil: not known

	engine atomic.Pointer[engine]

	mu     sync.Mutex // held while an engine is configured, or replaced
	limits Limits     // guarded by mu
	routes []Route    // guarded by mu; nil before the first Configure
	closed atomic.Bool

	ids     ids
	claims  claims
	refused refusals

	stop context.CancelFunc
	wg   sync.WaitGroup
}

// Open opens the store, making it if there is none, and finds out what is
// owed in a time that does not depend on how much that is. Nothing is sent
// before Configure. A store that cannot be opened is left as it is; the error
// says what to do.
func Open(o Options) (*Queue, error) { return open(o, vfs.Default) }

func open(o Options, fs vfs.FS) (_ *Queue, err error) {
	q := &Queue{o: o, fs: fs, log: o.Log, limits: o.Limits.withDefaults()}
	if q.log == nil {
		q.log = slog.New(slog.DiscardHandler)
	}
	if err := fs.MkdirAll(o.Path, 0o700); err != nil {
		return nil, fmt.Errorf("store %s: cannot make the folder: %w", o.Path, err)
	}
	if fs == vfs.Default {
		// A folder that was there may be open to others, and stays so if it is somebody
		// else's: a mounted volume.
		_ = os.Chmod(o.Path, 0o700)
	}
	if q.lock, err = pebble.LockDirectory(o.Path, fs); err != nil {
		if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EIO) {
			return nil, fmt.Errorf("store %s: cannot lock the folder: %w", o.Path, err)
		}
		return nil, fmt.Errorf("store %s: another process has it open (one sidecar a folder; stop that one, or name another folder in queue.path): %w", o.Path, err)
	}
	e, err := q.newEngine()
	if err != nil {
		q.lock.Close()
		return nil, err
	}
	if folder, err := q.fs.Stat(o.Path); err == nil {
		q.folder, e.folder = folder, folder
	}
	q.ids.last = e.lastSignal
	if ahead := time.Until(e.lastSignal.Time()); ahead > time.Minute {
		q.log.Warn(fmt.Sprintf("the newest signal was accepted %v ahead of now: the clock was wrong then, or is now; "+
			"what is accepted until it has caught up is kept for so much longer than queue.retention and queue.max_age say", ahead.Round(time.Second)))
	}
	e.start(q.limits)
	q.engine.Store(e)
	ctx, cancel := context.WithCancel(context.Background())
	q.stop = cancel
	q.wg.Add(1)
	go func() {
		defer q.wg.Done()
		q.tend(ctx)
	}()
	return q, nil
}

func (l Limits) withDefaults() Limits {
	def := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	if l.MaxSize <= 0 {
		l.MaxSize = 10 << 30
	}
	if l.MinFree < 0 {
		l.MinFree = 0
	}
	def(&l.MaxAge, 7*24*time.Hour)
	def(&l.Retention, 72*time.Hour)
	def(&l.DedupWindow, 24*time.Hour)
	return l
}

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
	q.limits, q.routes = l.withDefaults(), routes
	return q.engine.Load().configure(q.limits, q.routes)
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
	err := q.engine.Load().close(ctx)
	if lerr := q.lock.Close(); err == nil && lerr != nil {
		err = fmt.Errorf("store %s: unlock: %w", q.o.Path, lerr)
	}
	return err
}

// tend opens the store anew when it has failed, until ctx ends: what made it
// fail (a full disk, mostly) may pass.
func (q *Queue) tend(ctx context.Context) {
	var opened time.Time
	wait, said := firstReopen, ""
	for {
		e := q.engine.Load()
		select {
		case <-ctx.Done():
			return
		case <-e.failed:
		}
		if time.Since(opened) > lastReopen { // else it failed again: not a passing fault
			wait, said = firstReopen, ""
		}
		e.abandon()
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
			wait = min(wait*2, lastReopen)
			err := q.reopen()
			if err == nil {
				q.log.Info("the store is open again")
				break
			}
			if text := err.Error(); text != said {
				said = text
				q.log.Warn("the store is still closed", slog.Any("err", err))
			}
			if q.engine.Load() != e { // it was open, and failed again
				break
			}
		}
		opened = time.Now()
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
	if err := q.refused.takeBack(fresh); err != nil {
		return fmt.Errorf("store %s: what was refused cannot be taken back: %w", q.o.Path, errors.Join(err, fresh.closeDB()))
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	fresh.start(q.limits)
	q.engine.Store(fresh)
	if q.routes == nil {
		return nil
	}
	return fresh.configure(q.limits, q.routes)
}

// NewSignalID makes the id of a signal about to be put: greater than all before.
func (q *Queue) NewSignalID() SignalID { return q.ids.next(time.Now()) }

// Ready is nil if a Put would be answered; else it wraps ErrUnavailable or
// ErrClosed and says why.
func (q *Queue) Ready() error {
	if q.closed.Load() {
		return ErrClosed
	}
	return q.engine.Load().ready()
}

// Put stores the signals, all their deliveries and the claim's answer in one
// batch, and returns after its fsync. claim may be nil. An error wraps
// ErrUnavailable or ErrClosed, and nothing of the batch is kept, unless the
// disk failed in the midst of it and the process ends before it works again.
func (q *Queue) Put(batch []Accepted, claim *Claim, answer []byte) error {
	e := q.engine.Load()
	e.putting.RLock()
	defer e.putting.RUnlock()
	if err := e.ready(); err != nil {
		return err
	}
	for i := range batch {
		if n := len(batch[i].Deliveries); n > MaxDeliveries {
			return fmt.Errorf("%w: signal %s makes %d deliveries, at most %d fit", ErrUnavailable, batch[i].ID, n, MaxDeliveries)
		}
	}
	p, ok := e.puts.Get().(*putOp)
	if !ok {
		p = &putOp{end: make(chan error, 1)}
	}
	p.batch, p.claim, p.answer = batch, claim, answer
	e.submit(p)
	if err := e.await(p.end); err != nil {
		if err == ErrClosed {
			return err
		}
		q.refused.add(batch, claim)
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	clear(p.made)
	*p = putOp{made: p.made[:0], end: p.end}
	e.puts.Put(p)
	if claim != nil {
		claim.Release()
	}
	return nil
}

// putOp writes signals and their deliveries.
type putOp struct {
	batch  []Accepted
	claim  *Claim
	answer []byte
	made   []owed // of each delivery in turn
	end    chan error
}

// owed is where a new delivery went. due is 0 if it is dead from the start.
type owed struct {
	lane *lane
	due  millis
	own  bool // its body has a key of its own
}

func (p *putOp) urgent() bool { return true }

func (p *putOp) write(w *writer) {
	for i := range p.batch {
		s := &p.batch[i]
		w.lowPut = minSignal(w.lowPut, s.ID)
		w.k = signalKey(w.k[:0], s.ID)
		rec := signalRecord{kind: s.Type, traceparent: s.Traceparent, body: s.Body}
		w.v = rec.append(w.v[:0])
		w.set(w.k, w.v)
		for n := range s.Deliveries {
			p.made = append(p.made, w.made(s, &s.Deliveries[n], s.ID.Delivery(n+1), 0))
		}
	}
	if p.claim != nil {
		w.bind(p.claim, p.answer)
	}
}

// made writes one new delivery, and its log entry if it is dead from the start.
func (w *writer) made(s *Accepted, m *Made, id DeliveryID, flags byte) owed {
	l := w.lane(m.Route)
	r := deliveryRecord{flags: flags, route: l.num, signal: s.ID}
	switch {
	case m.Error != "":
		r.state, r.reason = dead, reasonByte(Transform)
		r.flags |= noBody
		r.last = w.log(l, &logRecord{
			delivery: id, signal: s.ID, route: l.num, kind: s.Type,
			verdict: verdictByte(Dead), reason: r.reason, err: m.Error,
		})
	case m.Body != nil && !bytes.Equal(m.Body, s.Body):
		r.flags |= ownBody
		w.k = bodyKey(w.k[:0], id)
		w.set(w.k, m.Body)
		fallthrough
	default:
		// Where the clock went back, ids are ahead of it.
		r.due = min(toMillis(id.Time()), toMillis(time.Now()))
		w.owe(l, r.due, id)
	}
	w.putDelivery(id, &r)
	c := w.count(l)
	c.made++
	c.in[r.state]++
	return owed{lane: l, due: r.due, own: r.flags&ownBody != 0}
}

func (p *putOp) done(err error) {
	n := 0
	for i := range p.batch {
		s := &p.batch[i]
		if len(p.made) == 0 { // never written
			break
		}
		for j := range s.Deliveries {
			o, id := p.made[n], s.ID.Delivery(j+1)
			n++
			if o.due == 0 {
				continue
			}
			if err != nil {
				o.lane.forget(id)
				continue
			}
			body, flags := s.Body, byte(0)
			if o.own {
				body, flags = s.Deliveries[j].Body, ownBody
			}
			o.lane.offer(item{
				id:  id,
				due: o.due,
				rec: deliveryRecord{flags: flags, route: o.lane.num, signal: s.ID, due: o.due},
				d:   &Delivery{ID: id, Signal: s.ID, Route: o.lane.name, Type: s.Type, Traceparent: s.Traceparent, Body: body},
			})
		}
	}
	p.end <- err
}

// claims are the idempotency keys whose first request is under way.
type claims struct {
	mu    sync.Mutex
	taken map[idemHash]chan struct{} // closed at release
}

// A Claim holds an idempotency key while its first request is under way.
type Claim struct {
	claims *claims
	hash   idemHash
	digest [32]byte
	once   sync.Once
}

// Release gives the key up; unless a Put has bound it, it is free again.
func (c *Claim) Release() {
	c.once.Do(func() {
		c.claims.mu.Lock()
		defer c.claims.mu.Unlock()
		close(c.claims.taken[c.hash])
		delete(c.claims.taken, c.hash)
	})
}

// Claim claims an idempotency key for a request whose bytes have the digest.
// If the key is bound to that digest already, it returns the answer it is
// bound to and no claim; if to another, an error that wraps ErrKeyReused.
// While another request holds the key it waits for that one's end, or for ctx.
func (q *Queue) Claim(ctx context.Context, key string, digest [32]byte) (*Claim, []byte, error) {
	sum := sha256.Sum256([]byte(key))
	c := &Claim{claims: &q.claims, digest: digest}
	copy(c.hash[:], sum[:])
	for {
		q.claims.mu.Lock()
		wait, taken := q.claims.taken[c.hash]
		if !taken {
			if q.claims.taken == nil {
				q.claims.taken = map[idemHash]chan struct{}{}
			}
			q.claims.taken[c.hash] = make(chan struct{})
		}
		q.claims.mu.Unlock()
		if !taken {
			break
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("idempotency key: waiting for the request that came first: %w", ctx.Err())
		}
	}
	r, err := q.engine.Load().bound(c.hash)
	if err != nil || r != nil {
		c.Release()
	}
	switch {
	case err != nil:
		return nil, nil, err
	case r == nil:
		return c, nil, nil
	case r.digest != digest:
		return nil, nil, ErrKeyReused
	}
	return nil, r.answer, nil
}

// bound returns what the key is bound to, or nil.
func (e *engine) bound(h idemHash) (*idemRecord, error) {
	v, err := e.get(idemKey(nil, h))
	switch {
	case errors.Is(err, ErrClosed):
		return nil, err
	case err != nil: // what it is bound to cannot be told now, so nothing can be accepted under it
		return nil, fmt.Errorf("%w: idempotency key: %w", ErrUnavailable, err)
	case v == nil:
		return nil, nil
	}
	r, err := parseIdem(v)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", e.o.Path, err)
	}
	if time.Since(r.at.time()) > e.limits.Load().DedupWindow {
		return nil, nil
	}
	return &r, nil
}

// bind binds the claim's key to the answer.
func (w *writer) bind(c *Claim, answer []byte) {
	r := idemRecord{at: toMillis(time.Now()), digest: c.digest, answer: answer}
	w.k, w.v = idemKey(w.k[:0], c.hash), r.append(w.v[:0])
	w.set(w.k, w.v)
	w.k = idemTimeKey(w.k[:0], r.at, c.hash)
	w.set(w.k, nil)
	if w.bound != nil {
		w.bound[c.hash] = true
	}
}
