package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"signalpost/queue/record"
)

func (s *Store) beginRead() (open bool) {
	s.readMu.Lock()
	defer s.readMu.Unlock()
	if !s.dbClosed {
		s.reading.Add(1)
	}
	return !s.dbClosed
}

// endReading lets no read begin any more, be it within another, and waits
// until none is under way.
func (s *Store) endReading() {
	s.readMu.Lock()
	s.dbClosed = true
	s.readMu.Unlock()
	s.reading.Wait()
}

// Read calls f, which may read too, while the database is kept open. The error
// wraps ErrClosed if it is not, and ErrFailed if the store has failed: what it
// holds then may never have come to disk.
func (s *Store) Read(f func(db *pebble.DB) error) error {
	open := s.beginRead()
	var err error
	if open {
		defer s.reading.Done()
		err = f(s.db)
	}
	switch failure := s.Err(); {
	case failure != nil:
		return fmt.Errorf("%w: %w", ErrFailed, failure)
	case !open:
		return ErrClosed
	case err != nil:
		return fmt.Errorf("store %s: %w", s.folder.Path, err)
	}
	return nil
}

// Get returns a copy of the key's value, or nil if there is no such key.
func (s *Store) Get(k []byte) (v []byte, err error) {
	err = s.Read(func(db *pebble.DB) error {
		v, err = get(db, k)
		return err
	})
	return v, err
}

func get(db *pebble.DB, k []byte) ([]byte, error) {
	v, closer, err := db.Get(k)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return append([]byte{}, v...), closer.Close()
}

// Scan calls f with each key from lo to before hi, in order, until it says
// stop. k and v are f's only for the call.
func (s *Store) Scan(lo, hi []byte, f func(k, v []byte) (more bool, err error)) error {
	return s.iterate(lo, hi, (*pebble.Iterator).First, (*pebble.Iterator).Next, f)
}

// ScanBack is Scan from hi down to lo.
func (s *Store) ScanBack(lo, hi []byte, f func(k, v []byte) (more bool, err error)) error {
	return s.iterate(lo, hi, (*pebble.Iterator).Last, (*pebble.Iterator).Prev, f)
}

func (s *Store) iterate(lo, hi []byte, first, next func(*pebble.Iterator) bool, f func(k, v []byte) (bool, error)) error {
	return s.Read(func(db *pebble.DB) (err error) {
		it, err := db.NewIter(&pebble.IterOptions{LowerBound: lo, UpperBound: hi})
		if err != nil {
			return err
		}
		defer func() {
			if cerr := it.Close(); err == nil {
				err = cerr
			}
		}()
		for ok := first(it); ok; ok = next(it) {
			v, err := it.ValueAndErr()
			if err != nil {
				return err
			}
			if more, err := f(it.Key(), v); err != nil || !more {
				return err
			}
		}
		return it.Error()
	})
}

// Parsed makes of f, which takes records, a function for Scan.
func Parsed[R any](parse func(k, v []byte) (R, error), f func(R) (more bool, err error)) func(k, v []byte) (more bool, err error) {
	return func(k, v []byte) (bool, error) {
		r, err := parse(k, v)
		if err != nil {
			return false, err
		}
		return f(r)
	}
}

// each calls f with each key that begins with the prefix, in order.
func (s *Store) each(prefix byte, f func(k, v []byte) error) error {
	return s.eachOf([]byte{prefix}, []byte{prefix + 1}, f)
}

// eachOf is each from lo to before hi.
func (s *Store) eachOf(lo, hi []byte, f func(k, v []byte) error) error {
	return s.Scan(lo, hi, func(k, v []byte) (bool, error) { return true, f(k, v) })
}

// pairs makes of f, which takes keys and values that are parsed, a function for each.
func pairs[K, V any](key func([]byte) (K, error), value func([]byte) (V, error), f func(K, V) error) func(k, v []byte) error {
	return func(k, v []byte) error {
		at, err := key(k)
		if err != nil {
			return err
		}
		r, err := value(v)
		if err != nil {
			return err
		}
		return f(at, r)
	}
}

// raw is for pairs whose value is taken as it is.
func raw(v []byte) ([]byte, error) { return v, nil }

// firstKey is the first key that a scan of all with the prefix meets, zero if there is none.
func firstKey[K any](scan func(lo, hi []byte, f func(k, v []byte) (bool, error)) error, prefix byte, parse func([]byte) (K, error)) (at K, err error) {
	err = scan([]byte{prefix}, []byte{prefix + 1}, func(k, _ []byte) (_ bool, err error) {
		at, err = parse(k)
		return false, err
	})
	return at, err
}

