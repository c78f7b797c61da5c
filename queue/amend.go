package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"signalpost/queue/lane"
	"signalpost/queue/record"
	"signalpost/queue/store"
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
	r, err := e.store.Delivery(id)
	if err != nil {
		return err
	}
	if l := e.senderOf(r.Route); l.state(record.IsPending) == StateHeld {
		return fmt.Errorf("delivery %s: %w: its route %q is not in the config", id, ErrHeld, e.routeName(r.Route))
	}
	_, err = e.amend(context.Background(), []target{{Found: store.Found{ID: id, Delivery: r}}}, e.retry(always, reshape))
	return err
}

// RetryAll does what Retry does to all deliveries that match, and returns how
// many. Those of routes that are not in the config are passed over, and so are
// those that were discarded unless f names that reason. f.State is StateDead,
// StateDelivered or StatePending. With dry it only counts.
func (q *Queue) RetryAll(ctx context.Context, f Filter, always bool, reshape Reshape, dry bool) (int, error) {
	e := q.engine.Load()
	a := e.retry(always, reshape)
	can := a.of
	a.of = func(r *record.Delivery) bool { return can(r) && (r.Reason != Discarded || f.Reason == Discarded) }
	return e.amendAll(ctx, f, dry, a)
}

// Discard makes a pending or held delivery dead, reason discarded. One whose
// attempt is under way makes no further one. The error wraps ErrNotFound, or
// ErrFinished if there is nothing left to give up.
func (q *Queue) Discard(id DeliveryID) error {
	e := q.engine.Load()
	r, err := e.store.Delivery(id)
	if err != nil {
		return err
	}
	a := discard(func(r *record.Delivery) bool { return r.State == record.IsPending })
	n, err := e.amend(context.Background(), []target{{Found: store.Found{ID: id, Delivery: r}}}, a)
	if n > 0 || err != nil {
		return err
	}
	if r, err = e.store.Delivery(id); err != nil {
		return err
	}
	return fmt.Errorf("delivery %s: %w: it is %s", id, ErrFinished, e.senderOf(r.Route).state(r.State))
}

// DiscardAll makes all deliveries that match dead, reason discarded, and returns
// how many. f.State is StatePending, StateHeld, StateDead, or "" for all
// three. One whose attempt is under way makes no further one. With dry it only counts.
func (q *Queue) DiscardAll(ctx context.Context, f Filter, dry bool) (int, error) {
	return q.engine.Load().amendAll(ctx, f, dry, discard(func(r *record.Delivery) bool {
		return r.State != record.IsDelivered && r.Reason != Discarded
	}))
}

// An amendment is a change that someone asks for, beside what attempts bring about.
type amendment struct {
	of     func(r *record.Delivery) bool // whether it applies
	change func(c *change)               // fills in c.now and c.entry
	giveUp bool                          // what is under way is noted to die when its attempt fails

	retry   bool // the body may be made anew: always, or if there is none
	always  bool
	reshape Reshape
}

// reshapes is whether the body of a delivery has to be made anew.
func (a *amendment) reshapes(r *record.Delivery) bool {
	return a.retry && (a.always || r.Flags&record.NoBody != 0)
}

// A target is a delivery that an amendment is meant for.
type target struct {
	store.Found
	shaped *shaped // nil: nothing was shaped for it
}

// A shaped is what a Reshape made of a delivery's signal.
type shaped struct {
	signal Signal
	bodies [][]byte
	err    error // of the expression
}

func discard(of func(r *record.Delivery) bool) amendment {
	return amendment{of: of, change: func(c *change) { c.die(Discarded, "") }, giveUp: true}
}

func (e *engine) retry(always bool, reshape Reshape) amendment {
	return amendment{
		of: func(r *record.Delivery) bool { return e.senderOf(r.Route).state(record.IsPending) == StatePending },
		change: func(c *change) {
			c.now.State, c.now.Reason = record.IsPending, ""
			c.now.Base, c.now.Due = c.now.Attempts, record.MillisOf(e.q.now())
			c.now.Flags |= record.Revived // queue.max_age counts anew
			c.now.Since = c.now.Due
		},
		retry: true, always: always, reshape: reshape,
	}
}

// shape makes the bodies of a delivery's signal anew, with nothing locked.
func (e *engine) shape(t *target, reshape Reshape) (*shaped, error) {
	if reshape == nil {
		return nil, fmt.Errorf("delivery %s has no body and is not reshaped", t.ID)
	}
	s, err := e.store.Signal(t.Signal)
	if err != nil {
		return nil, err
	}
	out := &shaped{signal: Signal{ID: t.Signal, Type: s.Type, Traceparent: s.Traceparent, Body: s.Body}}
	if out.bodies, out.err = reshape(out.signal, e.routeName(t.Route)); errors.Is(out.err, ErrUnavailable) {
		return nil, out.err
	}
	return out, nil
}

// reshape makes the body of c what its signal was shaped to. What goes beyond
// one body is returned as deliveries to be made.
func (c *change) reshape(s *shaped) (more []Accepted) {
	switch {
	case s.err != nil:
		c.now.Flags = c.now.Flags&^record.OwnBody | record.NoBody
		c.die(Transform, s.err.Error())
		return nil
	case len(s.bodies) == 0:
		c.die(Filtered, "")
		return nil
	}
	c.now.Flags &^= record.NoBody | record.OwnBody
	if !bytes.Equal(s.bodies[0], s.signal.Body) {
		c.now.Flags |= record.OwnBody
		c.body = s.bodies[0]
	}
	for _, b := range s.bodies[1:] {
		more = append(more, Accepted{Signal: s.signal, Deliveries: []Made{{Route: c.sender.route.Name, Body: b}}})
	}
	return more
}

