package proxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"signalpost/proxy/config"
	"signalpost/queue"
)

// A running is a Proxy that serves, with its log.
type running struct {
	*Proxy
	t    testing.TB
	path string
	addr string
	log  *lines
	stop func() error // ends it; returns what Serve does
}

// lines is a log that can be waited on.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// run serves with a config until the test ends. It listens on a free port
// unless the config says otherwise, and writes JSON to its log. Each of change
// is called before it serves.
func run(t testing.TB, text string, change ...func(*Proxy)) *running {
	t.Helper()
	r := &running{t: t, path: filepath.Join(t.TempDir(), "signalpost.toml"), log: &lines{}}
	r.write(text)
	cfg, err := config.Load(t.Context(), r.path)
	if err != nil {
		t.Fatal(err)
	}
	r.Proxy, err = New(cfg, NewLogger(r.log, false, cfg.Log), "test")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(r.Proxy)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- r.Serve(ctx, func(addr string) { ready <- addr }) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { r.stop() })
	select {
	case r.addr = <-ready:
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	return r
}

func (r *running) write(text string) {
	r.t.Helper()
	if !strings.Contains(text, "[server]") {
		text = "[server]\nlisten = '127.0.0.1:0'\n" + text
	}
	writeFile(r.t, r.path, text)
}

// until waits for something that is to come about.
func (r *running) until(what string, ok func() bool) {
	r.t.Helper()
	for deadline := latest(); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("never: %s\nlog:\n%s", what, r.log)
		}
	}
}

func (r *running) send() {
	r.t.Helper()
	resp, err := http.Post("http://"+r.addr+"/signals", "application/json", strings.NewReader(sample))
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		b, _ := io.ReadAll(resp.Body)
		r.t.Fatalf("%d %s", resp.StatusCode, b)
	}
}

// receiver returns the address of one that answers with the status of the
// path, and counts what came by path.
func receiver(t testing.TB) (base string, got func(path string) int) {
	var mu sync.Mutex
	paths := map[string]int{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		paths[r.URL.Path]++
		mu.Unlock()
		status := 200
		fmt.Sscanf(r.URL.Path, "/%d", &status)
		w.WriteHeader(status)
	}))
	t.Cleanup(s.Close)
	return s.URL, func(path string) int {
		mu.Lock()
		defer mu.Unlock()
		return paths[path]
	}
}

