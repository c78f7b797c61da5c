package dashboard_test

// A real sidecar with a real receiver behind it, which answers as its paths are named.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"signalpost/proxy"
	"signalpost/proxy/config"
	"signalpost/proxy/system"
)

// ownProcess is the variable that makes this test binary a sidecar: its config.
const ownProcess = "DASHBOARD_TEST_SIDECAR"

func TestMain(m *testing.M) {
	path := os.Getenv(ownProcess)
	if path == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx, path, nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run is a sidecar until ctx ends.
func run(ctx context.Context, path string, ready func(string)) error {
	cfg, err := config.Load(ctx, path)
	if err != nil {
		return err
	}
	sidecar, err := proxy.New(cfg, slog.New(slog.DiscardHandler), "test")
	if err != nil {
		return err
	}
	return sidecar.Serve(ctx, ready)
}

// A site is a sidecar with a receiver behind it.
type site struct {
	t     *testing.T
	url   string
	path  string // of the config
	head  string // of the config, before its routes
	token string
	child bool                   // it is a process of its own
	stop  func()                 // stops the sidecar as a signal would
	pass  func(signal os.Signal) // sends a child a signal

	mu       sync.Mutex
	receiver *httptest.Server
	got      map[string][]string // the webhook-ids that came, by path
	answers  map[string]int      // statuses by path, in place of what the path says
	asked    []string            // method and path of what came by between
}

// newSite starts one with the usual routes; server is more of the [server] table.
func newSite(t *testing.T, server, token string) *site {
	t.Helper()
	return start(t, &site{token: token}, server, routes)
}

// start starts a site with these routes, whose urls may name the RECEIVER.
func start(t *testing.T, s *site, server, routes string) *site {
	t.Helper()
	s.t, s.got, s.answers = t, map[string][]string{}, map[string]int{}
	s.receiver = httptest.NewServer(http.HandlerFunc(s.receive))
	t.Cleanup(s.receiver.Close)
	// The address stays the same when the sidecar is started again.
	ports, err := system.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprint("127.0.0.1:", ports[0])
	s.url = "http://" + addr
	s.path = filepath.Join(t.TempDir(), "signalpost.toml")
	s.head = fmt.Sprintf("[server]\nlisten = %q\n%s\n[queue]\nmin_free = \"0B\"\n", addr, server)
	s.configure(routes)
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

// configure writes the config with these routes; a sidecar that runs takes them up.
func (s *site) configure(routes string) {
	s.t.Helper()
	if err := os.WriteFile(s.path, []byte(s.head+strings.ReplaceAll(routes, "RECEIVER", s.receiver.URL)), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// receive answers as the path says, or as it was told.
func (s *site) receive(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	s.mu.Lock()
	s.got[r.URL.Path] = append(s.got[r.URL.Path], r.Header.Get("webhook-id"))
	n, told := len(s.got[r.URL.Path]), s.answers[r.URL.Path]
	s.mu.Unlock()
	status, said := http.StatusOK, "thanks"
	switch r.URL.Path {
	case "/gone":
		status, said = http.StatusGone, hostile
	case "/later", "/down":
		status, said = http.StatusServiceUnavailable, "come back later"
	case "/refused":
		status, said = http.StatusUnauthorized, `{"error":"bad signature"}`
	case "/third":
		if n < 3 {
			status, said = http.StatusServiceUnavailable, "try later"+strings.Repeat(", please", n-1)
		}
	}
	if told != 0 {
		status, said = told, http.StatusText(told)
	}
	w.WriteHeader(status)
	io.WriteString(w, said)
}

func (s *site) start() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, served := make(chan string, 1), make(chan error, 1)
	if s.child {
		command := exec.Command(os.Args[0])
		command.Env = append(os.Environ(), ownProcess+"="+s.path)
		command.Stderr = os.Stderr
		if err := command.Start(); err != nil {
			s.t.Fatal(err)
		}
		go func() { served <- command.Wait() }()
		s.pass = func(signal os.Signal) { command.Process.Signal(signal) }
		go func() {
			for ctx.Err() == nil {
				if resp, err := http.Get(s.url + "/readyz"); err == nil {
					resp.Body.Close()
					ready <- s.url
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}()
	} else {
		go func() { served <- run(ctx, s.path, func(addr string) { ready <- addr }) }()
	}
	var once sync.Once
	s.stop = func() {
		once.Do(func() {
			cancel()
			if s.child {
				s.pass(syscall.SIGCONT)
				s.pass(syscall.SIGKILL)
				<-served
			} else if err := <-served; err != nil {
				s.t.Error(err)
			}
		})
	}
	select {
	case <-ready:
	case err := <-served:
		s.t.Fatal(err)
	}
}

// post sends something to the API, and decodes the answer into answer.
func (s *site) post(path, kind, body string, answer any) {
	s.t.Helper()
	r, _ := http.NewRequest("POST", s.url+path, strings.NewReader(body))
	r.Header.Set("Content-Type", kind)
	if s.token != "" {
		r.Header.Set("Authorization", "Bearer "+s.token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if err := json.Unmarshal(text, answer); err != nil || resp.StatusCode >= 300 {
		s.t.Fatalf("%s: %s: %s, %v", path, resp.Status, text, err)
	}
}

// send posts a signal and returns the ids of its deliveries.
func (s *site) send(body string) []string {
	s.t.Helper()
	var accepted struct {
		Deliveries []struct{ ID string }
	}
	s.post("/signals", "application/json", body, &accepted)
	var ids []string
	for _, d := range accepted.Deliveries {
		ids = append(ids, d.ID)
	}
	return ids
}

// sendMany posts as many signals of a type, in batches.
func (s *site) sendMany(n int, kind string) {
	s.t.Helper()
	for n > 0 {
		batch := min(n, 1000)
		s.post("/signals", "application/x-ndjson", strings.Repeat(fmt.Sprintf("{\"signal_type\":%q}\n", kind), batch), &struct{}{})
		n -= batch
	}
}

// arrived is the webhook-ids that came to a path.
func (s *site) arrived(path string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.got[path]...)
}

// answer makes the receiver answer what comes to a path with a status.
func (s *site) answer(path string, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[path] = status
}

// between puts somebody between browser and sidecar, who notes what is asked for, takes
// slow over what begins so, and may change the assets and the status.
func (s *site) between(slow string, change func(path string, body []byte) []byte) string {
	s.t.Helper()
	target, err := url.Parse(s.url)
	if err != nil {
		s.t.Fatal(err)
	}
	server := httptest.NewServer(&httputil.ReverseProxy{
		FlushInterval: -1,
		ErrorLog:      slog.NewLogLogger(slog.DiscardHandler, 0),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
			asked := r.In.Method + " " + r.In.URL.String()
			s.mu.Lock()
			s.asked = append(s.asked, asked)
			s.mu.Unlock()
			if slow != "" && strings.HasPrefix(asked, slow) {
				time.Sleep(200 * time.Millisecond)
			}
		},
		ModifyResponse: func(resp *http.Response) error {
			if path := resp.Request.URL.Path; change == nil || path != "/status" && !strings.HasPrefix(path, "/assets/") {
				return nil
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			body = change(resp.Request.URL.Path, body)
			resp.Body = io.NopCloser(bytes.NewReader(body))
			resp.ContentLength = int64(len(body))
			resp.Header.Set("Content-Length", fmt.Sprint(len(body)))
			return err
		},
	})
	s.t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}

// had counts the requests that came by between and begin so.
func (s *site) had(prefix string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, a := range s.asked {
		if strings.HasPrefix(a, prefix) {
			n++
		}
	}
	return n
}
