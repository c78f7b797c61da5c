package proxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"signalpost/proxy/config"
)

// How the watcher keeps time. An edit is picked up within a second: at the
// latest after one look and one rest.
const (
	lookEvery = 500 * time.Millisecond // when no event comes
	rest      = 100 * time.Millisecond // files are read once they have not changed for so long
	gather    = 50 * time.Millisecond  // one edit is several events, and a log beside the config has many

	lookTime = time.Second // that a file system may take to answer; the rest is the reload's to tell

	clockSlack = 20 * time.Millisecond // by which a file's time may be behind the clock
)

// watch reloads the config when a file changes that it was made from, until
// ctx ends.
func (p *Proxy) watch(ctx context.Context) {
	running := p.table.Load()
	w := watcher{
		files: func() []string {
			t := p.table.Load()
			if bad, ok := errors.AsType[*config.LoadError](p.configError()); ok {
				// A file that only the bad config names may be what is to be mended.
				return union(t.Config.Files, bad.Files)
			}
			return t.Config.Files
		},
		// Between the reading of the config and the watching lies the opening
		// of the store, which may take a while.
		stale: func(path string, at place, holds string) bool {
			if path == running.Config.Files[0] {
				return len(holds) == 2*sha256.Size && !strings.HasPrefix(holds, running.Config.Hash)
			}
			return at.modified.After(p.started)
		},
		changed: func() { p.reload(ctx) },
	}
	events, err := fsnotify.NewWatcher()
	if err != nil {
		p.log.Warn("the config's folders cannot be watched: its files are looked at twice a second instead", "err", err)
	} else {
		defer events.Close()
		w.events = events
	}
	w.run(ctx)
}

// A watcher tells when what files hold has changed, however they are edited:
// in place, by a rename, by a link that leads elsewhere, by being away for a while.
//
// It does not interpret events. An event in a folder, or half a second without
// one, makes it look at where each path leads, and at the size and time of
// what is there. When that is new it waits until the files rest and compares
// what they hold with what it was when they were last read. So an edit is seen
// also where no event comes (bind mounts, folders that come and go, links
// higher up the path, an overflow); and a touch, or the same text written
// again, is none.
type watcher struct {
	files   func() []string                                // absolute paths; asked again after each change
	stale   func(path string, at place, holds string) bool // of a file when the watching begins: it has changed already
	changed func()
	events  *fsnotify.Watcher      // nil where there is none; then only looking is left
	folders map[string]fs.FileInfo // those that events watches, as they were then
}

// A place is where a path leads to.
type place struct {
	real     string // without links; "" if there is nothing
	inode    uint64 // a file renamed into place may have size and time of the one before
	size     int64
	modified time.Time
}

// run watches until ctx ends.
func (w *watcher) run(ctx context.Context) {
	paths := w.files()
	w.follow(ctx, paths)
	known := hold(ctx, paths)
	seen := look(ctx, paths) // after it, so that what is written in between is seen here or later
	for i, path := range paths {
		if w.stale(path, seen[i], known[i]) {
			known[i] = "" // which no file holds
		}
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for touched := slices.Contains(known, ""); ; touched = w.wait(ctx, tick.C, paths) {
		if ctx.Err() != nil {
			return
		}
		w.follow(ctx, paths)
		if !touched && slices.Equal(seen, look(ctx, paths)) {
			continue
		}
		var holds []string
		if seen, holds = settle(ctx, paths); ctx.Err() != nil {
			return
		}
		if slices.Equal(known, holds) {
			continue
		}
		began := time.Now().Add(-clockSlack)
		w.changed()
		// What has become of the files since they rested is still to be seen.
		// Files that are new to the list have been read since it began.
		next := w.files()
		held := hold(ctx, next)
		at := look(ctx, next) // after it, so that what is written in between is seen here or later
		for i, path := range next {
			if j := slices.Index(paths, path); j >= 0 {
				at[i], held[i] = seen[j], holds[j]
			} else if at[i].modified.After(began) {
				at[i], held[i] = place{}, ""
			}
		}
		paths, seen, known = next, at, held
	}
}

// wait returns when it is time to look again, and whether there was an event
// about one of the paths themselves.
func (w *watcher) wait(ctx context.Context, tick <-chan time.Time, paths []string) (touched bool) {
	var events chan fsnotify.Event
	var errs chan error
	if w.events != nil {
		events, errs = w.events.Events, w.events.Errors
	}
	var enough <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return false
		case <-tick:
			return touched
		case <-enough:
			return touched
		case e := <-events:
			touched = touched || slices.Contains(paths, e.Name)
		case <-errs: // events were lost
			touched = true
		}
		if enough == nil {
			enough = time.After(gather)
		}
	}
}

