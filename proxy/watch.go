package proxy

import (
	"context"
	"errors"
	"maps"
	"time"

	"signalpost/proxy/config"
	"signalpost/proxy/files"
)

// An edit is picked up within a second: at the latest after one look and one rest.
const (
	lookEvery = 400 * time.Millisecond
	rest      = 100 * time.Millisecond // files are read once they have not changed for so long
	lookTime  = time.Second            // for a file system to answer; a reload reports one that takes longer
)

// watch reloads the config when a file changes that it was made from, until
// ctx ends.
func (p *Proxy) watch(ctx context.Context) {
	poll(ctx, func() map[string]string {
		files := maps.Clone(p.table.Load().Config.Files)
		if bad, ok := errors.AsType[*config.LoadError](p.configError()); ok {
			// A file that only the bad config names may be what is to be mended.
			maps.Copy(files, bad.Files)
		}
		return files
	}, func() { p.reload(ctx) })
}

// poll calls changed when the content of files has changed, until ctx ends. known
// returns their absolute paths, and the digest of what each held when it was last read;
// changed has them read.
//
// It reads the files, which are small, and compares. So an edit is noticed however it is
// made: in place, by a rename, by a link that leads elsewhere, by being away for a while,
// and on mounts that report no events. A touch, or the same text written again, is none.
func poll(ctx context.Context, known func() map[string]string, changed func()) {
	var before map[string]string          // the digests a rest ago, if they were news
	var reported, after map[string]string // those when changed was last called, and those that it then read
	for pause := time.Duration(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		was := known()
		now := digests(ctx, was)
		switch {
		case maps.Equal(now, was) || maps.Equal(now, reported) && maps.Equal(was, after):
			before, pause = nil, lookEvery
		case !maps.Equal(now, before):
			before, pause = now, rest
		case ctx.Err() == nil:
			changed()
			reported, after, pause = now, known(), 0
		}
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
