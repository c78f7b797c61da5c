package queue

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"signalpost/queue/lane"
	"signalpost/queue/record"
	"signalpost/queue/store"
)

// handoffBytes bounds the bodies that wait in memory, over all routes; more are read when their turn comes.
const handoffBytes = 16 << 20

// lowEvery is after how many batches a low-water mark is moved up. Tests have it moved more often.
var lowEvery = 64

// An engine is the store, opened once, and the senders on it. When the store
// fails it is left, and the queue makes another.
type engine struct {
	q      *Queue
	store  *store.Store
	memory lane.Memory

	senders sync.Map // *sender by record.RouteNum; made when first asked for

	putting sync.RWMutex // held shared by each Put, to its end
	puts    sync.Pool    // of *putOp that have ended well: of any other it is not known whether it has

	follow sync.Mutex
	logged chan struct{} // closed and replaced when the log grows; guarded by follow; nil: nobody waits

	shortage     sync.Mutex
	lastShortage time.Time // an attempt, last, something of our own; guarded by shortage

	attempts context.Context // ended when attempts have to stop
	cancel   context.CancelFunc
	workers  workers
}

func (q *Queue) newEngine() (*engine, error) {
	e := &engine{q: q, memory: lane.Memory{Most: handoffBytes}, workers: workers{jobs: make(chan job)}}
	log, err := q.openFolder()
	if err != nil {
		return nil, err
	}
	e.store, err = store.Open(q.folder, store.Options{
		Log: q.log, Journal: log, Now: q.now, LowEvery: lowEvery, Prompt: q.o.prompt,
		Low:    func(r *store.Route) record.Millis { return ask(e.sender(r), (*lane.Lane).Low) },
		Logged: e.observe, Grown: e.wakeFollowers, TooOld: e.endTooOld,
		Promoting: func(r *store.Route, due record.Millis, id DeliveryID) {
			s := e.sender(r)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.lane.Promoting(lane.Place{Due: due, ID: id})
		},
		Promoted: func(r *store.Route, due record.Millis, id DeliveryID, err error) {
			e.sender(r).update(func(l *lane.Lane) { l.Promoted(lane.Place{Due: due, ID: id}, err != nil) })
		},
	})
	if err != nil {
		return nil, err
	}
	e.attempts, e.cancel = context.WithCancel(context.Background())
	return e, nil
}

// sender returns the sender of a route.
func (e *engine) sender(r *store.Route) *sender {
	s, ok := e.senders.Load(r.Num)
	if !ok {
		s, _ = e.senders.LoadOrStore(r.Num, newSender(e, r))
	}
	return s.(*sender)
}

// senderOf returns the sender of a route's number, as stored deliveries have it; nil if there is no such route.
func (e *engine) senderOf(n record.RouteNum) *sender {
	if r := e.store.RouteOf(n); r != nil {
		return e.sender(r)
	}
	return nil
}

func (e *engine) allSenders() (all []*sender) {
	for _, r := range e.store.Routes() {
		all = append(all, e.sender(r))
	}
	return all
}

// configure makes the senders follow the routes. All names have numbers on disk when it returns.
func (e *engine) configure(limits Limits, routes []Route) error {
	e.store.SetLimits(limits)
	configured := make(map[*sender]*Route, len(routes))
	now := record.MillisOf(e.q.now())
	err := e.store.Do(func(b *store.Batch) {
		for i := range routes {
			configured[e.sender(b.Route(routes[i].Name))] = &routes[i]
		}
		for _, s := range e.allSenders() {
			c, r := b.Count(s.route), configured[s]
			c.HeldSince = since(r == nil, c.HeldSince, now)
			if r != nil {
				c.PausedSince = since(r.Paused || c.Paused, c.PausedSince, now)
			}
		}
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	for _, s := range e.allSenders() {
		s.configure(configured[s])
	}
	return nil
}

// since is when a condition began: was, if it held before, else now; 0 if it does not hold.
func since(holds bool, was, now record.Millis) record.Millis {
	if !holds {
		return 0
	}
	return cmp.Or(was, now)
}

// stopSending ends all senders: no attempt begins any more; those under way
// have until ctx ends, then they are cancelled, uncharged.
func (e *engine) stopSending(ctx context.Context) {
	for _, s := range e.allSenders() {
		s.end()
	}
	close(e.workers.jobs)
	defer e.cancel()
	defer context.AfterFunc(ctx, e.cancel)()
	e.workers.running.Wait()
}

// close ends all that runs and closes the store. It may have been abandoned
// before; no two call it at once.
func (e *engine) close(ctx context.Context) error {
	if e.attempts.Err() != nil {
		return nil
	}
	err := e.store.Close(func() { e.stopSending(ctx) })
	e.wakeFollowers()
	return err
}

// abandon stops all that runs on a store that has failed, and waits until
// every Put on it has said what it refused.
func (e *engine) abandon() {
	func() { e.putting.Lock(); defer e.putting.Unlock() }()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = e.close(ctx)
}

// observe hands new entries of the log to Options.Observe.
func (e *engine) observe(entries []store.Entry) {
	if e.q.o.Observe == nil {
		return
	}
	shown := make([]Entry, len(entries))
	for i := range entries {
		shown[i] = e.entryOf(&entries[i])
	}
	e.q.o.Observe(shown)
}
