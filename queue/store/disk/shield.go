package disk

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A Shield stands between Pebble and the disk, for the life of one database.
//
// Pebble does not survive a write that fails: depending on the place it
// panics with its locks held, calls Fatalf, or tries again in a tight loop,
// and can then not be closed. So it is not told. The first change of the disk
// that fails marks the store as failed, and from then on nothing reaches the
// disk any more: what Pebble writes goes to memory, and seems to succeed. The
// store, which has failed, acknowledges nothing after that; it is closed as
// if nothing had happened, leaving no lock and no goroutine, and what it wrote
// since is dropped with it. On disk is what was there at the first failure, as
// after a power cut, and the next database recovers from that.
//
// Compactions are the exception: Pebble can live with one that fails, so it is
// told, and a compaction of a failed store fails.
//
// A Shield also knows which of its files matter most ([Shield.Missing]), and
// keeps the store's list of logs.
type Shield struct {
	vfs.FS
	path   string
	fail   func(error)
	failed func() bool
	mem    *vfs.MemFS // what is made after the failure, by the last element of its name

	mu      sync.Mutex
	listed  []string                // the folder as last seen; guarded by mu
	tables  []string                // made since the manifest was last written, so not part of the store; guarded by mu
	watched map[string]*watchedFile // by name; guarded by mu
}

// NewShield makes the shield of a database in the folder path. fail is called
// with what fails; failed tells whether it has been, by anyone.
func NewShield(fs vfs.FS, path string, fail func(error), failed func() bool) *Shield {
	return &Shield{FS: fs, path: path, fail: fail, failed: failed, mem: vfs.NewMem(), watched: map[string]*watchedFile{}}
}

// ErrShielded is what compactions of a failed store fail with.
var ErrShielded = errors.New("the store has failed")

func compaction(c vfs.DiskWriteCategory) bool {
	return c == "pebble-compaction" || c == "pebble-blob-file-rewrite"
}

// Unwrap is for vfs.
func (s *Shield) Unwrap() vfs.FS { return s.FS }

func (s *Shield) inMemory(name string) (string, bool) {
	base := s.PathBase(name)
	_, err := s.mem.Stat(base)
	return base, err == nil
}

// change makes a change of the disk, and reports whether it was made.
func (s *Shield) change(f func() error) bool {
	if s.failed() {
		return false
	}
	err := f()
	if err != nil {
		s.fail(err)
	}
	return err == nil
}

// DropTables removes the tables that a failed database, now closed, made for
// nothing: one that fails for want of room would leave less to the next.
func (s *Shield) DropTables() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range s.tables {
		_ = s.FS.Remove(name)
	}
	s.tables = nil
}

// Create makes a file, in memory if the store has failed.
func (s *Shield) Create(name string, c vfs.DiskWriteCategory) (f vfs.File, err error) {
	base := s.PathBase(name)
	if s.PathDir(name) != s.path { // of a checkpoint, which is not the database
		return s.FS.Create(name, c)
	}
	if IsTable(base) && !s.failed() {
		s.mu.Lock()
		s.tables = append(s.tables, name)
		s.mu.Unlock()
	}
	if compaction(c) {
		if s.failed() {
			return nil, ErrShielded
		}
		f, err = s.FS.Create(name, c)
		if err = s.watchNew(base, f, err); err != nil {
			return nil, err
		}
		return &shieldedFile{File: f, s: s, reports: true}, nil
	}
	create := func() error {
		if strings.HasPrefix(base, "marker.") {
			// Pebble syncs the folder once the marker is in it. A power cut
			// before that may leave the marker without the file it leads to.
			if err := s.syncFolder(); err != nil {
				return err
			}
		}
		f, err = s.FS.Create(name, c)
		return s.watchNew(base, f, err)
	}
	if s.change(create) {
		return &shieldedFile{File: f, s: s, manifest: isManifest(base), log: isLog(base)}, nil
	}
	return s.mem.Create(base, c)
}

