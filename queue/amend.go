package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// amendItems is how many deliveries one batch of a change to many holds: few
// enough that no signal waits long behind it.
const amendItems = 500

// Retry makes a delivery due at once: attempt numbers go on, the schedule
// starts anew, the id stays. With always its body is made anew by reshape
// first; a delivery that died of its expression is always reshaped. The error
// wraps ErrNotFound, or ErrHeld if its route is not in the config. A delivery
// whose attempt is under way is left to it.
func (q *Queue) Retry(id DeliveryID, always bool, reshape Reshape) error {
	e := q.engine.Load()
	r, err := e.delivery(id)
	if err != nil {
		return err
	}
	if l := e.laneOf(r.route); l.state(pending) == StateHeld {
		return fmt.Errorf("delivery %s: %w: its route %q is not in the config", id, ErrHeld, e.routeName(r.route))
	}
	_, err = e.amend(context.Background(), []target{{id: id, found: r}}, q.retry(e, always, reshape))
	return err
}

// RetryAll does what Retry does to all deliveries that match, and returns how
// many. Those of routes that are not in the config are passed over. f.State
// is StateDead or StateDelivered. With dry it only counts.
func (q *Queue) RetryAll(ctx context.Context, f Filter, always bool, reshape Reshape, dry bool) (int, error) {
	e := q.engine.Load()
	return e.amendAll(ctx, f, dry, q.retry(e, always, reshape))
}

// Discard makes a pending or held delivery dead, reason discarded. One whose
// attempt is under way makes no further one. The error wraps ErrNotFound, or
// ErrFinished if there is nothing left to give up.
func (q *Queue) Discard(id DeliveryID) error {
	e := q.engine.Load()
	r, err := e.delivery(id)
	if err != nil {
		return err
	}
	a := discard(func(r *deliveryRecord) bool { return r.state == pending })
	n, err := e.amend(context.Background(), []target{{id: id, found: r}}, a)
	if n > 0 || err != nil {
		return err
	}
	if r, err = e.delivery(id); err != nil {
		return err
	}
	return fmt.Errorf("delivery %s: %w: it is %s", id, ErrFinished, e.laneOf(r.route).state(r.state))
}

// DiscardAll makes all deliveries that match dead, reason discarded, and returns
// how many. f.State is StatePending, StateHeld, StateDead, or "" for all
// three. One whose attempt is under way makes no further one. With dry it only counts.
func (q *Queue) DiscardAll(ctx context.Context, f Filter, dry bool) (int, error) {
	return q.engine.Load().amendAll(ctx, f, dry, discard(func(r *deliveryRecord) bool {
		return r.state != delivered && r.reason != reasonByte(Discarded)
	}))
}

// An amendment is a change that someone asks for, beside what attempts bring about.
type amendment struct {
	of     func(r *deliveryRecord) bool                            // whether it applies
	change func(c *change, s *shaped) (more []Accepted)            // fills in c.now, c.entry, c.body; s only if shapes says so
	giveUp bool                                                    // what is under way is noted to die when its attempt fails
	shapes func(r *deliveryRecord) bool                            // whether change needs the signal shaped; nil: never
	shape  func(id DeliveryID, r *deliveryRecord) (*shaped, error) // does that, with nothing locked
	newID  func() DeliveryID                                       // of a delivery that change adds; nil if it adds none
}

// A target is a delivery that an amendment is meant for.
type target struct {
	id     DeliveryID
	found  deliveryRecord // as it was when it was found
	shaped *shaped        // nil: nothing was shaped for it
}

// A shaped is what a Reshape made of a delivery's signal.
type shaped struct {
	signal Signal
	bodies [][]byte
	err    error // of the expression
}

func discard(of func(r *deliveryRecord) bool) amendment {
	return amendment{
		of: of,
		change: func(c *change, _ *shaped) []Accepted {
			c.die(Discarded, "")
			return nil
		},
		giveUp: true,
	}
}

func (q *Queue) retry(e *engine, always bool, reshape Reshape) amendment {
	return amendment{
		of: func(r *deliveryRecord) bool {
			l := e.laneOf(r.route)
			return l.state(pending) == StatePending
		},
		change: func(c *change, s *shaped) []Accepted {
			c.now.state, c.now.reason = pending, 0
			c.now.base, c.now.due = c.now.attempts, toMillis(time.Now())
			c.now.flags |= revived // queue.max_age counts anew
			c.now.since = c.now.due
			if s == nil {
				return nil
			}
			return c.reshape(s)
		},
		shapes: func(r *deliveryRecord) bool { return always || r.flags&noBody != 0 },
		shape: func(id DeliveryID, r *deliveryRecord) (*shaped, error) {
			if reshape == nil {
				return nil, fmt.Errorf("delivery %s has no body and is not reshaped", id)
			}
			s, err := e.signal(r.signal)
			if err != nil {
				return nil, err
			}
			out := &shaped{signal: Signal{ID: r.signal, Type: s.kind, Traceparent: s.traceparent, Body: s.body}}
			out.bodies, out.err = reshape(out.signal, e.routeName(r.route))
			if errors.Is(out.err, ErrUnavailable) {
				return nil, out.err
			}
			return out, nil
		},
		newID: func() DeliveryID { return q.NewSignalID().Delivery(1) },
	}
}

