package queue

import (
	"cmp"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"signalpost/queue/lane"
	"signalpost/queue/record"
	"signalpost/queue/store"
)

// readItems is how many deliveries that are due are read from disk at a time.
const readItems = 1024

// A sender has the deliveries of one route attempted, as its lane decides. It
// has no goroutine while it has nothing to do.
type sender struct {
	e     *engine
	route *store.Route

	mu    sync.Mutex
	lane  *lane.Lane // guarded by mu, as all below
	timer *time.Timer
}

func newSender(e *engine, r *store.Route) *sender {
	s := &sender{e: e, route: r, lane: lane.New(&e.memory)}
	c := r.Counts()
	s.lane.Resume(c.Low, c.In[record.IsPending] > 0, c.Paused)
	return s
}

// configure sets the route as the config has it, nil if it has none.
func (s *sender) configure(r *Route) {
	idle := s.e.q.now().Sub(s.route.Counts().Tried.Time())
	s.update(func(l *lane.Lane) { l.Configure(r, idle, time.Now()) })
}

// ask asks the lane something, or changes it so that nothing more may begin.
func ask[T any](s *sender, f func(l *lane.Lane) T) T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f(s.lane)
}

// update changes the lane, and begins what may begin then.
func (s *sender) update(f func(l *lane.Lane)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s.lane)
	s.proceed()
}

func (s *sender) end() {
	s.update((*lane.Lane).End) // no timer is set from now on
	if s.timer != nil {
		s.timer.Stop()
	}
}

// state is how a delivery of the route in a stored state is called. s may be nil.
func (s *sender) state(stored record.State) State {
	switch stored {
	case record.IsDelivered:
		return StateDelivered
	case record.IsDead:
		return StateDead
	}
	if s != nil && ask(s, (*lane.Lane).Known) {
		return StatePending
	}
	return StateHeld
}

// writing leases a delivery that is being written.
func (s *sender) writing(due record.Millis, id DeliveryID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lane.Writing(lane.Place{Due: due, ID: id})
}

// lease takes a delivery for a change that is no attempt, or gives it up, if that is asked, while one is under way.
func (s *sender) lease(p lane.Place, giveUp bool) lane.Leased {
	return ask(s, func(l *lane.Lane) lane.Leased { return l.Lease(p, giveUp) })
}

// wake begins what may begin by now.
func (s *sender) wake() { s.update(func(*lane.Lane) {}) }

// proceed begins as many attempts as may begin now, and sets a timer for the next.
// mu is held.
func (s *sender) proceed() {
	for {
		it, ok := s.next()
		if !ok {
			return
		}
		s.e.workers.attempt(job{s, it})
	}
}

// next is the next attempt to be made now, if there is one. mu is held.
func (s *sender) next() (lane.Item, bool) {
	now := time.Now()
	t := s.lane.Next(now, record.MillisOf(s.e.q.o.clock(now)))
	if t.Read {
		s.e.workers.running.Go(s.read)
	}
	switch {
	case t.Begin || t.Wait == 0:
	case s.timer == nil:
		s.timer = time.AfterFunc(t.Wait, s.wake)
	default:
		s.timer.Reset(t.Wait)
	}
	return t.Item, t.Begin
}

// read reads the next deliveries that are due from disk. Only one runs at a time.
func (s *sender) read() {
	from := ask(s, (*lane.Lane).Cursor)
	now := record.MillisOf(s.e.q.now())
	var found []lane.Place
	var next record.Millis
	end, full := from, false
	err := s.scanDue(from, func(p lane.Place) bool {
		if end = p; p.Due > now {
			next = p.Due
			return false
		}
		found = append(found, p)
		full = len(found) >= readItems
		return !full
	})
	if err != nil {
		s.e.store.ReportOnce("what is due cannot be read; it is tried again later: restore the store from a backup", err, slog.String("route", s.route.Name))
	}
	s.update(func(l *lane.Lane) {
		if err == nil {
			l.Found(found, end, full, next)
		} else {
			l.ReadFailed(time.Now())
		}
	})
}

