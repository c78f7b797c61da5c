package e2e

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// A sidecar is the binary running in a folder, once or one time after the other.
type sidecar struct {
	t       testing.TB
	dir     string
	address string // where it listens
	client  *http.Client
	process *exec.Cmd
	log     *os.File    // takes what it says in place of output, unless nil
	output  *reader     // of this run
	killed  atomic.Bool // this run has ended, or is about to
}

// A reader takes what a sidecar prints, but not while it is locked, nor once it has gone.
type reader struct {
	sync.Mutex
	text bytes.Buffer
	gone bool
}

// Write implements io.Writer: os/exec calls it, and closes the pipe when it fails.
func (r *reader) Write(b []byte) (int, error) {
	r.Lock()
	defer r.Unlock()
	if r.gone {
		return 0, os.ErrClosed
	}
	return r.text.Write(b)
}

func (r *reader) String() string {
	r.Lock()
	defer r.Unlock()
	return r.text.String()
}

// newSidecar is one that has not begun. It ends with the test.
func newSidecar(t testing.TB, dir string) *sidecar {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	s := &sidecar{
		t: t, dir: dir, address: "127.0.0.1:" + port,
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}},
	}
	s.killed.Store(true)
	t.Cleanup(func() {
		if !s.killed.Load() {
			s.kill()
		}
	})
	return s
}

// begin runs it with the config.
func (s *sidecar) begin(config string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, "signalpost.toml"), []byte(config), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.output = &reader{}
	s.process = exec.Command(filepath.Join(binaries, "signalpost"), "run")
	s.process.Dir = s.dir
	s.process.Stdout, s.process.Stderr = s.output, s.output
	if s.log != nil {
		s.process.Stdout, s.process.Stderr = s.log, s.log
	}
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.killed.Store(false)
}

// ready waits until it accepts, or is killed.
func (s *sidecar) ready() {
	s.t.Helper()
	if !wait(func() bool {
		resp, err := s.client.Get("http://" + s.address + "/readyz")
		if err != nil {
			return s.killed.Load()
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}) {
		s.fatal("it does not come to accept signals")
	}
}

// fatal ends the sidecar and the test, with what the sidecar printed.
func (s *sidecar) fatal(why string) {
	s.t.Helper()
	s.kill()
	s.t.Fatalf("%s\n%s", why, s.output)
}

// die kills the process, once, and does not wait for its end.
func (s *sidecar) die() {
	if s.killed.Swap(true) {
		return
	}
	if err := s.process.Process.Kill(); err != nil {
		s.t.Errorf("kill: %v", err)
	}
}

// kill kills the process, if it is not killed already, and waits for its end.
func (s *sidecar) kill() {
	s.die()
	s.process.Wait()
	s.client.CloseIdleConnections()
}

// stop has the process end by itself.
func (s *sidecar) stop() {
	s.t.Helper()
	s.killed.Store(true)
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Error(err)
	}
	s.process.Wait()
	s.client.CloseIdleConnections()
	if code := s.process.ProcessState.ExitCode(); code != 0 {
		s.t.Errorf("it stopped with %d\n%s", code, s.output)
	}
}
