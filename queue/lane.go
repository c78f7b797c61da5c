package queue

import (
	"bytes"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	readyItems   = 4096     // deliveries of one lane that wait in memory, at most
	refillItems  = 1024     // deliveries read from disk at a time
	handoffBytes = 16 << 20 // bodies that wait in memory, over all lanes; more are read when their turn comes
)

// A lane sends the deliveries of one route. It has no goroutine while it has
// nothing to do, and holds in memory a bounded beginning of what is due: the
// rest is found on disk, from cursor on.
type lane struct {
	e    *engine
	name string
	num  routeNum

	counts   counts // the committer's
	touched  bool   // the committer's: counts go into its batch
	sinceLow int    // the committer's: batches since counts.low was moved up

	mu      sync.Mutex
	route   Route
	known   bool // the config has the route
	stopped bool

	shown counts // counts as of the last batch that was applied

	// held are the deliveries that are not to be looked for on disk, because
	// they are promised, ready, under way, or claimed by someone else.
	held  map[DeliveryID]lease
	ready []item // oldest first; each has a lease of stage ready
	// Nothing is due before cursor but what is held.
	cursor    place
	more      bool   // something may be due at or after cursor by now
	next      millis // else: when the first there is due; 0 if there is none
	refilling bool
	missed    place          // while refilling: the first place that was left on disk meanwhile
	gone      map[place]bool // while refilling: the places that were settled meanwhile

	shelf  map[DeliveryID]time.Duration // what could not be read, and how long it last waited
	unread time.Duration                // the pause after what is due could not be read

	active  int
	limiter *rate.Limiter
	timer   *time.Timer
	hold    time.Time // Retry-After of the route: nothing is sent before

	cleared   time.Time // what began before says nothing of the endpoint any more
	fails     int       // failures of the endpoint in a row
	failing   time.Time // since when, zero: it is not
	probing   bool
	probeGap  time.Duration
	probeAt   time.Time
	ramp      int // attempts at once while it recovers, 0: no limit but the route's
	lastGood  time.Time
	lastBad   time.Time
	lastError string
}

// A place is where a delivery stands in its lane.
type place struct {
	due millis
	id  DeliveryID
}

func (p place) before(o place) bool {
	if p.due != o.due {
		return p.due < o.due
	}
	return bytes.Compare(p.id[:], o.id[:]) < 0
}

var lastPlace = place{due: 1<<64 - 1}

// A lease says what a held delivery is held for. It lives in memory only.
type lease struct {
	due     millis
	stage   stage
	discard bool // someone gave it up while it was under way
}

type stage byte

const (
	promised stage = iota // written, not yet known to be on disk
	ready
	underWay
	judged // the attempt has ended, and its change is on its way to the committer
	claimed
	shelved // it cannot be read, and is tried again later
)

// An item is a delivery that is ready. One without d is read when its turn comes.
type item struct {
	id    DeliveryID
	due   millis
	rec   deliveryRecord // only with d
	d     *Delivery
	began time.Time // of the attempt
	probe bool
}

func newLane(e *engine, name string, n routeNum) *lane {
	return &lane{e: e, name: name, num: n, held: map[DeliveryID]lease{}}
}

// resume takes up what the store says of the lane.
func (l *lane) resume(c counts) {
	l.shown = c
	l.cursor = place{due: c.low}
	l.more = c.in[pending] > 0
}

// configure sets the route as the config has it, nil if it has none.
func (l *lane) configure(r *Route) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known = r != nil; !l.known {
		l.unload()
		for _, it := range l.ready {
			l.leave(it.id, it.due)
		}
		l.ready = nil
		return
	}
	if r.Target != l.route.Target {
		l.clearFailing()
	}
	switch {
	case r.Rate <= 0:
		l.limiter = nil
	case l.limiter == nil:
		// The newest attempt, be it from before a restart, is taken to have emptied
		// the bucket, at the end of its millisecond; and it holds one at most, for those
		// that were not recorded.
		l.limiter = rate.NewLimiter(rate.Limit(r.Rate), burst(r.Rate))
		l.limiter.AllowN(l.shown.tried.time().Add(time.Millisecond), burst(r.Rate))
		if now := time.Now(); l.limiter.TokensAt(now) > 1 {
			l.limiter.AllowN(now, int(l.limiter.TokensAt(now))-1)
		}
	default:
		l.limiter.SetLimit(rate.Limit(r.Rate))
		l.limiter.SetBurst(burst(r.Rate))
	}
	l.route = *r
	if !l.sends() {
		l.unload()
	}
	l.kick()
}

// sends is whether more than probes is sent now. mu is held.
func (l *lane) sends() bool {
	return l.known && !l.route.Paused && !l.shown.paused && l.failing.IsZero()
}

// unload lets go of the bodies of what is ready: they are read when their turn
// comes, and others have the memory until then. mu is held.
func (l *lane) unload() {
	for i := range l.ready {
		l.takeOut(l.ready[i])
		l.ready[i].d = nil
	}
}

