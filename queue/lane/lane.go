// Package lane decides which delivery of one route is attempted next, and when:
// what is due, the leases of what is under way (lease.go), the rate, the breaker
// (breaker.go). It is pure: it neither reads the disk nor a clock, starts nothing and has no lock.
// Whoever owns a [Lane] calls one method at a time, and after each asks
// [Lane.Next] what may begin.
//
// A lane holds in memory a bounded beginning of what is due. The rest is found
// on disk, from a cursor on: nothing is due before it but what has a lease.
package lane

import (
	"bytes"
	"cmp"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"signalpost/queue/record"
)

const (
	// MaxReady is how many deliveries of one lane wait in memory, at most.
	MaxReady = 4096

	// maxUnrecorded is how long outcomes may wait to be recorded until no attempt
	// begins beside them: a crash would repeat all of these.
	maxUnrecorded = 50 * time.Millisecond

	// longestSleep bounds what an owner sleeps through: timers stand still while
	// the machine is suspended and when its clock is set, due times do not.
	longestSleep = time.Minute

	readPause = 10 * time.Second // after which it is tried again to read what is due
	asideFor  = 2 * time.Minute  // after which a delivery that could not be read is tried again
)

// Memory bounds the bodies that wait in memory, over all lanes that share it.
type Memory struct {
	used atomic.Int64
	Most int64
}

// Used is how many bytes wait.
func (m *Memory) Used() int64 { return m.used.Load() }

func (m *Memory) take(n int) bool {
	if m.used.Add(int64(n)) <= m.Most {
		return true
	}
	m.used.Add(int64(-n))
	return false
}

// A Route is what the config says of a route, as far as its deliveries are concerned.
type Route struct {
	Name        string  // identity: deliveries belong to the name, whatever else changes
	Concurrency int     // attempts under way at once, at least 1
	Rate        float64 // attempts a second, 0 for no limit; a burst is at most one second's worth, at least 1
	Paused      bool    // queue, but send nothing
	Target      string  // names the endpoint: when it changes, the failing state is cleared
}

// A Place is where a delivery stands in its lane.
type Place struct {
	Due record.Millis
	ID  record.DeliveryID
}

func (p Place) before(o Place) bool {
	return cmp.Or(cmp.Compare(p.Due, o.Due), bytes.Compare(p.ID[:], o.ID[:])) < 0
}

// Never is when what is finished is due.
const Never = record.Millis(1<<64 - 1)

var lastPlace = Place{Due: Never}

// An Item is a delivery to be attempted. One without Load is read before its attempt.
type Item struct {
	Place
	Load  any // what an attempt needs, as its owner keeps it; nil: nothing is in memory
	Size  int // bytes of Load that count for Memory
	began time.Time
	probe bool
}

// Probe is whether the item is attempted to learn whether its endpoint works again.
func (it *Item) Probe() bool { return it.probe }

// A Lane is what is due of one route.
type Lane struct {
	memory *Memory
	route  Route
	known  bool // the config has the route
	paused bool // Pause holds it, whatever the config says
	ended  bool

	leases  map[record.DeliveryID]lease
	ready   []Item // oldest first; each has a lease of stage ready
	cursor  Place
	more    bool           // something may be due at or after cursor by now
	next    record.Millis  // else: when the first there is due; 0 if there is none
	reading bool           // the owner reads from cursor on
	missed  Place          // while reading: the first place that was left on disk meanwhile
	settled map[Place]bool // while reading: the places that were settled meanwhile

	aside    []Place   // cannot be read, and is tried again at tryAgain, unless its lease says otherwise
	tryAgain time.Time // zero: nothing is aside

	active   int
	limiter  *rate.Limiter
	hold     time.Time // nothing is sent before
	breaker  breaker
	outcomes []time.Time // when the attempts ended that are yet to be recorded, oldest first, from recorded on
	recorded int
}

// New makes a lane of which nothing is pending. It sends nothing before Configure.
func New(m *Memory) *Lane { return &Lane{memory: m, leases: map[record.DeliveryID]lease{}} }

// Resume takes up what the store says of the lane: nothing is due before low.
func (l *Lane) Resume(low record.Millis, pending, paused bool) {
	l.cursor, l.more, l.paused = Place{Due: low}, pending, paused
}

