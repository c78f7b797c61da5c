package queue

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Check proves the invariants that doc.go lists of a store that no process
// has open, and changes nothing. Its error joins all that it found amiss.
func Check(path string) error { return check(path, vfs.Default) }

func check(path string, fs vfs.FS) (err error) {
	db, err := pebble.Open(path, &pebble.Options{
		FS: fs, ReadOnly: true, FormatMajorVersion: pebble.FormatNewest, Logger: silent{},
	})
	if err != nil {
		return fmt.Errorf("store %s: cannot be opened: %w", path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	c := checker{
		db: db, names: map[string]routeNum{}, routes: map[routeNum]string{}, counts: map[routeNum]counts{},
		seen: map[routeNum]*[storedStates]int64{},
	}
	for _, step := range []func(){c.table, c.deliveries, c.due, c.log, c.bodies, c.extras, c.keys, c.totals} {
		step()
	}
	if c.more > 0 {
		c.faults = append(c.faults, fmt.Errorf("and %d more", c.more))
	}
	return errors.Join(c.faults...)
}

type silent struct{}

func (silent) Infof(string, ...any)         {}
func (silent) Errorf(string, ...any)        {}
func (silent) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }

// A checker walks the store once for each kind of key.
type checker struct {
	db     *pebble.DB
	names  map[string]routeNum
	routes map[routeNum]string
	counts map[routeNum]counts
	seen   map[routeNum]*[storedStates]int64
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
	v, closer, err := c.db.Get(k)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		c.fault("key % x: %w", k, err)
		return nil
	}
	v = append([]byte{}, v...)
	if err := closer.Close(); err != nil {
		c.fault("%w", err)
	}
	return v
}

// table: every route has one number and one name, and counts that add up.
func (c *checker) table() {
	c.each(keyRoute, func(k, v []byte) {
		n := routeNum(k[4]) | routeNum(k[3])<<8 | routeNum(k[2])<<16 | routeNum(k[1])<<24
		if o, twice := c.names[string(v)]; twice {
			c.fault("route %q has the numbers %d and %d", v, o, n)
		}
		c.names[string(v)], c.routes[n] = n, string(v)
		c.seen[n] = new([storedStates]int64)
	})
	c.each(keyCounts, func(k, v []byte) {
		n := routeNum(k[4]) | routeNum(k[3])<<8 | routeNum(k[2])<<16 | routeNum(k[1])<<24
		t, err := parseCounts(v)
		if err != nil {
			c.fault("counts of route %d: %w", n, err)
		}
		if _, ok := c.routes[n]; !ok {
			c.fault("counts of the unknown route %d", n)
		}
		if d := t.unaccounted(); d != 0 {
			c.fault("route %q: %d deliveries are in no state: %+v", c.routes[n], d, t)
		}
		c.counts[n] = t
	})
}

// deliveries: each has its signal and its body, and is due exactly if it is pending.
func (c *checker) deliveries() {
	c.each(keyDelivery, func(k, v []byte) {
		var id DeliveryID
		copy(id[:], k[1:])
		r, err := parseDelivery(id, v)
		if err != nil {
			c.fault("%s: %w", id, err)
			return
		}
		if c.seen[r.route] == nil {
			c.fault("%s: belongs to the unknown route %d", id, r.route)
			return
		}
		c.seen[r.route][r.state]++
		if c.get(signalKey(nil, r.signal)) == nil {
			c.fault("%s: its signal %s is missing", id, r.signal)
		}
		hasBody := c.get(bodyKey(nil, id)) != nil
		if r.flags&ownBody != 0 && !hasBody {
			c.fault("%s: its body is missing", id)
		}
		if r.flags&ownSignal != 0 && c.get(extraKey(nil, r.signal, id)) == nil {
			c.fault("%s: its signal %s does not know of it", id, r.signal)
		}
		if due := c.get(dueKey(nil, r.route, r.due, id)) != nil; r.state == pending && !due {
			c.fault("%s: pending, but not due at %s", id, r.due.time())
		}
		if r.state == pending && r.due < c.counts[r.route].low {
			c.fault("%s: due at %s, before the low-water mark %s", id, r.due.time(), c.counts[r.route].low.time())
		}
		if r.state == pending && r.flags&noBody != 0 {
			c.fault("%s: pending without a body", id)
		}
		if r.state != pending && r.last == 0 {
			c.fault("%s: finished without a log entry", id)
		}
	})
}

