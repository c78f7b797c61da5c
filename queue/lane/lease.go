package lane

import (
	"slices"
	"time"

	"signalpost/queue/record"
)

// A lease keeps a delivery from being looked for on disk. It lives in memory only.
type lease struct {
	due       record.Millis
	stage     stage
	outcome   bool // its attempt has ended, which is yet to be recorded
	givenUp   bool // someone gave it up while it was under way
	promoting bool // it was behind another of its order, and is being written as due
}

type stage byte

const (
	writing  stage = iota // written, not yet known to be on disk
	ready                 // in Lane.ready
	underWay              // an attempt is being made
	settling              // a change of it is being made, or is on its way to the committer
	aside                 // it cannot be read, and is tried again later
)

// Low is a time before which nothing of the lane is due.
func (l *Lane) Low() record.Millis {
	low := l.cursor.Due
	if l.next != 0 && !l.more && !l.reading {
		low = l.next
	}
	if l.reading {
		low = min(low, l.missed.Due)
	}
	for _, h := range l.leases {
		low = min(low, h.due)
	}
	return low
}

// Writing leases a delivery that is being written, so that it is not looked for
// on disk until Offer, Leave or Forget.
func (l *Lane) Writing(p Place) {
	l.leases[p.ID] = lease{due: p.Due, stage: writing, outcome: l.leases[p.ID].outcome}
}

// Forget ends the lease of a delivery that is no longer pending, or never came to be.
func (l *Lane) Forget(id record.DeliveryID) { delete(l.leases, id) }

// Offer hands over a delivery that is on disk and due now. It waits in memory
// if nothing older waits on disk; else it is found there later.
func (l *Lane) Offer(it Item) {
	direct := !l.ended && l.known && !l.more && !l.reading && len(l.ready) < MaxReady &&
		(l.next == 0 || it.Due < l.next)
	if !direct {
		l.Leave(it.Place)
		return
	}
	if !l.sends() || !l.memory.take(it.Size) {
		it.Load = nil
	}
	l.leases[it.ID] = lease{due: it.Due, stage: ready}
	l.ready = append(l.ready, it)
	if l.cursor.before(it.Place) {
		l.cursor = it.Place
	}
}

// Leave ends the lease of a delivery that is pending: it is found on disk when it is due.
func (l *Lane) Leave(p Place) {
	delete(l.leases, p.ID)
	switch {
	case l.reading:
		if p.before(l.missed) {
			l.missed = p
		}
	case p.before(l.cursor):
		l.cursor, l.more = p, true
	case !l.more && (l.next == 0 || p.Due < l.next):
		l.next = p.Due
	}
}

// Leased is the result of Lease.
type Leased byte

// The results of Lease.
const (
	LeaseTaken    Leased = iota // it is the caller's until Settled or Leave
	LeaseUnderWay               // an attempt is under way; it is the last if the caller gives it up
	LeaseBusy                   // it is being written, or was: read it again
)

// Lease takes a delivery for a change that is no attempt. One that is finished is due Never.
func (l *Lane) Lease(p Place, giveUp bool) Leased {
	h, taken := l.leases[p.ID]
	switch {
	case taken && h.stage == underWay && h.due == p.Due:
		h.givenUp = h.givenUp || giveUp
		l.leases[p.ID] = h
		return LeaseUnderWay
	case taken && h.stage != ready && h.stage != aside:
		return LeaseBusy
	case taken && h.stage == ready:
		i := slices.IndexFunc(l.ready, func(it Item) bool { return it.ID == p.ID })
		l.free(&l.ready[i])
		l.ready = slices.Delete(l.ready, i, i+1)
	}
	l.leases[p.ID] = lease{due: p.Due, stage: settling}
	return LeaseTaken
}

// GivenUp is whether the delivery was given up while an attempt was under way that is yet to be recorded.
func (l *Lane) GivenUp(p Place) bool {
	h := l.leases[p.ID]
	return h.givenUp && h.due == p.Due && h.stage != writing
}

// Record notes that the change for which a delivery is leased is being
// written, and returns whether it was given up before.
func (l *Lane) Record(id record.DeliveryID) (givenUp bool) {
	return l.stage(id, writing).givenUp
}