// scanDue calls f with what is pending of the route, from a place on, until it says stop.
func (s *sender) scanDue(from lane.Place, f func(lane.Place) bool) error {
	n := s.route.Num
	return s.e.store.Scan(record.DueKey(nil, n, from.Due, from.ID), record.DueKey(nil, n+1, 0, DeliveryID{}), func(k, _ []byte) (bool, error) {
		at, err := record.ParseDueKey(k)
		return err == nil && f(lane.Place{Due: at.Due, ID: at.ID}), err
	})
}

// work makes one attempt after the other while there are any to make.
func (s *sender) work(it lane.Item) {
	for ok := true; ok; {
		s.attempt(it)
		s.mu.Lock()
		s.lane.Ended()
		it, ok = s.next()
		if ok {
			s.proceed()
		}
		s.mu.Unlock()
	}
}

// A pendingDelivery is what an attempt needs.
type pendingDelivery struct {
	Delivery
	stored record.Delivery
}

// attempt makes one attempt and hands what became of it to the committer.
func (s *sender) attempt(it lane.Item) {
	d, ok := it.Load.(*pendingDelivery)
	if !ok {
		var err error
		if d, err = s.load(it.ID); err != nil {
			s.unreadable(it, err)
			return
		}
		if d.stored.Flags&record.GivenUp != 0 { // and the attempt came to nothing
			s.lease(it.Place, true)
			s.giveBack(it, d, nil)
			return
		}
	}
	d.Step = d.stored.Attempts - d.stored.Base + 1
	out, err := s.e.q.o.Courier.Deliver(s.e.attempts, d.Delivery, d.stored.Attempts+1)
	if err != nil {
		s.giveBack(it, d, err)
		return
	}
	s.e.store.Submit(s.settle(it, d, out))
}

// load reads what a courier needs.
func (s *sender) load(id DeliveryID) (*pendingDelivery, error) {
	r, sig, b, err := s.e.store.Whole(id)
	if err != nil && r.Flags&record.GivenUp == 0 { // else it can end without what is missing
		return nil, err
	}
	return &pendingDelivery{
		Delivery: Delivery{ID: id, Signal: r.Signal, Route: s.route.Name, Type: sig.Type, Traceparent: sig.Traceparent, Tracestate: sig.Tracestate, Body: b.Body, Shape: b.Shape},
		stored:   r,
	}, nil
}

// giveBackPause is how long a route rests when an attempt could not be made,
// so that what is wrong is not met in a tight loop.
const giveBackPause = 100 * time.Millisecond

// giveBack ends an attempt that did not come about: nothing is charged. If the
// delivery was given up meanwhile, it is dead now.
func (s *sender) giveBack(it lane.Item, d *pendingDelivery, err error) {
	givenUp := ask(s, func(l *lane.Lane) bool { return l.GiveBack(it, giveBackPause, time.Now()) })
	s.e.reportShortage(s.route.Name, err)
	if givenUp {
		c := &change{sender: s, id: it.ID, due: it.Due, was: d.stored, now: d.stored}
		c.die(Discarded, "")
		c.entry.Type = d.Type
		s.e.store.Submit(c)
	}
}

// shortQuiet is how long nothing has to be lacking until a lack is told again.
const shortQuiet = time.Minute

// reportShortage says what the attempt lacks, once for all routes: while some attempts come
// about and others do not, it is one shortage.
func (e *engine) reportShortage(route string, err error) {
	if !errors.Is(err, ErrShortage) {
		return
	}
	e.shortage.Lock()
	defer e.shortage.Unlock()
	if now := time.Now(); e.lastShortage.IsZero() || now.Sub(e.lastShortage) > shortQuiet {
		e.q.log.Warn("attempts cannot be made; their deliveries stay due, uncharged, and are tried again", slog.String("route", route), slog.Any("err", err))
	}
	e.lastShortage = time.Now()
}

// unreadable puts a delivery that cannot be read aside. It stays pending: what
// is damaged today may be restored, or discarded, by someone.
func (s *sender) unreadable(it lane.Item, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lane.Unreadable(it, time.Now())
	s.e.store.ReportOnce("a delivery cannot be read; it stays pending and is tried again later: restore the store from a backup, or discard it",
		err, slog.String("route", s.route.Name), slog.String("delivery", it.ID.String()))
}

