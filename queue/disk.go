package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// How the disk is watched: whether it answers, how much room it has, and
// whether the store's folder is where it was. What comes of it is that the
// engine fails, that signals are refused, or that history is shed.
const (
	tendEvery  = time.Second      // between looks
	lookBytes  = 4 << 20          // written, after which the disk is looked at, be it sooner than usual
	stallAfter = 10 * time.Second // a batch that takes so long to come to disk means that the store has failed
)

// tendDisk watches the disk until ctx ends.
func (e *engine) tendDisk(ctx context.Context) {
	disk := time.NewTicker(tendEvery)
	defer disk.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.look:
		case <-disk.C:
		}
		e.watchDisk()
		if e.crowded() {
			nudge(e.shed)
		}
	}
}

// reserve is what is kept of the disk in any case: room to settle what is
// owed, and to open the store again after a failure, when what is in its logs
// is written to tables before the logs go. Signals are refused below it,
// history is shed below half of it. Of a small disk it is a quarter.
const reserve = 64 << 20

// shedAt is the size of the store from which on history goes: a little before
// signals are refused, so that none is while there is history to shed. The
// store grows by a flush, some 8 MiB, at a time.
func (l *Limits) shedAt() int64 {
	early := min(max(l.MaxSize/16, 16<<20), 64<<20)
	return l.MaxSize - min(early, l.MaxSize/4)
}

// excess is how many bytes of history have to go; 0 or less: none.
func (e *engine) excess() int64 {
	return max(e.bytes.Load()-e.limits.Load().shedAt()+1, e.reserved.Load()/2-e.free.Load())
}

// crowded is whether history has to go.
func (e *engine) crowded() bool { return e.excess() > 0 }

// watchDisk finds out how much room there is, and with it whether signals are accepted.
func (e *engine) watchDisk() {
	limits := e.limits.Load()
	_ = e.read(func(db *pebble.DB) error {
		m := db.Metrics()
		// Pebble keeps a few log files to write them anew. They are room, and
		// shedding history would not make them go.
		e.bytes.Store(int64(m.DiskSpaceUsage() - m.WAL.ObsoletePhysicalSize))
		return nil
	})
	why := ""
	if u, err := e.fs.GetDiskUsage(e.o.Path); err == nil {
		e.free.Store(int64(u.AvailBytes))
		e.reserved.Store(min(reserve, int64(u.TotalBytes/4)))
		if least := max(limits.MinFree, e.reserved.Load()); e.free.Load() < least {
			what := "queue.min_free"
			if least > limits.MinFree {
				what = "in any case, whatever queue.min_free says"
			}
			why = fmt.Sprintf("the disk of %s has %d bytes free, %d are needed (%s): free some", e.o.Path, u.AvailBytes, least, what)
		}
	} else {
		e.free.Store(math.MaxInt64) // not known
	}
	if b := e.bytes.Load(); b >= limits.MaxSize {
		why = fmt.Sprintf("the store has %d bytes, queue.max_size is %d: mend or discard what is owed, lower queue.retention if it is what is dead, or raise it", b, limits.MaxSize)
	}
	if err := e.displaced(); err != nil {
		why = err.Error()
	}
	was := e.refusal.Load()
	switch {
	case why == "" && was != nil:
		e.refusal.Store(nil)
		e.log.Info("accepting signals again")
	case why != "":
		e.refusal.Store(&why)
		if was == nil {
			e.log.Error("not accepting signals", slog.String("err", why))
		}
	}
}

// displaced is an error if the path of the store leads elsewhere than to the
// folder that was opened. What is written to that then would be found by nobody.
func (e *engine) displaced() error {
	const what = "put it back; if it is lost, restart signalpost, which begins with an empty one"
	now, err := e.fs.Stat(e.o.Path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("store %s: the folder has been moved or removed: %s", e.o.Path, what)
	case err == nil && !sameFile(e.folder, now):
		return fmt.Errorf("store %s: the folder is not the one that was opened, which has been moved or removed: %s", e.o.Path, what)
	}
	return nil // or it is not known
}

// sameFile tells whether two are of one file, as far as the file system
// numbers files. a may be nil: then it is not known.
func sameFile(a, b os.FileInfo) bool {
	if a == nil {
		return true
	}
	x, ok := a.Sys().(*syscall.Stat_t)
	y, also := b.Sys().(*syscall.Stat_t)
	return !ok || !also || x.Ino == y.Ino && x.Dev == y.Dev
}

// watch fails the engine if the disk does not answer, so that nobody waits for
// it, until ctx ends.
func (e *engine) watch(ctx context.Context) {
	look := time.NewTicker(tendEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		for _, since := range []int64{e.busy.Load(), e.syncing.Load()} {
			if since != 0 && time.Duration(e.clock()-since) > stallAfter {
				e.fail(fmt.Errorf("store %s: the disk has not answered for %v", e.o.Path, stallAfter))
			}
		}
	}
}

// clock is the time since the engine was made, in nanoseconds, never 0. It
// does not follow the clock of the machine when that is set.
func (e *engine) clock() int64 { return int64(time.Since(e.made)) | 1 }
