package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"signalpost/queue"
)

// small is a sidecar whose store is on a small real file system, and its receiver.
type small struct {
	*sidecar
	disk   string // where the file system is mounted
	target string

	mu      sync.Mutex
	arrived map[string]int // by webhook-id; guarded by mu
}

// newSmall mounts a file system of so many bytes, if the machine lets us.
func newSmall(t *testing.T, size int64) *small {
	t.Helper()
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("needs to mount a tmpfs")
	}
	s := &small{disk: t.TempDir(), arrived: map[string]int{}}
	if err := mountTmpfs(s.disk, size); err != nil {
		t.Skip("cannot mount a tmpfs:", err)
	}
	t.Cleanup(func() {
		if err := unmount(s.disk); err != nil {
			t.Error(err)
		}
	})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.arrived[r.Header.Get("webhook-id")]++
	}))
	t.Cleanup(server.Close)
	s.target = server.URL
	s.sidecar = newSidecar(t, t.TempDir())
	return s
}

// config has the store on the small disk, and the routes a and b.
func (s *small) config(queue string) string {
	return fmt.Sprintf(`[server]
listen = "%s"

[queue]
path = "%s"
%s
[defaults]
retry = { attempts = 10, first = "100ms", window = "1h" }

[[route]]
name = "a"
url = "%[4]s/a"
signal_types = ["a"]

[[route]]
name = "b"
url = "%[4]s/b"
signal_types = ["b"]
`, s.address, filepath.Join(s.disk, "data"), queue, s.target)
}

// others writes so many bytes beside the store, or as many as there is room for.
func (s *small) others(n int64) {
	s.t.Helper()
	name := filepath.Join(s.disk, "others")
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
	f, err := os.Create(name)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	for chunk := make([]byte, 64<<10); n > 0; n -= int64(len(chunk)) {
		if _, err := f.Write(chunk); err != nil {
			return // full
		}
	}
}

// ask makes a request and returns its answer.
func (s *small) ask(method, path, key, body string) (status int, header http.Header, answer string) {
	s.t.Helper()
	req, err := http.NewRequest(method, "http://"+s.address+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.fatal(err.Error())
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.fatal(err.Error())
	}
	return resp.StatusCode, resp.Header, string(b)
}

// want makes a request and wants the status.
func (s *small) want(status int, method, path string) string {
	s.t.Helper()
	got, _, answer := s.ask(method, path, "", "")
	if got != status {
		s.t.Errorf("%s %s answers %d %s, want %d", method, path, got, answer, status)
	}
	return answer
}

// flood posts signals until one is refused, and returns the ids of what was
// accepted and the reason of the refusal. No two signals have the same bytes, and none compresses.
func (s *small) flood(route string, most int) (ids []string, reason string) {
	s.t.Helper()
	noise := make([]byte, 40_000)
	for i := range most {
		for j := range noise {
			noise[j] = "0123456789abcdef"[rand.IntN(16)]
		}
		status, header, answer := s.ask("POST", "/signals", "", fmt.Sprintf(`{"signal_type":"%s","n":%d,"noise":"%s"}`, route, i, noise))
		if status == http.StatusAccepted {
			ids = append(ids, idsOf(s.t, answer)...)
			continue
		}
		var p struct{ Detail string }
		if err := json.Unmarshal([]byte(answer), &p); err != nil || status != http.StatusServiceUnavailable {
			s.fatal(fmt.Sprintf("it answers %d %s", status, answer))
		}
		if n, err := strconv.Atoi(header.Get("Retry-After")); err != nil || n < 1 {
			s.t.Errorf("Retry-After is %q", header.Get("Retry-After"))
		}
		if header.Get("Content-Type") != "application/problem+json" || p.Detail == "" {
			s.t.Errorf("the refusal is %v %s", header, answer)
		}
		return ids, p.Detail
	}
	return ids, ""
}

func idsOf(t testing.TB, answer string) (ids []string) {
	t.Helper()
	var a struct{ Deliveries []struct{ ID string } }
	if err := json.Unmarshal([]byte(answer), &a); err != nil || len(a.Deliveries) != 1 {
		t.Errorf("answered %s: %v", answer, err)
	}
	for _, d := range a.Deliveries {
		ids = append(ids, d.ID)
	}
	return ids
}

// refusing is an error unless every face of the sidecar says why it takes no
// signals, and that it lives.
func (s *small) refusing(reason string) error {
	s.t.Helper()
	if status, _, answer := s.ask("GET", "/readyz", "", ""); status != http.StatusServiceUnavailable || !strings.Contains(answer, reason) {
		return fmt.Errorf("/readyz answers %d %s, want 503 and %q", status, answer, reason)
	}
	if status, _, answer := s.ask("GET", "/healthz", "", ""); status != http.StatusOK {
		return fmt.Errorf("/healthz answers %d %s", status, answer)
	}
	var status struct {
		Store struct {
			Accepting bool
			Reason    string
		}
	}
	if _, _, answer := s.ask("GET", "/status", "", ""); json.Unmarshal([]byte(answer), &status) != nil || status.Store.Accepting || !strings.Contains(status.Store.Reason, reason) {
		return fmt.Errorf("/status answers %s, want %q", answer, reason)
	}
	return nil
}

// arrive waits until the deliveries have arrived.
func (s *small) arrive(ids []string) {
	s.t.Helper()
	missing := 0
	if !wait(func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		missing = 0
		for _, id := range ids {
			if s.arrived[id] == 0 {
				missing++
			}
		}
		return missing == 0
	}) {
		s.fatal(fmt.Sprintf("%d of %d did not arrive", missing, len(ids)))
	}
}