// settle draws the conclusions of an attempt: for the route, and as the change of the
// delivery, which the committer writes. Its lease ends in change.Done.
func (s *sender) settle(it lane.Item, d *pendingDelivery, out Outcome) *change {
	end := s.e.q.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.judgeEndpoint(it, out)
	now := d.stored
	now.Attempts++
	c := &change{sender: s, id: it.ID, due: it.Due, was: d.stored, now: now, fault: out.Fault, tried: store.Entry{
		Entry: record.Entry{
			Delivery: it.ID, Signal: d.Signal, Type: d.Type,
			Attempt: now.Attempts, Verdict: out.Verdict, Status: out.Status, Duration: out.Duration, Error: out.Error, Response: out.Response,
			Sent: record.Sent{Trigger: trigger(it, &d.stored), Class: classOf(&out), Reused: out.Reused, Timing: out.Timing},
		},
		ConfigHash: out.Config, PeerAddress: out.Peer, RequestText: out.Request,
	}}
	if !out.Started.IsZero() {
		c.tried.Started = record.MillisOf(out.Started)
	}
	c.entry = &c.tried
	c.now.Due = 0
	switch out.Verdict {
	case Delivered:
		c.now.State = record.IsDelivered
	case Retry:
		c.now.Due = record.MillisOf(end.Add(out.Gap))
		c.entry.Next = c.now.Due
	case Dead:
		c.now.State, c.now.Reason, c.entry.Reason = record.IsDead, out.Reason, out.Reason
	}
	return c
}

// trigger is why the attempt was made.
func trigger(it lane.Item, d *record.Delivery) Trigger {
	switch {
	case it.Probe():
		return Probe
	case d.Flags&record.Revived != 0 && d.Attempts == d.Base:
		return Manual
	}
	return Scheduled
}

// classOf is the outcome's class; of a courier that sets none, its status's.
func classOf(out *Outcome) Class {
	if c := out.Status / 100; out.Class == "" && c >= 2 && c <= 5 {
		return [...]Class{Class2xx, Class3xx, Class4xx, Class5xx}[c-2]
	}
	return cmp.Or(out.Class, ClassLocal)
}

// judgeEndpoint tells the breaker what the outcome says of the endpoint. mu is held.
func (s *sender) judgeEndpoint(it lane.Item, out Outcome) {
	since := s.lane.FailingSince()
	switch s.lane.Judge(it, out.Fault, out.Hold, time.Now()) {
	case lane.Failing:
		s.e.q.log.Warn("route is failing: only probes are sent, the rest waits uncharged", slog.String("route", s.route.Name), slog.String("err", out.Error))
		if f := s.e.q.o.Failing; f != nil {
			f(s.route.Name)
		}
	case lane.Recovered:
		s.e.q.log.Info("route works again", slog.String("route", s.route.Name), slog.Float64("duration_ms", float64(time.Since(since).Milliseconds())))
	}
}

// workers are the goroutines that make the attempts of all routes, and those
// that read for them. A worker with nothing to do waits for the next attempt,
// because its stack has grown to what one takes: growing a new one for each
// took 3 % of all CPU time. How many work at once is for the lanes to bound.
type workers struct {
	running sync.WaitGroup
	jobs    chan job // to those that wait; once it is closed workers end as soon as they have nothing to do
	idle    atomic.Int32
}

// A job is an attempt to be made.
type job struct {
	sender *sender
	item   lane.Item
}

const idleWorkers = 64 // that wait, at most

// attempt has a worker do the job, and more of its route if there is more. It
// does not block, and must not be called once jobs is closed.
func (w *workers) attempt(j job) {
	select {
	case w.jobs <- j:
	default:
		w.running.Go(func() { w.work(j) })
	}
}

func (w *workers) work(j job) {
	for ok := true; ok; w.idle.Add(-1) {
		j.sender.work(j.item)
		j = job{} // a body may hang on it
		if w.idle.Add(1) <= idleWorkers {
			j, ok = <-w.jobs
		} else {
			ok = false
		}
	}
}
