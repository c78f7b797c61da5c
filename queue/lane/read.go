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

// bringBack leaves what was put aside, when its time has come.
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