// follow has the folders watched in which the paths and what they lead to
// stand, as far as they exist.
func (w *watcher) follow(ctx context.Context, paths []string) {
	if w.events == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	want := map[string]fs.FileInfo{}
	for _, path := range paths {
		want[filepath.Dir(path)] = nil
		if real, err := realPath(ctx, path); err == nil {
			want[filepath.Dir(real)] = nil
		}
	}
	watched := w.events.WatchList() // a folder that is deleted drops out
	for folder, then := range w.folders {
		now, err := stat(ctx, folder)
		_, wanted := want[folder]
		if wanted && err == nil && os.SameFile(then, now) && slices.Contains(watched, folder) {
			want[folder] = then
			continue
		}
		w.events.Remove(folder)
	}
	for folder, then := range want {
		if then != nil {
			continue
		}
		now, err := stat(ctx, folder)
		if err == nil {
			_, err = config.Interruptible(ctx, folder, func() (any, error) { return nil, w.events.Add(folder) })
		}
		if err != nil { // looking goes on, and it is tried again each time
			delete(want, folder)
			continue
		}
		want[folder] = now
	}
	w.folders = want
}

// settle returns where the paths lead to and what is there, once neither has
// changed for as long as files must rest, or when ctx ends.
func settle(ctx context.Context, paths []string) (at []place, holds []string) {
	holds = hold(ctx, paths)
	at = look(ctx, paths)
	for {
		select {
		case <-ctx.Done():
			return at, holds
		case <-time.After(rest):
		}
		atNow, holdsNow := look(ctx, paths), hold(ctx, paths)
		if slices.Equal(at, atNow) && slices.Equal(holds, holdsNow) {
			return at, holds
		}
		at, holds = atNow, holdsNow
	}
}

// look returns where each path leads to.
func look(ctx context.Context, paths []string) []place {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	at := make([]place, len(paths))
	for i, path := range paths {
		real, err := realPath(ctx, path)
		if err != nil {
			continue
		}
		if info, err := stat(ctx, real); err == nil {
			at[i] = place{real: real, size: info.Size(), modified: info.ModTime()}
			if s, ok := info.Sys().(*syscall.Stat_t); ok {
				at[i].inode = s.Ino
			}
		}
	}
	return at
}

func realPath(ctx context.Context, path string) (string, error) {
	return config.Interruptible(ctx, path, func() (string, error) { return filepath.EvalSymlinks(path) })
}

func stat(ctx context.Context, path string) (fs.FileInfo, error) {
	return config.Interruptible(ctx, path, func() (fs.FileInfo, error) { return os.Stat(path) })
}

// hold returns for each path the digest of what the file holds, in hex, or why
// it cannot be read. A digest, because the content may be a secret.
func hold(ctx context.Context, paths []string) []string {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	holds := make([]string, len(paths))
	for i, path := range paths {
		if data, err := config.ReadFile(ctx, path, config.MaxFile); err != nil {
			holds[i] = err.Error()
		} else {
			holds[i] = fmt.Sprintf("%x", sha256.Sum256(data))
		}
	}
	return holds
}

// union returns the elements of a, and those of b that a lacks.
func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}
