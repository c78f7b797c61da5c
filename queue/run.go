package queue

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// When an endpoint counts as failing, and how often it is probed then.
const (
	failingAfter  = 5           // failures in a row
	firstProbeGap = time.Second // then doubled
	lastProbeGap  = time.Minute
)

// work makes one attempt after the other while there are any to make.
func (l *lane) work(it item) {
	for ok := true; ok; {
		l.attempt(it)
		l.mu.Lock()
		l.active--
		it, ok = l.take()
		if ok {
			l.kick()
		}
		l.mu.Unlock()
	}
}

// attempt makes one attempt and hands what became of it to the committer.
func (l *lane) attempt(it item) {
	if it.d == nil {
		var err error
		if it.d, it.rec, err = l.e.loadDelivery(it.id, l); err != nil {
			l.shelve(it, err)
			return
		}
		if it.rec.flags&givenUp != 0 { // and the attempt came to nothing
			l.e.submit(l.giveUp(it))
			return
		}
	}
	it.d.Step = it.rec.attempts - it.rec.base + 1
	out, err := l.e.o.Courier.Deliver(l.e.attempts, *it.d, it.rec.attempts+1)
	if err != nil {
		l.giveBack(it, 100*time.Millisecond)
		return
	}
	end := time.Now()
	l.e.submit(l.judge(it, out, end))
}

// giveUp is the change that ends a delivery which was discarded while an
// attempt was under way that was given back, or that a crash took with it.
func (l *lane) giveUp(it item) *change {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isProbe(it) {
		l.probing = false
	}
	delete(l.shelf, it.id)
	c := &change{lane: l, id: it.id, due: it.due, was: it.rec, now: it.rec}
	c.die(Discarded, "")
	c.entry.kind = it.d.Type
	return c
}

// giveBack ends an attempt that did not come about: nothing is charged. The
// lane rests for the pause, so that what is wrong is not met in a tight loop.
func (l *lane) giveBack(it item, pause time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isProbe(it) {
		l.probing = false
	}
	if until := time.Now().Add(pause); until.After(l.hold) {
		l.hold = until
	}
	l.leave(it.id, it.due)
}

// shelve puts a delivery that cannot be read aside, longer each time, so that
// it does not keep the others of its route from being sent. It stays pending:
// what is damaged today may be restored, or discarded, by someone.
func (l *lane) shelve(it item, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isProbe(it) {
		l.probing = false
	}
	if l.stopped || l.e.broken() != nil || errors.Is(err, ErrClosed) {
		l.leave(it.id, it.due)
		return
	}
	if l.shelf == nil {
		l.shelf = map[DeliveryID]time.Duration{}
	}
	pause := l.shelf[it.id]
	if pause == 0 {
		if len(l.shelf) >= shelfItems { // memory is bounded: the lane has to wait with it
			l.hold = time.Now().Add(lastShelf)
			l.leave(it.id, it.due)
			return
		}
		l.e.log.Error("a delivery cannot be read; it stays pending and is tried again later: restore the store from a backup, or discard it",
			slog.String("route", l.name), slog.String("delivery", it.id.String()), slog.Any("err", err))
	}
	pause = min(max(2*pause, firstShelf), lastShelf)
	l.shelf[it.id] = pause
	l.held[it.id] = lease{due: it.due, stage: shelved}
	time.AfterFunc(pause, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if !l.stopped && l.held[it.id].stage == shelved {
			l.leave(it.id, it.due)
			l.kick()
		}
	})
}

const (
	shelfItems = 1 << 14 // deliveries of a lane that cannot be read, at most
	firstShelf = time.Second
	lastShelf  = 5 * time.Minute
)

// judge draws the conclusions of an attempt: for the route, and as the change
// of the delivery that is to be written.
func (l *lane) judge(it item, out Outcome, end time.Time) *change {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.shelf, it.id)
	h := l.held[it.id]
	h.stage = judged
	l.held[it.id] = h
	l.note(it, out, end)

	now := it.rec
	now.attempts++
	c := &change{lane: l, id: it.id, due: it.due, was: it.rec, now: now, tried: logRecord{
		delivery: it.id, signal: it.rec.signal, route: l.num, kind: it.d.Type,
		attempt: now.attempts, status: out.Status, took: out.Duration, err: out.Error, response: out.Response,
	}}
	c.entry = &c.tried
	verdict, reason := out.Verdict, out.Reason
	c.now.due = 0
	switch verdict {
	case Delivered:
		c.now.state, reason = delivered, ""
	case Retry:
		reason = ""
		c.now.due = toMillis(end.Add(out.Gap))
		c.entry.next = c.now.due
	case Dead:
		c.now.state = dead
	}
	c.now.reason = reasonByte(reason)
	c.entry.verdict, c.entry.reason = verdictByte(verdict), c.now.reason
	return c
}

