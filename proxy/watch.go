package proxy

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"

	"signalpost/proxy/config"
	"signalpost/proxy/files"
)

// How the watcher keeps time. An edit is picked up within a second: at the
// latest after one look and one rest.
const (
	lookEvery = 500 * time.Millisecond // when no event comes
	rest      = 100 * time.Millisecond // files are read once they have not changed for so long
	gather    = 50 * time.Millisecond  // one edit is several events, and a log beside the config has many
	lookTime  = time.Second            // that a file system may take to answer; the rest is the reload's to tell
)

// watch reloads the config when a file changes that it was made from, until
// ctx ends.
func (p *Proxy) watch(ctx context.Context) {
	w := watcher{
		files: func() map[string]string {
			files := maps.Clone(p.table.Load().Config.Held)
			if bad, ok := errors.AsType[*config.LoadError](p.configError()); ok {
				// A file that only the bad config names may be what is to be mended.
				maps.Copy(files, bad.Held)
			}
			return files
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
// one, makes it look at which file each path leads to, and at its size and
// time. When that is new it waits until the files rest, and compares what they
// hold with what they held when they were last read. So an edit is seen also
// where no event comes (bind mounts, folders that come and go, links higher up
// the path, an overflow); and a touch, or the same text written again, is none.
type watcher struct {
	files   func() map[string]string // absolute paths, and the digest of what each held when it was last read
	changed func()                   // has them read
	events  *fsnotify.Watcher        // nil where there is none; then only looking is left
}

// run watches until ctx ends.
func (w *watcher) run(ctx context.Context) {
	var seen []fs.FileInfo
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for touched := true; ctx.Err() == nil; {
		known := w.files()
		paths := slices.Sorted(maps.Keys(known))
		for _, holds := range known { // a file that was read too slowly changes by answering
			touched = touched || holds == files.ErrHung.Error()
		}
		w.follow(ctx, paths)
		now := look(ctx, paths) // before reading: what is written in between is seen here or next time
		if touched || !slices.EqualFunc(seen, now, same) {
			seen = now
			if !maps.Equal(settle(ctx, paths), known) && ctx.Err() == nil {
				w.changed()
			}
		}
		touched = w.wait(ctx, tick.C, paths)
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
// stand, as far as they exist. Where that fails, looking is left.
func (w *watcher) follow(ctx context.Context, paths []string) {
	if w.events == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	want := map[string]bool{}
	for _, path := range paths {
		want[filepath.Dir(path)] = true
		real, err := files.Interruptible(ctx, path, func() (string, error) { return filepath.EvalSymlinks(path) })
		if err == nil {
			want[filepath.Dir(real)] = true
		}
	}
	for folder := range want { // again each time: one that was deleted, or moved, has dropped out
		files.Interruptible(ctx, folder, func() (any, error) { return nil, w.events.Add(folder) })
	}
	for _, folder := range w.events.WatchList() {
		if !want[folder] {
			w.events.Remove(folder)
		}
	}
}

// settle returns what the files hold once that has not changed for as long as
// files must rest, or when ctx ends.
func settle(ctx context.Context, paths []string) map[string]string {
	holds := hold(ctx, paths)
	for {
		select {
		case <-ctx.Done():
			return holds
		case <-time.After(rest):
		}
		before := holds
		if holds = hold(ctx, paths); maps.Equal(before, holds) {
			return holds
		}
	}
}

// look returns what each path leads to, nil for nothing.
func look(ctx context.Context, paths []string) []fs.FileInfo {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	at := make([]fs.FileInfo, len(paths))
	for i, path := range paths {
		at[i], _ = files.Interruptible(ctx, path, func() (fs.FileInfo, error) { return os.Stat(path) })
	}
	return at
}

// same tells whether a path leads where it did, to what is as it was. A file
// renamed into place may have size and time of the one before.
func same(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == b
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// hold returns the digest of what each file holds.
func hold(ctx context.Context, paths []string) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	holds := make(map[string]string, len(paths))
	for _, path := range paths {
		holds[path] = files.Digest(files.Read(ctx, path, config.MaxFile))
	}
	return holds
}
