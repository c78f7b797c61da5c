package store

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"signalpost/queue/record"
	"signalpost/queue/store/disk"
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
		Store:  &Store{db: db, folder: &disk.Folder{Path: path, FS: fs}},
		names:  map[string]record.RouteNum{},
		routes: map[record.RouteNum]*checkedRoute{},

		attempts: map[record.RowAt]tallied{}, counted: map[record.RowAt]tallied{},
	}
	for _, of := range []struct {
		prefix byte
		check  func(k, v []byte) error
	}{
		{record.RoutePrefix, pairs(record.ParseNumKey, raw, c.route)},
		{record.CountsPrefix, pairs(record.ParseNumKey, record.ParseCounts, c.counts)},
		{record.SignalPrefix, pairs(record.ParseID, record.ParseSignal, func(record.DeliveryID, record.Signal) error { return nil })},
		{record.LogPrefix, c.entry},
		{record.DeliveryPrefix, c.delivery},
		{record.BodyPrefix, pairs(record.ParseID, raw, c.body)},
		{record.ExtraPrefix, pairs(record.ParseExtraKey, raw, c.extra)},
		{record.DuePrefix, pairs(record.ParseDueKey, raw, c.due)},
		{record.ChainPrefix, pairs(record.ParseChainKey, record.ParseChain, c.chain)},
		{record.BehindPrefix, pairs(record.ParseChainKey, raw, c.behind)},
		{record.IdemPrefix, c.idem},
		{record.MinutePrefix, pairs(record.ParseRowKey, record.ParseRow, c.row)},
		{record.HourPrefix, pairs(record.ParseRowKey, record.ParseRow, c.row)},
		{record.AffectedPrefix, pairs(record.ParseCauseKey, record.ParseAffected, c.affected)},
		{record.FailuresPrefix, pairs(record.ParseCauseKey, record.ParseFailures, c.failures)},
	} {
		c.fault(c.each(of.prefix, func(k, v []byte) error {
			if err := of.check(k, v); err != nil {
				c.fault(fmt.Errorf("key %c % x: %w", k[0], k[1:], err))
			}
			return nil
		}))
	}
	for _, r := range c.routes {
		c.fault(r.check())
	}
	c.checkRows()
	if c.more > 0 {
		c.faults = append(c.faults, fmt.Errorf("and %d more", c.more))
	}
	return errors.Join(c.faults...)
}

// A checker looks at each key once, and at those it is bound up with.
type checker struct {
	*Store // its database is only read, and nothing runs on it
	names  map[string]record.RouteNum
	routes map[record.RouteNum]*checkedRoute
	oldest record.Stamp // of the log

	attempts, counted map[record.RowAt]tallied // by hour, as the log and as statistics have them

	faults []error
	more   int
}

type checkedRoute struct {
	name         string
	counts, seen record.Counts
	accepted     int64 // by statistics
	affected     map[record.CauseID]record.Affected
}

func (c *checker) fault(err error) {
	switch {
	case err == nil:
	case len(c.faults) >= 50:
		c.more++
	default:
		c.faults = append(c.faults, err)
	}
}

// has is whether the key is there.
func (c *checker) has(k []byte) bool {
	v, err := c.Get(k)
	c.fault(err)
	return v != nil
}

func (c *checker) route(n record.RouteNum, name []byte) error {
	if other, twice := c.names[string(name)]; twice {
		return fmt.Errorf("route %q has the number %d as well", name, other)
	}
	c.names[string(name)], c.routes[n] = n, &checkedRoute{name: string(name), affected: map[record.CauseID]record.Affected{}}
	return nil
}

func (c *checker) counts(n record.RouteNum, counts record.Counts) error {
	r := c.routes[n]
	if r == nil {
		return fmt.Errorf("counts of the unknown route %d", n)
	}
	r.counts = counts
	return nil
}

// check: the counts are what there is.
func (r *checkedRoute) check() error {
	if n := r.counts.Unaccounted(); n != 0 {
		return fmt.Errorf("route %q: %d deliveries are in no state: %+v", r.name, n, r.counts)
	}
	if r.seen.In != r.counts.In || r.seen.Discarded != r.counts.Discarded {
		return fmt.Errorf("route %q: has %v pending, delivered, dead, %d discarded; its counts say %v, %d", r.name, r.seen.In, r.seen.Discarded, r.counts.In, r.counts.Discarded)
	}
	if n := r.accepted + r.counts.Unkept; n != r.counts.Made {
		return fmt.Errorf("route %q: made %d deliveries; statistics count %d, and %d more are known of", r.name, r.counts.Made, r.accepted, r.counts.Unkept)
	}
	if len(r.affected) > 0 {
		return fmt.Errorf("route %q: deliveries that failed of causes which do not count them: %v", r.name, r.affected)
	}
	return nil
}