// ParseFound makes a delivery of its key and value.
func ParseFound(k, v []byte) (d Found, err error) {
	if d.ID, err = record.ParseID(k); err == nil {
		d.Delivery, err = record.ParseDelivery(d.ID, v)
	}
	return d, err
}

// find reads what must be there; the error wraps ErrNotFound if it is not.
func find[R any](s *Store, k []byte, parse func([]byte) (R, error)) (r R, err error) {
	v, err := s.Get(k)
	switch {
	case err != nil:
		return r, err
	case v == nil:
		return r, ErrNotFound
	}
	return parse(v)
}

// Delivery reads a delivery. The error wraps ErrNotFound if there is none.
func (s *Store) Delivery(id record.DeliveryID) (record.Delivery, error) {
	r, err := find(s, record.DeliveryKey(nil, id), func(v []byte) (record.Delivery, error) { return record.ParseDelivery(id, v) })
	return r, s.of("delivery", id, err)
}

// Signal reads a signal. The error wraps ErrNotFound if there is none.
func (s *Store) Signal(id record.SignalID) (record.Signal, error) {
	r, err := find(s, record.SignalKey(nil, id), record.ParseSignal)
	return r, s.of("signal", id, err)
}

// Body is the body of a delivery, and what else was made of its request: sig is
// its signal, whose body it may be. There is no body if the expression failed.
func (s *Store) Body(id record.DeliveryID, d *record.Delivery, sig *record.Signal) (b record.Body, err error) {
	if d.HasBody() {
		b, err = find(s, record.BodyKey(nil, id), func(v []byte) (record.Body, error) { return record.ParseBody(v, d.Flags) })
		err = s.of("body of delivery", id, err)
	}
	if d.Flags&(record.OwnBody|record.NoBody) == 0 {
		b.Body = sig.Body
	}
	return b, err
}

// Whole reads a delivery, its signal and its body, as far as it can. The error wraps
// ErrNotFound if one of them is not there.
func (s *Store) Whole(id record.DeliveryID) (d record.Delivery, sig record.Signal, b record.Body, err error) {
	if d, err = s.Delivery(id); err == nil {
		sig, err = s.Signal(d.Signal)
	}
	if err == nil {
		b, err = s.Body(id, &d, &sig)
	}
	return d, sig, b, err
}

// of says in the error what it is about.
func (s *Store) of(what string, id fmt.Stringer, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, record.ErrDamaged):
		return fmt.Errorf("store %s: %s %s: %w", s.folder.Path, what, id, err)
	case pebble.IsCorruptionError(err):
		return fmt.Errorf("%w: %s %s: %w", record.ErrDamaged, what, id, err)
	}
	return fmt.Errorf("%s %s: %w", what, id, err)
}

// Entry reads an entry of the log; nil if it has expired.
func (s *Store) Entry(at record.Stamp) (*Entry, error) {
	k := record.LogKey(nil, at)
	v, err := s.Get(k)
	if err != nil || v == nil {
		return nil, err
	}
	e, err := s.ParseEntry(k, v)
	return &e, err
}

// Entries calls f with the entries of the log from a stamp to before another, in
// order, until it says stop.
func (s *Store) Entries(from, to record.Stamp, f func(Entry) (more bool, err error)) error {
	return s.Scan(record.LogKey(nil, from), record.LogKey(nil, to), Parsed(s.ParseEntry, f))
}

// ParseEntry makes an entry of its key and value.
func (s *Store) ParseEntry(k, v []byte) (e Entry, err error) {
	if e.At, err = record.ParseLogKey(k); err != nil {
		return e, err
	}
	if e.Entry, err = record.ParseEntry(v); err != nil {
		return e, fmt.Errorf("store %s: %w", s.folder.Path, err)
	}
	if r := s.RouteOf(e.Route); r != nil {
		e.RouteName = r.Name
	}
	e.ConfigHash, e.PeerAddress, e.RequestText = s.Text(e.Config), s.Text(e.Peer), s.Text(e.Request)
	return e, nil
}

// Idem is what an idempotency key is bound to, nil if it is to nothing.
func (s *Store) Idem(h record.IdemHash) (*record.Idem, error) {
	r, err := find(s, record.IdemKey(nil, h), record.ParseIdem)
	if errors.Is(err, ErrNotFound) || err == nil && s.o.Now().Sub(r.At.Time()) > s.limits.Load().DedupWindow {
		return nil, nil
	}
	if errors.Is(err, record.ErrDamaged) {
		err = fmt.Errorf("store %s: %w", s.folder.Path, err)
	}
	return &r, err
}
