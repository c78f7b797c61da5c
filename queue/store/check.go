package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"signalpost/queue/record"
)

// Check proves of a store that no process has open what package queue lists as
// proved by it, and changes nothing. Its error joins all that it found amiss.
func Check(path string, fs FS) (err error) {
	db, err := openToRead(path, fs, nil)
	if err != nil {
		return fmt.Errorf("store %s: cannot be opened: %w", path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	c := checker{
		db: db, names: map[string]record.RouteNum{}, routes: map[record.RouteNum]string{}, counts: map[record.RouteNum]record.Counts{},
		seen: map[record.RouteNum]*record.Counts{},
	}
	for _, step := range []func(){c.table, c.deliveries, c.due, c.log, c.bodies, c.extras, c.keys, c.totals} {
		step()
	}
	if c.more > 0 {
		c.faults = append(c.faults, fmt.Errorf("and %d more", c.more))
	}
	return errors.Join(c.faults...)
}

// A checker walks the store once for each kind of key.
type checker struct {
	db     *pebble.DB
	names  map[string]record.RouteNum
	routes map[record.RouteNum]string
	counts map[record.RouteNum]record.Counts
	seen   map[record.RouteNum]*record.Counts
	faults []error
	more   int
}

func (c *checker) fault(format string, args ...any) {
	if len(c.faults) >= 50 {
		c.more++
		return
	}
	c.faults = append(c.faults, fmt.Errorf(format, args...))
}

// each calls f with each key that has the prefix.
func (c *checker) each(prefix byte, f func(k, v []byte)) {
	it, err := c.db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefix}, UpperBound: []byte{prefix + 1}})
	if err != nil {
		c.fault("%w", err)
		return
	}
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			c.fault("key % x: %w", it.Key(), err)
			continue
		}
		f(it.Key(), v)
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		c.fault("%w", err)
	}
}

// get returns the value, nil if there is none.
func (c *checker) get(k []byte) []byte {
	v, err := get(c.db, k)
	if err != nil {
		c.fault("key % x: %w", k, err)
	}
	return v
}

// id is the id in the key, which every delivery, body and signal has at the same place.
func (c *checker) id(k []byte) (id record.DeliveryID, ok bool) {
	id, err := record.ParseID(k)
	if err != nil {
		c.fault("%w", err)
	}
	return id, err == nil
}

// table: every route has one number and one name, and counts that add up.
func (c *checker) table() {
	c.each(record.RoutePrefix, func(k, v []byte) {
		n, err := record.ParseRouteKey(k)
		if err != nil {
			c.fault("%w", err)
			return
		}
		if o, twice := c.names[string(v)]; twice {
			c.fault("route %q has the numbers %d and %d", v, o, n)
		}
		c.names[string(v)], c.routes[n] = n, string(v)
		c.seen[n] = new(record.Counts)
	})
	c.each(record.CountsPrefix, func(k, v []byte) {
		n, err := record.ParseRouteKey(k)
		if err != nil {
			c.fault("%w", err)
			return
		}
		t, err := record.ParseCounts(v)
		if err != nil {
			c.fault("counts of route %d: %w", n, err)
		}
		if _, ok := c.routes[n]; !ok {
			c.fault("counts of the unknown route %d", n)
		}
		if d := t.Unaccounted(); d != 0 {
			c.fault("route %q: %d deliveries are in no state: %+v", c.routes[n], d, t)
		}
		c.counts[n] = t
	})
}

// deliveries: each has its signal and its body, and is due exactly if it is pending.
func (c *checker) deliveries() {
	c.each(record.DeliveryPrefix, func(k, v []byte) {
		id, ok := c.id(k)
		if !ok {
			return
		}
		r, err := record.ParseDelivery(id, v)
		if err != nil {
			c.fault("%s: %w", id, err)
			return
		}
		if c.seen[r.Route] == nil {
			c.fault("%s: belongs to the unknown route %d", id, r.Route)
			return
		}
		c.seen[r.Route].Add(&r, 1)
		if c.get(record.SignalKey(nil, r.Signal)) == nil {
			c.fault("%s: its signal %s is missing", id, r.Signal)
		}
		hasBody := c.get(record.BodyKey(nil, id)) != nil
		if r.Flags&record.OwnBody != 0 && !hasBody {
			c.fault("%s: its body is missing", id)
		}
		if r.Flags&record.OwnSignal != 0 && c.get(record.ExtraKey(nil, r.Signal, id)) == nil {
			c.fault("%s: its signal %s does not know of it", id, r.Signal)
		}
		if due := c.get(record.DueKey(nil, r.Route, r.Due, id)) != nil; r.State == record.IsPending && !due {
			c.fault("%s: pending, but not due at %s", id, r.Due.Time())
		}
		if r.State == record.IsPending && r.Due < c.counts[r.Route].Low {
			c.fault("%s: due at %s, before the low-water mark %s", id, r.Due.Time(), c.counts[r.Route].Low.Time())
		}
		if r.State == record.IsPending && r.Flags&record.NoBody != 0 {
			c.fault("%s: pending without a body", id)
		}
		if r.State != record.IsPending && r.Last == 0 {
			c.fault("%s: finished without a log entry", id)
		}
	})
}