func TestReload(t *testing.T) {
	base, got := receiver(t)
	r := run(t, "[[route]]\nname = 'a'\nurl = '"+base+"/one'\n")
	r.send()
	r.until("a delivery to the first URL", func() bool { return got("/one") == 1 })

	r.write("[log]\nlevel = 'debug'\n[[route]]\nname = 'a'\nurl = '" + base + "/two'\n")
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.send()
	r.until("a delivery to the second URL", func() bool { return got("/two") == 1 })
	if !r.Proxy.log.Enabled(context.Background(), slog.LevelDebug) {
		t.Error("the log's level did not change")
	}

	before := r.table.Load()
	r.write("[[route]]\nname = 'a'\nurl = 'nonsense'\n[[route]]\nname = 'B'\nurl = '" + base + "'\n")
	err := r.Reload(t.Context())
	if err == nil {
		t.Fatal("a bad config was applied")
	}
	for _, want := range []string{":5:", ":7:"} { // all faults
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q: %s", want, err)
		}
	}
	table, fault := r.table.Load(), r.configError()
	if table != before || fault == nil || fault.Error() != err.Error() {
		t.Errorf("after a bad reload: table changed: %t, fault %v", table != before, fault)
	}
	r.write("")
	if err := r.Reload(t.Context()); err == nil {
		t.Error("a config without a route was applied")
	}
	r.send()
	r.until("deliveries to go on", func() bool { return got("/two") == 2 })

	r.write("[server]\nlisten = '127.0.0.1:1'\n[queue]\npath = 'elsewhere'\n[[route]]\nname = 'a'\nurl = '" + base + "/three'\n")
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if fault := r.configError(); fault != nil {
		t.Errorf("the fault stays: %v", fault)
	}
	r.send()
	r.until("a delivery to the third URL", func() bool { return got("/three") == 1 })
	for _, want := range []string{"server.listen is now 127.0.0.1:1", "queue.path is now"} {
		if !strings.Contains(r.log.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
}

// The watcher is what reloads in life; bad edits are logged once.
func TestServeWatches(t *testing.T) {
	base, _ := receiver(t)
	r := run(t, routesOf("a"))
	r.write("nonsense")
	r.until("the fault to be logged", func() bool { return strings.Contains(r.log.String(), "config not reloaded") })
	r.write("[[route]]\nname = 'b'\nurl = '" + base + "'\nsecret = { file = 'key' }\n")
	r.until("the missing file to be logged", func() bool { return strings.Count(r.log.String(), "config not reloaded") == 2 })
	writeFile(t, filepath.Join(filepath.Dir(r.path), "key"), "secret")
	r.until("the new route", func() bool { return r.table.Load().Route("b") != nil })
	// The line comes last, once the queue has the new routes.
	r.until("the reload to be logged", func() bool { return strings.Contains(r.log.String(), "config reloaded") })
	if n := strings.Count(r.log.String(), `"level":"ERROR"`); n != 2 {
		t.Errorf("%d error lines, want 2:\n%s", n, r.log)
	}
	if n := strings.Count(r.log.String(), "config reloaded"); n != 1 {
		t.Errorf("%d reloads, want 1:\n%s", n, r.log)
	}
}

// A route that goes keeps its deliveries, and goes on with the URL it comes back with.
func TestRouteGoneAndBack(t *testing.T) {
	base, got := receiver(t)
	a := "[[route]]\nname = 'a'\nurl = '" + base + "/%s'\nretry = { first = '1ms', window = '1h' }\n"
	b := "[[route]]\nname = 'b'\nurl = '" + base + "/b'\n"
	r := run(t, fmt.Sprintf(a, "500"))
	r.send()
	r.until("an attempt", func() bool { return got("/500") >= 1 })
	r.write(b)
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	held := func() int64 {
		for _, s := range r.queue.Status().Routes {
			if s.Name == "a" {
				return s.Held
			}
		}
		return 0
	}
	r.until("the delivery to be held", func() bool { return held() == 1 })
	r.write(b + fmt.Sprintf(a, "back"))
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.until("the delivery at the new URL", func() bool { return got("/back") == 1 })
}

func TestDeliverToARouteThatHasGone(t *testing.T) {
	r := run(t, routesOf("a"))
	if _, err := r.Deliver(context.Background(), queue.Delivery{Route: "b"}, 1); err == nil {
		t.Error("no error: the queue would charge an attempt that was none")
	}
}

// Reloads race with signals and attempts; nothing gets lost or repeated.
func TestReloadUnderLoad(t *testing.T) {
	base, got := receiver(t)
	configs := [2]string{}
	for i := range configs {
		configs[i] = fmt.Sprintf("[[route]]\nname = 'a'\nurl = '%s/a'\nconcurrency = %d\ntransform = '{n: %d}'\n[[route]]\nname = 'other%d'\nurl = '%s/other'\n", base, 4+i, i, i, base)
	}
	r := run(t, configs[0])
	const signals = 300
	var all sync.WaitGroup
	all.Go(func() {
		for range signals {
			r.send()
		}
	})
	sent := make(chan struct{})
	go func() { all.Wait(); close(sent) }()
	for i := 1; ; i++ {
		r.write(configs[i%2])
		if err := r.Reload(t.Context()); err != nil {
			t.Error(err)
		}
		select {
		case <-sent:
		case <-time.After(3 * time.Millisecond):
			continue
		}
		break
	}
	r.until("all deliveries", func() bool { return got("/a") >= signals })
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if n := got("/a"); n != signals {
		t.Errorf("%d deliveries of %d signals", n, signals)
	}
}

// leavesNothing fails the test if what Serve, the queue or the watcher started
// is still there after stop.
func (r *running) leavesNothing() {
	r.t.Helper()
	if err := r.stop(); err != nil {
		r.t.Error(err)
	}
	ours := []string{"proxy.(*Proxy)", "proxy.(*door)", "proxy.(*watcher)", "signalpost/queue.", "cockroachdb/pebble", "fsnotify."}
	var left []string
	for range 100 { // the runtime takes its time to drop one that has returned
		left = nil
		buf := make([]byte, 1<<20)
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			for _, name := range ours {
				if strings.Contains(g, name) && !strings.Contains(g, "leavesNothing") {
					left = append(left, g)
					break
				}
			}
		}
		if len(left) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.t.Errorf("%d goroutines are left:\n%s", len(left), strings.Join(left, "\n\n"))
}

// A stop waits for requests and attempts under way, ends followed logs, does
// not wait for clients that stall, and leaves nothing behind.
func TestStop(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-finish
	}))
	defer slow.Close()
	r := run(t, "[[route]]\nname = 'a'\nurl = '"+slow.URL+"'\n")
	r.send()
	<-begun

	resp, err := http.Get("http://" + r.addr + "/log?follow=true")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	// Some are in the middle of a request, on a connection they have used before.
	half := func(headers ...string) net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		io.WriteString(c, plainRequest("{}"))
		if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != http.StatusUnprocessableEntity {
			t.Fatalf("%+v, %v", resp, err)
		}
		io.WriteString(c, strings.TrimSuffix(plainRequest(sample, headers...), "}"))
		return c
	}
	half() // and stays there
	late := map[string]net.Conn{"without a key": half(), "with a key": half("Idempotency-Key: k"), "packed": half("Content-Encoding: identity")}

	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	// Until the attempt is over it says that it stops.
	r.until("it is not ready", func() bool {
		resp, err := http.Get("http://" + r.addr + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusServiceUnavailable
	})
	for _, path := range []string{"/readyz", "/signals?route=a", "/signals"} {
		var resp *http.Response
		if path == "/readyz" {
			resp, err = http.Get("http://" + r.addr + path)
		} else {
			resp, err = http.Post("http://"+r.addr+path, "application/json", strings.NewReader(sample))
		}
		if err != nil {
			t.Fatal(err)
		}
		detail, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || !strings.Contains(string(detail), "stopping") {
			t.Errorf("%s is answered %d, %v, %s", path, resp.StatusCode, resp.Header, detail)
		}
	}
	for name, c := range late {
		io.WriteString(c, "}")
		refused, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if detail, _ := io.ReadAll(refused.Body); refused.StatusCode != http.StatusServiceUnavailable || refused.Header.Get("Retry-After") == "" {
			t.Errorf("a signal that is late, %s, is answered %d, %v, %s", name, refused.StatusCode, refused.Header, detail)
		}
	}
	select {
	case err := <-stopped:
		t.Fatalf("it did not wait for the attempt under way: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	close(finish)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", r.addr); err == nil {
		c.Close()
		t.Error("the port is open after the stop")
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Errorf("the followed log did not end well: %v", err)
	}
	if !strings.Contains(r.log.String(), `"verdict":"delivered"`) {
		t.Errorf("the attempt under way was not finished:\n%s", r.log)
	}
	r.leavesNothing()
}

func TestListenUnix(t *testing.T) {
	dir, err := os.MkdirTemp("", "sp") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s.sock")
	r := run(t, "[server]\nlisten = 'unix:"+path+"'\n"+routesOf("a"))
	if r.addr != "unix:"+path {
		t.Errorf("listens on %s", r.addr)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET /readyz HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n")
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Errorf("got %q, %v", line, err)
	}

	if _, err := listen(r.addr); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a socket in use: %v", err)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket stays")
	}

	// One that is left over is replaced.
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	l, err = listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()

	writeFile(t, path, "precious")
	if _, err := listen("unix:" + path); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file in its place: %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Error("the file is gone")
	}
}

