// Package disk knows what disks and those who use them do: writes that fail (shield.go) or
// hang, folders that are moved (folder.go), files that are removed (watched.go), logs that
// are torn (internals.go).
package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A Folder is the folder of a store, locked, as it was when it was opened.
type Folder struct {
	Path string
	FS   vfs.FS
	Lock *pebble.Lock

	dir, lock os.FileInfo  // nil: not known
	held      *os.File     // the folder itself, locked: LOCK can be removed; nil: not known
	lost      atomic.Value // a string
}

// MarkLost says why nothing is to be accepted any more into the folder by this process.
func (f *Folder) MarkLost(why string) { f.lost.Store(why) }

// Lost is what was said by MarkLost, or "".
func (f *Folder) Lost() string {
	why, _ := f.lost.Load().(string)
	return why
}

// Open makes the folder if it is missing, with mode 0700, and locks it. No
// other process can until Close. The error says what to do.
func Open(path string, fs vfs.FS) (*Folder, error) {
	if err := fs.MkdirAll(path, 0o700); err != nil {
		return nil, cannot("make the folder", path, err)
	}
	if fs == vfs.Default {
		// A folder that was there may be open to others, and stays so if it is somebody
		// else's: a mounted volume.
		_ = os.Chmod(path, 0o700)
	}
	lock, err := pebble.LockDirectory(path, fs)
	if err != nil {
		if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EIO) {
			return nil, cannot("lock the folder", path, err)
		}
		return nil, openElsewhere(path, err)
	}
	f := &Folder{Path: path, FS: fs, Lock: lock}
	if fs == vfs.Default {
		if err := f.hold(); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	f.dir, _ = fs.Stat(path)
	f.lock, _ = fs.Stat(fs.PathJoin(path, "LOCK"))
	return f, nil
}

// hold locks the folder itself, where the file system can.
func (f *Folder) hold() (err error) {
	if f.held, err = os.Open(f.Path); err != nil {
		return cannot("open the folder", f.Path, err)
	}
	if err = lock(f.held); errors.Is(err, errLocked) {
		return openElsewhere(f.Path, err)
	}
	return nil
}

// cannot is why something cannot be done to a folder, and what to do.
func cannot(do, path string, err error) error {
	hint := ""
	if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS) {
		hint = fmt.Sprintf("; queue.path must be a folder that user %d, whose process this is, can write", os.Geteuid())
	}
	if inner := (*os.PathError)(nil); errors.As(err, &inner) && inner.Path == path {
		err = inner.Err // the rest has been said
	}
	return fmt.Errorf("store %s: cannot %s: %w%s", path, do, err, hint)
}

func openElsewhere(path string, err error) error {
	return fmt.Errorf("store %s: another process has it open (one sidecar a folder; stop that one, or name another folder in queue.path): %w", path, err)
}

// aside is where SetAside puts files.
const aside = ".aside"

// SetAside moves all files of the folder but its lock to a folder in it, which
// Drop removes: what is wrong with them may pass. While there is that, what else there is goes.
func (f *Folder) SetAside() error {
	names, err := f.FS.List(f.Path)
	to := f.FS.PathJoin(f.Path, aside)
	had := slices.Contains(names, aside)
	for _, name := range names {
		from := f.FS.PathJoin(f.Path, name)
		switch {
		case name == "LOCK" || name == aside:
		case had:
			err = errors.Join(err, f.FS.RemoveAll(from))
		default:
			err = errors.Join(err, f.FS.MkdirAll(to, 0o700), f.FS.Rename(from, f.FS.PathJoin(to, name)))
		}
	}
	return err
}

// Drop removes what was set aside.
func (f *Folder) Drop() error { return f.FS.RemoveAll(f.FS.PathJoin(f.Path, aside)) }

// Write makes a file of the folder.
func (f *Folder) Write(name string, content io.Reader) error {
	file, err := f.FS.Create(f.FS.PathJoin(f.Path, name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, struct{ io.Reader }{content}) // by way of a buffer: a vfs.File may change what it is given
	return errors.Join(err, file.Close())
}

// Close unlocks the folder.
func (f *Folder) Close() error {
	if f.held != nil {
		defer f.held.Close()
	}
	if err := f.Lock.Close(); err != nil {
		return fmt.Errorf("store %s: unlock: %w", f.Path, err)
	}
	return nil
}

// Moved is an error if the path leads elsewhere than to what was opened and
// locked. What is written to that then would be found by nobody, or another
// process may have it open.
func (f *Folder) Moved() error {
	const putBack = "put it back; if it is lost, restart signalpost, which begins with an empty one"
	now, err := f.FS.Stat(f.Path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("store %s: the folder has been moved or removed: %s", f.Path, putBack)
	case err == nil && !sameFile(f.dir, now):
		return fmt.Errorf("store %s: the folder is not the one that was opened, which has been moved or removed: %s", f.Path, putBack)
	}
	return nil // or it is not known
}

// Unlocked is an error if the file that locks the folder is another than was opened.
func (f *Folder) Unlocked() error {
	now, err := f.FS.Stat(f.FS.PathJoin(f.Path, "LOCK"))
	if f.lock != nil && (errors.Is(err, os.ErrNotExist) || err == nil && !sameFile(f.lock, now)) {
		return fmt.Errorf("store %s: its file LOCK has been removed, so another process may have it open: see that none has, and restart signalpost", f.Path)
	}
	return nil // or it is not known
}

// A Call notices that a call, made again and again by one goroutine, does not return.
type Call struct {
	n     atomic.Uint64 // odd: it is under way
	seen  uint64        // n at the last look; the watcher's
	looks int           // the watcher's
}

// Begin and End stand around the call.
func (c *Call) Begin() { c.n.Add(1) }
func (c *Call) End()   { c.n.Add(1) }

// Look is called now and then, and returns for how many looks the call has
// not returned. Looks are counted instead of time: a process that was stopped
// for a while has not waited for its disk meanwhile.
func (c *Call) Look() int {
	n := c.n.Load()
	if n%2 == 0 || n != c.seen {
		c.seen, c.looks = n, 0
	} else {
		c.looks++
	}
	return c.looks
}
