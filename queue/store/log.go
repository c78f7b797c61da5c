package store

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// A Log makes records durable, in order, for one store: each is what a batch
// changes, as Pebble writes it (pebble.Batch.Repr). With one the database is
// but a view of it, written without fsyncs: lost, it is made again from the records.
//
// The store appends one record at a time, and the next batch gathers
// meanwhile. An implementation has to see to it that a record whose fate it does
// not know is there once or not at all, also when Append is called for what
// may be there already, and that nobody else appends in between.
type Log interface {
	// Append makes the record durable, behind all before it, and returns its
	// position: greater than all before. After an error the store fails, is opened
	// anew, and reads from the log whether the record is there.
	Append(record []byte) (position uint64, err error)
	// Read calls f with the records behind a position, 0 for all, in order, until
	// there are no more or f fails, whose error it returns.
	Read(after uint64, f func(position uint64, record []byte) error) error
}

// positionKey holds up to where the view has the log. A store without a Log has none.
var positionKey = []byte{'p'}

// write takes the first step of making a batch readable and durable; the
// committer calls it for each batch in turn. Pebble's own log does both at once.
func (s *Store) write(b *pebble.Batch) error {
	if s.o.Journal != nil {
		return nil
	}
	return s.db.ApplyNoSyncWait(b, pebble.Sync)
}

// end takes the last; the finisher calls it for each batch in turn. The batch,
// and all before it, is durable then.
func (s *Store) end(b *pebble.Batch) error {
	if s.o.Journal == nil {
		return b.SyncWait()
	}
	position, err := s.o.Journal.Append(b.Repr())
	if err != nil {
		return err
	}
	return s.apply(b, position)
}

// apply brings a record of the log into the view.
func (s *Store) apply(b *pebble.Batch, position uint64) error {
	if err := b.Set(positionKey, binary.AppendUvarint(nil, position), nil); err != nil {
		return err
	}
	return s.db.Apply(b, pebble.NoSync)
}

// catchUp brings into the view what the log has beyond it.
func (s *Store) catchUp() error {
	v, err := s.Get(positionKey)
	if err != nil {
		return err
	}
	at, _ := binary.Uvarint(v)
	return s.o.Journal.Read(at, func(position uint64, record []byte) error {
		if position <= at {
			return nil // it came twice
		}
		at = position
		b := s.db.NewBatch()
		defer b.Close()
		if err := b.SetRepr(append([]byte{}, record...)); err != nil {
			return fmt.Errorf("record %d of the log: %w", position, err)
		}
		return s.apply(b, position)
	})
}