// Configure sets the route as the config has it, nil if it has none. idle is
// how long ago the newest attempt ended.
func (l *Lane) Configure(r *Route, idle time.Duration, now time.Time) {
	if l.known = r != nil; !l.known {
		l.unload()
		for _, it := range l.ready {
			l.Leave(it.Place)
		}
		l.ready = nil
		return
	}
	if r.Target != l.route.Target {
		l.Clear(now)
	}
	burst := max(int(r.Rate), 1)
	switch {
	case r.Rate <= 0:
		l.limiter = nil
	case l.limiter == nil:
		// The newest attempt, be it from before a restart, is taken to have emptied
		// the bucket, at the end of its millisecond; and it holds one at most, for those
		// that were not recorded.
		l.limiter = rate.NewLimiter(rate.Limit(r.Rate), burst)
		l.limiter.AllowN(now.Add(time.Millisecond-max(idle, 0)), burst)
		if n := int(l.limiter.TokensAt(now)); n > 1 {
			l.limiter.AllowN(now, n-1)
		}
	default:
		l.limiter.SetLimit(rate.Limit(r.Rate))
		l.limiter.SetBurst(burst)
	}
	l.route = *r
	if !l.sends() {
		l.unload()
	}
}

// Pause holds the lane, or lets it go on; then its breaker is cleared.
func (l *Lane) Pause(paused bool, now time.Time) {
	if l.paused = paused; paused {
		l.unload()
	} else {
		l.Clear(now)
	}
}

// Clear forgets how the endpoint fared.
func (l *Lane) Clear(now time.Time) {
	l.breaker.clear(now)
	l.hold = time.Time{}
}

// Fail opens the breaker: somebody else has found that the endpoint fails.
func (l *Lane) Fail(now time.Time) {
	if !l.breaker.isOpen() {
		l.breaker.open(now)
		l.unload()
	}
}

// End has no attempt begin any more.
func (l *Lane) End() { l.ended = true }

// Known is whether the config has the route; Paused whether it is held, and
// PausedByConfig whether the config says so; FailingSince when its breaker opened, zero if it is closed.
func (l *Lane) Known() bool             { return l.known }
func (l *Lane) Paused() bool            { return l.route.Paused || l.paused }
func (l *Lane) PausedByConfig() bool    { return l.route.Paused }
func (l *Lane) FailingSince() time.Time { return l.breaker.opened }

// NextProbe is when the endpoint is tried again; zero if the breaker is closed,
// or a probe is under way.
func (l *Lane) NextProbe() time.Time {
	if !l.breaker.isOpen() || l.breaker.probing {
		return time.Time{}
	}
	if l.hold.After(l.breaker.probeAt) {
		return l.hold
	}
	return l.breaker.probeAt
}

// Sizes are the numbers of deliveries that have a lease, and of those that are ready.
func (l *Lane) Sizes() (leases, ready int) { return len(l.leases), len(l.ready) }

// sends is whether attempts other than probes may begin.
func (l *Lane) sends() bool { return l.known && !l.Paused() && !l.breaker.isOpen() }

// unload drops the bodies of what is ready, for others to have the memory: they are
// read again when they are attempted.
func (l *Lane) unload() {
	for i := range l.ready {
		l.free(&l.ready[i])
		l.ready[i].Load = nil
	}
}

// free gives back the memory of an item's body.
func (l *Lane) free(it *Item) {
	if it.Load != nil {
		l.memory.used.Add(int64(-it.Size))
	}
}

// A Step is what the lane's owner has to do now.
type Step struct {
	Begin bool // attempt Item, and call Ended when that has ended
	Item  Item
	Read  bool          // read what is due from Cursor on, then call Found or ReadFailed
	Wait  time.Duration // call Next again after this time, or sooner; 0: when something has changed
}

// Next is the next thing to do; call it until it neither begins nor reads. now
// is for durations, wall for due times.
func (l *Lane) Next(now time.Time, wall record.Millis) (t Step) {
	block, until := l.block(now)
	switch block {
	case Stopping, Gone, Pausing:
		return t
	}
	l.bringBack(now)
	switch {
	case block == None:
		t = l.step(now, wall)
	case !until.IsZero():
		t.Wait = until.Sub(now)
	}
	if !t.Begin && !l.tryAgain.IsZero() && (t.Wait == 0 || l.tryAgain.Before(now.Add(t.Wait))) {
		t.Wait = l.tryAgain.Sub(now)
	}
	if t.Wait != 0 {
		t.Wait = min(max(t.Wait, time.Millisecond), longestSleep)
	}
	return t
}

// step is Next where only the rate may block.
func (l *Lane) step(now time.Time, wall record.Millis) (t Step) {
	if !l.more && l.next != 0 && l.next <= wall {
		l.more = true
	}
	if l.more && !l.reading && len(l.ready) <= l.route.Concurrency {
		l.reading, l.missed = true, lastPlace
		t.Read = true
	}
	if len(l.ready) == 0 {
		if !l.more && l.next != 0 {
			t.Wait = min(time.Duration(l.next-wall), time.Hour/time.Millisecond) * time.Millisecond
		}
		return t
	}
	if l.limiter != nil {
		if r := l.limiter.ReserveN(now, 1); r.DelayFrom(now) > 0 {
			t.Wait = r.DelayFrom(now)
			r.CancelAt(now)
			return t
		}
	}
	t.Begin, t.Item = true, l.ready[0]
	l.ready[0] = Item{}
	if l.ready = l.ready[1:]; len(l.ready) == 0 {
		l.ready = nil
	}
	l.free(&t.Item)
	t.Item.Due = l.stage(t.Item.ID, underWay).due
	t.Item.began, t.Item.probe = now, l.breaker.begin()
	l.active++
	return t
}

