package proxy

import (
	"context"
	"errors"
	"maps"
	"time"

	"signalpost/proxy/config"
	"signalpost/proxy/files"
)

// How the watcher keeps time. An edit is picked up within a second: at the
// latest after one look and one rest.
const (
	lookEvery = 250 * time.Millisecond
	rest      = 100 * time.Millisecond // files are read once they have not changed for so long
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
	w.run(ctx)
}

// A watcher tells when what files hold has changed, however they are edited:
// in place, by a rename, by a link that leads elsewhere, by being away for a while.
//
// It waits for no events, which do not come from everywhere (bind mounts, folders
// that come and go, links higher up the path): it reads the files, which are small,
// and compares what they hold with what they held when the config was last read. So
// a touch, or the same text written again, is no change.
type watcher struct {
	files   func() map[string]string // absolute paths, and the digest of what each held when it was last read
	changed func()                   // has them read
}

// run watches until ctx ends.
func (w *watcher) run(ctx context.Context) {
	var told, after map[string]string // what the files held when changed was last called, and what it then read
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		known := w.files()
		news := func(holds map[string]string) bool {
			return !maps.Equal(holds, known) && !(maps.Equal(holds, told) && maps.Equal(known, after)) && ctx.Err() == nil
		}
		if holds := hold(ctx, known); news(holds) {
			if holds = settle(ctx, holds); news(holds) {
				w.changed()
				told, after = holds, w.files()
			}
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// settle returns what the files hold once that has not changed for as long as
// files must rest, or when ctx ends.
func settle(ctx context.Context, holds map[string]string) map[string]string {
	for {
		select {
		case <-ctx.Done():
			return holds
		case <-time.After(rest):
		}
		before := holds
		if holds = hold(ctx, holds); maps.Equal(before, holds) {
			return holds
		}
	}
}

// hold returns the digest of what each file holds.
func hold(ctx context.Context, paths map[string]string) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	holds := make(map[string]string, len(paths))
	for path := range paths {
		holds[path] = files.Digest(files.Read(ctx, path, config.MaxFile))
	}
	return holds
}