// due: every due key is that of a pending delivery, and the only one.
func (c *checker) due() {
	c.each(record.DuePrefix, func(k, _ []byte) {
		n, due, id, err := record.ParseDueKey(k)
		if err != nil {
			c.fault("%w", err)
			return
		}
		r, err := record.ParseDelivery(id, c.get(record.DeliveryKey(nil, id)))
		if err != nil || r.State != record.IsPending || r.Route != n || r.Due != due {
			c.fault("%s: due at %s on route %d, but it is %+v", id, due.Time(), n, r)
		}
	})
}

// log: every entry leads back to older ones of the same delivery, and each
// delivery to its newest, unless they have expired.
func (c *checker) log() {
	oldest := record.Stamp(0)
	c.each(record.LogPrefix, func(k, v []byte) {
		at, err := record.ParseLogKey(k)
		if err != nil {
			c.fault("%w", err)
			return
		}
		if oldest == 0 {
			oldest = at
		}
		r, err := record.ParseEntry(v)
		if err != nil {
			c.fault("log entry %d: %w", at, err)
			return
		}
		if r.Prev == at {
			c.fault("log entry %d: leads to itself", at)
		}
		if r.Prev >= oldest && r.Prev != 0 {
			if p, err := record.ParseEntry(c.get(record.LogKey(nil, r.Prev))); err != nil || p.Delivery != r.Delivery {
				c.fault("log entry %d of %s: leads to %d, which is %s %w", at, r.Delivery, r.Prev, p.Delivery, errors.Join(err))
			}
		}
	})
	c.each(record.DeliveryPrefix, func(k, v []byte) {
		id, err := record.ParseID(k)
		if err != nil {
			return // told before
		}
		r, err := record.ParseDelivery(id, v)
		if err != nil || r.Last == 0 || oldest == 0 || r.Last < oldest {
			return
		}
		if l, err := record.ParseEntry(c.get(record.LogKey(nil, r.Last))); err != nil || l.Delivery != id {
			c.fault("%s: its newest log entry %d is %s %w", id, r.Last, l.Delivery, errors.Join(err))
		}
	})
}

// bodies: every body is a delivery's, every signal parses.
func (c *checker) bodies() {
	c.each(record.BodyPrefix, func(k, _ []byte) {
		if id, ok := c.id(k); ok && c.get(record.DeliveryKey(nil, id)) == nil {
			c.fault("%s: has a body, and is not there", id)
		}
	})
	c.each(record.SignalPrefix, func(k, v []byte) {
		if _, err := record.ParseSignal(v); err != nil {
			c.fault("signal % x: %w", k[1:], err)
		}
		c.id(k)
	})
}

// extras: each leads to a delivery that leads back.
func (c *checker) extras() {
	c.each(record.ExtraPrefix, func(k, _ []byte) {
		s, id, err := record.ParseExtraKey(k)
		if err != nil {
			c.fault("%w", err)
			return
		}
		if r, err := record.ParseDelivery(id, c.get(record.DeliveryKey(nil, id))); err != nil || r.Signal != s {
			c.fault("% x: leads to %s of signal %s", k, id, r.Signal)
		}
	})
}

// keys: every idempotency key can be found when its time comes.
func (c *checker) keys() {
	c.each(record.IdemPrefix, func(k, v []byte) {
		if len(k) != 17 {
			c.fault("idempotency key % x: %w", k, record.ErrDamaged)
			return
		}
		h := record.IdemHash(k[1:])
		r, err := record.ParseIdem(v)
		if err != nil || c.get(record.IdemTimeKey(nil, r.At, h)) == nil {
			c.fault("idempotency key % x: would never expire %w", h, errors.Join(err))
		}
	})
}

// totals: the counts are what there is.
func (c *checker) totals() {
	for n, got := range c.seen {
		if want := c.counts[n]; got.In != want.In || got.Discarded != want.Discarded {
			c.fault("route %q: has %v pending, delivered, dead, %d discarded; its counts say %v, %d", c.routes[n], got.In, got.Discarded, want.In, want.Discarded)
		}
	}
}
