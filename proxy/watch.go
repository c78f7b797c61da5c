package proxy

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
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
	lookTime  = time.Second            // for a file system to answer; a reload reports one that takes longer
)

// watch reloads the config when a file changes that it was made from, until
// ctx ends.
func (p *Proxy) watch(ctx context.Context) {
	w := watcher{
		files: func() map[string]string {
			files := maps.Clone(p.table.Load().Config.Files)
			if bad, ok := errors.AsType[*config.LoadError](p.configError()); ok {
				// A file that only the bad config names may be what is to be mended.
				maps.Copy(files, bad.Files)
			}
			return files
		},
		changed: func() { p.reload(ctx) },
	}
	events, err := fsnotify.NewWatcher()
	if err != nil {
		p.log.Warn("the config's folders cannot be watched: its files are read twice a second all the same", "err", err)
	} else {
		defer events.Close()
		w.events = events
	}
	w.run(ctx)
}

// A watcher notices that the content of files has changed, however they are edited: in
// place, by a rename, by a link that leads elsewhere, by being away for a while.
//
// It does not interpret events. After an event in a folder, or half a second without one,
// it reads the files, which are small, and compares their content with that when the
// config was last read. So an edit is noticed also where no event comes (bind mounts,
// folders that come and go, links higher up the path, an overflow); and a touch, or the
// same text written again, is none.
type watcher struct {
	files   func() map[string]string // absolute paths, and the digest of what each held when it was last read
	changed func()                   // has them read
	events  *fsnotify.Watcher        // nil where there is none; then only half seconds are left
}

// run watches until ctx ends.
func (w *watcher) run(ctx context.Context) {
	var before map[string]string          // the digests a rest ago, if they were news
	var reported, after map[string]string // those when changed was last called, and those that it then read
	for ctx.Err() == nil {
		known := w.files()
		w.follow(ctx, known)
		now := digests(ctx, known)
		switch {
		case maps.Equal(now, known) || maps.Equal(now, reported) && maps.Equal(known, after):
			before = nil
			w.wait(ctx)
		case !maps.Equal(now, before):
			before = now
			select {
			case <-ctx.Done():
			case <-time.After(rest):
			}
		case ctx.Err() == nil:
			w.changed()
			reported, after = now, w.files()
		}
	}
}

// wait returns when it is time to read again.
func (w *watcher) wait(ctx context.Context) {
	var events chan fsnotify.Event
	var errs chan error
	if w.events != nil {
		events, errs = w.events.Events, w.events.Errors
	}
	enough := time.After(lookEvery)
	for gathering := false; ; gathering = true {
		select {
		case <-ctx.Done():
			return
		case <-enough:
			return
		case <-events:
		case <-errs: // events were lost
		}
		if !gathering {
			enough = time.After(gather)
		}
	}
}

// follow watches the folders of the paths, and of the files that links there lead to, as
// far as they exist. Where that fails, half seconds are left.
func (w *watcher) follow(ctx context.Context, paths map[string]string) {
	if w.events == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	for path := range paths { // again each time: one that was deleted, or moved, has dropped out
		files.Interruptible(ctx, path, func() (any, error) {
			w.events.Add(filepath.Dir(path))
			real, err := filepath.EvalSymlinks(path)
			if err == nil {
				err = w.events.Add(filepath.Dir(real))
			}
			return nil, err
		})
	}
}

// digests returns the digest of each file's content.
func digests(ctx context.Context, paths map[string]string) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	all := make(map[string]string, len(paths))
	for path := range paths {
		all[path] = files.Digest(files.Read(ctx, path, config.MaxFile))
	}
	return all
}