// reshape makes the body of c what its signal was shaped to. What goes beyond
// one body is returned as deliveries to be made.
func (c *change) reshape(s *shaped) (more []Accepted) {
	switch {
	case s.err != nil:
		c.now.flags = c.now.flags&^ownBody | noBody
		c.die(Transform, s.err.Error())
		return nil
	case len(s.bodies) == 0:
		c.die(Filtered, "")
		return nil
	}
	c.now.flags &^= noBody | ownBody
	if !bytes.Equal(s.bodies[0], s.signal.Body) {
		c.now.flags |= ownBody
		c.body = s.bodies[0]
	}
	for _, b := range s.bodies[1:] {
		more = append(more, Accepted{Signal: s.signal, Deliveries: []Made{{Route: c.lane.name, Body: b}}})
	}
	return more
}

// die makes the change one to dead without an attempt.
func (c *change) die(why Reason, text string) {
	c.now.state, c.now.reason, c.now.due = dead, reasonByte(why), 0
	c.entry = &logRecord{
		delivery: c.id, signal: c.was.signal, route: c.lane.num,
		verdict: verdictByte(Dead), reason: c.now.reason, err: text,
	}
}

// amendAll amends all deliveries that match, newest first, some at a time.
func (e *engine) amendAll(ctx context.Context, f Filter, dry bool, a amendment) (int, error) {
	// What matched when it was found and does not any more, when it is amended, is left.
	of, now := a.of, Filter{State: f.State, Route: f.Route, Reason: f.Reason}
	a.of = func(r *deliveryRecord) bool {
		ok, err := e.match(&now, r)
		return ok && err == nil && of(r)
	}
	n := 0
	f.After = ""
	for {
		if err := ctx.Err(); err != nil {
			return n, stopped(n, err)
		}
		var targets []target
		next := ""
		err := e.search(f, func(id DeliveryID, r deliveryRecord) (bool, error) {
			if !a.of(&r) {
				return true, nil
			}
			targets = append(targets, target{id: id, found: r})
			if len(targets) < amendItems {
				return true, nil
			}
			next = id.String()
			return false, nil
		}, func(last DeliveryID) { next = last.String() })
		if err != nil {
			return n, err
		}
		done := len(targets)
		if !dry {
			done, err = e.amend(ctx, targets, a)
			if err != nil && ctx.Err() != nil {
				err = stopped(n+done, err)
			}
			if err != nil {
				return n + done, err
			}
		}
		n += done
		if next == "" {
			return n, nil
		}
		f.After = next
	}
}

func stopped(n int, err error) error {
	return fmt.Errorf("stopped after %d deliveries: %w", n, err)
}

// amend amends the deliveries, in as few batches as memory allows, and returns
// how many it was. Bodies are made before anything is locked: expressions can
// be slow, and others amend too.
func (e *engine) amend(ctx context.Context, targets []target, a amendment) (n int, err error) {
	for len(targets) > 0 {
		ready, rest, err := shapeSome(ctx, targets, a)
		if err != nil {
			return n, err
		}
		done, again, err := e.amendNow(ready, a)
		n += done
		if err != nil {
			return n, err
		}
		targets = append(again, rest...)
	}
	return n, nil
}

// shapeSome shapes what a's change needs shaped, until that is as much as fits
// a batch. A delivery that has expired meanwhile is dropped.
func shapeSome(ctx context.Context, targets []target, a amendment) (ready, rest []target, err error) {
	if a.shapes == nil {
		return targets, nil, nil
	}
	size := 0
	for i, t := range targets {
		if a.of(&t.found) && a.shapes(&t.found) {
			if err := ctx.Err(); err != nil {
				return nil, nil, err
			}
			t.shaped, err = a.shape(t.id, &t.found)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, nil, err
			}
			for _, b := range t.shaped.bodies {
				size += len(b)
			}
		}
		ready = append(ready, t)
		if size >= groupBytes {
			return ready, targets[i+1:], nil
		}
	}
	return ready, nil, nil
}

