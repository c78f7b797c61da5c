package deliver

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"signalpost/proxy/config"
	"signalpost/proxy/sign"
	"signalpost/queue"
)

// overHTTP makes net/http send all requests of the endpoint.
func overHTTP(e *Endpoint) { e.head = nil }

// TestAnswers is what can be answered, and whether the connection serves again.
// net/http, which sends what a link does not send itself, judges alike.
func TestAnswers(t *testing.T) {
	noLeak(t)
	const ok = "HTTP/1.1 200 OK\r\n"
	for name, tc := range map[string]struct {
		answer string
		closes bool // then
		status int  // 0: 200
		error  string
		logged string
		reused bool
	}{
		"length":                {answer: ok + "Content-Length: 2\r\n\r\nok", logged: "ok", reused: true},
		"length of 0":           {answer: ok + "Content-Length: 0\r\n\r\n", reused: true},
		"length twice":          {answer: ok + "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", logged: "ok", reused: true},
		"lengths that differ":   {answer: ok + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nok", status: -1, error: "malformed answer"},
		"lengths in one line":   {answer: ok + "Content-Length: 2, 3\r\n\r\nok", status: -1, error: "malformed answer"},
		"negative length":       {answer: ok + "Content-Length: -2\r\n\r\nok", status: -1, error: "malformed answer"},
		"signed length":         {answer: ok + "Content-Length: +2\r\n\r\nok", status: -1, error: "malformed answer"},
		"chunks":                {answer: ok + "Transfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", logged: "ok", reused: true},
		"no chunk":              {answer: ok + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", reused: true},
		"chunks with trailer":   {answer: ok + "Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n2;a=b\r\nok\r\n0\r\nX: y\r\nZ: z\r\n\r\n", logged: "ok", reused: true},
		"chunks with length":    {answer: ok + "Transfer-Encoding: chunked\r\nContent-Length: 99\r\n\r\n2\r\nok\r\n0\r\n\r\n", logged: "ok", reused: true},
		"chunked twice":         {answer: ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", status: -1, error: "malformed answer"},
		"chunks in HTTP/1.0":    {answer: "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", closes: true, logged: "2\r\nok\r\n0\r\n\r\n"},
		"more than the length":  {answer: ok + "Content-Length: 2\r\n\r\nok, and so on", logged: "ok"},
		"less than the length":  {answer: ok + "Content-Length: 9\r\n\r\nok", closes: true, logged: "ok"},
		"more than the chunks":  {answer: ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n0\r\n\r\n", logged: "ok"},
		"two answers":           {answer: ok + "Content-Length: 2\r\n\r\nok" + "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", logged: "ok"},
		"until the end":         {answer: ok + "\r\nok", closes: true, logged: "ok"},
		"ends after the length": {answer: ok + "Content-Length: 2\r\n\r\nok", closes: true, logged: "ok"},
		"says it ends":          {answer: ok + "Connection: close\r\nContent-Length: 2\r\n\r\nok", logged: "ok"},
		"says so among others":  {answer: ok + "connection: x, Close\r\ncontent-length: 2\r\n\r\nok", logged: "ok"},
		"HTTP/1.0":              {answer: "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", logged: "ok"},
		"HTTP/1.0 that stays":   {answer: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", logged: "ok", reused: true},
		"HTTP/2.0":              {answer: "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok", logged: "ok", reused: true},
		"HTTP/1":                {answer: "HTTP/1 200 OK\r\nContent-Length: 2\r\n\r\nok", status: -1, error: "malformed answer"},
		"line feeds alone":      {answer: "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", logged: "ok", reused: true},
		"folded header":         {answer: ok + "X: a\r\n b\r\nContent-Length: 2\r\n\r\nok", logged: "ok", reused: true},
		"folded first header":   {answer: ok + " X: a\r\nContent-Length: 2\r\n\r\nok", status: -1, error: "malformed answer"},
		"space before colon":    {answer: ok + "X : y\r\nContent-Length: 2\r\n\r\nok", logged: "ok", reused: true},
		"204":                   {answer: "HTTP/1.1 204 No Content\r\n\r\n", status: 204, reused: true},
		"204 with a length":     {answer: "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", status: 204, reused: true},
		"204 with a body":       {answer: "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", status: 204},
		"304":                   {answer: "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", status: 304, error: "answered 304 Not Modified", reused: true},
		"410":                   {answer: "HTTP/1.1 410 Gone\r\nContent-Length: 2\r\n\r\nno", status: 410, error: "answered 410 Gone, which is in give_up_on", logged: "no", reused: true},
		"503 with a pause":      {answer: "HTTP/1.1 503 No\r\nretry-after: 7\r\nContent-Length: 0\r\n\r\n", status: 503, error: "answered 503 Service Unavailable", reused: true},
		"interim answers":       {answer: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + ok + "Content-Length: 2\r\n\r\nok", logged: "ok", reused: true},
		"interim answer alone":  {answer: "HTTP/1.1 100 Continue\r\n\r\n", closes: true, status: -1, error: "connection closed in the middle of the answer"},
		"protocol switched":     {answer: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", status: 101, error: "answered 101 Switching Protocols"},
		"body of 64 KiB":        {answer: ok + "Content-Length: 65536\r\n\r\n" + strings.Repeat("x", 64<<10), logged: strings.Repeat("x", 1024), reused: true},
		"body over 64 KiB":      {answer: ok + "Content-Length: 65537\r\n\r\n" + strings.Repeat("x", 64<<10+1), logged: strings.Repeat("x", 1024)},
		"head of 64 KiB":        {answer: ok + "Content-Length: 0\r\n" + fill(64<<10-len(ok)-len("Content-Length: 0\r\n\r\n")) + "\r\n", reused: true},
		"head over 64 KiB":      {answer: ok + "Content-Length: 0\r\n" + fill(64<<10-len(ok)-len("Content-Length: 0\r\n\r\n")+1) + "\r\n", status: -1, error: "malformed answer: more than 64 KiB of headers"},
		"two heads over 64 KiB": {answer: "HTTP/1.1 103 Early Hints\r\n" + fill(40<<10) + "\r\n" + ok + "Content-Length: 0\r\n" + fill(40<<10) + "\r\n", status: -1, error: "malformed answer: more than 64 KiB of headers"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conns := make(chan int, 4)
			address := wire(t, func(n int, c net.Conn, r *bufio.Reader) {
				for readRequest(r) {
					conns <- n
					if io.WriteString(c, tc.answer); tc.closes {
						return
					}
				}
			})
			e := testEndpoint(t, testRoute(t, "http://"+address+"/x"))
			first, second := e.try(t), e.try(t)
			if tc.status == 0 {
				tc.status = 200
			}
			if first.Status != max(tc.status, 0) || first.Response != tc.logged || !strings.HasPrefix(first.Error, tc.error) || (tc.error == "") != (first.Error == "") {
				t.Errorf("%+v, want status %d, error %q, response %.99q", first, tc.status, tc.error, tc.logged)
			}
			if a, b := <-conns, <-conns; (a == b) != tc.reused {
				t.Errorf("connections %d and %d, want the second request on the first connection: %t", a, b, tc.reused)
			}
			other := testEndpoint(t, testRoute(t, "http://"+address+"/x"))
			overHTTP(other)
			third := other.try(t)
			second.Duration, third.Duration = first.Duration, first.Duration
			if second != first || third != first {
				t.Errorf("%+v, then\n%+v; over net/http\n%+v", first, second, third)
			}
		})
	}
}

// fill is header lines of n bytes.
func fill(n int) string {
	const line = "X-Filler: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n"
	s := strings.Repeat(line, n/len(line)-1)
	return s + "X: " + strings.Repeat("x", n-len(s)-5) + "\r\n"
}

// Both ways send the same, and what is shown to people.
func TestBothWaysSendTheSame(t *testing.T) {
	noLeak(t)
	base, requests, bodies := receives(t, func(http.ResponseWriter, *http.Request) {})
	r := testRoute(t, base+"/a%2Fb/ü?c=d&e")
	r.Signatures = []string{"beton", "github", "standard", "stripe", "slack"}
	signed(t, r, "a-secret")
	r.BearerToken = config.NewSecret("t0ken")
	r.Headers = map[string]config.Secret{"X-Team": config.NewSecret(" grö\twth "), "idempotency-key": config.NewSecret("mine")}
	own, other := testEndpoint(t, r), testEndpoint(t, r)
	overHTTP(other)
	if own.head == nil {
		t.Fatal("net/http sends it")
	}
	for _, body := range []string{"", "{}", strings.Repeat("x", maxWireBody), strings.Repeat("x", maxWireBody+1)} {
		d := testDelivery()
		d.Body = []byte(body)
		for _, e := range []*Endpoint{own, other} {
			if o, err := e.Attempt(context.Background(), d, 3); err != nil || o.Verdict != queue.Delivered {
				t.Fatal(o, err)
			}
		}
		all := requests()
		a, b := all[len(all)-2], all[len(all)-1]
		// Seconds may pass between them.
		varies := append([]string{"Webhook-Timestamp"}, sign.Headers([]string{"standard", "stripe", "slack"})...)
		for _, name := range varies {
			if len(a.Header[name]) != 1 || len(b.Header[name]) != 1 {
				t.Errorf("%s: %q, over net/http %q", name, a.Header[name], b.Header[name])
			}
		}
		_, _, shown := own.Describe(d, 3)
		if !slices.Equal(slices.Sorted(maps.Keys(shown)), slices.DeleteFunc(slices.Sorted(maps.Keys(a.Header)), func(n string) bool { return n == "Content-Length" })) {
			t.Errorf("sent %v, shown %v", a.Header, shown)
		}
		for _, r := range []*http.Request{a, b} {
			for _, name := range varies {
				delete(r.Header, name)
			}
		}
		if !maps.EqualFunc(a.Header, b.Header, slices.Equal) || a.Host != b.Host || a.RequestURI != b.RequestURI || a.Method != b.Method ||
			a.ContentLength != b.ContentLength || a.TransferEncoding != nil {
			t.Errorf("%s %s %s %v\nover net/http\n%s %s %s %v", a.Method, a.Host, a.RequestURI, a.Header, b.Method, b.Host, b.RequestURI, b.Header)
		}
		if got := bodies(); got[len(got)-1] != body || got[len(got)-2] != body {
			t.Error("another body arrived")
		}
	}
}

// A server's side of TLS that speaks HTTP/1.1 only, and can hold what it writes.
type heldConn struct {
	net.Conn
	held *bytes.Buffer // nil: nothing is held
}

func (c *heldConn) Write(p []byte) (int, error) {
	if c.held != nil {
		return c.held.Write(p)
	}
	return c.Conn.Write(p)
}

// An answer that nothing asked for is never the answer to the next request:
// each attempt has the answer with its own number.
func TestStrayAnswer(t *testing.T) {
	noLeak(t)
	ca := newAuthority(t, "our CA")
	side := &tls.Config{Certificates: []tls.Certificate{ca.pair(t, serverCert())}, NextProtos: []string{"http/1.1"}}
	answer := func(s string) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(s), s)
	}
	for _, scheme := range []string{"http", "https"} {
		for name, how := range map[string]string{"none": "", "in one piece": "one", "at once": "held", "later": "later", "half of one later": "half", "closed later": "closed"} {
			t.Run(scheme+" "+name, func(t *testing.T) {
				t.Parallel()
				later := make(chan bool)
				var used [2]atomic.Int32
				address := wire(t, func(n int, raw net.Conn, r *bufio.Reader) {
					h := &heldConn{Conn: raw}
					c := net.Conn(h)
					if scheme == "https" {
						c = tls.Server(h, side)
						r = bufio.NewReader(c)
					}
					for {
						req, err := http.ReadRequest(r)
						if err != nil {
							return
						}
						io.Copy(io.Discard, req.Body)
						number := req.Header.Get("X-Beton-Attempt")
						used[number[0]-'1'].Store(int32(n))
						switch how {
						case "one":
							io.WriteString(c, answer(number)+answer("stray"))
						case "held": // records of their own, but one segment
							h.held = new(bytes.Buffer)
							io.WriteString(c, answer(number))
							io.WriteString(c, answer("stray"))
							raw.Write(h.held.Bytes())
							h.held = nil
						default:
							io.WriteString(c, answer(number))
						}
						if number == "2" {
							continue
						}
						switch <-later; how {
						case "later":
							io.WriteString(c, answer("stray"))
						case "half":
							io.WriteString(c, answer("stray")[:20])
						case "closed":
							c.Close()
							return
						}
					}
				})
				r := testRoute(t, scheme+"://"+address+"/x")
				r.TLS.Config = &tls.Config{RootCAs: ca.pool()}
				e := testEndpoint(t, r)
				for n := 1; n <= 2; n++ {
					o, err := e.Attempt(context.Background(), testDelivery(), n)
					if err != nil || o.Verdict != queue.Delivered || o.Response != fmt.Sprint(n) {
						t.Errorf("attempt %d: %+v, %v", n, o, err)
					}
					if n == 1 {
						later <- true
						for slices.Contains([]string{"later", "half", "closed"}, how) && e.link.idle.conns[0].quiet() {
							time.Sleep(time.Millisecond) // until it is here
						}
					}
				}
				if a, b := used[0].Load(), used[1].Load(); (a == b) != (how == "") {
					t.Errorf("connections %d and %d", a, b)
				}
			})
		}
	}
	t.Run("before the first request", func(t *testing.T) {
		address := wire(t, func(_ int, c net.Conn, r *bufio.Reader) {
			io.WriteString(c, answer("stray"))
			hang(r)
		})
		e := testEndpoint(t, testRoute(t, "http://"+address+"/x"))
		try := &try{ctx: context.Background(), deadline: time.Now().Add(time.Minute)}
		c, err := e.link.newConn(try)
		if err != nil {
			t.Fatal(err)
		}
		for c.quiet() {
			time.Sleep(time.Millisecond)
		}
		_, _, err = c.exchange(try, []byte("POST / HTTP/1.1\r\n\r\n"))
		if text, fault := e.link.explain(err, try); text != "malformed answer: it came before the request" || !fault {
			t.Errorf("%q, %t", text, fault)
		}
	})
}

// The connections of a link: as many idle as attempts may be under way, no
// longer than they may be, and none once the link is left.
func TestIdleConnections(t *testing.T) {
	noLeak(t)
	ca := newAuthority(t, "our CA")
	side := &tls.Config{Certificates: []tls.Certificate{ca.pair(t, serverCert())}, NextProtos: []string{"http/1.1"}}
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			const n = 5
			var gate sync.WaitGroup
			var open, made atomic.Int32
			address := wire(t, func(_ int, c net.Conn, r *bufio.Reader) {
				made.Add(1)
				open.Add(1)
				defer open.Add(-1)
				if scheme == "https" {
					c = tls.Server(c, side)
					r = bufio.NewReader(c)
				}
				for readRequest(r) {
					gate.Done()
					gate.Wait()
					io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
			})
			wantOpen := func(want int32) {
				t.Helper()
				for range 1000 {
					if open.Load() == want {
						return
					}
					time.Sleep(5 * time.Millisecond)
				}
				t.Errorf("%d connections are open, want %d", open.Load(), want)
			}
			r := testRoute(t, scheme+"://"+address+"/x")
			r.TLS.Config = &tls.Config{RootCAs: ca.pool()}
			r.Concurrency = 3
			e := testEndpoint(t, r)
			burst := func(n int) {
				var all sync.WaitGroup
				gate.Add(n)
				for range n {
					all.Go(func() {
						if o := e.try(t); o.Verdict != queue.Delivered {
							t.Errorf("%+v", o)
						}
					})
				}
				all.Wait()
			}
			burst(n)
			wantOpen(3)
			burst(3)
			wantOpen(3)
			e.link.idle.timer.Stop()
			e.link.expire(time.Now().Add(-time.Minute))
			if wantOpen(3); !e.link.idle.timer.Stop() {
				t.Error("nothing will close them")
			}
			e.link.expire(e.link.idle.conns[1].since)
			wantOpen(1)
			before := made.Load()
			e.link.idle.conns[0].since = time.Now().Add(-idleTimeout)
			burst(1)
			if wantOpen(1); made.Load() != before+1 {
				t.Error("a connection was used that had been idle too long")
			}
			e.Close()
			wantOpen(0)
			burst(1)
			if wantOpen(0); e.link.idle.timer != nil || len(e.link.idle.conns) != 0 {
				t.Error("the link was left, and has connections")
			}
		})
	}
}

// An attempt whose context ends after the head of its answer waits for no more
// of it, and may yet end what is under way on its connection: nobody else gets it.
func TestEndedAttemptKeepsItsConnection(t *testing.T) {
	noLeak(t)
	for name, body := range map[string][2]string{"whole": {"ok", ""}, "under way": {"", "ok"}} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			address := wire(t, func(n int, c net.Conn, r *bufio.Reader) {
				for readRequest(r) {
					io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"+body[0])
					if n == 1 {
						<-ctx.Done()
					}
					io.WriteString(c, body[1])
				}
			})
			e := testEndpoint(t, testRoute(t, "http://"+address+"/x"))
			try := &try{ctx: ctx, deadline: time.Now().Add(time.Minute)}
			resp, err := e.send(try, testDelivery(), 1, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			cancel()
			for body[1] != "" && resp.Body.(*wireConn).quiet() {
				time.Sleep(time.Millisecond) // until it is here
			}
			if text := e.read(resp, try); text != body[0] || len(e.link.idle.conns) != 0 {
				t.Errorf("response %q, %d idle connections", text, len(e.link.idle.conns))
			}
			if o := e.try(t); o.Verdict != queue.Delivered || len(e.link.idle.conns) != 1 {
				t.Errorf("%+v, %d idle connections", o, len(e.link.idle.conns))
			}
		})
	}
}

