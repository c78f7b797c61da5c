package queue

// A change moves one delivery from a state to a state, in one batch with its
// log entry and what is due next. Whoever makes it holds the delivery: a lease
// if it was pending, the engine's amending lock if it was finished.
type change struct {
	lane  *lane
	id    DeliveryID
	due   millis // of the due key that is to go; only if it was pending
	was   deliveryRecord
	now   deliveryRecord
	entry *logRecord // nil: there is nothing to log
	tried logRecord  // what entry is of an attempt: one piece of memory, not two
	body  []byte     // not nil: the body made anew

	wish   bool // only note that the delivery is given up: an attempt is under way
	missed bool // of a wish: the attempt was recorded before
}

// Nobody waits for an attempt to be recorded. An amendment, for which someone
// does, is an operation of its own.
func (c *change) urgent() bool { return false }

func (c *change) write(w *writer) {
	if c.wish {
		c.giveUp(w)
		return
	}
	givenUpMeanwhile := c.was.state == pending && c.lane.record(c.id)
	if givenUpMeanwhile && c.entry == &c.tried && (c.now.state == pending || c.now.reason == reasonByte(Exhausted)) {
		c.now.state, c.now.reason, c.now.due = dead, reasonByte(Discarded), 0
		c.entry.verdict, c.entry.reason, c.entry.next = verdictByte(Dead), c.now.reason, 0
	}
	c.now.flags &^= givenUp
	if c.was.state == pending {
		w.paid(c.lane, c.due, c.id)
	}
	if c.body != nil {
		w.k = bodyKey(w.k[:0], c.id)
		w.set(w.k, c.body)
	}
	if c.entry != nil {
		c.entry.prev = c.was.last
		c.now.last = w.log(c.lane, c.entry)
	}
	n := w.count(c.lane)
	n.in[c.was.state]--
	n.in[c.now.state]++
	if c.entry == &c.tried {
		n.tried = toMillis(w.last.time())
	}
	if c.now.state == pending {
		w.owe(c.lane, c.now.due, c.id)
	}
	w.putDelivery(c.id, &c.now)
}

// giveUp notes in the delivery, and in its lease, that the attempt under way is
// the last, if that is still to be recorded.
func (c *change) giveUp(w *writer) {
	l := c.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.held[c.id]
	if h.due != c.due || h.stage != underWay && h.stage != judged {
		c.missed = true
		return
	}
	h.discard = true
	l.held[c.id] = h
	w.putDelivery(c.id, &c.now)
}

// record notes that the change for which a delivery is held is being written,
// and returns whether the delivery was given up before.
func (l *lane) record(id DeliveryID) (givenUp bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.held[id]
	h.stage = promised
	l.held[id] = h
	return h.discard
}

func (c *change) done(err error) {
	if !c.wish {
		c.lane.settled(c, err)
	}
}

// settled lets go of a delivery whose change has been written, or could not be.
func (l *lane) settled(c *change, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.was.state == pending && l.refilling {
		if l.gone == nil {
			l.gone = map[place]bool{}
		}
		l.gone[place{c.due, c.id}] = true
	}
	switch {
	case err != nil && c.was.state == pending:
		l.leave(c.id, c.due)
	case err == nil && c.now.state == pending:
		l.leave(c.id, c.now.due)
	default:
		delete(l.held, c.id)
	}
	l.kick()
}

// entry is the log entry as readers see it.
func (r *logRecord) entry(at stamp, route string) Entry {
	e := Entry{
		Time: at.time(), Delivery: r.delivery, Signal: r.signal, Route: route, Type: r.kind,
		Attempt: r.attempt, Verdict: verdicts[r.verdict], Reason: reasons[r.reason],
		Status: r.status, DurationMS: float64(r.took.Microseconds()) / 1000,
		Error: r.err, Response: r.response,
	}
	if r.next != 0 {
		t := r.next.time()
		e.NextAttempt = &t
	}
	return e
}
