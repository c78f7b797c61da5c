package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Nobody reads what the sidecar says, or whoever did has gone: it accepts,
// delivers, reloads and ends as if they did.
func TestNobodyReadsTheLog(t *testing.T) {
	for _, test := range []struct {
		name string
		away bool
		stop []os.Signal
		code int
	}{
		{"stalls", false, []os.Signal{syscall.SIGTERM}, 0},
		{"stalls, and a second signal", false, []os.Signal{syscall.SIGTERM, syscall.SIGTERM}, 1},
		{"goes away", true, []os.Signal{syscall.SIGTERM}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			release := make(chan struct{})
			var arrived atomic.Int64
			receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if len(test.stop) > 1 && r.URL.Path == "/slow" { // so that the first signal has something to wait for
					<-release
				}
				arrived.Add(1)
			}))
			defer receiver.Close()
			defer close(release)
			s := newSidecar(t, t.TempDir())
			read, write, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer read.Close()
			s.log = write
			config := fmt.Sprintf("[server]\nlisten = %q\n[log]\nlevel = 'debug'\n[[route]]\nname = 'a'\nurl = %q\n", s.address, receiver.URL)
			s.begin(config)
			write.Close()
			s.ready()
			if test.away {
				read.Close()
			}
			const n = 3000 // lines, far more than a pipe and the sidecar hold
			signals := strings.Repeat(`{"signal_type":"x"}`+"\n", n/10)
			for range 10 {
				resp, err := s.client.Post("http://"+s.address+"/signals", "application/x-ndjson", strings.NewReader(signals))
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusAccepted {
					s.fatal(resp.Status)
				}
			}
			if !wait(func() bool { return arrived.Load() == n }) {
				s.fatal(fmt.Sprintf("%d of %d arrived", arrived.Load(), n))
			}
			if err := os.WriteFile(s.dir+"/signalpost.toml", []byte(config+"[[route]]\nname = 'b'\nsignal_types = ['slow']\nurl = '"+receiver.URL+"/slow'\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			var status struct {
				Dropped int64 `json:"log_lines_dropped"`
				Routes  []struct {
					Name    string
					Pending int
				}
			}
			if !wait(func() bool {
				resp, err := s.client.Get("http://" + s.address + "/status")
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				json.NewDecoder(resp.Body).Decode(&status)
				return len(status.Routes) == 2 && status.Routes[0].Pending == 0 && status.Dropped > 0
			}) {
				s.fatal(fmt.Sprintf("not reloaded, settled, or counted: %+v", status))
			}
			resp, err := s.client.Post("http://"+s.address+"/signals?route=b", "application/json", strings.NewReader(`{"signal_type":"slow"}`))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			s.killed.Store(true)
			start := time.Now()
			for i, signal := range test.stop {
				if i > 0 {
					time.Sleep(100 * time.Millisecond)
				}
				s.process.Process.Signal(signal)
			}
			late := time.AfterFunc(patience, func() { s.process.Process.Kill() })
			s.process.Wait()
			late.Stop()
			if took := time.Since(start); s.process.ProcessState.ExitCode() != test.code || took > 8*time.Second { // it has 10 s for attempts under way
				t.Errorf("it ended with %s after %s", s.process.ProcessState, took)
			}
		})
	}
}
