package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A testDisk is a file system of a size on which there is a store and what others write.
type testDisk struct {
	fs   vfs.FS
	path string
	fill func(n int64) // what others have on it
}

// smallDisk is a small real file system, if the machine lets us have one.
func smallDisk(t *testing.T, size int64) testDisk {
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("needs to mount a tmpfs")
	}
	dir := t.TempDir()
	if err := mountTmpfs(dir, size); err != nil {
		t.Skip("cannot mount a tmpfs:", err)
	}
	t.Cleanup(func() {
		if err := unmount(dir); err != nil {
			t.Error(err)
		}
	})
	filler := filepath.Join(dir, "others")
	return testDisk{vfs.Default, filepath.Join(dir, "data"), func(n int64) {
		if err := os.Remove(filler); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		f, err := os.Create(filler)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for chunk := make([]byte, 64<<10); n > 0; n -= int64(len(chunk)) {
			if _, err := f.Write(chunk[:min(n, int64(len(chunk)))]); err != nil {
				return // full
			}
		}
	}}
}

// pretendDisk is a disk in memory that has only so much room.
func pretendDisk(size int64) testDisk {
	mem := vfs.NewMem()
	var others atomic.Int64
	used := func() int64 {
		n := others.Load()
		names, _ := mem.List(storePath)
		for _, name := range names {
			if i, err := mem.Stat(mem.PathJoin(storePath, name)); err == nil {
				n += i.Size()
			}
		}
		return min(n, size)
	}
	return testDisk{&hookFS{
		FS: mem,
		hook: func(o fsOp, after bool) error {
			if !after && (o.kind == "write" || o.kind == "create") && used() >= size {
				return &os.PathError{Op: o.kind, Path: o.name, Err: syscall.ENOSPC}
			}
			return nil
		},
		usage: func() vfs.DiskUsage {
			u := used()
			return vfs.DiskUsage{AvailBytes: uint64(size - u), TotalBytes: uint64(size), UsedBytes: uint64(u)}
		},
	}, storePath, others.Store}
}

func eachDisk(t *testing.T, size int64, f func(t *testing.T, d testDisk)) {
	t.Run("pretended", func(t *testing.T) { f(t, pretendDisk(size)) })
	t.Run("real", func(t *testing.T) { f(t, smallDisk(t, size)) })
}

// rigOn opens a queue on the disk.
func rigOn(t *testing.T, d testDisk, l Limits, routes ...Route) *rig {
	t.Helper()
	p := &endpoint{}
	q, err := open(Options{Path: d.path, Courier: p, Limits: l, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}, d.fs)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, fs: d.fs, endpoint: p, limits: l, routes: routes, Queue: q}
	r.configure(routes...)
	t.Cleanup(func() {
		if err := q.Close(context.Background()); err != nil {
			t.Error("close:", err)
		}
		if err := check(d.path, d.fs); err != nil {
			t.Error(err)
		}
	})
	return r
}

// flood puts signals until one is refused, and returns the others and the refusal.
func (r *rig) flood(route string, size, most int) (ids []DeliveryID, err error) {
	r.t.Helper()
	body := noise(size)
	for range most {
		a := Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: body}, Deliveries: []Made{{Route: route}}}
		if err := r.Put([]Accepted{a}, nil, nil); err != nil {
			mustBe(r.t, err, ErrUnavailable)
			return ids, err
		}
		ids = append(ids, a.ID.Delivery(1))
	}
	return ids, nil
}

func TestDiskFull(t *testing.T) {
	eachDisk(t, 256<<20, func(t *testing.T, d testDisk) {
		paused := route("a")
		paused.Paused = true
		r := rigOn(t, d, Limits{}, paused)
		ids, err := r.flood("a", 100_000, 200)
		if err != nil {
			t.Fatal(err)
		}
		d.fill(512 << 20) // others take all there is
		more, err := r.flood("a", 100_000, 2000)
		if err == nil {
			t.Error("nothing was refused")
		}
		ids = append(ids, more...)
		if s := r.Status(); s.Accepting || s.Reason == "" {
			t.Errorf("status says %v %q", s.Accepting, s.Reason)
		}
		d.fill(0)
		r.until("accepting again", func() bool { return r.Ready() == nil })
		after := r.put("a")
		ids = append(ids, after.Delivery(1))
		r.configure(route("a"))
		r.until("all delivered", func() bool { return r.status("a").Pending == 0 })
		for _, id := range ids {
			r.wantState(id, StateDelivered, "")
		}
	})
}

// TestStoreFillsDisk: the store alone comes to the end of the disk. It stops
// in time, and goes on when what is owed has been delivered.
func TestStoreFillsDisk(t *testing.T) {
	bulk(t)
	eachDisk(t, 112<<20, func(t *testing.T, d testDisk) {
		paused := route("a")
		paused.Paused = true
		r := rigOn(t, d, Limits{MinFree: 0}, paused)
		ids, err := r.flood("a", 100_000, 5000)
		if err == nil || !strings.Contains(err.Error(), "MiB free") {
			t.Errorf("the refusal is %v", err)
		}
		r.configure(route("a"))
		r.until("all delivered", func() bool { return r.status("a").Pending == 0 })
		if s := r.status("a"); s.Delivered != int64(len(ids)) {
			t.Errorf("%d were delivered, want %d", s.Delivered, len(ids))
		}
		if err := r.engine.Load().store.Err(); err != nil {
			t.Error(err)
		}
	})
}

