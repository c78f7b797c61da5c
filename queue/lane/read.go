package lane

import (
	"time"

	"signalpost/queue/record"
)

// Cursor is where to read from.
func (l *Lane) Cursor() Place { return l.cursor }

// Found ends a reading: found is due, end was the last place looked at. next
// is when the first behind is due, 0 if there is none; with more it is not known.
func (l *Lane) Found(found []Place, end Place, more bool, next record.Millis) {
	l.reading, l.failedRead = false, 0
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

// ReadFailed ends a reading that failed. It is tried again after a pause that
// grows. first is whether the one before did not fail.
func (l *Lane) ReadFailed(now time.Time) (first bool) {
	l.reading, l.more = false, true
	clear(l.settled)
	if l.missed.before(l.cursor) {
		l.cursor = l.missed
	}
	first = l.failedRead == 0
	l.failedRead = min(max(2*l.failedRead, firstAside), lastAside)
	l.hold = now.Add(l.failedRead)
	return first
}

// An unreadable delivery is tried again after pauses that grow.
type unreadable struct {
	pause time.Duration
	until time.Time // zero: it is being tried
}

// Unreadable puts aside an item that cannot be read, longer each time, so that
// it does not keep the others from being sent: what is damaged today may be
// restored, or discarded. first is whether it could be read until now.
func (l *Lane) Unreadable(it Item, now time.Time) (first bool) {
	l.breaker.unjudged(&it)
	u, known := l.unreadable[it.ID]
	if !known && len(l.unreadable) >= maxAside { // memory is bounded: the lane has to wait with it
		l.hold = now.Add(lastAside)
		l.Leave(it.Place)
		return false
	}
	if l.unreadable == nil {
		l.unreadable = map[record.DeliveryID]unreadable{}
	}
	u.pause = min(max(2*u.pause, firstAside), lastAside)
	u.until = now.Add(u.pause)
	l.unreadable[it.ID] = u
	l.stage(it.ID, aside)
	if l.tryAgain.IsZero() || u.until.Before(l.tryAgain) {
		l.tryAgain = u.until
	}
	return !known
}

// bringBack leaves what was put aside long enough ago.
func (l *Lane) bringBack(now time.Time) {
	if l.tryAgain.IsZero() || now.Before(l.tryAgain) {
		return
	}
	l.tryAgain = time.Time{}
	for id, u := range l.unreadable {
		switch {
		case u.until.IsZero():
		case !u.until.After(now):
			l.unreadable[id] = unreadable{pause: u.pause}
			l.Leave(Place{l.leases[id].due, id})
		case l.tryAgain.IsZero() || u.until.Before(l.tryAgain):
			l.tryAgain = u.until
		}
	}
}