// A receiver may answer, and end, before it has read the request.
func TestAnswersWithoutReading(t *testing.T) {
	noLeak(t)
	for _, body := range []int{1, maxWireBody, 8 << 20} {
		address := wire(t, func(_ int, c net.Conn, r *bufio.Reader) {
			r.Peek(1)
			io.WriteString(c, "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
			c.(*net.TCPConn).CloseWrite()
			<-t.Context().Done()
		})
		e := testEndpoint(t, testRoute(t, "http://"+address+"/x"))
		d := testDelivery()
		d.Body = bytes.Repeat([]byte("x"), body)
		if o, err := e.Attempt(context.Background(), d, 1); err != nil || o.Status != 413 || o.Response != "no" {
			t.Errorf("body of %d bytes: %+v, %v", body, o, err)
		}
	}
}

// Which of its protocols a host chooses is found out by connecting, and may
// change; no connection is lost over it.
func TestProtocolIsFoundOut(t *testing.T) {
	noLeak(t)
	ca := newAuthority(t, "our CA")
	var open atomic.Int32
	var protos sync.Map
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		protos.Store(fmt.Sprint(r.Proto, " ", n, " ", err), true)
	}))
	var only1 atomic.Bool
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.pair(t, serverCert())}, NextProtos: []string{"h2", "http/1.1"}}
	server.TLS.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c := server.TLS.Clone()
		if only1.Load() {
			c.NextProtos = []string{"http/1.1"}
		}
		return c, nil
	}
	server.EnableHTTP2 = true
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}
	server.Config.ErrorLog = quiet
	server.StartTLS()
	defer server.Close()
	r := testRoute(t, server.URL+"/x")
	r.TLS.Config = &tls.Config{RootCAs: ca.pool()}
	e := testEndpoint(t, r)
	burst := func(body int, want string) {
		t.Helper()
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				d := testDelivery()
				d.Body = bytes.Repeat([]byte("x"), body)
				if o, err := e.Attempt(context.Background(), d, 1); err != nil || o.Verdict != queue.Delivered {
					t.Errorf("%+v, %v", o, err)
				}
			})
		}
		all.Wait()
		var got []string
		protos.Range(func(k, _ any) bool { got = append(got, k.(string)); return true })
		if protos.Clear(); !slices.Equal(got, []string{want}) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	burst(10, "HTTP/2.0 10 <nil>")
	if !e.link.http2.Load() || len(e.link.idle.conns) != 0 {
		t.Error("HTTP/2 was not noticed")
	}
	only1.Store(true)
	for open.Load() > 0 {
		e.link.transport.CloseIdleConnections() // they may not be idle yet
		time.Sleep(time.Millisecond)
	}
	burst(maxWireBody+1, fmt.Sprint("HTTP/1.1 ", maxWireBody+1, " <nil>"))
	burst(10, "HTTP/1.1 10 <nil>")
	if len(e.link.idle.conns) == 0 {
		t.Error("HTTP/1.1 was not noticed")
	}
	only1.Store(false)
	e.link.expire(time.Now())
	e.link.transport.CloseIdleConnections()
	burst(10, "HTTP/2.0 10 <nil>")
	e.Close()
	for range 1000 {
		if open.Load() == 0 {
			return
		}
		time.Sleep(5 * time.Millisecond)
		e.link.transport.CloseIdleConnections() // net/http's may not have been idle yet: what is left now is nobody's
	}
	t.Errorf("%d connections are left", open.Load())
}