// isProbe is whether the item is the one that the failing route waits for,
// and not one of a failing state that is over. mu is held.
func (l *lane) isProbe(it item) bool {
	return it.probe && !l.failing.IsZero() && !it.began.Before(l.failing)
}

// note keeps what the outcome says of the endpoint. mu is held.
func (l *lane) note(it item, out Outcome, end time.Time) {
	if out.Verdict == Delivered {
		l.lastGood = end
	} else {
		l.lastBad, l.lastError = end, out.Error
	}
	if it.began.Before(l.cleared) {
		return
	}
	if until := end.Add(out.Hold); out.Hold > 0 && until.After(l.hold) {
		l.hold = until
	}
	switch {
	case out.Fault:
		l.fails++
		switch {
		case l.isProbe(it):
			l.probing = false
			l.probeGap = min(2*l.probeGap, lastProbeGap)
			l.probeAt = end.Add(l.probeGap)
		case l.failing.IsZero() && l.fails >= failingAfter:
			l.failing, l.ramp = end, 0
			l.unload()
			l.probeGap = firstProbeGap
			l.probeAt = end.Add(l.probeGap)
			l.e.log.Warn("route is failing: only probes are sent, the rest waits uncharged", slog.String("route", l.name), slog.String("err", out.Error))
		}
	case !l.failing.IsZero():
		l.e.log.Info("route works again", slog.String("route", l.name), slog.Float64("duration_ms", float64(end.Sub(l.failing).Milliseconds())))
		l.fails, l.failing, l.probing = 0, time.Time{}, false
		l.ramp = 1
	default:
		l.fails = 0
		if l.ramp > 0 {
			if l.ramp++; l.ramp >= l.route.Concurrency {
				l.ramp = 0
			}
		}
	}
}

// loadDelivery reads what a courier needs.
func (e *engine) loadDelivery(id DeliveryID, l *lane) (*Delivery, deliveryRecord, error) {
	r, err := e.delivery(id)
	if err != nil {
		return nil, r, err
	}
	s, err := e.signal(r.signal)
	if err != nil {
		return nil, r, err
	}
	d := &Delivery{ID: id, Signal: r.signal, Route: l.name, Type: s.kind, Traceparent: s.traceparent, Body: s.body}
	if r.flags&ownBody != 0 {
		if d.Body, err = e.body(id); err != nil {
			return nil, r, err
		}
	}
	return d, r, nil
}

func (e *engine) delivery(id DeliveryID) (deliveryRecord, error) {
	v, err := e.get(deliveryKey(nil, id))
	if err != nil {
		return deliveryRecord{}, err
	}
	if v == nil {
		return deliveryRecord{}, fmt.Errorf("delivery %s: %w", id, ErrNotFound)
	}
	r, err := parseDelivery(id, v)
	if err != nil {
		return r, fmt.Errorf("store %s: %s: %w", e.o.Path, id, err)
	}
	return r, nil
}

func (e *engine) signal(id SignalID) (signalRecord, error) {
	v, err := e.get(signalKey(nil, id))
	if err != nil {
		return signalRecord{}, err
	}
	if v == nil {
		return signalRecord{}, fmt.Errorf("signal %s: %w", id, ErrNotFound)
	}
	r, err := parseSignal(v)
	if err != nil {
		return r, fmt.Errorf("store %s: %s: %w", e.o.Path, id, err)
	}
	return r, nil
}

func (e *engine) body(id DeliveryID) ([]byte, error) {
	v, err := e.get(bodyKey(nil, id))
	if err == nil && v == nil {
		err = fmt.Errorf("body of delivery %s: %w", id, ErrNotFound)
	}
	return v, err
}