// state is a delivery's, "" if it has gone.
func (s *small) state(id string) string {
	s.t.Helper()
	status, _, answer := s.ask("GET", "/deliveries/"+id, "", "")
	if status == http.StatusNotFound {
		return ""
	}
	var d struct{ State string }
	if err := json.Unmarshal([]byte(answer), &d); err != nil || status != http.StatusOK {
		s.t.Errorf("%s: %d %s", id, status, answer)
	}
	return d.State
}

// end stops the sidecar and proves what it left. Nothing arrived twice.
func (s *small) end() {
	s.t.Helper()
	if answer := s.want(http.StatusOK, "GET", "/metrics"); !strings.Contains(answer, "\nsignalpost_unaccounted 0\n") {
		s.t.Error("some deliveries are unaccounted for")
	}
	s.stop()
	if err := queue.Check(filepath.Join(s.disk, "data")); err != nil {
		s.t.Error(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, n := range s.arrived {
		if n != 1 {
			s.t.Errorf("%s arrived %d times", id, n)
		}
	}
}

// TestDiskRunsFull: others fill the disk until min_free is reached. What is queued is
// delivered all the same, and signals are accepted again when there is room.
func TestDiskRunsFull(t *testing.T) {
	s := newSmall(t, 160<<20)
	s.begin(s.config(`min_free = "60MiB"`))
	s.ready()
	first := `{"signal_type":"b","first":true}`
	_, _, bound := s.ask("POST", "/signals", "first", first)
	s.want(http.StatusOK, "POST", "/routes/a/pause")
	ids, reason := s.flood("a", 100)
	if reason != "" {
		t.Fatalf("refused with room for it: %s", reason)
	}
	s.others(90 << 20)
	more, reason := s.flood("a", 2000)
	if !strings.Contains(reason, "queue.min_free") {
		t.Errorf("the reason is %q", reason)
	}
	if err := s.refusing("queue.min_free"); err != nil {
		t.Error(err)
	}
	if status, header, answer := s.ask("POST", "/signals", "first", first); status != http.StatusAccepted || answer != bound || header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("what was accepted before is answered %d %v %s, want %s again", status, header, answer, bound)
	}
	s.want(http.StatusOK, "POST", "/routes/a/resume")
	s.arrive(append(ids, more...))
	if err := s.refusing("queue.min_free"); err != nil {
		t.Error(err)
	}
	s.others(0)
	s.ready()
	after, reason := s.flood("a", 10)
	if reason != "" {
		t.Errorf("refused again: %s", reason)
	}
	s.arrive(after)
	s.end()
}

// TestDiskIsFull: others take all there is at once, under load, and the store
// meets it in its writes. The process lives, and all comes back by itself.
func TestDiskIsFull(t *testing.T) {
	s := newSmall(t, 96<<20)
	s.begin(s.config(`min_free = "0B"`))
	s.ready()
	s.want(http.StatusOK, "POST", "/routes/a/pause")
	ids, reason := s.flood("a", 50)
	if reason != "" {
		t.Fatalf("refused with room for it: %s", reason)
	}
	s.others(1 << 30)
	more, reason := s.flood("a", 2000)
	if reason == "" {
		t.Error("it accepted what there is no room for")
	}
	ids = append(ids, more...)
	if err := s.refusing(""); err != nil {
		t.Error(err)
	}
	s.others(0)
	s.ready()
	after, reason := s.flood("a", 10)
	if reason != "" {
		t.Errorf("refused again: %s", reason)
	}
	ids = append(ids, after...)
	s.want(http.StatusOK, "POST", "/routes/a/resume")
	s.arrive(ids)
	s.end()
}

// TestStoreIsFull: at max_size delivered history goes, and nothing that is pending; then
// signals are refused until what is pending is delivered.
func TestStoreIsFull(t *testing.T) {
	s := newSmall(t, 256<<20)
	s.begin(s.config("min_free = \"0B\"\nmax_size = \"24MiB\""))
	s.ready()
	s.want(http.StatusOK, "POST", "/routes/b/pause")
	old, reason := s.flood("a", 100)
	if reason != "" {
		t.Fatalf("refused with room for it: %s", reason)
	}
	s.arrive(old)
	var waiting []string
	for reason = ""; reason == ""; {
		var ids []string
		ids, reason = s.flood("b", 2000)
		waiting = append(waiting, ids...)
	}
	if !strings.Contains(reason, "queue.max_size") {
		t.Errorf("the reason is %q", reason)
	}
	// Now history goes, the oldest first, and makes room for more.
	if !wait(func() bool {
		ids, _ := s.flood("b", 2000)
		waiting = append(waiting, ids...)
		return s.state(old[len(old)-1]) == ""
	}) {
		s.fatal("no history has gone")
	}
	var err error
	if !wait(func() bool { // until what is pending alone fills it
		ids, _ := s.flood("b", 2000)
		waiting = append(waiting, ids...)
		err = s.refusing("queue.max_size")
		return len(ids) == 0 && err == nil
	}) {
		s.fatal(fmt.Sprintf("it never comes to its limit: %v", err))
	}
	for _, id := range waiting {
		if state := s.state(id); state != "pending" {
			t.Errorf("%s is %q, not pending", id, state)
		}
	}
	s.want(http.StatusOK, "POST", "/routes/b/resume")
	s.arrive(waiting)
	s.ready()
	after, reason := s.flood("a", 5)
	if reason != "" {
		t.Errorf("refused again: %s", reason)
	}
	s.arrive(after)
	s.end()
}