func TestMinFree(t *testing.T) {
	eachDisk(t, 256<<20, func(t *testing.T, d testDisk) {
		paused := route("a")
		paused.Paused = true
		r := rigOn(t, d, Limits{MinFree: 80 << 20}, paused)
		ids, err := r.flood("a", 1000, 500)
		if err != nil {
			t.Fatal(err)
		}
		u, err := d.fs.GetDiskUsage(d.path)
		if err != nil {
			t.Fatal(err)
		}
		d.fill(int64(u.AvailBytes) - 40<<20)
		r.until("refusing", func() bool { return r.Ready() != nil })
		_, err = r.flood("a", 1000, 1)
		if err == nil || !strings.Contains(err.Error(), "queue.min_free") {
			t.Errorf("the refusal is %v", err)
		}
		r.configure(route("a"))
		r.until("all delivered, with little room", func() bool { return r.status("a").Pending == 0 })
		for _, id := range ids {
			r.wantState(id, StateDelivered, "")
		}
		d.fill(0)
		r.until("accepting again", func() bool { return r.Ready() == nil })
		r.put("a")
	})
}

func TestMaxSize(t *testing.T) {
	bulk(t)
	eachDisk(t, 256<<20, func(t *testing.T, d testDisk) {
		paused := route("b")
		paused.Paused = true
		r := rigOn(t, d, Limits{MaxSize: 24 << 20}, route("a"), paused)
		old, err := r.flood("a", 50_000, 20)
		if err != nil {
			t.Fatal(err)
		}
		r.until("delivered", func() bool { return r.status("a").Pending == 0 })
		var owed []DeliveryID
		for err == nil {
			var ids []DeliveryID
			ids, err = r.flood("b", 50_000, 2000)
			owed = append(owed, ids...)
		}
		if !strings.Contains(err.Error(), "queue.max_size") {
			t.Errorf("the refusal is %v", err)
		}
		// What was delivered goes, what is owed stays.
		r.until("history shed", func() bool {
			ids, _ := r.flood("b", 50_000, 2000) // compactions may have made room once more
			owed = append(owed, ids...)
			_, err := r.Queue.Delivery(old[0])
			return errors.Is(err, ErrNotFound)
		})
		if s := r.status("b"); s.Pending != int64(len(owed)) {
			t.Errorf("%d are owed, want %d", s.Pending, len(owed))
		}
		r.configure(route("a"), route("b"))
		r.until("delivered when the store is full", func() bool { return r.status("b").Pending == 0 })
		r.until("accepting again", func() bool { return r.Ready() == nil })
		r.put("a")
		if n := r.Status().Evicted; n == 0 {
			t.Error("nothing was evicted")
		}
		if n := r.Status().Unaccounted; n != 0 {
			t.Error(fmt.Sprint(n, " are unaccounted for"))
		}
	})
}

// TestFolderMoved: what is accepted while the folder is away would be found by
// nobody, so nothing is; nor is another store made in its place.
func TestFolderMoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	away := path + ".away"
	r := rigOn(t, testDisk{fs: vfs.Default, path: path}, Limits{}, route("a"))
	first := r.put("a").Delivery(1)
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(word string) {
		t.Helper()
		r.until("it is refused: "+word, func() bool { err := r.Ready(); return err != nil && strings.Contains(err.Error(), word) })
		mustBe(t, r.Put([]Accepted{{Signal: Signal{ID: r.NewSignalID(), Body: []byte("{}")}}}, nil, nil), ErrUnavailable)
	}
	accepted := func() {
		t.Helper()
		r.until("it accepts again", func() bool { return r.Ready() == nil })
		r.put("a")
	}
	move(path, away)
	refused("has been moved or removed")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	refused("is not the one that was opened")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	move(away, path)
	accepted()

	move(path, away)
	refused("has been moved or removed")
	r.engine.Load().store.Fail(errors.New("as if a log had been renamed"))
	refused("as if")
	time.Sleep(2 * firstReopen)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("there is a folder again:", err)
	}
	move(away, path)
	accepted()
	r.until("the first is delivered", func() bool { return r.detail(first).State == StateDelivered })
}

// TestNewStoreIsSaid: a start that finds no store says so, once.
func TestNewStoreIsSaid(t *testing.T) {
	fs := vfs.NewMem()
	for _, fresh := range []bool{true, false} {
		said := &lines{}
		q, err := open(Options{Path: storePath, Courier: refuser{}, Log: slog.New(slog.NewTextHandler(said, nil))}, fs)
		if err != nil {
			t.Fatal(err)
		}
		if err := q.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if strings.Contains(strings.Join(said.text, ""), "new store begun in "+storePath) != fresh {
			t.Errorf("fresh %v: it says %q", fresh, said.text)
		}
	}
}

