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
	turn    bool // it was behind another of its order, and is being written as due
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
	LeaseUnderWay               // an attempt is under way; it is the last if the caller gives it up
	LeaseBusy                   // it is being written, or was: read it again
)

// Lease takes a delivery for a change that is no attempt. One that is finished is due Never.
func (l *Lane) Lease(p Place, giveUp bool) Leased {
	h, taken := l.leases[p.ID]
	switch {
	case taken && h.stage == underWay && h.due == p.Due:
		h.discard = h.discard || giveUp
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
	return h.discard && h.due == p.Due && h.stage != writing
}

// Record notes that the change for which a delivery is leased is being
// written, and returns whether it was given up before.
func (l *Lane) Record(id record.DeliveryID) (givenUp bool) {
	return l.stage(id, writing).discard
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
	case h.turn: // and Turned is to come
		l.leases[id] = lease{due: h.due, stage: writing, turn: true}
	case due != 0:
		l.Leave(Place{due, id})
	default:
		delete(l.leases, id)
	}
}

// Turn notes that a delivery which was behind another is being written as due. A
// change that has its lease keeps it.
func (l *Lane) Turn(p Place) {
	h, taken := l.leases[p.ID]
	if !taken {
		h.stage = writing
	}
	h.due, h.turn = p.Due, true
	l.leases[p.ID] = h
}

// Turned is called when what Turn noted is on disk, or failed. A change that has
// the lease ends it, as it ends that of any that is due: it has been overtaken.
func (l *Lane) Turned(p Place, failed bool) {
	h := l.leases[p.ID]
	switch h.turn = false; {
	case h.stage != writing:
		l.leases[p.ID] = h
	case failed:
		delete(l.leases, p.ID)
	default:
		l.Offer(Item{Place: p})
	}
}

// Overtaken is Settled of a delivery that was not due when its lease was taken, and
// that nothing was written of: it is due then, unless its turn has come meanwhile.
func (l *Lane) Overtaken(id record.DeliveryID, due record.Millis) {
	if h := l.leases[id]; h.due != Never {
		due = h.due
	}
	l.Settled(id, 0, due)
}