// A recording is a connection on which everything has been said.
type recording struct {
	net.Conn
	io.Reader
	unsent error // of what is written
}

func (r recording) Read(p []byte) (int, error)          { return r.Reader.Read(p) }
func (r recording) Write(p []byte) (int, error)         { return len(p), r.unsent }
func (recording) Close() error                          { return nil }
func (recording) SetDeadline(time.Time) error           { return nil }
func (recording) SetReadDeadline(time.Time) error       { return nil }
func (recording) SyscallConn() (syscall.RawConn, error) { return nil, nil }

// A receiver may have answered before it broke off the request.
func TestAnswerToHalfARequest(t *testing.T) {
	e := testEndpoint(t, testRoute(t, "http://127.0.0.1:1/x"))
	for _, tc := range []struct {
		unsent error
		answer string
		status int
		want   error
	}{
		{nil, "HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n", 413, nil},
		{syscall.EPIPE, "HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n", 413, nil},
		{syscall.ECONNRESET, "HTTP/1.1 413 No\r\n", 0, io.ErrUnexpectedEOF},
		{syscall.EPIPE, "", 0, syscall.EPIPE},
		{nil, "", 0, io.EOF},
		{syscall.ENOBUFS, "HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n", 0, syscall.ENOBUFS},
	} {
		r := recording{Reader: strings.NewReader(tc.answer), unsent: tc.unsent}
		c, err := e.link.wrap(r, r)
		if err != nil {
			t.Fatal(err)
		}
		c.since = time.Now()
		resp, _, err := c.exchange(&try{ctx: t.Context(), deadline: time.Now().Add(time.Minute)}, nil)
		status := 0
		if err == nil {
			status = resp.StatusCode
			resp.Body.Close()
		}
		if kept := len(e.link.idle.conns) == 1; status != tc.status || err != tc.want || kept != (tc.unsent == nil && tc.want == nil) {
			t.Errorf("%v, %q: status %d, %v, kept: %t", tc.unsent, tc.answer, status, err, kept)
		}
		e.link.idle.conns = nil
	}
}