// amendNow amends the deliveries in one batch and returns how many it was. One
// that is being written just now is waited for; what an attempt has changed
// meanwhile, so that the amendment does not apply any more, is left. What lacks
// the shaping that it has come to need is returned, to be amended again.
func (e *engine) amendNow(targets []target, a amendment) (n int, again []target, err error) {
	e.amending.Lock()
	defer e.amending.Unlock()
	op := &amendOp{e: e, end: make(chan error, 1)}
	for _, t := range targets {
		c, ok, err := e.prepare(&t, a)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			for _, c := range op.changes {
				c.done(err)
			}
			return 0, nil, err
		}
		switch {
		case !ok:
			continue
		case c == nil: // an attempt is under way
			n++
			continue
		case c.wish:
			op.changes = append(op.changes, c)
			continue
		case t.shaped == nil && a.shapes != nil && a.shapes(&c.was):
			if c.was.state == pending {
				c.lane.release(c.id, c.due)
			}
			again = append(again, target{id: t.id, found: c.was})
			continue
		}
		n++
		op.changes = append(op.changes, c)
		for _, m := range a.change(c, t.shaped) {
			op.made, op.ids = append(op.made, m), append(op.ids, a.newID())
		}
		if c.entry != nil {
			s, _ := e.signal(c.was.signal) // what is damaged can be given up all the same
			c.entry.kind = s.kind
		}
	}
	if len(op.changes) == 0 {
		return n, again, nil
	}
	e.submit(op)
	if err := e.await(op.end); err != nil {
		return 0, nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	for _, c := range op.changes {
		switch {
		case c.missed:
			again = append(again, target{id: c.id, found: c.was})
		case c.wish:
			n++
		}
	}
	return n, again, nil
}

// prepare takes hold of a delivery for a change, which is yet to be filled in.
// amending is held, so a finished delivery stays as it is; a pending one is
// claimed. ok is whether the amendment reaches the delivery: it may without a
// change, when an attempt is under way, or with one that only notes the wish.
func (e *engine) prepare(t *target, a amendment) (c *change, ok bool, err error) {
	for {
		r, err := e.delivery(t.id)
		if err != nil {
			return nil, false, err
		}
		if !a.of(&r) {
			return nil, false, nil
		}
		l := e.laneOf(r.route)
		if r.state == pending {
			switch l.claim(t.id, r.due) {
			case claimWait:
				time.Sleep(time.Millisecond)
				continue
			case claimUnderWay:
				if !a.giveUp {
					return nil, true, nil
				}
				c := &change{lane: l, id: t.id, due: r.due, was: r, now: r, wish: true}
				c.now.flags |= givenUp
				return c, true, nil
			}
			// What was read before the claim may be older than the claim.
			now, err := e.delivery(t.id)
			if err != nil || now != r {
				if err == nil && now.state == pending {
					r.due = min(r.due, now.due) // or what skipped it meanwhile would not come by again
				}
				l.release(t.id, r.due)
				if err != nil {
					return nil, false, err
				}
				continue
			}
		}
		return &change{lane: l, id: t.id, due: r.due, was: r, now: r}, true, nil
	}
}

// amendOp writes the changes of an amendment and the deliveries it adds.
type amendOp struct {
	e       *engine
	changes []*change
	made    []Accepted
	owed    []owed
	ids     []DeliveryID
	end     chan error
}

func (o *amendOp) urgent() bool { return true }

func (o *amendOp) write(w *writer) {
	for _, c := range o.changes {
		c.write(w)
	}
	for i := range o.made {
		s := &o.made[i]
		id := o.ids[i]
		w.k = extraKey(w.k[:0], s.ID, id)
		w.set(w.k, nil)
		o.owed = append(o.owed, w.made(s, &s.Deliveries[0], id, ownSignal))
	}
}

func (o *amendOp) done(err error) {
	for _, c := range o.changes {
		c.done(err)
	}
	for i, m := range o.owed {
		if err != nil {
			m.lane.forget(o.ids[i])
		} else {
			m.lane.release(o.ids[i], m.due)
		}
	}
	o.end <- err
}

// SetPaused holds a route, or lets it go on, durably: it survives a restart
// and every Configure. Letting it go on clears its failing state. The error
// wraps ErrNotFound if nothing is known of the route.
func (q *Queue) SetPaused(route string, paused bool) error {
	e := q.engine.Load()
	l := e.lane(route)
	if l == nil || l.state(pending) == StateHeld {
		return fmt.Errorf("route %q: %w", route, ErrNotFound)
	}
	if err := e.do(func(w *writer) { w.count(l).paused = paused }); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if paused {
		l.unload()
		e.log.Info("route paused", slog.String("route", route))
	} else {
		l.clearFailing()
		e.log.Info("route resumed", slog.String("route", route))
	}
	l.kick()
	return nil
}
