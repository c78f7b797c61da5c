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
// missing is missed: Pebble takes it for one that was never made. A line is
// "+" or "-" and the name of a log that was made or is about to go. What was
// made is in the folder, synced, before its line is; what goes, after.
const logList = "LOGS"

// made watches a file that was just made.
func (s *Shield) made(name string, f vfs.File, err error) error {
	if err != nil || !isWatched(name) {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watched[name] = info
	if s.logs == nil || !isLog(name) {
		return nil
	}
	if err := s.syncFolder(); err != nil {
		return err
	}
	return s.note("+" + name)
}

// going watches a file no more.
func (s *Shield) going(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watched, name)
	if s.logs == nil || !isLog(name) {
		return nil
	}
	return s.note("-" + name)
}

// Forget is told of files that are missed no more: what they held is elsewhere.
func (s *Shield) Forget(names []string) {
	for _, n := range names {
		s.change(func() error { return s.going(n) })
	}
}

// note appends lines to the list of logs. mu is held.
func (s *Shield) note(lines ...string) error {
	if _, err := s.logs.Write([]byte(strings.Join(lines, "\n") + "\n")); err != nil {
		return err
	}
	return s.logs.Sync()
}

// Begin watches what is there and writes the list of logs anew. It is called
// before the database is opened for writing, which is closed before End.
func (s *Shield) Begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	names, err := s.FS.List(s.path)
	if err != nil {
		return err
	}
	var lines []string
	for _, n := range names {
		if !isWatched(n) {
			continue
		}
		info, err := s.FS.Stat(s.FS.PathJoin(s.path, n))
		if err != nil {
			return err
		}
		s.watched[n] = info
		if isLog(n) {
			lines = append(lines, "+"+n)
		}
	}
	fresh := s.FS.PathJoin(s.path, logList+".dbtmp") // Pebble removes it should it stay
	if s.logs, err = s.FS.Create(fresh, vfs.WriteCategoryUnspecified); err != nil {
		return err
	}
	if err := s.note(lines...); err != nil {
		return err
	}
	if err := s.FS.Rename(fresh, s.FS.PathJoin(s.path, logList)); err != nil {
		return err
	}
	return s.syncFolder()
}

// End closes the list of logs.
func (s *Shield) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logs != nil {
		_ = s.logs.Close()
		s.logs = nil
	}
}

// Missing are the files that must be there and are not, or are others than
// were opened: logs, tables, markers, manifests.
func (s *Shield) Missing() (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, was := range s.watched {
		now, err := s.FS.Stat(s.FS.PathJoin(s.path, name))
		if errors.Is(err, os.ErrNotExist) || err == nil && !sameFile(was, now) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
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