// takeOut has the memory for bodies without that of an item which is ready no
// more, or without its body. mu is held.
func (l *lane) takeOut(it item) {
	if it.d != nil {
		l.e.handoff.Add(-int64(len(it.d.Body)))
	}
}

func burst(perSecond float64) int { return max(int(perSecond), 1) }

func (l *lane) clearFailing() {
	l.cleared = time.Now()
	l.fails, l.failing, l.probing, l.ramp, l.hold = 0, time.Time{}, false, 0, time.Time{}
}

func (l *lane) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	if l.timer != nil {
		l.timer.Stop()
	}
}

// raiseLow moves the low-water mark up now and then. Called by the committer
// for each batch that changes the counts.
func (l *lane) raiseLow() {
	if l.sinceLow++; l.sinceLow < lowEvery { // it walks over what is held
		return
	}
	l.sinceLow = 0
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.low = l.lowest()
}

// publish shows the counts to readers.
func (l *lane) publish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shown = l.counts
}

// lowEvery is after how many batches the mark is moved up. Tests have it moved more often.
var lowEvery = 64

// lowest is a time before which nothing of the lane is due. mu is held.
func (l *lane) lowest() millis {
	low := l.cursor.due
	if l.next != 0 && !l.more && !l.refilling {
		low = l.next
	}
	if l.refilling {
		low = min(low, l.missed.due)
	}
	for _, h := range l.held {
		low = min(low, h.due)
	}
	return low
}

// promise keeps a delivery that is being written from being found on disk.
func (l *lane) promise(id DeliveryID, due millis) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held[id] = lease{due: due, stage: promised}
}

// forget drops a delivery that is no longer owed, or never came to be.
func (l *lane) forget(id DeliveryID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.held, id)
}

// offer hands over a delivery that is on disk and due at it.due. It waits in
// memory if it is due and nothing older waits on disk; else its turn comes.
func (l *lane) offer(it item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.kick()
	direct := it.d != nil && !l.stopped && l.known && !l.more && !l.refilling && len(l.ready) < readyItems &&
		(l.next == 0 || it.due < l.next)
	if !direct {
		l.leave(it.id, it.due)
		return
	}
	if size := int64(len(it.d.Body)); !l.sends() {
		it.d = nil
	} else if l.e.handoff.Add(size) > handoffBytes {
		l.e.handoff.Add(-size)
		it.d = nil
	}
	l.held[it.id] = lease{due: it.due, stage: ready}
	l.ready = append(l.ready, it)
	if p := (place{it.due, it.id}); l.cursor.before(p) {
		l.cursor = p
	}
}

// leave lets go of a delivery that is due at a time: it is found on disk then. mu is held.
func (l *lane) leave(id DeliveryID, due millis) {
	delete(l.held, id)
	p := place{due, id}
	switch {
	case l.refilling:
		if p.before(l.missed) {
			l.missed = p
		}
	case p.before(l.cursor):
		l.cursor, l.more = p, true
	case !l.more && (l.next == 0 || due < l.next):
		l.next = due
	}
}

// What became of a claim.
type claimResult byte

const (
	claimTaken    claimResult = iota // it is the caller's until it is settled or released
	claimUnderWay                    // an attempt is under way
	claimWait                        // it is being written: read it again
)

// claim takes a pending delivery for a change that is no attempt.
func (l *lane) claim(id DeliveryID, due millis) claimResult {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, taken := l.held[id]
	switch {
	case taken && h.stage == underWay:
		return claimUnderWay
	case taken && h.stage == shelved:
		delete(l.shelf, id)
	case taken && h.stage != ready:
		return claimWait
	case taken:
		i := slices.IndexFunc(l.ready, func(it item) bool { return it.id == id })
		l.takeOut(l.ready[i])
		l.ready = slices.Delete(l.ready, i, i+1)
	}
	l.held[id] = lease{due: due, stage: claimed}
	return claimTaken
}

// release leaves a held delivery to be found on disk when it is due.
func (l *lane) release(id DeliveryID, due millis) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leave(id, due)
	l.kick()
}

// kick begins as many attempts as may begin now, and sees to it that it is
// called when more may. mu is held.
func (l *lane) kick() {
	for {
		it, ok := l.take()
		if !ok {
			return
		}
		l.e.workers.attempt(job{l, it})
	}
}