// Who starts it at a terminal is told where to look, and where signals go.
func TestGreeting(t *testing.T) {
	for listen, dashboard := range map[string]string{"127.0.0.1": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::1]": "[::1]"} {
		var shown lines
		text := "[server]\nlisten = '" + listen + ":0'\ntoken = 'secret'\n[[route]]\nname = 'crm'\nurl = 'https://crm.example.com/secret'\n"
		r := run(t, text, func(p *Proxy) { p.log = NewLogger(&shown, true, config.Log{}) })
		_, port, _ := net.SplitHostPort(r.addr)
		r.until("told", func() bool { return strings.Contains(shown.String(), "Ctrl-C stops it") })
		for _, want := range []string{" dashboard at http://" + dashboard + ":" + port + "/\n", " route crm to https://crm.example.com\n"} {
			if !strings.Contains(shown.String(), want) {
				t.Errorf("%s: no %q in\n%s", listen, want, shown.String())
			}
		}
		r.stop()
	}
	r := run(t, routesOf("crm"))
	r.stop() // so that all is written
	if text := r.log.String(); !strings.Contains(text, "listening on") || strings.Contains(text, "dashboard") {
		t.Errorf("what is no terminal is told\n%s", text)
	}
}

// TestFleetFolder: a folder that was used in a fleet is not taken for that of one machine.
func TestFleetFolder(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "signalpost.toml")
	writeFile(t, path, routesOf("a"))
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "data", "fleet.json"), "{}")
	cfg, err := config.Load(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(cfg, nil, "test"); err == nil || !strings.Contains(err.Error(), "put [fleet] back into the config") {
		t.Errorf("got %v", err)
	}
}

func TestListenInUse(t *testing.T) {
	before := runtime.NumGoroutine()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	path := filepath.Join(t.TempDir(), "signalpost.toml")
	writeFile(t, path, "[server]\nlisten = '"+l.Addr().String()+"'\n"+routesOf("a"))
	cfg, err := config.Load(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the store is free again
		p, err := New(cfg, nil, "test")
		if err != nil {
			t.Fatal(err)
		}
		err = p.Serve(context.Background(), nil)
		if err == nil || !strings.Contains(err.Error(), l.Addr().String()) || !strings.Contains(err.Error(), "server.listen") {
			t.Errorf("got %v", err)
		}
	}
	for range 500 { // what has ended may not be gone yet
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines before, %d after", before, runtime.NumGoroutine())
}

// A reload that leaves oauth2 as it is keeps the token; another secret gets a new one.
func TestReloadKeepsTokens(t *testing.T) {
	base, got := receiver(t)
	var asked atomic.Int32
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		fmt.Fprint(w, `{"access_token":"token","expires_in":3600}`)
	}))
	defer idp.Close()
	text := "[[route]]\nname = 'a'\nurl = '" + base + "/%s'\noauth2 = { token_url = '" + idp.URL + "', client_id = 'a', client_secret = '%s' }\n"
	r := run(t, fmt.Sprintf(text, "one", "secret"))
	for i, step := range []struct{ path, secret string }{{"one", "secret"}, {"two", "secret"}, {"three", "other"}} {
		r.write(fmt.Sprintf(text, step.path, step.secret))
		if err := r.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.send()
		r.until("a delivery", func() bool { return got("/"+step.path) == 1 })
		if n := asked.Load(); n != []int32{1, 1, 2}[i] {
			t.Errorf("%d tokens after %+v", n, step)
		}
	}
}