// entry: it leads back to another of the same delivery, unless that has expired.
func (c *checker) entry(k, v []byte) error {
	e, err := c.ParseEntry(k, v)
	if err != nil {
		return err
	}
	if c.oldest == 0 {
		c.oldest = e.At
	}
	c.logged(&e)
	if e.Prev == e.At {
		return errors.New("it leads to itself")
	}
	return c.leadsTo(e.Prev, e.Delivery)
}

func (c *checker) leadsTo(at record.Stamp, id record.DeliveryID) error {
	if at == 0 || c.oldest == 0 || at < c.oldest {
		return nil
	}
	e, err := c.Entry(at)
	if err != nil || e == nil || e.Delivery != id {
		return fmt.Errorf("log entry %d is not of %s: %w", at, id, errors.Join(err, record.ErrDamaged))
	}
	return nil
}

// delivery: it has its signal and its body, leads to its newest log entry, and
// is due exactly if it is pending.
func (c *checker) delivery(k, v []byte) error {
	found, err := ParseFound(k, v)
	if err != nil {
		return err
	}
	id, d := found.ID, found.Delivery
	r := c.routes[d.Route]
	if r == nil {
		return fmt.Errorf("%s belongs to the unknown route %d", id, d.Route)
	}
	r.seen.Add(&d, 1)
	if d.Cause != 0 {
		n := r.affected[d.Cause]
		n.Add(d.State, 1)
		r.affected[d.Cause] = n
	}
	pending := d.State == record.IsPending
	for what, amiss := range map[string]bool{
		"its signal is missing":           !c.has(record.SignalKey(nil, d.Signal)),
		"its body is missing":             d.HasBody() && !c.has(record.BodyKey(nil, id)),
		"its signal does not know of it":  d.Flags&record.OwnSignal != 0 && !c.has(record.ExtraKey(nil, d.Signal, id)),
		"it is pending, and never due":    pending && !d.Waits() && !c.has(record.DueKey(nil, d.Route, d.Due, id)),
		"it waits, and in no chain":       d.Waits() && !c.has(record.BehindKey(nil, d.Route, d.Order, id)),
		"another is first in its chain":   d.InChain() && !d.Waits() && c.headOf(&d) != id,
		"it is due before the low mark":   pending && !d.Waits() && d.Due < r.counts.Low,
		"it is pending without a body":    pending && d.Flags&record.NoBody != 0,
		"it is finished without an entry": !pending && d.Last == 0,
	} {
		if amiss {
			c.fault(fmt.Errorf("%s: %s: %+v", id, what, d))
		}
	}
	return c.leadsTo(d.Last, id)
}

func (c *checker) body(id record.DeliveryID, v []byte) error {
	d, err := c.Delivery(id)
	if err == nil && d.HasBody() {
		_, err = record.ParseBody(v, d.Flags)
	}
	return err
}

// extra: it leads to a delivery that leads back.
func (c *checker) extra(x record.Extra, _ []byte) error {
	if d, err := c.Delivery(x.ID); err != nil || d.Signal != x.Signal {
		return fmt.Errorf("it leads to %s of signal %s: %w", x.ID, d.Signal, errors.Join(err, record.ErrDamaged))
	}
	return nil
}

// due: it is that of a pending delivery, and the only one.
func (c *checker) due(at record.DueAt, _ []byte) error {
	if d, err := c.Delivery(at.ID); err != nil || d.State != record.IsPending || d.Waits() || d.Route != at.Route || d.Due != at.Due {
		return fmt.Errorf("%s is due then, but it is %+v: %w", at.ID, d, errors.Join(err, record.ErrDamaged))
	}
	return nil
}

func (c *checker) headOf(d *record.Delivery) record.DeliveryID {
	chain, err := c.Chain(d.Route, d.Order)
	c.fault(err)
	return chain.Head
}

