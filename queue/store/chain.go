package store

import (
	"bytes"
	"fmt"
	"log/slog"

	"signalpost/queue/record"
)

// chainsKept is how many chains the committer has in memory, beside those that
// batches change which cannot be read yet.
const chainsKept = 4096

// A chain is the committer's copy of a stored one; it may be empty.
type chain struct {
	record.ChainAt
	record.Chain
	batch  uint64  // the number of the newest that changes it
	recent []waits // who came, changed or left in batches that may not be readable yet, oldest first
	listed bool    // in Batch.chains
}

type waits struct {
	batch uint64
	id    record.DeliveryID
	is    record.Delivery
	left  bool
}

// Order keeps the place of a delivery in its chain as it goes from one state to
// another, and sets what now says of it; was is zero if it is new. It is false, and
// nothing is done, if was is behind and has been promoted since it was read. Where
// there is no order it costs nothing.
func (b *Batch) Order(r *Route, id record.DeliveryID, was, now *record.Delivery) bool {
	in, stays := was.InChain(), now.InChain()
	if !in && !stays {
		return true
	}
	same := in && stays && was.Order == now.Order
	now.Flags = now.Flags&^record.Behind | was.Flags&record.Behind
	if same && was.Waits() {
		now.Due = 0
	}
	if in && (was.Waits() || !same) {
		c, err := b.chain(r, was.Order)
		switch {
		case err != nil:
			b.outOfOrder(r, err)
		case was.Waits() && c.Head == id:
			return false
		case same:
			c.recent = append(c.recent, waits{b.number, id, *now, false})
		case was.Waits():
			b.remove(c, id)
		default:
			c.Head = record.DeliveryID{}
			b.advance(r, c)
		}
	}
	if same {
		return true
	}
	if now.Flags &^= record.Behind; stays {
		b.join(r, id, now)
	}
	return true
}

// join makes a delivery the first of its chain, or has it wait behind that one.
func (b *Batch) join(r *Route, id record.DeliveryID, now *record.Delivery) {
	c, err := b.chain(r, now.Order)
	if err == nil && c.Head == (record.DeliveryID{}) && c.Waiting > 0 {
		b.advance(r, c) // which failed when it was its time
	}
	switch {
	case err != nil: // what cannot be told apart has no order
		b.outOfOrder(r, err)
		now.Flags |= record.OutOfOrder
	case c.Head == record.DeliveryID{} && c.Waiting == 0:
		c.Head = id
	default:
		now.Flags, now.Due = now.Flags|record.Behind, 0
		if c.Waiting++; c.Waiting == 1 || bytes.Compare(id[:], c.From[:]) < 0 {
			c.From = id
		}
		b.Set(record.BehindKey(b.k, r.Num, c.Order, id), nil)
		c.recent = append(c.recent, waits{b.number, id, *now, false})
	}
}

// advance promotes the next of a chain whose first has gone: it is due now.
func (b *Batch) advance(r *Route, c *chain) {
	if c.Waiting == 0 {
		return
	}
	id, d, err := b.next(c)
	if err != nil { // it is tried again with the next of this order
		b.outOfOrder(r, err)
		return
	}
	b.remove(c, id)
	c.Head, c.From = id, id
	d.Flags &^= record.Behind
	d.Due = record.MillisOf(b.s.o.Now())
	b.PutDelivery(id, &d)
	b.AddDue(r, d.Due, id)
	b.Count(r)
	b.group.promoted = append(b.group.promoted, promotion{r, d.Due, id})
	b.s.o.Promoting(r, d.Due, id)
}

func (b *Batch) remove(c *chain, id record.DeliveryID) {
	c.Waiting--
	b.Delete(record.BehindKey(b.k, c.Route, c.Order, id))
	c.recent = append(c.recent, waits{b.number, id, record.Delivery{}, true})
}

// next finds the delivery that follows the first of a chain, by what can be read and
// what has been written since.
func (b *Batch) next(c *chain) (first record.DeliveryID, d record.Delivery, err error) {
	recent := map[record.DeliveryID]*waits{}
	for i := range c.recent {
		recent[c.recent[i].id] = &c.recent[i]
	}
	for id, w := range recent {
		if !w.left && (first == record.DeliveryID{} || bytes.Compare(id[:], first[:]) < 0) {
			first, d = id, w.is
		}
	}
	found := first
	err = b.s.Scan(record.BehindKey(nil, c.Route, c.Order, c.From), record.BehindKey(nil, c.Route, c.Order, record.MaxID), func(k, _ []byte) (bool, error) {
		at, err := record.ParseChainKey(k)
		if w := recent[at.ID]; err != nil || w != nil && w.left {
			return err == nil, err
		}
		if (found == record.DeliveryID{}) || bytes.Compare(at.ID[:], found[:]) < 0 {
			found = at.ID
		}
		return false, nil
	})
	if err == nil && found == (record.DeliveryID{}) {
		err = fmt.Errorf("a chain of %d has nobody in it: %w", c.Waiting, record.ErrDamaged)
	}
	if err == nil && found != first {
		if w := recent[found]; w != nil {
			d = w.is
		} else {
			d, err = b.s.Delivery(found)
		}
	}
	return found, d, err
}

// chain is that of the order, to be changed; it goes into this batch.
func (b *Batch) chain(r *Route, o record.OrderID) (*chain, error) {
	at := record.ChainAt{Route: r.Num, Order: o}
	c := b.s.chains[at]
	if c == nil {
		found, err := b.s.Chain(r.Num, o)
		if err != nil {
			return nil, err
		}
		c = &chain{ChainAt: at, Chain: found}
		b.s.chains[at] = c
	}
	for readable := b.s.readable.Load(); len(c.recent) > 0 && c.recent[0].batch <= readable; {
		c.recent = c.recent[1:]
	}
	if c.batch = b.number; !c.listed {
		c.listed = true
		b.chains = append(b.chains, c)
	}
	return c, nil
}

// writeChains writes the chains that have changed.
func (b *Batch) writeChains() {
	for i, c := range b.chains {
		k := record.ChainKey(b.k, c.Route, c.Order)
		if c.Head == (record.DeliveryID{}) && c.Waiting == 0 {
			b.Delete(k)
		} else {
			b.put(k, c.Append(b.v))
		}
		c.listed = false
		b.chains[i] = nil
	}
	b.chains = b.chains[:0]
}

// forgetChains drops chains that can be read again, once there are too many.
func (b *Batch) forgetChains() {
	if len(b.s.chains) <= chainsKept {
		return
	}
	readable := b.s.readable.Load()
	for at, c := range b.s.chains {
		if c.batch <= readable {
			delete(b.s.chains, at)
		}
	}
}

func (b *Batch) outOfOrder(r *Route, err error) {
	b.s.ReportOnce("who waits for whom cannot be read; deliveries of an order are sent out of it, or wait until the next of that order comes: restore the store from a backup",
		err, slog.String("route", r.Name))
}

// A promotion has a delivery that was behind another be the first of its chain.
type promotion struct {
	route *Route
	due   record.Millis
	id    record.DeliveryID
}

// Chain is what is stored of a chain; zero if it is empty.
func (s *Store) Chain(n record.RouteNum, o record.OrderID) (c record.Chain, err error) {
	v, err := s.Get(record.ChainKey(nil, n, o))
	if err == nil && v != nil {
		c, err = record.ParseChain(v)
	}
	return c, err
}
