package queue

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

func (e *engine) beginRead() (open bool) {
	e.readMu.Lock()
	defer e.readMu.Unlock()
	if !e.dbClosed {
		e.readers++
	}
	return !e.dbClosed
}

func (e *engine) endRead() {
	e.readMu.Lock()
	defer e.readMu.Unlock()
	if e.readers--; e.readers == 0 {
		e.unread.Broadcast()
	}
}

// endReading lets no read begin any more, be it within another, and waits
// until none is under way.
func (e *engine) endReading() {
	e.readMu.Lock()
	defer e.readMu.Unlock()
	e.dbClosed = true
	for e.readers > 0 {
		e.unread.Wait()
	}
}

// read calls f, which may read too, while the store is kept open. The error
// wraps ErrClosed if it is not, and ErrUnavailable if it has failed: what it
// holds then may never have come to disk.
func (e *engine) read(f func(db *pebble.DB) error) error {
	open := e.beginRead()
	var err error
	if open {
		defer e.endRead()
		err = f(e.db)
	}
	switch broken := e.broken(); {
	case broken != nil:
		return fmt.Errorf("%w: %w", errFailed, broken)
	case !open:
		return ErrClosed
	case err != nil:
		return fmt.Errorf("store %s: %w", e.o.Path, err)
	}
	return nil
}

// errFailed is behind what a failed engine answers. The next may know better.
var errFailed = fmt.Errorf("%w: the store has failed and is being opened again", ErrUnavailable)

// get returns a copy of the key's value, or nil if there is no such key.
func (e *engine) get(k []byte) (v []byte, err error) {
	err = e.read(func(db *pebble.DB) error {
		b, closer, err := db.Get(k)
		if errors.Is(err, pebble.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		v = append([]byte{}, b...)
		return closer.Close()
	})
	return v, err
}

// scan calls f with each key from lo to before hi, in order, until it says
// stop. k and v are f's only for the call.
func (e *engine) scan(lo, hi []byte, f func(k, v []byte) (more bool, err error)) error {
	return e.iterate(lo, hi, (*pebble.Iterator).First, (*pebble.Iterator).Next, f)
}

// scanBack is scan from hi down to lo.
func (e *engine) scanBack(lo, hi []byte, f func(k, v []byte) (more bool, err error)) error {
	return e.iterate(lo, hi, (*pebble.Iterator).Last, (*pebble.Iterator).Prev, f)
}

func (e *engine) iterate(lo, hi []byte, first, next func(*pebble.Iterator) bool, f func(k, v []byte) (bool, error)) error {
	return e.read(func(db *pebble.DB) (err error) {
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
