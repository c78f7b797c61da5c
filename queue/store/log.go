package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"signalpost/queue/record"
	"signalpost/queue/store/disk"
)

// A Log makes records durable, in order, for one store: each is what a batch
// changes, as Pebble writes it (pebble.Batch.Repr). With one the database is
// but a view of it, written without fsyncs: lost, or damaged, it is made again from the records.
//
// The store appends one record at a time, and the next batch gathers
// meanwhile. An implementation has to see to it that a record whose fate it does
// not know is there once or not at all, also when Append is called for what
// may be there already, and that nobody else appends in between.
type Log interface {
	// Append makes the record durable, behind all before it, and returns its
	// position: greater than all before. It has an end, whatever happens. After an error the store fails, is opened
	// anew, and reads from the log whether the record is there. The error wraps ErrDeposed if
	// somebody else has the log now.
	Append(record []byte) (position uint64, err error)
	// Read calls f with the records behind a position, 0 for all, in order, until
	// there are no more or f fails, whose error it returns. What was appended before
	// and is not among them is never there. The error wraps ErrStale if the log begins
	// behind the position: then the view is made anew.
	Read(after uint64, f func(position uint64, record []byte) error) error
	// Restore hands the files of the newest snapshot to write, if there is one; they
	// are those of a database that has the records up to some position.
	Restore(write func(name string, content io.Reader) error) error
}

// ErrDeposed is wrapped by a Log's errors when somebody else has the log: the
// view is worth nothing any more.
var ErrDeposed = errors.New("another sidecar has taken the ledger over")

// ErrStale is wrapped by a Log's error when records that a view lacks are gone.
var ErrStale = errors.New("the log does not have the records behind the view any more")

// positionKey holds up to where the view has the log. A store without a Log has none.
var positionKey = []byte{'p'}

// apply brings a record of the log into the view.
func (s *Store) apply(b *pebble.Batch, position uint64) error {
	if err := b.Set(positionKey, binary.AppendUvarint(nil, position), nil); err != nil {
		return err
	}
	return s.db.Apply(b, pebble.NoSync)
}

// catchUp brings into the view what the log has beyond it.
func (s *Store) catchUp() error {
	at, err := positionOf(s.db) // nobody else has it yet
	if err != nil {
		return err
	}
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

// positionOf is up to where a view has the log.
func positionOf(db *pebble.DB) (uint64, error) {
	v, err := get(db, positionKey)
	at, _ := binary.Uvarint(v)
	return at, err
}

// Empty is whether no signal, delivery or entry of the log is left.
func (s *Store) Empty() bool {
	for _, prefix := range []byte{record.SignalPrefix, record.DeliveryPrefix, record.LogPrefix} {
		if some, err := s.hasKey([]byte{prefix}, []byte{prefix + 1}); err != nil || some {
			return false
		}
	}
	return true
}

// A File is one of a snapshot. Tables, of which a name stands for one content, are
// most of it.
type File struct {
	Name  string
	Table bool
	Size  int64
	Open  func() (io.ReadCloser, error)
}

// Snapshot hands over the files of the database as it is at some record of its
// log, and the record's position. The files go when save returns.
func (s *Store) Snapshot(save func(position uint64, files []File) error) error {
	fs := s.folder.FS
	folder := fs.PathJoin(s.folder.Path, "snapshot")
	if err := fs.RemoveAll(folder); err != nil {
		return err
	}
	defer fs.RemoveAll(folder)
	if err := s.Read(func(db *pebble.DB) error { return db.Checkpoint(folder, pebble.WithFlushedWAL()) }); err != nil {
		return err
	}
	names, err := fs.List(folder)
	if err != nil {
		return err
	}
	var files []File
	for _, name := range names {
		path := fs.PathJoin(folder, name)
		info, err := fs.Stat(path)
		if err != nil {
			return err
		}
		files = append(files, File{
			Name: name, Table: disk.IsTable(name), Size: info.Size(),
			Open: func() (io.ReadCloser, error) { return fs.Open(path) },
		})
	}
	db, err := openToRead(folder, fs, nil)
	if err != nil {
		return err
	}
	at, err := positionOf(db)
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	return save(at, files)
}

// Rebuild makes the view of a log in an empty folder, proves it as Check does, and
// returns its digest.
func Rebuild(path string, fs FS, l Log) (position uint64, sum []byte, err error) {
	folder, err := disk.Open(path, fs)
	if err != nil {
		return 0, nil, err
	}
	s, err := Open(folder, Options{
		Log: slog.New(slog.DiscardHandler), Now: time.Now, LowEvery: 1, Journal: l,
		Low:    func(*Route) record.Millis { return 0 },
		TooOld: func(context.Context, []record.DeliveryID, record.Millis) error { return nil },
	})
	if err == nil {
		position, sum, err = s.Digest()
		err = errors.Join(err, s.closeDB())
	}
	if err = errors.Join(err, folder.Close()); err != nil {
		return 0, nil, err
	}
	return position, sum, Check(path, fs)
}

// Digest returns up to where the view has its log, and a hash of all in it, which is
// the same for each view that has the log up to there.
func (s *Store) Digest() (position uint64, sum []byte, err error) {
	h := sha256.New()
	var lengths [8]byte
	err = s.Scan([]byte{0}, []byte{0xff}, func(k, v []byte) (bool, error) {
		if bytes.Equal(k, positionKey) {
			position, _ = binary.Uvarint(v)
			return true, nil
		}
		binary.BigEndian.PutUint32(lengths[:], uint32(len(k)))
		binary.BigEndian.PutUint32(lengths[4:], uint32(len(v)))
		h.Write(lengths[:])
		h.Write(k)
		h.Write(v)
		return true, nil
	})
	return position, h.Sum(nil), err
}