// amendAll amends all deliveries that match, newest first, some at a time.
func (e *engine) amendAll(ctx context.Context, f Filter, dry bool, a amendment) (int, error) {
	// What matched when it was found and does not any more, when it is amended, is left.
	of, now := a.of, Filter{State: f.State, Route: f.Route, Reason: f.Reason}
	a.of = func(r *record.Delivery) bool {
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
		err := e.search(f, func(d store.Found) (bool, error) {
			if !a.of(&d.Delivery) {
				return true, nil
			}
			targets = append(targets, target{Found: d})
			if len(targets) < amendItems {
				return true, nil
			}
			next = d.ID.String()
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
		ready, rest, err := e.shapeSome(ctx, targets, &a)
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
func (e *engine) shapeSome(ctx context.Context, targets []target, a *amendment) (ready, rest []target, err error) {
	if !a.retry {
		return targets, nil, nil
	}
	size := 0
	for i, t := range targets {
		if a.of(&t.Delivery) && a.reshapes(&t.Delivery) {
			if err := ctx.Err(); err != nil {
				return nil, nil, err
			}
			t.shaped, err = e.shape(&t, a.reshape)
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
		if size >= store.GroupBytes {
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
	e.store.Finished.Lock()
	defer e.store.Finished.Unlock()
	op := &amendOp{e: e, end: make(chan error, 1)}
	for _, t := range targets {
		c, ok, err := e.prepare(&t, a)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			for _, c := range op.changes {
				c.Done(err)
			}
			return 0, nil, err
		}
		switch {
		case !ok:
			continue
		case c == nil: // an attempt is under way
			n++
			continue
		case c.giveUp:
			op.changes = append(op.changes, c)
			continue
		case t.shaped == nil && a.reshapes(&c.was):
			if c.was.State == record.IsPending {
				c.sender.leave(c.due, c.id)
			}
			again = append(again, target{Found: store.Found{ID: t.ID, Delivery: c.was}})
			continue
		}
		n++
		op.changes = append(op.changes, c)
		if a.change(c); t.shaped != nil {
			for _, m := range c.reshape(t.shaped) {
				op.more, op.ids = append(op.more, m), append(op.ids, e.q.NewSignalID().Delivery(1))
			}
		}
		if c.entry != nil {
			s, _ := e.store.Signal(c.was.Signal) // what is damaged can be given up all the same
			c.entry.Type = s.Type
		}
	}
	if len(op.changes) == 0 {
		return n, again, nil
	}
	e.store.Submit(op)
	if err := e.store.Await(op.end); err != nil {
		return 0, nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	for _, c := range op.changes {
		switch {
		case c.missed:
			again = append(again, target{Found: store.Found{ID: c.id, Delivery: c.was}})
		case c.giveUp:
			n++
		}
	}
	return n, again, nil
}

// prepare takes hold of a delivery for a change, which is yet to be filled in.
// Finished is held, so a finished delivery stays as it is; a pending one is
// leased. ok is whether the amendment reaches the delivery: it may without a
// change, when an attempt is under way, or with one that only notes that it was given up.
func (e *engine) prepare(t *target, a amendment) (c *change, ok bool, err error) {
	for {
		r, err := e.store.Delivery(t.ID)
		if err != nil {
			return nil, false, err
		}
		if !a.of(&r) {
			return nil, false, nil
		}
		c := &change{sender: e.senderOf(r.Route), id: t.ID, due: r.Due, was: r, now: r}
		if r.State != record.IsPending {
			return c, true, nil
		}
		switch c.sender.lease(c.place()) {
		case lane.LeaseBusy:
			time.Sleep(time.Millisecond)
			continue
		case lane.LeaseUnderWay:
			if !a.giveUp {
				return nil, true, nil
			}
			c.giveUp = true
			c.now.Flags |= record.GivenUp
			return c, true, nil
		}
		// What was read before the lease was taken may be older than it.
		now, err := e.store.Delivery(t.ID)
		if err == nil && now == r {
			return c, true, nil
		}
		due := r.Due
		if err == nil && now.State == record.IsPending {
			due = min(due, now.Due) // or what skipped it meanwhile would not come by again
		}
		c.sender.leave(due, t.ID)
		if err != nil {
			return nil, false, err
		}
	}
}

// amendOp writes the changes of an amendment and the deliveries it adds.
type amendOp struct {
	e       *engine
	changes []*change
	more    []Accepted
	ids     []DeliveryID // of more
	made    []made       // of more
	end     chan error
}

func (o *amendOp) Urgent() bool { return true }

func (o *amendOp) Write(b *store.Batch) {
	for _, c := range o.changes {
		c.Write(b)
	}
	for i := range o.more {
		s, id := &o.more[i], o.ids[i]
		b.PutExtra(s.ID, id)
		o.made = append(o.made, o.e.make(b, s, &s.Deliveries[0], id, record.OwnSignal))
	}
}

func (o *amendOp) Done(err error) {
	for _, c := range o.changes {
		c.Done(err)
	}
	for i, m := range o.made {
		if err != nil {
			m.sender.forget(o.ids[i])
		} else {
			m.sender.leave(m.due, o.ids[i])
		}
	}
	o.end <- err
}

// endTooOld ends what has been pending since before.
func (e *engine) endTooOld(ctx context.Context, found []store.Found, before record.Millis) error {
	targets := make([]target, len(found))
	for i, f := range found {
		targets[i] = target{Found: f}
	}
	_, err := e.amend(ctx, targets, amendment{
		of:     func(r *record.Delivery) bool { return r.State == record.IsPending && r.Since < before },
		change: func(c *change) { c.die(TooOld, "it waited longer than queue.max_age") },
	})
	return err
}