func (s *Shield) syncFolder() error {
	d, err := s.FS.OpenDir(s.path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ReuseForWrite makes a log of one that is done with, or a new one if someone removed that.
func (s *Shield) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (f vfs.File, err error) {
	reuse := func() error {
		if err := s.unwatch(s.PathBase(oldname)); err != nil {
			return err
		}
		if f, err = s.FS.ReuseForWrite(oldname, newname, c); errors.Is(err, os.ErrNotExist) {
			f, err = s.FS.Create(newname, c)
		}
		return s.watchNew(s.PathBase(newname), f, err)
	}
	if s.change(reuse) {
		return &shieldedFile{File: f, s: s, reports: compaction(c)}, nil
	}
	return s.mem.Create(s.PathBase(newname), c)
}

// Open opens a file to read.
func (s *Shield) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if base, ok := s.inMemory(name); ok {
		return s.mem.Open(base, opts...)
	}
	return s.FS.Open(name, opts...)
}

// OpenDir opens a folder to sync it.
func (s *Shield) OpenDir(name string) (vfs.File, error) {
	f, err := s.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &shieldedFile{File: f, s: s}, nil
}

// Stat describes a file.
func (s *Shield) Stat(name string) (vfs.FileInfo, error) {
	if base, ok := s.inMemory(name); ok {
		return s.mem.Stat(base)
	}
	return s.FS.Stat(name)
}

// Rename renames a file.
func (s *Shield) Rename(oldname, newname string) error {
	if base, ok := s.inMemory(oldname); ok {
		return s.mem.Rename(base, s.PathBase(newname))
	}
	s.change(func() error { return s.FS.Rename(oldname, newname) })
	return nil
}

// Remove tells Pebble of an error: a file that stays does no harm.
func (s *Shield) Remove(name string) error {
	base, ok := s.inMemory(name)
	if ok {
		return s.mem.Remove(base)
	}
	if !s.change(func() error { return s.unwatch(base) }) {
		return nil
	}
	return s.FS.Remove(name)
}

// List answers as last time if the disk does not: a database that meets this
// while it opens would give up with goroutines under way that do not survive it.
func (s *Shield) List(dir string) ([]string, error) {
	names, err := s.FS.List(dir)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && s.listed != nil {
		s.fail(err)
		return slices.Clone(s.listed), nil
	}
	s.listed = slices.Clone(names)
	return names, err
}

// GetDiskUsage keeps its errors from Pebble, which asks with a lock held.
func (s *Shield) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	u, err := s.FS.GetDiskUsage(path)
	if err != nil {
		err = vfs.ErrUnsupported
	}
	return u, err
}

// A shieldedFile is a file on disk whose changes stop when the store fails.
type shieldedFile struct {
	vfs.File
	s       *Shield
	reports bool // errors go to Pebble

	manifest bool

	// A log that is not one used again is made longer by zeros ahead of what is
	// written. Would it grow by what is written, each fsync had to write where
	// the file ends, too: twice to the disk for each signal of a calm app.
	log    bool
	length int64 // of what was written to it
	zeroed int64 // where the zeros end
}

// logAhead is how far zeros lie ahead of what is written to a new log, at most.
const logAhead = 128 << 10

var zeros [logAhead]byte

func (f *shieldedFile) change(g func() error) error {
	if !f.reports {
		f.s.change(g)
		return nil
	}
	if f.s.failed() {
		return ErrShielded
	}
	return g()
}

func (f *shieldedFile) Write(p []byte) (int, error) {
	if f.manifest {
		f.s.mu.Lock()
		f.s.tables = nil // what is written may name them
		f.s.mu.Unlock()
	}
	err := f.change(func() error {
		if f.length += int64(len(p)); f.log && f.length > f.zeroed {
			f.zeroed = f.length - f.length%logAhead + logAhead
			_, _ = f.File.WriteAt(zeros[:f.zeroed-f.length], f.length) // it helps, and that is all
		}
		n, err := f.File.Write(p)
		if err == nil && n < len(p) {
			err = io.ErrShortWrite
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *shieldedFile) Sync() error { return f.change(f.File.Sync) }

func (f *shieldedFile) SyncData() error { return f.change(f.File.SyncData) }

func (f *shieldedFile) SyncTo(length int64) (full bool, err error) {
	err = f.change(func() error { full, err = f.File.SyncTo(length); return err })
	return full, err
}

// Preallocate is a hint. That there is no room shows when it is needed.
func (f *shieldedFile) Preallocate(at, length int64) error {
	if !f.s.failed() {
		_ = f.File.Preallocate(at, length)
	}
	return nil
}

// Close closes the file in any case. What was to be safe was synced before.
func (f *shieldedFile) Close() error {
	err := f.File.Close()
	if f.reports {
		return err
	}
	if err != nil && !f.s.failed() {
		f.s.fail(err)
	}
	return nil
}
