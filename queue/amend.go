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
	_, err = e.amend([]DeliveryID{id}, q.retry(e, always, reshape))
	return err
}

// RetryAll does what Retry does to all deliveries that match, and returns how
// many. Those of routes that are not in the config are passed over. f.State
// is StateDead or StateDelivered. With dry it only counts.
func (q *Queue) RetryAll(ctx context.Context, f Filter, always bool, reshape Reshape, dry bool) (int, error) {
	e := q.engine.Load()
	return e.amendAll(ctx, f, dry, q.retry(e, always, reshape))
}

// Discard makes all deliveries that match dead, reason discarded, and returns
// how many. f.State is StatePending, StateHeld, StateDead, or "" for all
// three. One whose attempt is under way makes no further one. With dry it only counts.
func (q *Queue) Discard(ctx context.Context, f Filter, dry bool) (int, error) {
	e := q.engine.Load()
	return e.amendAll(ctx, f, dry, amendment{
		of: func(r *deliveryRecord) bool { return r.state != delivered && r.reason != reasonByte(Discarded) },
		change: func(c *change, _ *engine) ([]Accepted, error) {
			c.die(Discarded, "")
			return nil, nil
		},
		giveUp: true,
	})
}

// An amendment is a change that someone asks for, beside what attempts bring about.
type amendment struct {
	of     func(r *deliveryRecord) bool                            // whether it applies
	change func(c *change, e *engine) (more []Accepted, err error) // fills in c.now, c.entry, c.body
	giveUp bool                                                    // what is under way dies when its attempt fails
	newID  func() DeliveryID                                       // of a delivery that change adds; nil if it adds none
}

func (q *Queue) retry(e *engine, always bool, reshape Reshape) amendment {
	return amendment{
		of: func(r *deliveryRecord) bool {
			l := e.laneOf(r.route)
			return l.state(pending) == StatePending
		},
		change: func(c *change, e *engine) ([]Accepted, error) {
			c.now.state, c.now.reason = pending, 0
			c.now.base, c.now.due = c.now.attempts, toMillis(time.Now())
			c.now.flags |= revived // queue.max_age counts anew
			c.now.since = c.now.due
			if !always && c.was.flags&noBody == 0 {
				return nil, nil
			}
			return q.reshape(e, c, reshape)
		},
		newID: func() DeliveryID { return q.NewSignalID().Delivery(1) },
	}
}

// reshape makes the body of c anew. What goes beyond one body is returned as
// deliveries to be made.
func (q *Queue) reshape(e *engine, c *change, reshape Reshape) ([]Accepted, error) {
	s, err := e.signal(c.was.signal)
	if err != nil {
		return nil, err
	}
	if reshape == nil {
		return nil, fmt.Errorf("delivery %s has no body and is not reshaped", c.id)
	}
	sig := Signal{ID: c.was.signal, Type: s.kind, Traceparent: s.traceparent, Body: s.body}
	bodies, err := reshape(sig, c.lane.name)
	switch {
	case err != nil:
		c.now.flags = c.now.flags&^ownBody | noBody
		c.die(Transform, err.Error())
		return nil, nil
	case len(bodies) == 0:
		c.die(Filtered, "")
		return nil, nil
	}
	c.now.flags &^= noBody | ownBody
	if !bytes.Equal(bodies[0], s.body) {
		c.now.flags |= ownBody
		c.body = bodies[0]
	}
	var more []Accepted
	for _, b := range bodies[1:] {
		more = append(more, Accepted{Signal: sig, Deliveries: []Made{{Route: c.lane.name, Body: b}}})
	}
	return more, nil
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
			return n, fmt.Errorf("stopped after %d deliveries: %w", n, err)
		}
		var ids []DeliveryID
		next := ""
		err := e.search(f, func(id DeliveryID, r deliveryRecord) (bool, error) {
			if !a.of(&r) {
				return true, nil
			}
			ids = append(ids, id)
			if len(ids) < amendItems {
				return true, nil
			}
			next = id.String()
			return false, nil
		}, func(last DeliveryID) { next = last.String() })
		if err != nil {
			return n, err
		}
		done := len(ids)
		if !dry {
			if done, err = e.amend(ids, a); err != nil {
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

// amend amends the deliveries in one batch and returns how many it was. One
// that is being written just now is waited for; what an attempt has changed
// meanwhile, so that the amendment does not apply any more, is left.
func (e *engine) amend(ids []DeliveryID, a amendment) (int, error) {
	e.amending.Lock()
	defer e.amending.Unlock()
	var changes []*change
	var made []Accepted
	n := 0
	for _, id := range ids {
		c, more, ok, err := e.prepare(id, a)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			for _, c := range changes {
				c.lane.settled(c, err)
			}
			return 0, err
		}
		if ok {
			n++
		}
		if c != nil {
			changes = append(changes, c)
			made = append(made, more...)
		}
	}
	if len(changes) == 0 {
		return n, nil
	}
	op := &amendOp{e: e, changes: changes, made: made, end: make(chan error, 1)}
	for range made {
		op.ids = append(op.ids, a.newID())
	}
	e.submit(op)
	if err := <-op.end; err != nil {
		return 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return n, nil
}

// prepare takes hold of a delivery and makes its change. amending is held, so
// a finished delivery stays as it is; a pending one is claimed. ok is whether
// the amendment reaches the delivery: it may without a change of its own, when
// an attempt is under way.
func (e *engine) prepare(id DeliveryID, a amendment) (c *change, more []Accepted, ok bool, err error) {
	for {
		r, err := e.delivery(id)
		if err != nil {
			return nil, nil, false, err
		}
		if !a.of(&r) {
			return nil, nil, false, nil
		}
		l := e.laneOf(r.route)
		if r.state == pending {
			switch l.claim(id, r.due, a.giveUp) {
			case claimWait:
				time.Sleep(time.Millisecond)
				continue
			case claimUnderWay:
				return nil, nil, true, nil
			}
			// What was read before the claim may be older than the claim.
			now, err := e.delivery(id)
			if err != nil || now != r {
				if err == nil && now.state == pending {
					r.due = min(r.due, now.due) // or what skipped it meanwhile would not come by again
				}
				l.release(id, r.due)
				if err != nil {
					return nil, nil, false, err
				}
				continue
			}
		}
		c = &change{lane: l, id: id, due: r.due, was: r, now: r}
		if more, err = a.change(c, e); err == nil && c.entry != nil {
			s, _ := e.signal(r.signal) // what is damaged can be given up all the same
			c.entry.kind = s.kind
		}
		if err != nil {
			if r.state == pending {
				l.release(id, r.due)
			}
			return nil, nil, false, err
		}
		return c, more, true, nil
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
	if !paused {
		l.clearFailing()
	}
	e.log.Info(map[bool]string{true: "route paused", false: "route resumed"}[paused], slog.String("route", route))
	l.kick()
	return nil
}