// Whatever is answered has the status that net/http's parser gives, and the
// connection is kept only if the answer is whole and nothing after it has been
// read. What has come and not been read is seen before the next request.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 500 No\r\n\r\n",
		"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\nHTTP/1.1 503 No\r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\nT: u\r\n\r\n",
		"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nok",
		"HTTP/1.1 204\r\nConnection: close\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\n\r\n",
		"HTTP/1.1 302 Found\nLocation: /x\n\n",
	} {
		f.Add([]byte(seed), 3)
	}
	e := testEndpoint(f, testRoute(f, "http://127.0.0.1:1/x"))
	f.Fuzz(func(t *testing.T, answer []byte, piece int) {
		sent := bytes.NewReader(answer)
		var in io.Reader = sent
		if piece%4 == 0 {
			in = iotest.OneByteReader(in)
		}
		r := recording{Reader: in}
		c, err := e.link.wrap(r, r)
		if err != nil {
			t.Fatal(err)
		}
		c.since = time.Now()
		resp, _, err := c.exchange(&try{ctx: t.Context(), deadline: time.Now().Add(time.Minute)}, nil)
		if err == nil {
			e.judge(resp)
			e.read(resp, new(try))
		}
		kept := len(e.link.idle.conns) == 1
		e.link.idle.conns = nil

		again := bytes.NewReader(answer)
		whole := bufio.NewReader(again)
		var want *http.Response
		wantErr := error(nil)
		for interim := true; interim && wantErr == nil; {
			want, wantErr = http.ReadResponse(whole, post)
			interim = wantErr == nil && want.StatusCode >= 100 && want.StatusCode < 200 && want.StatusCode != 101
		}
		if len(answer) <= maxResponseHeader && (err == nil) != (wantErr == nil) {
			t.Fatalf("error %v, want %v", err, wantErr)
		}
		if err == nil && resp.StatusCode != want.StatusCode {
			t.Errorf("status %d, want %d", resp.StatusCode, want.StatusCode)
		}
		if !kept {
			return
		}
		n, err := io.Copy(io.Discard, want.Body)
		used, read := len(answer)-again.Len()-whole.Buffered(), len(answer)-sent.Len()
		if err != nil || n > maxResponse || used != read || want.Close || want.StatusCode < 200 {
			t.Errorf("kept after %d of %d bytes, %d of them body, close: %t, %v", used, read, n, want.Close, err)
		}
	})
}
