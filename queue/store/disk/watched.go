package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// logList is the file that names the logs of the store, so that one that is
// missing is missed: Pebble takes it for one that was never made. A line is "+"
// and the name of a log; an older version appended to it, also "-" and the name
// of one that was removed. A new log is in the folder, synced, before it is listed, and
// an old one is taken off the list before it is removed.
const logList = "LOGS"

// A watchedFile must not go away.
type watchedFile struct {
	info  vfs.FileInfo
	begun bool // of a log: something has been written to it
}

// watchNew watches a file that was just made.
func (s *Shield) watchNew(name string, f vfs.File, err error) error {
	if err != nil || !isWatched(name) {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watched[name] = &watchedFile{info: info}
	if !isLog(name) {
		return nil
	}
	if err := s.syncFolder(); err != nil {
		return err
	}
	return s.listLogs()
}

// unwatch ends the watch of a file.
func (s *Shield) unwatch(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watched, name)
	if !isLog(name) {
		return nil
	}
	return s.listLogs()
}

// Forget ends the watch of files that are missing: what they held is elsewhere.
func (s *Shield) Forget(names []string) {
	for _, n := range names {
		s.change(func() error { return s.unwatch(n) })
	}
}

// listLogs writes the list of logs anew. mu is held.
func (s *Shield) listLogs() error {
	text := ""
	for name := range s.watched {
		if isLog(name) {
			text += "+" + name + "\n"
		}
	}
	fresh := s.FS.PathJoin(s.path, logList+".dbtmp") // Pebble removes it should it stay
	f, err := s.FS.Create(fresh, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err = f.Write([]byte(text)); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = s.FS.Rename(fresh, s.FS.PathJoin(s.path, logList))
	}
	if err == nil {
		err = s.syncFolder()
	}
	return err
}

// Begin watches what is there and lists its logs, before the database is opened for writing.
func (s *Shield) Begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	names, err := s.FS.List(s.path)
	if err != nil {
		return err
	}
	for _, n := range names {
		if !isWatched(n) {
			continue
		}
		info, err := s.FS.Stat(s.FS.PathJoin(s.path, n))
		if err != nil {
			return err
		}
		s.watched[n] = &watchedFile{info: info}
	}
	return s.listLogs()
}

// Missing are the files that must be there and are not, are others than were
// opened, or have been cut: logs, tables, markers, manifests.
func (s *Shield) Missing() (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, was := range s.watched {
		now, err := s.FS.Stat(s.FS.PathJoin(s.path, name))
		if errors.Is(err, os.ErrNotExist) || err == nil && (!sameFile(was.info, now) || now.Size() < was.info.Size() || s.emptied(name, was)) {
			names = append(names, name)
		} else if err == nil {
			was.info = now
		}
	}
	slices.Sort(names)
	return names
}

// emptied is whether a log has been cut to nothing, which the next write to it
// hides: it begins with a hole then.
func (s *Shield) emptied(name string, w *watchedFile) bool {
	if !isLog(name) {
		return false
	}
	f, err := s.FS.Open(s.FS.PathJoin(s.path, name))
	if err != nil {
		return false
	}
	defer f.Close()
	var head [8]byte
	if _, err := f.ReadAt(head[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return false // what cannot be read is not known to be cut
	}
	begun := head != [8]byte{}
	empty := w.begun && !begun
	w.begun = w.begun || begun
	return empty
}

// missingLogs are those that the list names and the folder lacks.
func missingLogs(fs vfs.FS, path string, names []string) (missing []string, err error) {
	f, err := fs.Open(fs.PathJoin(path, logList))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // an older version was the last
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	listed := map[string]bool{}
	newest := ""
	for line := range strings.Lines(string(text)) {
		name, whole := strings.CutSuffix(line, "\n")
		if !whole || len(name) < 2 {
			continue
		}
		if op, name := name[0], name[1:]; op == '-' {
			delete(listed, name)
		} else {
			listed[name] = true
			newest = max(newest, name)
		}
	}
	for _, n := range names {
		if isLog(n) && n > newest {
			return nil, nil // an older version, which keeps no list, was the last
		}
		delete(listed, n)
	}
	for n := range listed {
		missing = append(missing, n)
	}
	slices.Sort(missing)
	return missing, nil
}

// CheckLogs is an error if a log of the store is missing, or damaged in what
// was synced. It says what to do.
func CheckLogs(fs vfs.FS, path string) error {
	names, err := fs.List(path)
	if err != nil {
		return err
	}
	missing, err := missingLogs(fs, path, names)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return fmt.Errorf("of its logs, which hold what was acknowledged last, there is no %s (to remove %s too gives that up)", strings.Join(missing, ", "), logList)
	}
	return checkNewest(fs, path, names)
}
