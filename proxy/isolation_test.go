package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// A badReceiver is one that does to each connection what serve does, and keeps
// count of those that are open.
type badReceiver struct {
	addr string
	mu   sync.Mutex
	open map[net.Conn]bool // guarded by mu
	most int               // that were open at once; guarded by mu
	end  func()
}

func newBadReceiver(t *testing.T, serve func(net.Conn)) *badReceiver {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &badReceiver{addr: l.Addr().String(), open: map[net.Conn]bool{}}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.open[c] = true
			b.most = max(b.most, len(b.open))
			b.mu.Unlock()
			all.Go(func() {
				defer func() {
					b.mu.Lock()
					delete(b.open, c)
					b.mu.Unlock()
					c.Close()
				}()
				serve(c)
			})
		}
	})
	b.end = sync.OnceFunc(func() {
		l.Close()
		b.mu.Lock()
		for c := range b.open {
			c.Close()
		}
		b.mu.Unlock()
		all.Wait()
	})
	t.Cleanup(b.end)
	return b
}

func (b *badReceiver) counts() (open, most int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.open), b.most
}

// An endpoint that fails five times in a row is failing, wherever one looks, and
// what waits behind it is not charged. The first success ends that. A payload
// that is refused does not begin it.
func TestFailingEndpoint(t *testing.T) {
	var mu sync.Mutex
	status := 503
	set := func(n int) { mu.Lock(); defer mu.Unlock(); status = n }
	s := start(t, `
[[route]]
name = "crm"
url = "%s"
concurrency = 1
retry = { attempts = 20, first = "1ms", window = "1h" }
`, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.WriteHeader(status)
	}))
	state := func() string {
		var st struct {
			Routes []struct {
				State     string
				LastError *string `json:"last_error"`
			}
		}
		s.get("/status", &st)
		return st.Routes[0].State
	}
	attempts := func() (n int) {
		var page deliveries
		s.get("/deliveries", &page)
		for _, d := range page.Deliveries {
			n += d.Attempts
		}
		return n
	}
	set(422)
	s.post("/signals", `{"signal_type":"refused"}`)
	s.until("more than five attempts were refused", func() bool { return attempts() > 5 })
	if got := state(); got != "ok" {
		t.Errorf("refusing one payload made the route %s", got)
	}
	set(200)
	s.settled()
	done := attempts()

	set(503)
	for range 50 {
		s.post("/signals", `{"signal_type":"a"}`)
	}
	s.until("the route is failing", func() bool { return state() == "failing" })
	if got := s.metric(`signalpost_route_failing{route="crm"}`); got != "1" {
		t.Errorf("the metric says %q", got)
	}
	if n := attempts() - done; n < 5 || n > 7 { // a probe or two may have come meanwhile
		t.Errorf("%d attempts were charged, want 5", n)
	}
	set(200)
	s.settled()
	if got := state(); got != "ok" {
		t.Errorf("it is %s after a success", got)
	}
	if got := s.metric(`signalpost_route_failing{route="crm"}`); got != "0" {
		t.Errorf("the metric says %q", got)
	}
}

// Nine receivers hang, trickle, reset or are dead, and a tenth is well. The
// tenth gets everything while each of the nine has its own deliveries waiting,
// and signals are accepted all the while. What the nine take is bounded by
// their concurrency, however much waits for them.
func TestIsolation(t *testing.T) {
	const concurrency, signals = 4, 400
	hang := func(c net.Conn) { io.Copy(io.Discard, c) }
	answer := func(c net.Conn, first, more string) {
		if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			io.Copy(io.Discard, r.Body)
			for _, err := io.WriteString(c, first); err == nil; _, err = io.WriteString(c, more) {
				time.Sleep(5 * time.Millisecond)
			}
		}
	}
	kinds := []struct {
		name, scheme string
		hangs        bool // each attempt takes until the test ends
		serve        func(net.Conn)
	}{
		{"hangs", "http", true, hang},
		{"hangs-too", "http", true, hang},
		{"hangs-in-tls", "https", true, hang},
		{"trickles-status", "http", true, func(c net.Conn) { answer(c, "HTTP/1.1 103 ", "x") }},
		{"trickles-headers", "http", true, func(c net.Conn) { answer(c, "HTTP/1.1 200 OK\r\nX: ", "x") }},
		{"trickles-body", "http", false, func(c net.Conn) { answer(c, "HTTP/1.1 500 No\r\n\r\n", "x") }},
		{"resets", "http", false, func(c net.Conn) { c.(*net.TCPConn).SetLinger(0) }},
		{"limits", "http", false, func(c net.Conn) {
			answer(c, "HTTP/1.1 429 Slow Down\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n", "")
		}},
		{"dead", "http", false, nil},
	}
	receivers := map[string]*badReceiver{}
	box := &inbox{}
	text := fmt.Sprintf("[defaults]\ntimeout = \"1h\"\nconcurrency = %d\n[[route]]\nname = \"healthy\"\nurl = \"%%s\"\n", concurrency)
	for _, k := range kinds {
		b := newBadReceiver(t, k.serve)
		if k.serve == nil {
			b.end() // the port refuses from now on
		}
		receivers[k.name] = b
		text += fmt.Sprintf("[[route]]\nname = %q\nurl = \"%s://%s/\"\n", k.name, k.scheme, b.addr)
	}
	s := start(t, text, box)
	before := runtime.NumGoroutine()
	for range signals {
		if a := s.post("/signals", `{"signal_type":"a"}`); a.status != 202 || strings.Count(a.body, `"dlv_`) != 1+len(kinds) {
			t.Fatalf("%s", a)
		}
	}
	s.until("the healthy receiver has got all", func() bool { return len(box.got()) >= signals })
	for _, k := range kinds {
		if k.hangs {
			s.until(k.name+" has all the attempts it may have", func() bool {
				open, _ := receivers[k.name].counts()
				return open >= concurrency
			})
		}
	}
	// Nothing has ended for those that hang, nor has more of them begun.
	var status struct {
		Routes []struct {
			Name    string
			Pending int
			State   string
		}
	}
	s.until("the last answer of the healthy ones is recorded", func() bool {
		s.get("/status", &status)
		for _, r := range status.Routes {
			if receivers[r.Name] == nil && r.Pending != 0 {
				return false
			}
		}
		return true
	})
	for _, r := range status.Routes {
		switch b := receivers[r.Name]; {
		case b != nil && r.Pending != signals:
			t.Errorf("%s has %d pending, want %d", r.Name, r.Pending, signals)
		case b != nil:
			// A receiver that is busy sending learns late that a connection has been
			// closed: it counts that one beside the next.
			if _, most := b.counts(); most > 2*concurrency {
				t.Errorf("%s has had %d connections at once, want %d at most", r.Name, most, 2*concurrency)
			}
		}
	}
	if got := box.got(); len(got) != signals {
		t.Errorf("the healthy receiver got %d, want %d", len(got), signals)
	}
	// Of each attempt: its worker, what dials or reads and writes, and the receiver.
	const each = 6
	if got, most := runtime.NumGoroutine()-before, (1+len(kinds))*concurrency*each; got > most {
		t.Errorf("%d goroutines, want %d at most", got, most)
	}
	for _, b := range receivers {
		b.end() // or the stop would wait for them
	}
}
