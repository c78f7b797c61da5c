package queue

import (
	"cmp"

	"signalpost/queue/lane"
	"signalpost/queue/record"
	"signalpost/queue/store"
)

// A change moves one delivery from a state to a state, in one batch with its
// log entry and what is due next. Whoever makes it has a lease of the delivery.
type change struct {
	sender *sender
	id     DeliveryID
	due    record.Millis // of the due key that is to go; only if it was pending
	was    record.Delivery
	now    record.Delivery
	entry  *store.Entry // nil: there is nothing to log
	tried  store.Entry  // what entry is of an attempt: one piece of memory, not two
	own    record.Body  // if reshaped: what was made anew

	reshaped bool

	fault bool // of an attempt: the endpoint is to blame

	overtaken bool // it was behind another, and was promoted before the change was written: nothing is

	giveUp bool // only note that the delivery is given up: an attempt is under way
}

// Urgent is false: nobody waits for an attempt to be recorded. An amendment,
// for which someone does, is an operation of its own.
func (c *change) Urgent() bool { return false }

func (c *change) place() lane.Place { return lane.Place{Due: c.due, ID: c.id} }

func (c *change) Write(b *store.Batch) {
	s := c.sender
	if c.giveUp {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.lane.GivenUp(c.place()) { // or the attempt has been recorded, as the last
			b.PutDelivery(c.id, &c.now)
		}
		return
	}
	if c.wasDue() {
		c.writeEnd(b)
	}
	if c.overtaken = !b.Order(s.route, c.id, &c.was, &c.now); c.overtaken {
		return
	}
	c.now.Flags &^= record.GivenUp
	if c.reshaped && c.now.HasBody() {
		b.PutBody(c.id, c.now.Flags, c.own)
	}
	if c.entry != nil {
		c.entry.Prev = c.was.Last
		b.Log(s.route, c.entry)
		c.now.Last = c.entry.At
	}
	c.now.Flags &^= record.Tallied
	if c.now.Reason == Discarded {
		c.now.Flags |= record.Tallied
	}
	if c.entry == &c.tried {
		b.Count(s.route).Attempt(c.entry.At, &c.entry.Entry, c.fault)
		b.Row(s.route).Attempt(&c.entry.Entry)
	}
	if c.failed() {
		c.now.Cause = b.Fail(s.route, c.id, causeOf(&c.entry.Entry))
	}
	if c.now.State == record.IsDelivered || c.now.Reason == Discarded || c.now.Reason == Filtered {
		c.now.Cause = 0
	}
	b.Move(s.route, &c.was, &c.now)
	if c.now.State == record.IsPending && !c.now.Waits() {
		b.AddDue(s.route, c.now.Due, c.id)
		s.writing(c.now.Due, c.id)
	}
	b.PutDelivery(c.id, &c.now)
}

// wasDue is whether it had a due key.
func (c *change) wasDue() bool { return c.was.State == record.IsPending && !c.was.Waits() }

// failed is whether the change records a failed attempt, or a failed expression.
func (c *change) failed() bool {
	return c.entry == &c.tried && c.entry.Verdict != Delivered || c.entry != nil && c.now.Reason == Transform
}

// causeOf is why the attempt failed; an expression's failure is local.
func causeOf(e *record.Entry) record.Cause {
	return record.Cause{Class: cmp.Or(e.Class, ClassLocal), Status: e.Status, Error: record.Cut(e.Error)}
}

// writeEnd removes the delivery's due key; one that was given up makes no further
// attempt.
func (c *change) writeEnd(b *store.Batch) {
	s := c.sender
	b.RemoveDue(s.route, c.due, c.id)
	givenUp := ask(s, func(l *lane.Lane) bool { return l.Record(c.id) })
	if givenUp && c.entry == &c.tried && (c.now.State == record.IsPending || c.now.Reason == Exhausted) {
		c.now.State, c.now.Reason, c.now.Due = record.IsDead, Discarded, 0
		c.entry.Verdict, c.entry.Reason, c.entry.Next = Dead, Discarded, 0
	}
}

// Done ends the lease of the delivery.
func (c *change) Done(err error) {
	if c.giveUp {
		return
	}
	if c.overtaken {
		c.sender.update(func(l *lane.Lane) { l.Overtaken(c.id, 0) })
		return
	}
	was, due := c.due, c.now.Due
	if !c.wasDue() {
		was = 0
	}
	if err != nil {
		due = was
	}
	c.sender.update(func(l *lane.Lane) { l.Settled(c.id, was, due) })
}

// die makes the change one to dead without an attempt.
func (c *change) die(why Reason, text string) {
	c.now.State, c.now.Reason, c.now.Due = record.IsDead, why, 0
	c.entry = &store.Entry{Entry: record.Entry{Delivery: c.id, Signal: c.was.Signal, Verdict: Dead, Reason: why, Error: text}}
}

// entryOf is the log entry as readers see it. What waits on a failing route is
// not tried before the next probe.
func (e *engine) entryOf(r *store.Entry) Entry {
	out := Entry{
		Time: r.At.Time(), Delivery: r.Delivery, Signal: r.Signal, Route: r.RouteName, Type: r.Type,
		Attempt: r.Attempt, Verdict: r.Verdict, Reason: r.Reason,
		Status: r.Status, DurationMS: float64(r.Duration.Microseconds()) / 1000,
		Error: r.Error, Response: r.Response,
		Trigger: r.Trigger, Class: r.Class, Config: r.ConfigHash, Peer: r.PeerAddress,
	}
	if r.PeerAddress != "" {
		out.Reused = &r.Reused
	}
	if r.Timing != (Timing{}) {
		t := r.Timing // r is the caller's
		out.Timing = &t
	}
	if r.Next != 0 {
		t := r.Next.Time()
		if t.After(e.q.now()) {
			t = e.senderOf(r.Route).when(t)
		}
		out.NextAttempt = &t
	}
	return out
}