// due: every due key is that of a pending delivery, and the only one.
func (c *checker) due() {
	c.each(keyDue, func(k, _ []byte) {
		n, due, id, err := parseDueKey(k)
		if err != nil {
			c.fault("%w", err)
			return
		}
		r, err := parseDelivery(id, c.get(deliveryKey(nil, id)))
		if err != nil || r.state != pending || r.route != n || r.due != due {
			c.fault("%s: due at %s on route %d, but it is %+v", id, due.time(), n, r)
		}
	})
}

// log: every entry leads back to older ones of the same delivery, and each
// delivery to its newest, unless they have expired.
func (c *checker) log() {
	oldest := stamp(0)
	c.each(keyLog, func(k, v []byte) {
		at, err := parseLogKey(k)
		if err != nil {
			c.fault("%w", err)
			return
		}
		if oldest == 0 {
			oldest = at
		}
		r, err := parseLog(v)
		if err != nil {
			c.fault("log entry %d: %w", at, err)
			return
		}
		if r.prev >= at {
			c.fault("log entry %d: leads forward to %d", at, r.prev)
		}
		if r.prev >= oldest && r.prev != 0 {
			if p, err := parseLog(c.get(logKey(nil, r.prev))); err != nil || p.delivery != r.delivery {
				c.fault("log entry %d of %s: leads to %d, which is %s %w", at, r.delivery, r.prev, p.delivery, errors.Join(err))
			}
		}
	})
	c.each(keyDelivery, func(k, v []byte) {
		var id DeliveryID
		copy(id[:], k[1:])
		r, err := parseDelivery(id, v)
		if err != nil || r.last == 0 || oldest == 0 || r.last < oldest {
			return
		}
		if l, err := parseLog(c.get(logKey(nil, r.last))); err != nil || l.delivery != id {
			c.fault("%s: its newest log entry %d is %s %w", id, r.last, l.delivery, errors.Join(err))
		}
	})
}

// bodies: every body is a delivery's, every signal parses.
func (c *checker) bodies() {
	c.each(keyBody, func(k, _ []byte) {
		if c.get(append([]byte{keyDelivery}, k[1:]...)) == nil {
			c.fault("body % x: of no delivery", k[1:])
		}
	})
	c.each(keySignal, func(k, v []byte) {
		if _, err := parseSignal(v); err != nil {
			c.fault("signal % x: %w", k[1:], err)
		}
	})
}

// extras: each leads to a delivery that leads back.
func (c *checker) extras() {
	c.each(keyExtra, func(k, _ []byte) {
		var id DeliveryID
		copy(id[:], k[17:])
		r, err := parseDelivery(id, c.get(deliveryKey(nil, id)))
		if err != nil || !bytes.Equal(r.signal[:], k[1:17]) {
			c.fault("% x: leads to %s of signal %s", k, id, r.signal)
		}
	})
}

// keys: every idempotency key can be found when its time comes.
func (c *checker) keys() {
	c.each(keyIdem, func(k, v []byte) {
		var h idemHash
		copy(h[:], k[1:])
		r, err := parseIdem(v)
		if err != nil || c.get(idemTimeKey(nil, r.at, h)) == nil {
			c.fault("idempotency key % x: would never expire %w", h, errors.Join(err))
		}
	})
}

// totals: the counts are what there is.
func (c *checker) totals() {
	for n, got := range c.seen {
		if want := c.counts[n].in; *got != want {
			c.fault("route %q: has %v pending, delivered, dead; its counts say %v", c.routes[n], *got, want)
		}
	}
}