// chain: its first is in it and behind nobody, and so many as it says are behind.
func (c *checker) chain(at record.ChainAt, chain record.Chain) error {
	if d, err := c.Delivery(chain.Head); err != nil || !d.InChain() || d.Waits() || d.Route != at.Route || d.Order != at.Order {
		return fmt.Errorf("its first is %s, but that is %+v: %w", chain.Head, d, errors.Join(err, record.ErrDamaged))
	}
	behind := uint64(0)
	err := c.Scan(record.BehindKey(nil, at.Route, at.Order, record.DeliveryID{}), record.BehindKey(nil, at.Route, at.Order, record.MaxID), func(k, _ []byte) (bool, error) {
		if behind++; bytes.Compare(k[len(k)-16:], chain.From[:]) < 0 {
			return false, fmt.Errorf("one before %s is behind: %w", chain.From, record.ErrDamaged)
		}
		return true, nil
	})
	if err == nil && behind != chain.Waiting {
		err = fmt.Errorf("%d are behind its first, not %d: %w", behind, chain.Waiting, record.ErrDamaged)
	}
	return err
}

// behind: it is of a delivery that waits, in a chain that there is.
func (c *checker) behind(at record.ChainAt, _ []byte) error {
	if d, err := c.Delivery(at.ID); err != nil || !d.Waits() || d.Route != at.Route || d.Order != at.Order || !c.has(record.ChainKey(nil, at.Route, at.Order)) {
		return fmt.Errorf("%s waits, but it is %+v: %w", at.ID, d, errors.Join(err, record.ErrDamaged))
	}
	return nil
}

// idem: it can be found when its time comes.
func (c *checker) idem(k, v []byte) error {
	r, err := record.ParseIdem(v)
	if err != nil || len(k) != 17 {
		return errors.Join(err, record.ErrDamaged)
	}
	if !c.has(record.IdemTimeKey(nil, r.At, record.IdemHash(k[1:]))) {
		return errors.New("the idempotency key would never expire")
	}
	return nil
}

// tallied are the attempts of one route and hour, by verdict.
type tallied struct{ delivered, retry, dead int64 }

// logged counts an attempt of the log, if a version that keeps statistics made it.
func (c *checker) logged(e *Entry) {
	if e.Trigger == "" {
		return
	}
	at := record.RowAt{Route: e.Route, At: e.At.Time().Truncate(time.Hour)}
	n := c.attempts[at]
	switch e.Verdict {
	case record.Delivered:
		n.delivered++
	case record.Retry:
		n.retry++
	case record.Dead:
		n.dead++
	}
	c.attempts[at] = n
}

// row: it is of a route, and with the others of its hour it counts the attempts
// that the log has, if it has all of that hour.
func (c *checker) row(at record.RowAt, r record.Row) error {
	if c.routes[at.Route] == nil {
		return fmt.Errorf("statistics of the unknown route %d", at.Route)
	}
	c.routes[at.Route].accepted += r.Accepted
	at.At = at.At.Truncate(time.Hour)
	sum := c.counted[at]
	sum.delivered += r.Delivered
	sum.retry += r.Retry
	sum.dead += r.Failures() - r.Retry
	c.counted[at] = sum
	return nil
}

func (c *checker) checkRows() {
	for at, n := range c.attempts {
		sum := c.counted[at]
		whole := at.At.After(c.oldest.Time()) // else some of its entries may be gone
		if whole && sum != n || sum.delivered < n.delivered || sum.retry < n.retry || sum.dead < n.dead {
			c.fault(fmt.Errorf("route %d: the hour of %v has %+v attempts in the log, its statistics say %+v", at.Route, at.At, n, sum))
		}
	}
}

// affected: it counts the deliveries that name the cause; all have been seen.
func (c *checker) affected(at record.CauseOf, want record.Affected) error {
	r := c.routes[at.Route]
	if r == nil || r.affected[at.Cause] != want {
		return fmt.Errorf("cause %x: says %+v, deliveries say otherwise", at.Cause, want)
	}
	delete(r.affected, at.Cause)
	return nil
}

func (c *checker) failures(at record.CauseOf, f record.Failures) error {
	if f.ID() != at.Cause || c.routes[at.Route] == nil || f.Count < 1 {
		return fmt.Errorf("failures %+v of another cause, or of no route", f)
	}
	return nil
}
