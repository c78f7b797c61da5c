// Package files reads files that somebody else writes, without ever waiting for
// longer than its caller wants: a pipe without a writer, a device without an end
// and a mount whose server has gone are errors that say what to do.
//
// A system call on a mount that hangs cannot be interrupted. Its goroutine is
// left behind until the call returns: at most one a path, and [maxHung] in all.
package files

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"

	"signalpost/proxy/units"
)

// Read returns the content of the regular file at path, at most most bytes. It
// returns when ctx ends, even if the file system hangs.
func Read(ctx context.Context, path string, most int64) ([]byte, error) {
	return Interruptible(ctx, path, func() ([]byte, error) { return read(path, most, syscall.O_NONBLOCK, regular) })
}

// ReadOnce is Read for a file that is not read again, and may therefore be a
// pipe: its content is what comes until its writers close it.
func ReadOnce(ctx context.Context, path string, most int64) ([]byte, error) {
	data, err := Interruptible(ctx, path, func() ([]byte, error) {
		return read(path, most, 0, func(info fs.FileInfo, err error) error {
			if err == nil && info.Mode()&fs.ModeNamedPipe != 0 {
				return nil
			}
			return regular(info, err)
		})
	})
	if errors.Is(err, ErrHung) {
		err = fmt.Errorf("it did not end in time: what writes to a pipe has to close it; of a file, %w", err)
	}
	return data, err
}

func read(path string, most int64, flag int, check func(fs.FileInfo, error) error) ([]byte, error) {
	// To open a device or a socket may do something: look first.
	if err := check(os.Stat(path)); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|flag, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// The path may lead elsewhere by now: what counts is what was opened.
	if err := check(f.Stat()); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("it is larger than %s: name the right file, or shorten it", units.FormatSize(most))
	}
	return data, err
}

// Digest stands for what a file was read to hold, or for why it could not be
// read. It shows nothing of the content, which may be a secret.
func Digest(data []byte, err error) string {
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%x", sha256.Sum256(data))
}

// regular returns err, or an error that says what a file is, if it is no regular one.
func regular(info fs.FileInfo, err error) error {
	if err != nil {
		return err
	}
	kind := "a device"
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		kind = "a folder"
	case mode&fs.ModeNamedPipe != 0:
		kind = "a pipe"
	case mode&fs.ModeSocket != 0:
		kind = "a socket"
	}
	return fmt.Errorf("it is %s: name a regular file", kind)
}

// hung are the paths that were given up on and whose file system has not
// answered since, and how many calls wait for each.
var hung = struct {
	sync.Mutex
	paths map[string]int
}{paths: map[string]int{}}

const maxHung = 64

// ErrHung says that a file system did not answer in time.
var ErrHung = errors.New("its file system does not answer: see whether the mount is alive (mount, df), or name a file elsewhere")

// Interruptible returns what f returns, or an error when ctx ends before. f
// looks at path in system calls alone, and is not begun while an earlier call
// for that path hangs.
func Interruptible[T any](ctx context.Context, path string, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var none T
	hung.Lock()
	hangs, full := hung.paths[path] > 0, len(hung.paths) >= maxHung
	hung.Unlock()
	if hangs || full {
		return none, ErrHung
	}
	done := make(chan result, 1)
	left := false // given up on; under the lock of hung
	go func() {
		value, err := f()
		hung.Lock()
		defer hung.Unlock()
		done <- result{value, err}
		if left {
			hung.paths[path]--
		}
		if hung.paths[path] == 0 {
			delete(hung.paths, path)
		}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
	}
	hung.Lock()
	defer hung.Unlock()
	select {
	case r := <-done:
		return r.value, r.err
	default:
	}
	left = true
	hung.paths[path]++
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return none, ErrHung
	}
	return none, ctx.Err()
}

// Problem says why a file cannot be read and what to do, without its path,
// which the sentence already has.
func Problem(err error) string {
	if perr, ok := errors.AsType[*fs.PathError](err); ok {
		err = perr.Err
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Sprintf("%v: this process is user %d: make the file and its folders readable to it (chown, chmod), or run as their owner", err, os.Geteuid())
	}
	return err.Error()
}
