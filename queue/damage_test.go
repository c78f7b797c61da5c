package queue

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"signalpost/queue/record"
)

func files(t testing.TB, fs vfs.FS) map[string][]byte {
	t.Helper()
	names, err := fs.List(storePath)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, n := range names {
		all[n] = readFile(t, fs, n)
	}
	return all
}

func readFile(t testing.TB, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(fs.PathJoin(storePath, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create(fs.PathJoin(storePath, name), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(bytes.Clone(b)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// storeOf makes a store in memory with the files.
func storeOf(t testing.TB, all map[string][]byte) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewMem()
	if err := fs.MkdirAll(storePath, 0o700); err != nil {
		t.Fatal(err)
	}
	for n, b := range all {
		if n != "LOCK" {
			writeFile(t, fs, n, b)
		}
	}
	return fs
}

// pick is the name of the newest file that begins and ends so.
func pick(t testing.TB, all map[string][]byte, prefix, suffix string) string {
	t.Helper()
	best := ""
	for n := range all {
		if strings.HasPrefix(n, prefix) && strings.HasSuffix(n, suffix) && n > best {
			best = n
		}
	}
	if best == "" {
		t.Fatalf("no file %s*%s", prefix, suffix)
	}
	return best
}

// sample is a store of 200 pending deliveries, most of them in a table, the
// last in the log, as a power cut leaves it.
func sample(t *testing.T) (all map[string][]byte, ids []DeliveryID) {
	t.Helper()
	// By the clock of the bubbles that open it: elsewhere its deliveries are not due for years.
	bubble(t, "sample", func(t *testing.T) {
		mem := vfs.NewCrashableMem()
		paused := route("a")
		paused.Paused = true
		r := newRigOn(t, mem, Limits{}, paused)
		put := func(n int) {
			for range n {
				s := Accepted{Signal: Signal{ID: r.NewSignalID(), Type: "lead", Body: noise(700)}, Deliveries: []Made{{Route: "a", Body: noise(300)}}}
				r.putAll(s)
				ids = append(ids, s.ID.Delivery(1))
			}
		}
		put(180)
		if err := r.engine.Load().store.Read(func(db *pebble.DB) error { return db.Flush() }); err != nil {
			t.Fatal(err)
		}
		put(20)
		all = files(t, mem.CrashClone(vfs.CrashCloneCfg{}))
	})
	return all, ids
}

// refused opens a damaged store and wants an error with the words, and all data left as it is.
func refused(t *testing.T, fs vfs.FS, words ...string) {
	t.Helper()
	before := files(t, fs)
	q, err := open(Options{Path: storePath, Courier: refuser{}}, fs)
	if err == nil {
		q.Close(context.Background())
		t.Error("it opened")
		return
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("the error has more than one line: %q", err)
	}
	if strings.Contains(err.Error(), strconv.Quote(storePath)) {
		t.Errorf("the error has the path twice: %q", err)
	}
	for _, w := range append(words, storePath) {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error is %q, it lacks %q", err, w)
		}
	}
	after := files(t, fs)
	for n := range after {
		if n != "LOCK" && before[n] == nil {
			t.Errorf("%s was made", n)
		}
	}
	for n, b := range before {
		if n != "LOCK" && !bytes.Equal(after[n], b) {
			t.Errorf("%s was changed", n)
		}
	}
}

func TestDamagedStoreIsRefusedAndLeft(t *testing.T) {
	all, ids := sample(t)
	log, table, manifest := pick(t, all, "0", ".log"), pick(t, all, "0", ".sst"), pick(t, all, "MANIFEST-", "")
	marker := pick(t, all, "marker.manifest.", "")
	flipped := func(name string, at int) *vfs.MemFS {
		fs := storeOf(t, all)
		b := bytes.Clone(all[name])
		b[at] ^= 0x40
		writeFile(t, fs, name, b)
		return fs
	}
	without := func(name string) *vfs.MemFS {
		fs := storeOf(t, all)
		if err := fs.Remove(fs.PathJoin(storePath, name)); err != nil {
			t.Fatal(err)
		}
		return fs
	}
	const restore = "restore the folder from a backup"
	t.Run("a byte in the middle of the log", func(t *testing.T) {
		refused(t, flipped(log, len(written(all[log]))/2), restore, log)
	})
	t.Run("the log cut where it is damaged", func(t *testing.T) {
		fs := flipped(log, len(written(all[log]))/2)
		_, err := open(Options{Path: storePath, Courier: refuser{}}, fs)
		m := regexp.MustCompile(`truncate -s (\d+) ` + regexp.QuoteMeta(fs.PathJoin(storePath, log))).FindStringSubmatch(fmt.Sprint(err))
		if m == nil {
			t.Fatalf("the error is %q", err)
		}
		at, _ := strconv.Atoi(m[1])
		writeFile(t, fs, log, files(t, fs)[log][:at])
		q, err := open(Options{Path: storePath, Courier: refuser{}}, fs)
		if err != nil {
			t.Fatal(err)
		}
		kept := 0
		for _, id := range ids {
			if _, err := q.Delivery(id); err == nil {
				kept++
			}
		}
		if kept < 185 || kept == len(ids) { // 180 are in the table, 20 in the log
			t.Errorf("%d of %d are kept", kept, len(ids))
		}
		if err := q.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := check(storePath, fs); err != nil {
			t.Error(err)
		}
	})
	t.Run("a byte in the manifest", func(t *testing.T) {
		refused(t, flipped(manifest, 20), restore, manifest)
	})
	t.Run("the manifest is missing", func(t *testing.T) { refused(t, without(manifest), restore, manifest) })
	t.Run("the marker is missing", func(t *testing.T) { refused(t, without(marker), restore, "marker.manifest") })
	t.Run("a table is missing", func(t *testing.T) { refused(t, without(table), restore, strings.TrimSuffix(table, ".sst")) })
	t.Run("a table is cut short", func(t *testing.T) {
		fs := storeOf(t, all)
		writeFile(t, fs, table, all[table][:len(all[table])/2])
		refused(t, fs, restore, strings.TrimSuffix(table, ".sst"))
	})
	t.Run("a newer format of Pebble", func(t *testing.T) {
		fs := without(pick(t, all, "marker.format-version.", ""))
		writeFile(t, fs, "marker.format-version.000099.999", nil)
		refused(t, fs, "newer version")
	})
	t.Run("no store", func(t *testing.T) {
		refused(t, storeOf(t, map[string][]byte{"letter.txt": []byte("dear")}), "letter.txt", "queue.path")
	})
	for name, kinds := range map[string][]string{"cannot be listed": {"list"}, "cannot be locked": {"lock"}, "cannot be made": {"mkdir"}, "cannot be opened": {"open"}, "cannot be written": {"create"}} {
		t.Run(name, func(t *testing.T) {
			mem := storeOf(t, all)
			before := files(t, mem)
			_, err := open(Options{Path: storePath, Courier: refuser{}}, &hookFS{FS: mem, hook: func(o fsOp, after bool) error {
				if slices.Contains(kinds, o.kind) {
					return &os.PathError{Op: o.kind, Path: o.name, Err: syscall.EACCES}
				}
				return nil
			}})
			if err == nil || !strings.Contains(err.Error(), storePath) || !strings.Contains(err.Error(), "permission denied") {
				t.Errorf("the error is %v", err)
			}
			for n, b := range files(t, mem) {
				if w, ok := before[n]; ok && !bytes.Equal(b, w) {
					t.Errorf("%s was changed", n)
				}
			}
		})
	}
}

// TestManyDamagedTables: however many tables cannot be read, the error comes at
// once, in one line that tells the path once.
func TestManyDamagedTables(t *testing.T) {
	all, _ := sample(t)
	fs := storeOf(t, all)
	db, err := pebble.Open(storePath, &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatNewest, Logger: silent{}, DisableAutomaticCompactions: true, L0StopWritesThreshold: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 79 {
		for _, k := range [][]byte{record.SignalKey(nil, SignalID{byte(i)}), record.LogKey(nil, record.Stamp(i)), record.CountsKey(nil, record.RouteNum(i))} {
			if err := db.Set(k, nil, nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(db.Set([]byte{'z'}, nil, nil), db.Close()); err != nil { // something is in the log
		t.Fatal(err)
	}
	tables := 0
	for n, b := range files(t, fs) {
		if strings.HasSuffix(n, ".sst") {
			tables++
			for i := range b {
				b[i] ^= 0x55
			}
			writeFile(t, fs, n, b)
		}
	}
	if tables < 79 {
		t.Fatalf("it has %d tables", tables)
	}
	if err := check(storePath, fs); err == nil { // which must not panic, either
		t.Error("Check finds nothing amiss")
	}
	bubble(t, "opened", func(t *testing.T) {
		start := time.Now()
		refused(t, fs, "restore the folder from a backup")
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestNewerFormatIsRefused(t *testing.T) {
	mem := vfs.NewMem()
	db, err := pebble.Open(storePath, &pebble.Options{FS: mem, FormatMajorVersion: pebble.FormatNewest, Logger: silent{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Set([]byte{record.MetaPrefix}, []byte{record.Format + 1}, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	refused(t, mem, "newer version")
}

func TestAnotherProgramsStoreIsRefused(t *testing.T) {
	mem := vfs.NewMem()
	db, err := pebble.Open(storePath, &pebble.Options{FS: mem, FormatMajorVersion: pebble.FormatNewest, Logger: silent{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Set([]byte("hello"), nil, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	refused(t, mem, "no store of Signalpost")
}

func TestSecondQueueOnTheFolderIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	q, err := Open(Options{Path: dir, Courier: refuser{}})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close(context.Background())
	for range 2 {
		_, err = Open(Options{Path: dir, Courier: refuser{}})
		if err == nil || !strings.Contains(err.Error(), "another process has it open") || !strings.Contains(err.Error(), dir) {
			t.Errorf("the error is %v", err)
		}
		_ = os.Remove(filepath.Join(dir, "LOCK")) // makes no difference
	}
}

// written is a log without the zeros ahead of what was written to it.
func written(log []byte) []byte { return bytes.TrimRight(log, "\x00") }

// TestTornLogTail: what follows the last whole record of the log was never
// acknowledged. All before it is kept.
func TestTornLogTail(t *testing.T) {
	all, ids := sample(t)
	log := pick(t, all, "0", ".log")
	whole := written(all[log])
	for _, cut := range []int{1, 10, 400} {
		for _, zeros := range []int{0, len(all[log]) - len(whole) + cut} {
			fs := storeOf(t, all)
			writeFile(t, fs, log, append(whole[:len(whole)-cut:len(whole)-cut], make([]byte, zeros)...))
			q, err := open(Options{Path: storePath, Courier: refuser{}}, fs)
			if err != nil {
				t.Fatalf("%d bytes short, then %d zeros: %v", cut, zeros, err)
			}
			for _, id := range ids[:len(ids)-1] {
				if _, err := q.Delivery(id); err != nil {
					t.Fatalf("%d bytes short, then %d zeros: %v", cut, zeros, err)
				}
			}
			if err := q.Close(context.Background()); err != nil {
				t.Error(err)
			}
			if err := check(storePath, fs); err != nil {
				t.Error(err)
			}
		}
	}
}

// lines counts what is logged.
type lines struct {
	mu   sync.Mutex
	text []string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, string(p))
	return len(p), nil
}

var damageTrials = flag.Int("damage.trials", 16, "how many bytes TestDamagedTable flips, each in a store of its own")

// TestDamagedTable flips a byte of a table, somewhere else each time. What
// can be read is sent, what cannot stays pending and is said once.
func TestDamagedTable(t *testing.T) {
	bulk(t)
	all, ids := sample(t)
	table := pick(t, all, "0", ".sst")
	rng := rand.New(rand.NewPCG(1, 1))
	opened, most := 0, 0
	trials := *damageTrials
	for i := range trials {
		at := rng.IntN(len(all[table]))
		if i < trials/4 {
			at = len(all[table]) - 1 - rng.IntN(600) // the index and what is after it
		}
		bubble(t, fmt.Sprint("byte ", at), func(t *testing.T) {
			fs := storeOf(t, all)
			b := bytes.Clone(all[table])
			b[at] ^= 0x10
			writeFile(t, fs, table, b)
			said := &lines{}
			p := &endpoint{}
			q, err := open(Options{Path: storePath, Courier: p, Log: slog.New(slog.NewTextHandler(said, nil))}, fs)
			if err != nil {
				if !strings.Contains(err.Error(), "restore the folder from a backup, or move it aside") || !strings.Contains(err.Error(), storePath) || !strings.Contains(err.Error(), table) && !strings.Contains(err.Error(), strings.TrimSuffix(table, ".sst")) {
					t.Errorf("the error is %v", err)
				}
				return
			}
			opened++
			if err := q.Configure(Limits{}, []Route{route("a")}); err != nil {
				t.Error(err)
			}
			time.Sleep(15 * time.Minute)
			shots := p.taken()
			sent := map[DeliveryID]bool{}
			for _, s := range shots {
				if sent[s.Delivery.ID] {
					t.Errorf("%s was sent twice", s.Delivery.ID)
				}
				sent[s.Delivery.ID] = true
			}
			if err := q.Ready(); err != nil {
				t.Errorf("it does not accept: %v", err)
			}
			a := Accepted{Signal: Signal{ID: q.NewSignalID(), Body: []byte("{}")}}
			if err := q.Put([]Accepted{a}, nil, nil); err != nil {
				t.Errorf("put: %v", err)
			}
			n := len(said.text)
			if len(sent) > len(ids)/2 {
				most++
			}
			if len(sent) < len(ids) && n == 0 {
				t.Errorf("%d of %d were sent, and nothing was said", len(sent), len(ids))
			}
			time.Sleep(15 * time.Minute)
			if more := said.text[n:]; len(more) > 3 {
				t.Errorf("it goes on to say %q", more)
			}
			if err := q.Close(context.Background()); err != nil {
				t.Errorf("close: %v", err)
			}
			if _, err := fs.Stat(fs.PathJoin(storePath, table)); err != nil && len(sent) < len(ids) {
				t.Errorf("the damaged table is gone: %v", err)
			}
		})
	}
	t.Logf("of %d damaged stores %d opened, %d of them sent most", trials, opened, most)
	if most <= opened/2 {
		t.Error("one flipped byte keeps back more than what it hits")
	}
}