// take is the next delivery to attempt now, counted as active. mu is held.
func (l *lane) take() (item, bool) {
	if l.stopped || !l.known || l.route.Paused || l.shown.paused {
		return item{}, false
	}
	now := time.Now()
	failing := !l.failing.IsZero()
	switch {
	case now.Before(l.hold):
		return l.wake(l.hold.Sub(now))
	case failing && l.probing:
		return item{}, false
	case failing && now.Before(l.probeAt):
		return l.wake(l.probeAt.Sub(now))
	case l.active >= l.route.Concurrency || !failing && l.ramp > 0 && l.active >= l.ramp:
		return item{}, false
	}
	if !l.more && l.next != 0 && l.next <= toMillis(now) {
		l.more = true
	}
	if l.more && !l.refilling && len(l.ready) <= l.route.Concurrency {
		l.refilling, l.missed = true, lastPlace
		l.e.workers.run(l.refill)
	}
	if len(l.ready) == 0 {
		if !l.more && l.next != 0 {
			return l.wake(l.next.time().Sub(now))
		}
		return item{}, false
	}
	if l.limiter != nil {
		if r := l.limiter.ReserveN(now, 1); r.DelayFrom(now) > 0 {
			d := r.DelayFrom(now)
			r.CancelAt(now)
			return l.wake(d)
		}
	}
	it := l.drop()
	h := l.held[it.id]
	h.stage = underWay
	l.held[it.id] = h
	it.due, it.began, it.probe = h.due, now, failing
	l.probing = l.probing || failing
	l.active++
	return it, true
}

// drop removes the first of ready. mu is held.
func (l *lane) drop() item {
	it := l.ready[0]
	l.ready[0] = item{}
	l.ready = l.ready[1:]
	if len(l.ready) == 0 {
		l.ready = nil
	}
	l.takeOut(it)
	return it
}

// longestSleep bounds what a timer sleeps through: timers stand still while the
// machine is suspended and when its clock is set, due times do not.
const longestSleep = time.Minute

// wake has kick called after d, or sooner. mu is held.
func (l *lane) wake(d time.Duration) (item, bool) {
	d = min(max(d, time.Millisecond), longestSleep)
	if l.timer == nil {
		l.timer = time.AfterFunc(d, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.kick()
		})
	} else {
		l.timer.Reset(d)
	}
	return item{}, false
}

// refill reads the next deliveries that are due from disk. Only one runs at a time.
func (l *lane) refill() {
	l.mu.Lock()
	from := l.cursor
	l.mu.Unlock()
	now := toMillis(time.Now())
	var found []place
	var next millis
	end := from
	full := false
	err := l.e.scan(dueKey(nil, l.num, from.due, from.id), dueKey(nil, l.num+1, 0, DeliveryID{}), func(k, _ []byte) (bool, error) {
		_, due, id, err := parseDueKey(k)
		if err != nil {
			return false, err
		}
		end = place{due, id}
		if due > now {
			next = due
			return false, nil
		}
		found = append(found, end)
		full = len(found) >= refillItems
		return !full, nil
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refilling = false
	defer clear(l.gone)
	if err != nil {
		if l.missed.before(l.cursor) {
			l.cursor = l.missed
		}
		l.more = true
		if l.stopped || l.e.broken() != nil {
			return
		}
		if l.unread == 0 {
			l.e.log.Error("what is due cannot be read; it is tried again later: restore the store from a backup", slog.String("route", l.name), slog.Any("err", err))
		}
		l.unread = min(max(2*l.unread, firstShelf), lastShelf)
		l.hold = time.Now().Add(l.unread)
		l.kick()
		return
	}
	l.unread = 0
	l.cursor, l.more, l.next = end, full, next
	for _, p := range found {
		// What was settled while this read has left held: gone knows it.
		if _, taken := l.held[p.id]; taken || l.gone[p] {
			continue
		}
		l.held[p.id] = lease{due: p.due, stage: ready}
		l.ready = append(l.ready, item{id: p.id, due: p.due})
	}
	if l.missed.before(l.cursor) {
		l.cursor, l.more = l.missed, true
	} else if l.missed != lastPlace && !l.more && (l.next == 0 || l.missed.due < l.next) {
		l.next = l.missed.due
	}
	l.kick()
}

// status describes the lane; what is due first is asked of the store.
func (l *lane) status(e *engine) RouteStatus {
	l.mu.Lock()
	s := RouteStatus{
		Name: l.name, PausedByAPI: l.shown.paused, Pending: l.shown.in[pending],
		Delivered: l.shown.in[delivered], Dead: l.shown.in[dead],
		LastSuccess: l.lastGood, LastError: l.lastError, LastErrorAt: l.lastBad, FailingSince: l.failing,
	}
	switch {
	case !l.known:
		s.State, s.Pending, s.Held = RouteGone, 0, s.Pending
	case l.route.Paused || l.shown.paused:
		s.State = RoutePaused
	case !l.failing.IsZero():
		s.State = RouteFailing
	default:
		s.State = RouteOK
	}
	low := l.lowest()
	l.mu.Unlock()
	if s.Pending+s.Held == 0 {
		return s
	}
	_ = e.scan(dueKey(nil, l.num, low, DeliveryID{}), dueKey(nil, l.num+1, 0, DeliveryID{}), func(k, _ []byte) (bool, error) {
		if _, due, _, err := parseDueKey(k); err == nil && due <= toMillis(time.Now()) {
			s.OldestDue = due.time()
		}
		return false, nil
	})
	return s
}
