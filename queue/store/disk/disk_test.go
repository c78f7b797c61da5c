package disk

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const path = "store"

type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(string, ...any) {}

// opened is a database behind a shield, as package store opens it.
func opened(t *testing.T, fs vfs.FS) (*pebble.DB, *Shield) {
	t.Helper()
	if err := fs.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	var failure error
	s := NewShield(fs, path, func(err error) { failure = err }, func() bool { return failure != nil })
	if err := s.Begin(); err != nil {
		t.Fatal(err)
	}
	db, err := pebble.Open(path, &pebble.Options{FS: s, FormatMajorVersion: pebble.FormatNewest, Logger: silent{}, MemTableSize: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return db, s
}

func names(t *testing.T, fs vfs.FS, of func(string) bool) (found []string) {
	t.Helper()
	all, err := fs.List(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range all {
		if of(n) {
			found = append(found, n)
		}
	}
	return found
}

func set(t *testing.T, db *pebble.DB, n, size int) {
	t.Helper()
	for i := range n {
		if err := db.Set([]byte{byte(i >> 8), byte(i)}, bytes.Repeat([]byte{byte(i), 7}, size/2), pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(fs.PathJoin(path, name))
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

func write(t *testing.T, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create(fs.PathJoin(path, name), vfs.WriteCategoryUnspecified)
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

// TestInternals: Pebble names its files as internals.go says, and a flipped byte
// anywhere in what was synced of its log is told from a torn end.
func TestInternals(t *testing.T) {
	mem := vfs.NewCrashableMem()
	db, _ := opened(t, mem)
	if err := db.Flush(); err != nil { // the first log is in an old format
		t.Fatal(err)
	}
	set(t, db, 60, 1500) // more than one block
	cut := mem.CrashClone(vfs.CrashCloneCfg{})
	for what, found := range map[string][]string{"log": names(t, cut, isLog), "marker": names(t, cut, isMarker), "manifest": names(t, cut, isManifest)} {
		if len(found) == 0 {
			t.Errorf("no file is a %s", what)
		}
	}
	if err := CheckLogs(cut, path); err != nil {
		t.Errorf("a whole log: %v", err)
	}
	logs := names(t, cut, isLog)
	name := slices.Max(logs) // a folder in memory lists its files in any order
	log := read(t, cut, name)
	end := len(bytes.TrimRight(log, "\x00"))
	missed := 0
	for at := 0; at < end-3*1600; at += 97 { // the last records may be torn
		bad := bytes.Clone(log)
		bad[at] ^= 0x40
		write(t, cut, name, bad)
		if err := CheckLogs(cut, path); err == nil || !strings.Contains(err.Error(), name) {
			missed++
		}
	}
	if missed > 0 {
		t.Errorf("%d of %d flipped bytes are not noticed", missed, (end-3*1600)/97)
	}
	for _, n := range []int{1, 10, 700} {
		write(t, cut, name, log[:end-n])
		if err := CheckLogs(cut, path); err != nil {
			t.Errorf("%d bytes short: %v", n, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// TestMissingLogs: a log that was made and did not go by itself is missed when
// it is not there: each of them, and all.
func TestMissingLogs(t *testing.T) {
	mem := vfs.NewCrashableMem()
	db, s := opened(t, mem)
	set(t, db, 2000, 4000) // many logs, of which most have gone or are used again
	if got := s.Missing(); got != nil {
		t.Errorf("missing are %v", got)
	}
	cut := mem.CrashClone(vfs.CrashCloneCfg{})
	if err := CheckLogs(cut, path); err != nil {
		t.Errorf("all are there: %v", err)
	}
	logs := names(t, cut, isLog)
	slices.Sort(logs)
	newest := logs[len(logs)-1]
	if len(logs) < 2 {
		t.Fatalf("the logs are %v", logs)
	}
	for _, gone := range [][]string{{newest}, {logs[0]}, logs} {
		fs := mem.CrashClone(vfs.CrashCloneCfg{})
		for _, n := range gone {
			if err := fs.Remove(fs.PathJoin(path, n)); err != nil {
				t.Fatal(err)
			}
		}
		err := CheckLogs(fs, path)
		if err == nil || !strings.Contains(err.Error(), strings.Join(gone, ", ")) || !strings.Contains(err.Error(), logList) {
			t.Errorf("without %v: %v", gone, err)
		}
		if err := fs.Remove(fs.PathJoin(path, logList)); err != nil {
			t.Fatal(err)
		}
		if err := CheckLogs(fs, path); err != nil {
			t.Errorf("without %v and the list: %v", gone, err)
		}
	}
	// An older version, which keeps no list, has made a log and dropped the others.
	for _, n := range logs {
		if err := cut.Remove(cut.PathJoin(path, n)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, cut, "999999.log", nil)
	if err := CheckLogs(cut, path); err != nil {
		t.Errorf("after an older version: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// TestMissingFiles: what is removed, or put in the place of what was opened, is seen.
func TestMissingFiles(t *testing.T) {
	mem := vfs.NewMem()
	db, s := opened(t, mem)
	if err := errors.Join(db.Set([]byte("k"), nil, pebble.Sync), db.Flush()); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []func(string) bool{isMarker, isManifest, IsTable, isLog} {
		n := names(t, mem, kind)
		gone := n[len(n)-1]
		b := read(t, mem, gone)
		if err := mem.Remove(mem.PathJoin(path, gone)); err != nil {
			t.Fatal(err)
		}
		if got := s.Missing(); len(got) != 1 || got[0] != gone {
			t.Errorf("without %s missing are %v", gone, got)
		}
		write(t, mem, gone, b)
		if got := s.Missing(); got != nil {
			t.Errorf("with %s put back missing are %v", gone, got)
		}
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// TestCutFiles: a file that is cut short is seen, a log that is cut to nothing
// also when it has been written to since.
func TestCutFiles(t *testing.T) {
	mem := vfs.NewMem()
	db, s := opened(t, mem)
	set(t, db, 10, 100)
	log := names(t, mem, isLog)[0]
	if got := s.Missing(); got != nil {
		t.Fatalf("missing are %v", got)
	}
	whole := read(t, mem, log)
	for what, cut := range map[string][]byte{"cut short": whole[:len(whole)/2], "cut to nothing": nil, "cut, and written to": append(make([]byte, 100), whole[100:]...)} {
		write(t, mem, log, cut)
		if got := s.Missing(); !slices.Equal(got, []string{log}) {
			t.Errorf("%s: missing are %v", what, got)
		}
		write(t, mem, log, whole)
		if got := s.Missing(); got != nil {
			t.Errorf("put back: missing are %v", got)
		}
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// TestUnreadable: a log that cannot be read is not one that was cut.
func TestUnreadable(t *testing.T) {
	mem := vfs.NewMem()
	if err := mem.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, mem, "000007.log", []byte("something"))
	fs := &brokenFS{FS: mem}
	s := NewShield(fs, path, func(err error) { t.Error(err) }, func() bool { return false })
	if err := s.Begin(); err != nil {
		t.Fatal(err)
	}
	for _, fs.broken = range []string{"", "read", ""} {
		if got := s.Missing(); got != nil {
			t.Errorf("broken %q: missing are %v", fs.broken, got)
		}
	}
	write(t, mem, "000007.log", make([]byte, 9))
	if got := s.Missing(); len(got) != 1 {
		t.Errorf("cut: missing are %v", got)
	}
}

// TestListOfLogsFails: what cannot be listed fails the store.
func TestListOfLogsFails(t *testing.T) {
	for _, what := range []string{"create", "write", "sync"} {
		mem := &brokenFS{FS: vfs.NewMem()}
		if err := mem.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
		var failure error
		s := NewShield(mem, path, func(err error) { failure = err }, func() bool { return failure != nil })
		if err := s.Begin(); err != nil {
			t.Fatal(err)
		}
		mem.broken = what
		if _, err := s.Create(mem.PathJoin(path, "000007.log"), vfs.WriteCategoryUnspecified); err != nil || !errors.Is(failure, errBroken) {
			t.Errorf("%s: Pebble is told %v, the store fails with %v", what, err, failure)
		}
	}
}

var errBroken = errors.New("broken")

// A brokenFS cannot do one thing with the list of logs, or read no file.
type brokenFS struct {
	vfs.FS
	broken string
}

func (b *brokenFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if !strings.Contains(name, logList) {
		return b.FS.Create(name, c)
	}
	if b.broken == "create" {
		return nil, errBroken
	}
	f, err := b.FS.Create(name, c)
	return &brokenFile{f, b}, err
}

func (b *brokenFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := b.FS.Open(name, opts...)
	if err != nil {
		return nil, err
	}
	return &brokenFile{f, b}, nil
}

type brokenFile struct {
	vfs.File
	fs *brokenFS
}

func (f *brokenFile) ReadAt(p []byte, at int64) (int, error) {
	if f.fs.broken == "read" {
		return 0, errBroken
	}
	return f.File.ReadAt(p, at)
}

func (f *brokenFile) Write(p []byte) (int, error) {
	if f.fs.broken == "write" {
		return 0, errBroken
	}
	return f.File.Write(p)
}

func (f *brokenFile) Sync() error {
	if f.fs.broken == "sync" {
		return errBroken
	}
	return f.File.Sync()
}

// TestCall: looks are counted while one call goes on, however long it takes.
func TestCall(t *testing.T) {
	var c Call
	for range 20 {
		if c.Look() != 0 {
			t.Fatal("nothing is under way")
		}
	}
	c.Begin()
	for i := range 5 {
		if n := c.Look(); n != i {
			t.Errorf("look %d counts %d", i, n)
		}
	}
	c.End()
	c.Begin()
	if n := c.Look(); n != 0 {
		t.Errorf("the first look at the next call counts %d", n)
	}
	c.End()
	if n := c.Look(); n != 0 {
		t.Errorf("a look when it has ended counts %d", n)
	}
}
