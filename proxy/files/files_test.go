package files

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What is no regular file is refused at once, whether or not someone is at its other end.
func TestReadRefuses(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := syscall.Mkfifo(at("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	write(t, dir, "full", strings.Repeat("x", 100))
	write(t, dir, "over", strings.Repeat("x", 101))
	sparse, err := os.Create(at("sparse"))
	if err == nil {
		err = errors.Join(sparse.Truncate(12<<30), sparse.Close())
	}
	if err := errors.Join(err, os.Symlink("fifo", at("link")), os.Symlink("full", at("good"))); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"fifo": "it is a pipe: ", "link": "it is a pipe: ", "socket": "it is a socket: ", ".": "it is a folder: ", "over": "it is larger than 100B: ",
		"sparse": "it is larger than 100B: ", "none": "no such file", "/dev/zero": "it is a device: ", "full": "", "good": "",
	} {
		path := name
		if !filepath.IsAbs(name) {
			path = at(name)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		data, err := Read(ctx, path, 100)
		cancel()
		switch {
		case want == "" && (err != nil || len(data) != 100):
			t.Errorf("%s: %d bytes, %v", name, len(data), err)
		case want != "" && (err == nil || !strings.Contains(Problem(err), want) || strings.Contains(Problem(err), dir)):
			t.Errorf("%s: %v; want %q", name, err, want)
		}
	}
}

// A pipe is read to its end by who may, however late its writer comes, and no longer than that may take.
func TestReadOnce(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	write(t, dir, "file", "of a file")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{pipe: "of a pipe", filepath.Join(dir, "file"): "of a file"} {
		go func() {
			if path == pipe {
				time.Sleep(20 * time.Millisecond)
				os.WriteFile(pipe, []byte("of a pipe"), 0)
			}
		}()
		if data, err := ReadOnce(t.Context(), path, 9); string(data) != want || err != nil {
			t.Errorf("%s: %q, %v", path, data, err)
		}
	}
	go os.WriteFile(pipe, []byte("more than nine"), 0)
	if data, err := ReadOnce(t.Context(), pipe, 9); err == nil || !strings.Contains(err.Error(), "it is larger than 9B") {
		t.Errorf("too much: %q, %v", data, err)
	}
	writer, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := ReadOnce(ctx, pipe, 9); !errors.Is(err, ErrHung) || !strings.Contains(err.Error(), "what writes to a pipe has to close it") {
		t.Errorf("no end: %v", err)
	}
	if _, err := ReadOnce(t.Context(), dir, 9); err == nil || !strings.Contains(err.Error(), "it is a folder: ") {
		t.Errorf("a folder: %v", err)
	}
}

// Whoever reads from a file system that hangs gets away, and leaves one
// goroutine a path, which another attempt does not add to.
func TestInterruptible(t *testing.T) {
	mount := make(chan struct{})
	began := make(chan struct{}, 10)
	hang := func() (int, error) {
		began <- struct{}{}
		<-mount
		return 1, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-began; cancel() }()
	if _, err := Interruptible(ctx, "/hung", hang); !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted: %v", err)
	}
	for range 3 {
		if _, err := Interruptible(t.Context(), "/hung", hang); err != ErrHung {
			t.Fatalf("again: %v", err)
		}
	}
	if n := len(began); n != 0 {
		t.Errorf("%d more goroutines", n)
	}
	if n, err := Interruptible(t.Context(), "/other", func() (int, error) { return 2, nil }); n != 2 || err != nil {
		t.Errorf("another path: %v, %v", n, err)
	}
	close(mount)
	for { // the goroutine comes back by itself
		n, err := Interruptible(t.Context(), "/hung", func() (int, error) { return 3, nil })
		if err == nil && n == 3 {
			break
		}
		if t.Context().Err() != nil || err != ErrHung {
			t.Fatalf("after the mount answers: %v, %v", n, err)
		}
		time.Sleep(time.Millisecond)
	}
}

// A call that ends says nothing about another for its path, which still hangs.
func TestInterruptibleBesideOneThatEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	mount, other, ended := make(chan struct{}), make(chan struct{}), make(chan error)
	wait := func(c chan struct{}) func() (int, error) {
		return func() (int, error) { <-c; return 0, nil }
	}
	begun := make(chan struct{})
	go func() {
		_, err := Interruptible(t.Context(), "/beside", func() (int, error) { close(begun); return wait(other)() })
		ended <- err
	}()
	<-begun
	go cancel()
	if _, err := Interruptible(ctx, "/beside", wait(mount)); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	close(other)
	if err := <-ended; err != nil {
		t.Errorf("the other: %v", err)
	}
	if _, err := Interruptible(t.Context(), "/beside", func() (int, error) { return 0, nil }); err != ErrHung {
		t.Errorf("again: %v", err)
	}
	close(mount)
}

// However many files hang, the goroutines left behind are bounded.
func TestInterruptibleBound(t *testing.T) {
	mount := make(chan struct{})
	noneHangs() // of the test before
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	<-ctx.Done()
	began := make(chan struct{}, 2*maxHung)
	for i := range 2 * maxHung {
		Interruptible(ctx, string(rune('a'+i)), func() (int, error) {
			began <- struct{}{}
			<-mount
			return 0, nil
		})
	}
	hung.Lock()
	left := len(hung.paths)
	hung.Unlock()
	if left != maxHung {
		t.Errorf("%d are left behind, want %d", left, maxHung)
	}
	close(mount)
	noneHangs()
	if n := len(began); n != maxHung {
		t.Errorf("%d goroutines began, want %d", n, maxHung)
	}
}

// noneHangs waits until no call hangs.
func noneHangs() {
	for left := 1; left > 0; time.Sleep(time.Millisecond) {
		hung.Lock()
		left = len(hung.paths)
		hung.Unlock()
	}
}

func TestProblem(t *testing.T) {
	got := Problem(&fs.PathError{Op: "open", Path: "/secret/path", Err: syscall.EACCES})
	if !strings.Contains(got, "permission denied: this process is user ") || !strings.Contains(got, "chown") || strings.Contains(got, "/secret/path") {
		t.Error(got)
	}
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
