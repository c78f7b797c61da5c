package lane

import (
	"slices"

	"signalpost/queue/record"
)

// A lease keeps a delivery from being looked for on disk. It lives in memory only.
type lease struct {
	due     record.Millis
	stage   stage
	outcome bool // its attempt has ended, which is yet to be recorded
	discard bool // someone gave it up while it was under way
}

type stage byte

const (
	writing  stage = iota // written, not yet known to be on disk
	ready                 // in Lane.ready
	underWay              // an attempt is being made
	judged                // the attempt has ended, and its change is on its way to the committer
	amended               // a change that is no attempt is being made
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

// Write leases a delivery that is being written, so that it is not looked for
// on disk until Offer, Leave or Forget.
func (l *Lane) Write(p Place) {
	l.leases[p.ID] = lease{due: p.Due, stage: writing, outcome: l.leases[p.ID].outcome}
}

// Forget ends the lease of a delivery that is no longer pending, or never came to be.
func (l *Lane) Forget(id record.DeliveryID) { delete(l.leases, id) }

// Offer hands over a delivery that is on disk and due now. It waits in memory
// if nothing older waits on disk; else its turn comes.
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

// What became of Lease.
type Leased byte

// The results of Lease.
const (
	LeaseTaken    Leased = iota // it is the caller's until Settled or Leave
	LeaseUnderWay               // an attempt is under way
	LeaseBusy                   // it is being written: read it again
)

// Lease takes a pending delivery for a change that is no attempt.
func (l *Lane) Lease(p Place) Leased {
	h, taken := l.leases[p.ID]
	switch {
	case taken && h.stage == underWay:
		return LeaseUnderWay
	case taken && h.stage == aside:
		delete(l.unreadable, p.ID)
	case taken && h.stage != ready:
		return LeaseBusy
	case taken:
		i := slices.IndexFunc(l.ready, func(it Item) bool { return it.ID == p.ID })
		l.free(&l.ready[i])
		l.ready = slices.Delete(l.ready, i, i+1)
	}
	l.leases[p.ID] = lease{due: p.Due, stage: amended}
	return LeaseTaken
}

// GiveUp notes that the attempt under way is the last, and returns whether it
// could: not if the outcome has been recorded.
func (l *Lane) GiveUp(p Place) bool {
	h := l.leases[p.ID]
	if h.due != p.Due || h.stage != underWay && h.stage != judged {
		return false
	}
	h.discard = true
	l.leases[p.ID] = h
	return true
}

// Record notes that the change for which a delivery is leased is being
// written, and returns whether it was given up before.
func (l *Lane) Record(id record.DeliveryID) (givenUp bool) {
	h := l.leases[id]
	h.stage = writing
	l.leases[id] = h
	return h.discard
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
	if l.leases[id].outcome {
		l.recorded++
	}
	if due != 0 {
		l.Leave(Place{due, id})
	} else {
		delete(l.leases, id)
	}
}