// TestFilesRemoved: files removed inside the folder, or cut, are noticed within a
// second. Nothing is accepted any more, and what was acknowledged is kept.
func TestFilesRemoved(t *testing.T) {
	for name, test := range map[string]struct {
		remove string // glob
		says   string
	}{
		"logs":   {"*.log", "restart signalpost"},
		"cut":    {"*.log", "restart signalpost"},
		"lock":   {"LOCK", "another process may have it open"},
		"both":   {"*[Kg]", "restart signalpost"}, // LOCK and *.log
		"marker": {"marker.manifest.*", "marker.manifest"},
		"tables": {"*.sst", "restore the folder from a backup"},
		"all":    {"*", "restore the folder from a backup"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "data")
			paused := route("a")
			paused.Paused = true
			p := &endpoint{}
			q, err := Open(Options{Path: path, Courier: p})
			if err != nil {
				t.Fatal(err)
			}
			r := &rig{t: t, endpoint: p, Queue: q}
			r.configure(paused)
			ids := r.putMany("a", 100)
			if name == "cut" {
				time.Sleep(1500 * time.Millisecond) // until they have been looked at
			}
			gone := map[string][]byte{}
			matches, err := filepath.Glob(filepath.Join(path, test.remove))
			if err != nil || len(matches) == 0 {
				t.Fatal(matches, err)
			}
			for _, m := range matches {
				if gone[m], err = os.ReadFile(m); err != nil {
					t.Fatal(err)
				}
				if name == "cut" {
					err = os.Truncate(m, 0)
				} else {
					err = os.Remove(m)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			accepted := ids
			for {
				a := Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: []byte("{}")}, Deliveries: []Made{{Route: "a"}}}
				if err = r.Put([]Accepted{a}, nil, nil); err != nil {
					break
				}
				accepted = append(accepted, a.ID.Delivery(1))
				time.Sleep(5 * time.Millisecond)
			}
			mustBe(t, err, ErrUnavailable)
			if !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), path) {
				t.Errorf("it says %v", err)
			}
			if name == "all" {
				_ = q.Close(context.Background())
				return
			}
			if name == "marker" || name == "tables" { // whoever has it puts it back
				for m, b := range gone {
					if err := os.WriteFile(m, b, 0o600); err != nil {
						t.Fatal(err)
					}
				}
			} else {
				time.Sleep(1500 * time.Millisecond)
				mustBe(t, r.Ready(), ErrUnavailable)
			}
			if err := q.Close(context.Background()); err != nil {
				t.Error(err)
			}
			if err := Check(path); err != nil {
				t.Error(err)
			}
			if q, err = Open(Options{Path: path, Courier: p}); err != nil {
				t.Fatal(err)
			}
			r.Queue = q
			r.configure(route("a"))
			r.until("all delivered", func() bool { return r.status("a").Pending == 0 })
			once(t, p.taken(), accepted)
			r.put("a")
			if err := q.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestLogsRemovedOneByOne: logs removed after others have been missed, or just
// before a stop, are kept like those.
func TestLogsRemovedOneByOne(t *testing.T) {
	for name, missed := range map[string]bool{"after others": true, "before a stop": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "data")
			paused := route("a")
			paused.Paused = true
			p := &endpoint{}
			q, err := Open(Options{Path: path, Courier: p})
			if err != nil {
				t.Fatal(err)
			}
			r := &rig{t: t, endpoint: p, Queue: q}
			r.configure(paused)
			remove := func() {
				logs, err := filepath.Glob(filepath.Join(path, "*.log"))
				if err != nil || len(logs) == 0 {
					t.Fatal(logs, err)
				}
				for _, l := range logs {
					if err := os.Remove(l); err != nil {
						t.Fatal(err)
					}
				}
			}
			ids := r.putMany("a", 100)
			if missed {
				remove()
				r.until("it is noticed", func() bool { return r.Ready() != nil })
				r.until("there is another log", func() bool {
					logs, _ := filepath.Glob(filepath.Join(path, "*.log"))
					return len(logs) > 0
				})
			}
			remove()
			if err := r.Close(context.Background()); err != nil {
				t.Error(err)
			}
			if q, err = Open(Options{Path: path, Courier: p}); err != nil {
				t.Fatal(err)
			}
			r.Queue = q
			r.configure(route("a"))
			r.until("all delivered", func() bool { return r.status("a").Pending == 0 })
			once(t, p.taken(), ids)
			if err := q.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestLogRemovedWhileStopped: a store that lacks a log which was made is
// refused, and left as it is.
func TestLogRemovedWhileStopped(t *testing.T) {
	mem := vfs.NewCrashableMem()
	paused := route("a")
	paused.Paused = true
	r := newRigOn(t, mem, Limits{}, paused)
	r.putMany("a", 100)
	all := files(t, mem.CrashClone(vfs.CrashCloneCfg{}))
	log := pick(t, all, "0", ".log")
	delete(all, log)
	refused(t, storeOf(t, all), log, "restore the folder from a backup")
}