func (l *Lane) stage(id record.DeliveryID, s stage) lease {
	h := l.leases[id]
	h.stage = s
	l.leases[id] = h
	return h
}

// Settled ends the lease of a delivery whose change is on disk, or failed. was
// is when it was due, 0 if it was finished; due is when it is due now, 0 if it
// is finished.
func (l *Lane) Settled(id record.DeliveryID, was, due record.Millis) {
	if was != 0 && l.reading {
		if l.settled == nil {
			l.settled = map[Place]bool{}
		}
		l.settled[Place{was, id}] = true
	}
	h := l.leases[id]
	if h.outcome {
		l.recorded++
	}
	switch {
	case h.promoting: // and Promoted is to come
		l.leases[id] = lease{due: h.due, stage: writing, promoting: true}
	case due != 0:
		l.Leave(Place{due, id})
	default:
		delete(l.leases, id)
	}
}

// Promoting notes that a delivery which was behind another is being written as due. A
// change that has its lease keeps it.
func (l *Lane) Promoting(p Place) {
	h, taken := l.leases[p.ID]
	if !taken {
		h.stage = writing
	}
	h.due, h.promoting = p.Due, true
	l.leases[p.ID] = h
}

// Promoted is called when what Promoting noted is on disk, or failed. A change that has
// the lease ends it, as it ends that of any that is due: it has been overtaken.
func (l *Lane) Promoted(p Place, failed bool) {
	h := l.leases[p.ID]
	switch h.promoting = false; {
	case h.stage != writing:
		l.leases[p.ID] = h
	case failed:
		delete(l.leases, p.ID)
	default:
		l.Offer(Item{Place: p})
	}
}

// Overtaken is Settled of a delivery that was not due when its lease was taken, and
// that nothing was written of: it is due then, unless it has been promoted meanwhile.
func (l *Lane) Overtaken(id record.DeliveryID, due record.Millis) {
	if h := l.leases[id]; h.due != Never {
		due = h.due
	}
	l.Settled(id, 0, due)
}

// Cursor is where to read from.
func (l *Lane) Cursor() Place { return l.cursor }

// Found ends a reading: found is due, end was the last place looked at. next
// is when the first behind is due, 0 if there is none; with more it is not known.
func (l *Lane) Found(found []Place, end Place, more bool, next record.Millis) {
	l.reading = false
	l.cursor, l.more, l.next = end, more, next
	for _, p := range found {
		// What was settled while this was read has no lease any more.
		if _, taken := l.leases[p.ID]; taken || l.settled[p] {
			continue
		}
		l.leases[p.ID] = lease{due: p.Due, stage: ready}
		l.ready = append(l.ready, Item{Place: p})
	}
	clear(l.settled)
	if l.missed.before(l.cursor) {
		l.cursor, l.more = l.missed, true
	} else if l.missed != lastPlace && !l.more && (l.next == 0 || l.missed.Due < l.next) {
		l.next = l.missed.Due
	}
}

// ReadFailed ends a reading that failed. It is tried again after a pause.
func (l *Lane) ReadFailed(now time.Time) {
	l.reading, l.more = false, true
	clear(l.settled)
	if l.missed.before(l.cursor) {
		l.cursor = l.missed
	}
	l.hold = now.Add(readPause)
}

// Unreadable puts aside an item that cannot be read, so that it does not keep
// the others from being sent. It is tried again after a pause: what is damaged
// today may be restored, or discarded.
func (l *Lane) Unreadable(it Item, now time.Time) {
	l.breaker.unjudged(&it)
	if len(l.aside) == MaxReady { // memory is bounded: the lane has to wait with it
		l.hold = now.Add(asideFor)
		l.Leave(it.Place)
		return
	}
	l.stage(it.ID, aside)
	l.aside = append(l.aside, it.Place)
	if l.tryAgain.IsZero() {
		l.tryAgain = now.Add(asideFor)
	}
}

// bringBack ends the leases of what was put aside, once it is to be tried again.
func (l *Lane) bringBack(now time.Time) {
	if l.tryAgain.IsZero() || now.Before(l.tryAgain) {
		return
	}
	for _, p := range l.aside {
		if l.leases[p.ID].stage == aside {
			l.Leave(p)
		}
	}
	l.aside, l.tryAgain = nil, time.Time{}
}