// Ended is called when an attempt has ended, whatever came of it.
func (l *Lane) Ended() { l.active-- }

// GiveBack ends the lease of an item that could not be attempted: nothing is charged.
// The lane rests for the pause, so that the same fault is not met in a tight loop.
// An item that was given up meanwhile stays leased, for a change that ends it.
func (l *Lane) GiveBack(it Item, pause time.Duration, now time.Time) (givenUp bool) {
	l.breaker.unjudged(&it)
	if h := l.leases[it.ID]; h.givenUp {
		l.stage(it.ID, settling)
		return true
	}
	if until := now.Add(pause); until.After(l.hold) {
		l.hold = until
	}
	l.Leave(it.Place)
	return false
}

// A Change is how an outcome changed the state of the route.
type Change byte

// The changes.
const (
	Unchanged Change = iota
	Failing          // only probes are sent from now on
	Recovered        // the endpoint works again
)

// Judge draws the conclusions of an attempt for the route. fault: the endpoint
// is to blame. hold is how long it asked that nothing be sent. The lease stays
// until Settled.
func (l *Lane) Judge(it Item, fault bool, hold time.Duration, now time.Time) Change {
	h := l.leases[it.ID]
	h.stage, h.outcome = settling, true
	l.leases[it.ID] = h
	if l.recorded > len(l.outcomes)/2 {
		l.outcomes = l.outcomes[:copy(l.outcomes, l.outcomes[l.recorded:])]
		l.recorded = 0
	}
	l.outcomes = append(l.outcomes, now)
	if it.began.Before(l.breaker.cleared) {
		return Unchanged
	}
	if until := now.Add(hold); hold > 0 && until.After(l.hold) {
		l.hold = until
	}
	c := l.breaker.judge(&it, fault, l.route.Concurrency, now)
	if c == Failing {
		l.unload()
	}
	return c
}

// A Block is what keeps a lane from beginning more attempts.
type Block string

// The blocks; None: nothing does.
const (
	None        Block = ""
	Stopping    Block = "stopping"
	Gone        Block = "held"
	Pausing     Block = "paused"
	Holding     Block = "hold"        // an answer asked for it, or something of our own was lacking
	Opened      Block = "failing"     // until the next probe
	Probing     Block = "probing"     // until the probe that is under way has ended
	Recovering  Block = "recovering"  // step by step, as attempts succeed
	Concurrency Block = "concurrency" // as many are under way as may be
	Recording   Block = "disk"        // outcomes wait to be on disk
	Rate        Block = "rate"
)

// Why is what keeps the lane from beginning an attempt now, until when, zero if that
// is not a matter of time, and how many are under way.
func (l *Lane) Why(now time.Time) (b Block, until time.Time, active int) {
	b, until = l.block(now)
	if b == None && l.limiter != nil {
		if lacks := 1 - l.limiter.TokensAt(now); lacks > 0 {
			b, until = Rate, now.Add(time.Duration(lacks/float64(l.limiter.Limit())*float64(time.Second)))
		}
	}
	return b, until, l.active
}

// block is Why without the rate.
func (l *Lane) block(now time.Time) (b Block, until time.Time) {
	switch {
	case l.ended:
		return Stopping, until
	case !l.known:
		return Gone, until
	case l.Paused():
		return Pausing, until
	case l.breaker.isOpen() && l.breaker.probing:
		return Probing, until
	case l.breaker.isOpen() && l.NextProbe().After(now):
		return Opened, l.NextProbe()
	case now.Before(l.hold):
		return Holding, l.hold
	case l.breaker.ramp > 0 && l.active >= l.breaker.ramp:
		return Recovering, until
	case l.active >= l.route.Concurrency:
		return Concurrency, until
	case l.recorded < len(l.outcomes) && now.Sub(l.outcomes[l.recorded]) > maxUnrecorded:
		return Recording, until
	}
	return None, until
}

// StageOf is whether an attempt of a delivery is under way or yet to be recorded, and
// whether the delivery is aside because it could not be read.
func (l *Lane) StageOf(p Place) (attempted, unreadable bool) {
	h, ok := l.leases[p.ID]
	return ok && h.due == p.Due && (h.stage == underWay || h.stage == settling || h.outcome), ok && h.stage == aside
}
