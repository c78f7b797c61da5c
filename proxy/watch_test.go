package proxy

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"signalpost/proxy/files"

	"github.com/fsnotify/fsnotify"
)

// A watched is a folder with files that a watcher watches.
type watched struct {
	t   *testing.T
	dir string
	// changes gets what the files hold each time the watcher tells of a change:
	// "" for one that is missing.
	changes chan string
	alone   bool // without events
}

// watchFiles runs a watcher on files of a fresh folder until the test ends.
// prepare makes what is there when it begins. Without events only looking is left.
func watchFiles(t *testing.T, events bool, prepare func(dir string), names ...string) *watched {
	t.Helper()
	w := &watched{t: t, dir: t.TempDir(), changes: make(chan string, 100)}
	if prepare != nil {
		prepare(w.dir)
	}
	var paths []string
	for _, name := range names {
		paths = append(paths, filepath.Join(w.dir, name))
	}
	w.run(events, func() []string { return paths })
	return w
}

func (w *watched) run(events bool, paths func() []string) {
	w.alone = !events
	known := digests(w.t.Context(), set(paths()))
	watcher := watcher{
		files: func() map[string]string { return known },
		changed: func() {
			var holds []string
			for _, path := range paths() {
				b, _ := os.ReadFile(path)
				holds = append(holds, string(b))
			}
			known = digests(context.Background(), set(paths()))
			w.changes <- strings.Join(holds, " ")
		},
	}
	if events {
		var err error
		if watcher.events, err = fsnotify.NewWatcher(); err != nil {
			w.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { watcher.run(ctx) })
	w.t.Cleanup(func() {
		cancel()
		all.Wait()
		if watcher.events != nil {
			watcher.events.Close()
		}
	})
}

func set(paths []string) map[string]string {
	s := map[string]string{}
	for _, path := range paths {
		s[path] = ""
	}
	return s
}

// want waits for the next change. Where nothing but what is tested takes time, it must
// come within a second of now.
func (w *watched) want(holds string) {
	w.t.Helper()
	start := time.Now()
	select {
	case got := <-w.changes:
		if got != holds {
			w.t.Errorf("read %q, want %q", got, holds)
		}
		if took := time.Since(start); took > time.Second && w.alone {
			w.t.Errorf("picked up after %s", took)
		}
	case <-time.After(time.Until(latest())):
		w.t.Fatalf("no change was noticed; want %q", holds)
	}
}

func (w *watched) write(name, text string) { writeFile(w.t, filepath.Join(w.dir, name), text) }

func (w *watched) do(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Each way of editing, once with events and once without, as on a mount where
// none come. Without them time passes only while all wait.
func TestWatch(t *testing.T) {
	one := func(dir string) { os.WriteFile(filepath.Join(dir, "a"), []byte("old"), 0o600) }
	configMap := func(dir string) {
		os.Mkdir(filepath.Join(dir, "..1"), 0o700)
		os.WriteFile(filepath.Join(dir, "..1", "a"), []byte("old"), 0o600)
		os.Symlink("..1", filepath.Join(dir, "..data"))
		os.Symlink("..data/a", filepath.Join(dir, "a"))
	}
	tests := []struct {
		name    string
		prepare func(dir string)
		files   []string
		edit    func(w *watched)
	}{
		{"in place", one, []string{"a"}, func(w *watched) {
			w.write("a", "new")
			w.want("new")
			w.write("a", "newer")
			w.want("newer")
		}},
		{"same size", one, []string{"a"}, func(w *watched) {
			w.write("a", "odl")
			w.want("odl")
		}},
		{"append", one, []string{"a"}, func(w *watched) {
			f, err := os.OpenFile(filepath.Join(w.dir, "a"), os.O_APPEND|os.O_WRONLY, 0)
			w.do(err)
			defer f.Close()
			f.WriteString("er")
			w.want("older")
			f.WriteString("!") // with the file still open
			w.want("older!")
		}},
		{"slowly", one, []string{"a"}, func(w *watched) {
			f, err := os.Create(filepath.Join(w.dir, "a"))
			w.do(err)
			defer f.Close()
			longest := time.Duration(0)
			for _, s := range strings.Split("slow and steady", "") {
				start := time.Now()
				f.WriteString(s)
				time.Sleep(rest / 3)
				longest = max(longest, time.Since(start))
			}
			if longest > rest/2 { // never without events
				w.t.Skipf("the machine took %s between two writes", longest)
			}
			w.want("slow and steady") // and nothing before
		}},
		{"rename over it", one, []string{"a"}, func(w *watched) {
			for _, text := range []string{"new", "newer"} {
				w.write("a.tmp", text)
				w.do(os.Rename(filepath.Join(w.dir, "a.tmp"), filepath.Join(w.dir, "a")))
				w.want(text)
			}
		}},
		{"an editor's backup", one, []string{"a"}, func(w *watched) {
			w.do(os.Rename(filepath.Join(w.dir, "a"), filepath.Join(w.dir, "a~")))
			w.write("a", "new")
			w.want("new")
			w.write("a", "in place after that")
			w.want("in place after that")
		}},
		{"away and back", one, []string{"a"}, func(w *watched) {
			w.do(os.Remove(filepath.Join(w.dir, "a")))
			w.want("")
			w.write("a", "back")
			w.want("back")
		}},
		{"not there at first", nil, []string{"a"}, func(w *watched) {
			w.write("a", "new")
			w.want("new")
		}},
		{"two files, one edit", one, []string{"a", "b"}, func(w *watched) {
			w.write("a", "1")
			w.write("b", "2")
			w.want("1 2")
		}},
		{"config map", configMap, []string{"a"}, func(w *watched) {
			for _, n := range []string{"..2", "..3"} {
				w.do(os.Mkdir(filepath.Join(w.dir, n), 0o700))
				w.write(n+"/a", "new"+n)
				w.do(os.Symlink(n, filepath.Join(w.dir, "..data_tmp")))
				w.do(os.Rename(filepath.Join(w.dir, "..data_tmp"), filepath.Join(w.dir, "..data")))
				w.want("new" + n)
			}
			w.do(os.RemoveAll(filepath.Join(w.dir, "..1")))
		}},
		{"a link is turned", func(dir string) {
			os.WriteFile(filepath.Join(dir, "1"), []byte("old"), 0o600)
			os.WriteFile(filepath.Join(dir, "2"), []byte("new"), 0o600)
			os.Symlink("1", filepath.Join(dir, "a"))
		}, []string{"a"}, func(w *watched) {
			w.do(os.Remove(filepath.Join(w.dir, "a")))
			w.do(os.Symlink("2", filepath.Join(w.dir, "a")))
			w.want("new")
			w.write("2", "newer")
			w.want("newer")
		}},
		{"what a link leads to, in another folder", func(dir string) {
			os.Mkdir(filepath.Join(dir, "far"), 0o700)
			os.WriteFile(filepath.Join(dir, "far", "x"), []byte("old"), 0o600)
			os.Symlink("far/x", filepath.Join(dir, "a"))
		}, []string{"a"}, func(w *watched) {
			w.write("far/x", "new")
			w.want("new")
		}},
		{"a link higher up is turned", func(dir string) {
			for _, n := range []string{"1", "2"} {
				os.Mkdir(filepath.Join(dir, n), 0o700)
				os.WriteFile(filepath.Join(dir, n, "a"), []byte("release "+n), 0o600)
			}
			os.Symlink("1", filepath.Join(dir, "current"))
		}, []string{"current/a"}, func(w *watched) {
			w.do(os.Symlink("2", filepath.Join(w.dir, "next")))
			w.do(os.Rename(filepath.Join(w.dir, "next"), filepath.Join(w.dir, "current")))
			w.want("release 2")
		}},
		{"the folder goes and comes", func(dir string) {
			os.Mkdir(filepath.Join(dir, "sub"), 0o700)
			os.WriteFile(filepath.Join(dir, "sub", "a"), []byte("old"), 0o600)
		}, []string{"sub/a"}, func(w *watched) {
			w.do(os.RemoveAll(filepath.Join(w.dir, "sub")))
			w.want("")
			w.do(os.Mkdir(filepath.Join(w.dir, "sub"), 0o700))
			w.write("sub/a", "back")
			w.want("back")
			w.write("sub/a", "and edited")
			w.want("and edited")
		}},
		{"the folder is replaced by a rename", func(dir string) {
			for _, n := range []string{"sub", "sub2"} {
				os.Mkdir(filepath.Join(dir, n), 0o700)
				os.WriteFile(filepath.Join(dir, n, "a"), []byte("of "+n), 0o600)
			}
		}, []string{"sub/a"}, func(w *watched) {
			w.do(os.Rename(filepath.Join(w.dir, "sub"), filepath.Join(w.dir, "sub1")))
			w.do(os.Rename(filepath.Join(w.dir, "sub2"), filepath.Join(w.dir, "sub")))
			w.want("of sub2")
			w.write("sub/a", "new")
			w.want("new")
		}},
		{"touched, but the same", one, []string{"a"}, func(w *watched) {
			w.do(os.Chtimes(filepath.Join(w.dir, "a"), time.Now(), time.Now()))
			w.write("a", "old")
			w.write("unrelated", "x")
			time.Sleep(lookEvery + 3*rest)
			w.write("a", "new")
			w.want("new") // and nothing before
		}},
	}
	for _, test := range tests {
		for _, events := range []bool{true, false} {
			name := test.name + "/by looking alone"
			if events {
				name = test.name + "/with events"
			}
			watch := func(t *testing.T) {
				w := watchFiles(t, events, test.prepare, test.files...)
				test.edit(w)
				// What is noticed is noticed once.
				time.Sleep(3 * rest)
				select {
				case again := <-w.changes:
					t.Errorf("another change was reported: %q", again)
				default:
				}
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				if events {
					watch(t)
				} else {
					synctest.Test(t, watch)
				}
			})
		}
	}
}

// With events, an edit whose size and time are those of before is one too.
func TestWatchSameSizeAndTime(t *testing.T) {
	at := time.Now().Add(-time.Hour)
	w := watchFiles(t, true, func(dir string) {
		writeFile(t, filepath.Join(dir, "a"), "old")
		os.Chtimes(filepath.Join(dir, "a"), at, at)
	}, "a")
	w.write("a", "new")
	w.do(os.Chtimes(filepath.Join(w.dir, "a"), at, at))
	w.want("new")
}

// The list of files is that of the config just read: a change can add some.
func TestWatchNewFiles(t *testing.T) {
	w := &watched{t: t, dir: t.TempDir(), changes: make(chan string, 100)}
	first, second := filepath.Join(w.dir, "a"), filepath.Join(w.dir, "sub", "b")
	w.write("a", "alone")
	w.do(os.Mkdir(filepath.Dir(second), 0o700))
	w.write("sub/b", "secret")
	w.run(true, func() []string {
		if b, _ := os.ReadFile(first); string(b) == "both" {
			return []string{first, second}
		}
		return []string{first}
	})
	w.write("a", "both")
	w.want("both secret")
	w.write("sub/b", "rotated")
	w.want("both rotated")
	w.write("a", "alone")
	w.want("alone")
	w.write("sub/b", "of no interest")
	w.write("a", "end")
	w.want("end")
}

// What changed between the reading of the config and the watching is noticed.
func TestWatchStale(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	writeFile(t, path, "new")
	ctx, cancel := context.WithCancel(t.Context())
	known := map[string]string{path: files.Digest([]byte("old"), nil)}
	changes := 0
	w := watcher{
		files:   func() map[string]string { return known },
		changed: func() { changes++; cancel() },
	}
	w.run(ctx)
	if changes != 1 {
		t.Errorf("%d changes", changes)
	}
}

// A file that did not answer in time is read once it does, though nobody edits it.
func TestWatchSlowFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	writeFile(t, path, "text")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	reads := 0
	w := watcher{
		files: func() map[string]string {
			if reads++; reads == 1 {
				return map[string]string{path: files.Digest([]byte("text"), nil)}
			}
			return map[string]string{path: files.Digest(nil, files.ErrHung)}
		},
		changed: cancel,
	}
	w.run(ctx)
	if !errors.Is(ctx.Err(), context.Canceled) {
		t.Error("it was not read again")
	}
}

// A pipe cannot be looked into without waiting for its other end.
func TestWatchPipe(t *testing.T) {
	if holds := digests(t.Context(), set([]string{os.DevNull})); holds[os.DevNull] != "it is a device: name a regular file" {
		t.Errorf("held %q", holds)
	}
}
