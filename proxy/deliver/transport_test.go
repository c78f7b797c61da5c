package deliver

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"signalpost/proxy/config"
	"signalpost/queue"
)

// endpointVia is an endpoint whose network the test changes: its proxy, its resolver.
func endpointVia(t testing.TB, r *config.Route, change func(*network)) *Endpoint {
	t.Helper()
	n := network{proxy: http.ProxyFromEnvironment}
	change(&n)
	e, err := newEndpoint(r, testAgent, n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// try makes one attempt that has a verdict.
func (e *Endpoint) try(t testing.TB) queue.Outcome {
	t.Helper()
	o, err := e.Attempt(context.Background(), testDelivery(), 1)
	if err != nil {
		t.Fatalf("attempt: %v", err)
	}
	return o
}

// wantFailure checks that an attempt without an answer is one to repeat, the endpoint's
// fault, and that its error contains the texts.
func wantFailure(t testing.TB, o queue.Outcome, texts ...string) {
	t.Helper()
	if o.Verdict != queue.Retry || !o.Fault || o.Status != 0 || o.Hold != 0 || o.Gap == 0 {
		t.Errorf("outcome %+v: want a retry by the endpoint's fault", o)
	}
	for _, text := range texts {
		if !strings.Contains(o.Error, text) {
			t.Errorf("error %q: want %q in it", o.Error, text)
		}
	}
}

// noLeak fails the test if connections or dials of this package outlive it.
// Called first, it checks last.
func noLeak(t *testing.T) {
	t.Helper()
	count := func() (int, string) {
		buf := make([]byte, 1<<20)
		all := string(buf[:runtime.Stack(buf, true)])
		return strings.Count(all, "net/http.(*persistConn).readLoop") + strings.Count(all, "net/http.(*Transport).dialConn") +
			strings.Count(all, "deliver.(*Endpoint)"), all
	}
	before, _ := count()
	t.Cleanup(func() {
		var n int
		var all string
		for range 500 {
			if n, all = count(); n <= before {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("%d goroutines of connections before, %d after:\n%s", before, n, all)
	})
}

// wire is a receiver of raw bytes: serve gets each connection with its number,
// from 1, and a reader of it. The connection is closed when serve returns. The
// test ends when all have.
func wire(t testing.TB, serve func(n int, c net.Conn, r *bufio.Reader)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var (
		all   sync.WaitGroup
		mu    sync.Mutex
		conns []net.Conn
	)
	all.Go(func() {
		for n := 1; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			all.Go(func() {
				defer c.Close()
				serve(n, c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return l.Addr().String()
}

// readRequest reads one request whole.
func readRequest(r *bufio.Reader) bool {
	req, err := http.ReadRequest(r)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, req.Body)
	return err == nil
}

// hang reads until the other side ends.
func hang(r io.Reader) { io.Copy(io.Discard, r) }

// reset closes a connection so that the other side gets an RST.
func reset(c net.Conn) {
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// TestWire is what can go wrong on the wire.
func TestWire(t *testing.T) {
	noLeak(t)
	const ok = "HTTP/1.1 200 OK\r\n"
	for name, tc := range map[string]struct {
		answer func(c net.Conn, r *bufio.Reader)
		fails  string // with this text; "": delivered
		status int    // of a failure
		logged string // the response begins so
	}{
		"closed at once":        {answer: func(net.Conn, *bufio.Reader) {}, fails: "connection"},
		"reset at once":         {answer: func(c net.Conn, _ *bufio.Reader) { reset(c) }, fails: "connection reset"},
		"closed after request":  {answer: after(func(net.Conn) {}), fails: "connection closed before an answer"},
		"reset after request":   {answer: after(reset), fails: "connection reset before an answer"},
		"closed in status line": {answer: says("HTTP/1.1 20"), fails: "malformed answer"},
		"closed in header":      {answer: says(ok + "Content-Length: 0\r\n"), fails: "connection closed in the middle of the answer"},
		"reset in header": {answer: after(func(c net.Conn) {
			io.WriteString(c, ok+"Content-Length: 0\r\n")
			time.Sleep(20 * time.Millisecond) // or the reset overtakes it
			reset(c)
		}), fails: "connection"},
		"half closed":             {answer: after(func(c net.Conn) { c.(*net.TCPConn).CloseWrite(); hang(c) }), fails: "connection closed before an answer"},
		"another protocol":        {answer: says("SSH-2.0-OpenSSH_9.7\r\n"), fails: `malformed answer: malformed HTTP response "SSH-2.0-OpenSSH_9.7"`},
		"speaks first":            {answer: func(c net.Conn, r *bufio.Reader) { io.WriteString(c, "220 smtp\r\n"); hang(r) }, fails: "malformed answer"},
		"garbage":                 {answer: says("\x00\xff\xfe\x1b[2J\n\n"), fails: "malformed answer"},
		"a TLS alert":             {answer: says("\x15\x03\x01\x00\x02\x02\x50\n"), fails: "should begin with https"},
		"no status":               {answer: says("HTTP/1.1 \r\n\r\n"), fails: "malformed answer"},
		"negative status":         {answer: says("HTTP/1.1 -20 OK\r\n\r\n"), fails: "malformed answer"},
		"status 000":              {answer: says("HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n"), fails: "malformed answer: its status is 0"},
		"status 099":              {answer: says("HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n"), fails: "malformed answer: its status is 99"},
		"status 999":              {answer: says("HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n"), fails: "answered 999", status: 999},
		"bad header":              {answer: says(ok + "no colon\r\n\r\n"), fails: "malformed answer"},
		"bad length":              {answer: says(ok + "Content-Length: many\r\n\r\n"), fails: "malformed answer"},
		"two lengths":             {answer: says(ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), fails: "malformed answer"},
		"unknown coding":          {answer: says(ok + "Transfer-Encoding: brotli\r\n\r\n"), fails: "malformed answer"},
		"endless header":          {answer: after(flood(ok, "X-Filler: "+strings.Repeat("x", 1000)+"\r\n")), fails: "malformed answer: more than 64 KiB of headers"},
		"endless header line":     {answer: after(flood(ok+"X: ", strings.Repeat("x", 1000))), fails: "malformed answer: more than 64 KiB of headers"},
		"endless status line":     {answer: after(flood("HTTP/1.1 200 ", strings.Repeat("x", 1000))), fails: "malformed answer: more than 64 KiB of headers"},
		"endless interim answers": {answer: after(flood("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")), fails: "malformed answer: more than 64 KiB of headers"},
		"switches protocol": {answer: after(func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nx")
			hang(c)
		}), fails: "answered 101", status: 101},

		"plain":           {answer: says(ok + "Content-Length: 2\r\n\r\nok"), logged: "ok"},
		"HTTP/1.0":        {answer: says("HTTP/1.0 200 OK\r\n\r\nok"), logged: "ok"},
		"interim answers": {answer: says("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok + "Content-Length: 2\r\n\r\nok"), logged: "ok"},
		"no phrase":       {answer: says("HTTP/1.1 204\r\n\r\n")},
		"answers too early": {answer: func(c net.Conn, r *bufio.Reader) {
			r.Peek(1)
			io.WriteString(c, ok+"Content-Length: 2\r\n\r\nok")
			readRequest(r)
		}, logged: "ok"},
		"body too short":      {answer: says(ok + "Content-Length: 100\r\n\r\nhalf"), logged: "half"},
		"body too long":       {answer: says(ok + "Content-Length: 2\r\n\r\nokHTTP/1.1 500 Other\r\n\r\n"), logged: "ok"},
		"body reset":          {answer: after(func(c net.Conn) { io.WriteString(c, ok+"Content-Length: 100\r\n\r\n"); reset(c) })},
		"bad chunk":           {answer: says(ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n"), logged: "ok"},
		"endless body":        {answer: after(flood(ok+"Transfer-Encoding: chunked\r\n\r\n", "4\r\nbody\r\n")), logged: "bodybody"},
		"endless plain body":  {answer: after(flood(ok+"\r\n", "body")), logged: "bodybody"},
		"endless chunk line":  {answer: after(flood(ok+"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", "1"))},
		"endless trailer":     {answer: after(flood(ok+"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", "X-Trailer: x\r\n")), logged: "ok"},
		"slow bytes":          {answer: after(func(c net.Conn) { drip(c, ok+"Content-Length: 1000000\r\n\r\n", "x") }), logged: "xx"},
		"body that hangs":     {answer: after(func(c net.Conn) { io.WriteString(c, ok+"Content-Length: 9\r\n\r\npart"); hang(c) }), logged: "part"},
		"huge declared":       {answer: says(ok + "Content-Length: 9223372036854775807\r\n\r\nx"), logged: "x"},
		"claims to be packed": {answer: says(ok + "Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope"), logged: "[a body"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // some wait a second for their body
			address := wire(t, func(n int, c net.Conn, r *bufio.Reader) {
				if n == 1 {
					tc.answer(c, r)
				} else if readRequest(r) {
					io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
				}
			})
			e := testEndpoint(t, testRoute(t, "http://"+address+"/hooks/x"))
			o := e.try(t)
			switch {
			case tc.fails == "":
				if o.Verdict != queue.Delivered || o.Error != "" || o.Fault {
					t.Errorf("outcome %+v: want delivered", o)
				}
			case o.Verdict != queue.Retry || o.Status != tc.status || !strings.Contains(o.Error, tc.fails):
				t.Errorf("outcome %+v: want a retry, status %d, error %q", o, tc.status, tc.fails)
			case o.Fault != (tc.status == 0):
				t.Errorf("outcome %+v: fault %t", o, o.Fault)
			}
			if !strings.HasPrefix(o.Response, tc.logged) || tc.logged == "" && o.Response != "" && tc.fails == "" && name != "endless chunk line" {
				t.Errorf("response %q, want %q", o.Response, tc.logged)
			}
			if len(o.Response) > maxResponseLog || len(o.Error) > maxErrorText {
				t.Errorf("%d bytes of response, %d of error", len(o.Response), len(o.Error))
			}
			// Whatever that was, the next attempt is not affected.
			if o := e.try(t); o.Verdict != queue.Delivered {
				t.Errorf("next attempt: %+v, want delivered", o)
			}
		})
	}
}

// after reads the request, then lets f go on.
func after(f func(net.Conn)) func(net.Conn, *bufio.Reader) {
	return func(c net.Conn, r *bufio.Reader) {
		if readRequest(r) {
			f(c)
		}
	}
}

// says answers a request with the bytes, and closes.
func says(answer string) func(net.Conn, *bufio.Reader) {
	return after(func(c net.Conn) {
		io.WriteString(c, answer)
		c.(*net.TCPConn).CloseWrite()
		hang(c)
	})
}

// flood writes more for as long as someone reads.
func flood(first, more string) func(net.Conn) {
	return func(c net.Conn) {
		w := bufio.NewWriter(c)
		w.WriteString(first)
		for {
			if _, err := w.WriteString(more); err != nil {
				return
			}
		}
	}
}

// drip writes more, slowly, for as long as someone reads.
func drip(c net.Conn, first, more string) {
	io.WriteString(c, first)
	for {
		if _, err := io.WriteString(c, more); err != nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// nobody is where nobody listens. A port that a test has let go may be another's by now.
const nobody = "127.0.0.1:1"

func TestNoConnection(t *testing.T) {
	noLeak(t)
	t.Run("refused", func(t *testing.T) {
		wantFailure(t, testEndpoint(t, testRoute(t, "http://"+nobody+"/x")).try(t), "connection refused ("+nobody+")")
	})
	dns := func(t *testing.T, code byte) func(*network) {
		return func(o *network) { o.resolver = dnsFailing(t, code) }
	}
	t.Run("no such host", func(t *testing.T) {
		r := testRoute(t, "https://crm.example.test./x")
		wantFailure(t, endpointVia(t, r, dns(t, 3)).try(t), "host crm.example.test. not found in DNS")
	})
	t.Run("DNS fails", func(t *testing.T) {
		r := testRoute(t, "https://crm.example.test./x")
		wantFailure(t, endpointVia(t, r, dns(t, 2)).try(t), "DNS", "crm.example.test.")
	})
	t.Run("DNS is silent", func(t *testing.T) {
		r := testRoute(t, "https://crm.example.test./x")
		r.Timeout = 200 * time.Millisecond
		wantFailure(t, endpointVia(t, r, dns(t, 0)).try(t), "timeout: DNS gave no answer for crm.example.test.")
	})
}

func TestTimeoutNamesPhase(t *testing.T) {
	noLeak(t)
	silent := wire(t, func(_ int, _ net.Conn, r *bufio.Reader) { hang(r) })
	proxySilent := func(o *network) { o.proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: silent}) }
	for name, tc := range map[string]struct {
		url    string
		change func(*network)
		want   string
	}{
		"answer":    {"http://" + silent + "/x", func(*network) {}, "timeout: connected, but no answer within 1s"},
		"handshake": {"https://" + silent + "/x", func(*network) {}, "timeout: TLS handshake with " + silent + " not done within 1s"},
		"proxy":     {"https://crm.example.test/x", proxySilent, "timeout: no connection to crm.example.test through the proxy http://" + silent + " within 1s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := testRoute(t, tc.url)
			r.Timeout = time.Second // enough to come to the phase, also on a busy machine
			wantFailure(t, endpointVia(t, r, tc.change).try(t), tc.want)
		})
	}
}

// An attempt that a shutdown ends has no verdict, in whichever phase; one that was answered has.
func TestShutdown(t *testing.T) {
	noLeak(t)
	reached := make(chan struct{}, 1)
	silent := wire(t, func(_ int, c net.Conn, r *bufio.Reader) {
		r.Peek(1)
		reached <- struct{}{}
		hang(r)
	})
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			e := testEndpoint(t, testRoute(t, scheme+"://"+silent+"/x"))
			ctx, cancel := context.WithCancel(context.Background())
			go func() { <-reached; cancel() }()
			if o, err := e.Attempt(ctx, testDelivery(), 1); err != context.Canceled {
				t.Errorf("attempt = %+v, %v; want context.Canceled", o, err)
			}
		})
	}
	t.Run("before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if o, err := testEndpoint(t, testRoute(t, "http://"+silent)).Attempt(ctx, testDelivery(), 1); err != context.Canceled {
			t.Errorf("attempt = %+v, %v; want context.Canceled", o, err)
		}
	})
	t.Run("during the body", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		address := wire(t, func(_ int, c net.Conn, r *bufio.Reader) {
			readRequest(r)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart")
			time.Sleep(300 * time.Millisecond) // the head is read by then
			cancel()
			hang(r)
		})
		o, err := testEndpoint(t, testRoute(t, "http://"+address)).Attempt(ctx, testDelivery(), 1)
		if err != nil || o.Verdict != queue.Delivered {
			t.Errorf("attempt = %+v, %v; want delivered", o, err)
		}
	})
}

// Servers end idle connections just when one is used again: as long as no byte
// of the answer has come, that is no failure. On a new connection it is.
func TestConnectionEndsWhenReused(t *testing.T) {
	noLeak(t)
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	for name, tc := range map[string]struct {
		second func(net.Conn)
		want   queue.Verdict
	}{
		"closed":     {func(net.Conn) {}, queue.Delivered},
		"reset":      {reset, queue.Delivered},
		"half a one": {func(c net.Conn) { io.WriteString(c, "HTTP/1.1 2") }, queue.Retry},
	} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int32
			address := wire(t, func(n int, c net.Conn, r *bufio.Reader) {
				for i := 1; readRequest(r); i++ {
					requests.Add(1)
					if n == 1 && i == 2 {
						tc.second(c)
						return
					}
					io.WriteString(c, answer)
				}
			})
			e := testEndpoint(t, testRoute(t, "http://"+address+"/x"))
			if o := e.try(t); o.Verdict != queue.Delivered {
				t.Fatalf("first: %+v", o)
			}
			o := e.try(t)
			if o.Verdict != tc.want {
				t.Errorf("second: %+v, want %s", o, tc.want)
			}
			want := int32(2)
			if tc.want == queue.Delivered {
				want = 3
			}
			if n := requests.Load(); n != want {
				t.Errorf("%d requests arrived, want %d", n, want)
			}
		})
	}
}

// A receiver that counts its connections.
func countingServer(t *testing.T, h http.HandlerFunc) (server *httptest.Server, conns func() int32) {
	t.Helper()
	var n atomic.Int32
	server = httptest.NewUnstartedServer(h)
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			n.Add(1)
		}
	}
	t.Cleanup(server.Close)
	return server, n.Load
}

func TestConnectionsAreReused(t *testing.T) {
	noLeak(t)
	server, conns := countingServer(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		switch r.URL.Path {
		case "/empty":
			w.WriteHeader(http.StatusNoContent)
		case "/refuses":
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, "no")
		case "/fails":
			w.WriteHeader(http.StatusTooManyRequests)
			io.WriteString(w, "no")
		case "/chunked":
			io.WriteString(w, "a")
			w.(http.Flusher).Flush()
			io.WriteString(w, "b")
		case "/full":
			io.WriteString(w, strings.Repeat("x", maxResponse))
		}
	})
	server.Start()
	for path, want := range map[string]int32{"/empty": 1, "/refuses": 1, "/chunked": 1, "/full": 1, "/fails": 5} {
		for _, way := range []func(*Endpoint){func(*Endpoint) {}, overHTTP} {
			before := conns()
			e := testEndpoint(t, testRoute(t, server.URL+path))
			way(e)
			for range 5 {
				e.try(t)
			}
			if n := conns() - before; n != want {
				t.Errorf("%s: %d connections for 5 attempts, want %d", path, n, want)
			}
		}
	}
	t.Run("side by side", func(t *testing.T) {
		before := conns()
		r := testRoute(t, server.URL+"/empty")
		e := testEndpoint(t, r)
		var all sync.WaitGroup
		for range r.Concurrency {
			all.Go(func() {
				for range 20 {
					if o := e.try(t); o.Verdict != queue.Delivered {
						t.Errorf("%+v", o)
					}
				}
			})
		}
		all.Wait()
		if n := conns() - before; n > 2*int32(r.Concurrency) {
			t.Errorf("%d connections, want at most as many in use and as many idle: %d", n, 2*r.Concurrency)
		}
	})
	// One attempt that fails must not cost the others their connections.
	t.Run("beside a failure", func(t *testing.T) {
		var conns atomic.Int32
		failed := make(chan struct{})
		address := wire(t, func(n int, c net.Conn, r *bufio.Reader) {
			conns.Store(int32(n))
			for i := 1; readRequest(r); i++ {
				if n == 2 {
					close(failed)
					return
				}
				if i == 2 {
					<-failed
					time.Sleep(10 * time.Millisecond) // the failing attempt ends first
				}
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
		})
		e := testEndpoint(t, testRoute(t, "http://"+address+"/x"))
		e.try(t)
		var delivered atomic.Int32
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				if o := e.try(t); o.Verdict == queue.Delivered {
					delivered.Add(1)
				}
			})
		}
		all.Wait()
		e.try(t)
		if delivered.Load() != 1 || conns.Load() != 2 {
			t.Errorf("%d of 2 delivered over %d connections, want 1 over 2", delivered.Load(), conns.Load())
		}
	})
}

func TestBlockPrivateNetworks(t *testing.T) {
	noLeak(t)
	var reached atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "[::1]"} {
		r := testRoute(t, "http://"+host+":"+port+"/x")
		r.BlockPrivateNetworks = true
		o := testEndpoint(t, r).try(t)
		wantFailure(t, o, "is not public and the route has block_private_networks", " of "+host+":"+port)
	}
	if reached.Load() {
		t.Error("a private address was reached")
	}
	// A name may lead anywhere, and elsewhere the next time: the address that is
	// dialled decides.
	named := testRoute(t, "http://crm.example.test.:"+port+"/x")
	loopback := net.IPv4(127, 0, 0, 1)
	var leads atomic.Pointer[net.IP]
	leads.Store(&loopback)
	resolves := func(o *network) { o.resolver = dnsOf(t, &leads) }
	if o := endpointVia(t, named, resolves).try(t); o.Verdict != queue.Delivered || !reached.Swap(false) {
		t.Fatalf("the name leads nowhere: %+v", o)
	}
	named.BlockPrivateNetworks = true
	wantFailure(t, endpointVia(t, named, resolves).try(t), "address 127.0.0.1 of crm.example.test.:"+port+" is not public")
	if reached.Load() {
		t.Error("a private address was reached by a name")
	}
	r := testRoute(t, "https://crm.example.test/x")
	r.BlockPrivateNetworks = true
	proxy := http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy.example:3128", User: url.UserPassword("me", "pr0xy-pass")})
	_, err := newEndpoint(r, testAgent, network{proxy: proxy})
	if err == nil || !strings.Contains(err.Error(), "http://proxy.example:3128") || strings.Contains(err.Error(), "pr0xy-pass") {
		t.Errorf("with a proxy: error %v, want one that names it", err)
	}
}

// Where a name leads is asked anew for each connection.
func TestAddressChanges(t *testing.T) {
	noLeak(t)
	var reached atomic.Value // the address
	serve := func(ip net.IP, port int) (at *net.TCPAddr) {
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: ip, Port: port})
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			reached.Store(ip.String())
			w.Header().Set("Connection", "close")
		}))
		server.Listener.Close()
		server.Listener = l
		server.Start()
		t.Cleanup(server.Close)
		return l.Addr().(*net.TCPAddr)
	}
	before, after := net.IPv4(127, 0, 0, 1), net.IPv4(127, 0, 0, 2)
	port := serve(before, 0).Port
	serve(after, port)
	var leads atomic.Pointer[net.IP]
	e := endpointVia(t, testRoute(t, fmt.Sprintf("http://crm.example.test.:%d/x", port)), func(o *network) { o.resolver = dnsOf(t, &leads) })
	for _, ip := range []net.IP{before, after, before} {
		leads.Store(&ip)
		if o := e.try(t); o.Verdict != queue.Delivered || reached.Load() != ip.String() {
			t.Errorf("it leads to %v; %v was reached: %+v", ip, reached.Load(), o)
		}
	}
}

// A name beyond ASCII is looked up, and sent, as DNS has it.
func TestInternationalName(t *testing.T) {
	noLeak(t)
	base, requests, _ := receives(t, func(http.ResponseWriter, *http.Request) {})
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(base, "http://"))
	loopback := net.IPv4(127, 0, 0, 1)
	var leads atomic.Pointer[net.IP]
	leads.Store(&loopback)
	for _, way := range []func(*Endpoint){func(*Endpoint) {}, overHTTP} {
		e := endpointVia(t, testRoute(t, "http://bücher.example.test.:"+port), func(o *network) { o.resolver = dnsOf(t, &leads) })
		way(e)
		if o := e.try(t); o.Verdict != queue.Delivered {
			t.Errorf("%+v", o)
		}
	}
	for _, r := range requests() {
		if r.Host != "xn--bcher-kva.example.test.:"+port {
			t.Errorf("Host %s", r.Host)
		}
	}
}

// A lack of the machine's is no verdict, nor is what it does to DNS for some seconds after.
func TestShortage(t *testing.T) {
	defer lastShortage.Store(nil)
	short := func(err error) bool { return errors.Is(err, queue.ErrShortage) }
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		at := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
		if err := shortage(&net.OpError{Op: "dial", Net: "tcp", Addr: at, Err: os.NewSyscallError("connect", errno)}); !short(err) || !errors.Is(err, errno) {
			t.Errorf("%v: %v", errno, err)
		}
	}
	lastShortage.Store(nil)
	for _, err := range []error{syscall.ECONNREFUSED, io.EOF, os.ErrDeadlineExceeded, &net.DNSError{Err: "no such host", IsNotFound: true}} {
		if got := shortage(err); got != nil {
			t.Errorf("%v: %v", err, got)
		}
	}
	// Where IPv6 is missing its addresses are "not available", however many ports are left.
	if c, err := net.Dial("udp", "[::1]:1"); errors.Is(err, syscall.EADDRNOTAVAIL) {
		if o := testEndpoint(t, testRoute(t, "http://[::1]:1")).try(t); o.Verdict != queue.Retry || !o.Fault {
			t.Errorf("an address that cannot be reached from here: %+v", o)
		}
	} else if err == nil {
		c.Close()
	}

	base, _, _ := receives(t, func(http.ResponseWriter, *http.Request) {})
	loopback := net.IPv4(127, 0, 0, 1)
	var leads atomic.Pointer[net.IP]
	leads.Store(&loopback)
	resolver := dnsOf(t, &leads)
	named := endpointVia(t, testRoute(t, "http://crm.example.test."), func(n *network) { n.resolver = resolver })
	numbered := testEndpoint(t, testRoute(t, base))
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	next := uint64(0)
	for range 20 { // so that an eighth is more than one
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		next = uint64(f.Fd()) + 1
	}
	for _, most := range []uint64{next + 2, 0} { // 0: for files that are not open yet
		few := limit
		few.Cur = most
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
			t.Fatal(err)
		}
		for name, e := range map[string]*Endpoint{"a name": named, "an address": numbered} {
			if o, err := e.Attempt(t.Context(), testDelivery(), 1); !short(err) || most == 0 && !strings.Contains(err.Error(), "ulimit -n") {
				t.Errorf("%s, with %d files, %d open: %+v, %v", name, most, next, o, err)
			}
		}
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	lost := &net.DNSError{Err: "read udp 127.0.0.1:1->127.0.0.1:53: read: connection refused"}
	if err := shortage(lost); !short(err) {
		t.Errorf("a moment later: %v", err)
	}
	if o := numbered.try(t); o.Verdict != queue.Delivered {
		t.Errorf("a moment later: %+v", o)
	}
	then := time.Now().Add(-resolverRefresh)
	lastShortage.Store(&then)
	if err := shortage(lost); err != nil {
		t.Errorf("some seconds later: %v", err)
	}
}

// dnsFailing is a DNS server that answers with the code, or not at all.
func dnsFailing(t *testing.T, code byte) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			if code == 0 || n < 12 {
				continue
			}
			end := 12 // of the question, which is all that is kept
			for end < n && buf[end] != 0 {
				end += int(buf[end]) + 1
			}
			buf[2], buf[3] = buf[2]|0x80, 0x80|code
			for i := 6; i < 12; i++ {
				buf[i] = 0
			}
			server.WriteTo(buf[:end+5], from)
		}
	}()
	t.Cleanup(func() { server.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

// dnsOf is a resolver that knows all names, by one IPv4 address.
func dnsOf(t *testing.T, leads *atomic.Pointer[net.IP]) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			end := 12 // of the question, which is all that is kept
			for end < n && buf[end] != 0 {
				end += int(buf[end]) + 1
			}
			end += 5
			copy(buf[2:12], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0})
			answer := buf[:end]
			if isA := buf[end-3] == 1; isA {
				buf[7] = 1
				answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
				answer = append(answer, leads.Load().To4()...)
			}
			server.WriteTo(answer, from)
		}
	}()
	t.Cleanup(func() { server.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

// authority is a CA of the test's own.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{}
	a.cert, a.key = a.issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

// issue signs a certificate, with itself if there is no CA yet.
func (a *authority) issue(t testing.TB, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	if c.NotBefore.IsZero() {
		c.NotBefore = time.Now().Add(-time.Hour)
	}
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (a *authority) pair(t testing.TB, c *x509.Certificate) tls.Certificate {
	t.Helper()
	cert, key := a.issue(t, c)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// server is what a certificate of a server at 127.0.0.1 has.
func serverCert() *x509.Certificate {
	return &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
}

func clientCert() *x509.Certificate {
	return &x509.Certificate{Subject: pkix.Name{CommonName: "signalpost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
}

func tlsServer(t testing.TB, c *tls.Config, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.TLS = c
	server.EnableHTTP2 = true
	server.Config.ErrorLog = quiet
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func TestTLS(t *testing.T) {
	noLeak(t)
	ca, otherCA := newAuthority(t, "our CA"), newAuthority(t, "another CA")
	expired, early, otherHost, noHost, noServer := serverCert(), serverCert(), serverCert(), serverCert(), serverCert()
	expired.NotAfter = time.Now().Add(-time.Minute)
	early.NotBefore = time.Now().Add(time.Minute)
	otherHost.IPAddresses, otherHost.DNSNames = nil, []string{"a.example", "b.example", "c.example", "d.example"}
	noHost.IPAddresses = nil
	noServer.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	client, otherClient := ca.pair(t, clientCert()), otherCA.pair(t, clientCert())
	good := ca.pair(t, serverCert())
	wantsClient := func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, ca.pool() }
	wantsAnyClient := func(c *tls.Config) {
		c.ClientAuth = tls.RequireAnyClientCert
		c.VerifyPeerCertificate = func(raw [][]byte, _ [][]*x509.Certificate) error {
			cert, err := x509.ParseCertificate(raw[0])
			if err == nil {
				_, err = cert.Verify(x509.VerifyOptions{Roots: ca.pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
			}
			return err
		}
	}
	optional := func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.VerifyClientCertIfGiven, ca.pool() }
	only12 := func(f func(*tls.Config)) func(*tls.Config) {
		return func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12; f(c) }
	}
	only13 := func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }
	old := func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }
	plain := func(*tls.Config) {}

	for name, tc := range map[string]struct {
		server tls.Certificate
		change func(*tls.Config) // of the server's side
		route  *tls.Config
		fails  []string // nil: delivered
	}{
		"private CA":              {good, plain, &tls.Config{RootCAs: ca.pool()}, nil},
		"TLS 1.2":                 {good, only12(plain), &tls.Config{RootCAs: ca.pool()}, nil},
		"TLS 1.3":                 {good, only13, &tls.Config{RootCAs: ca.pool()}, nil},
		"TLS 1.1":                 {good, old, &tls.Config{RootCAs: ca.pool()}, []string{"refused the TLS handshake", "version"}},
		"unknown CA":              {good, plain, nil, []string{"from an unknown authority", "tls.ca_file"}},
		"another CA":              {good, plain, &tls.Config{RootCAs: otherCA.pool()}, []string{"from an unknown authority"}},
		"expired":                 {ca.pair(t, expired), plain, &tls.Config{RootCAs: ca.pool()}, []string{"is not acceptable: certificate has expired", "is after " + expired.NotAfter.UTC().Format("2006-01-02T15:04")}},
		"not yet valid":           {ca.pair(t, early), plain, &tls.Config{RootCAs: ca.pool()}, []string{"is not acceptable", "is before " + early.NotBefore.UTC().Format("2006-01-02T15:04")}},
		"another host":            {ca.pair(t, otherHost), plain, &tls.Config{RootCAs: ca.pool()}, []string{"is not acceptable", "127.0.0.1"}},
		"no host":                 {ca.pair(t, noHost), plain, &tls.Config{RootCAs: ca.pool()}, []string{"is not acceptable", "127.0.0.1"}},
		"not a server's":          {ca.pair(t, noServer), plain, &tls.Config{RootCAs: ca.pool()}, []string{"is not acceptable", "usage"}},
		"client":                  {good, wantsClient, &tls.Config{RootCAs: ca.pool(), Certificates: []tls.Certificate{client}}, nil},
		"client, TLS 1.2":         {good, only12(wantsClient), &tls.Config{RootCAs: ca.pool(), Certificates: []tls.Certificate{client}}, nil},
		"client optional":         {good, optional, &tls.Config{RootCAs: ca.pool()}, nil},
		"no client":               {good, wantsClient, &tls.Config{RootCAs: ca.pool()}, []string{"wants a TLS client certificate", "tls.cert_file"}},
		"no client, TLS 1.2":      {good, only12(wantsClient), &tls.Config{RootCAs: ca.pool()}, []string{"wants a TLS client certificate", "tls.cert_file"}},
		"another client":          {good, wantsClient, &tls.Config{RootCAs: ca.pool(), Certificates: []tls.Certificate{otherClient}}, []string{"wants a TLS client certificate", "tls.cert_file"}},
		"client refused":          {good, wantsAnyClient, &tls.Config{RootCAs: ca.pool(), Certificates: []tls.Certificate{otherClient}}, []string{"wants a TLS client certificate that it accepts", "tls.cert_file"}},
		"client refused, TLS 1.2": {good, only12(wantsAnyClient), &tls.Config{RootCAs: ca.pool(), Certificates: []tls.Certificate{otherClient}}, []string{"wants a TLS client certificate that it accepts", "tls.cert_file"}},
	} {
		t.Run(name, func(t *testing.T) {
			var proto atomic.Int32
			side := &tls.Config{Certificates: []tls.Certificate{tc.server}}
			tc.change(side)
			server := tlsServer(t, side, func(_ http.ResponseWriter, r *http.Request) { proto.Store(int32(r.ProtoMajor)) })
			r := testRoute(t, server.URL+"/x")
			r.TLS.Config = tc.route
			o := testEndpoint(t, r).try(t)
			if tc.fails != nil {
				wantFailure(t, o, tc.fails...)
				return
			}
			if o.Verdict != queue.Delivered {
				t.Fatalf("%+v, want delivered", o)
			}
			if proto.Load() != 2 {
				t.Errorf("HTTP/%d, want HTTP/2", proto.Load())
			}
		})
	}

	t.Run("HTTP on an HTTPS port", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		defer server.Close()
		server.Config.ErrorLog = quiet
		wantFailure(t, testEndpoint(t, testRoute(t, strings.Replace(server.URL, "http:", "https:", 1))).try(t), "does not speak TLS on this port")
	})
	t.Run("no TLS", func(t *testing.T) {
		address := wire(t, func(_ int, c net.Conn, r *bufio.Reader) { r.Peek(1); io.WriteString(c, "SSH-2.0-x\r\n"); hang(r) })
		wantFailure(t, testEndpoint(t, testRoute(t, "https://"+address)).try(t), "does not speak TLS on this port")
	})
	t.Run("closed in the handshake", func(t *testing.T) {
		address := wire(t, func(_ int, c net.Conn, r *bufio.Reader) { r.Peek(1) })
		o := testEndpoint(t, testRoute(t, "https://"+address)).try(t)
		wantFailure(t, o, "TLS handshake with "+address+" failed")
	})
}

func TestHTTP2(t *testing.T) {
	noLeak(t)
	ca := newAuthority(t, "our CA")
	requests := make(chan *http.Request, 1)
	server, conns := countingServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hang":
			<-r.Context().Done()
		case "/endless":
			for {
				if _, err := io.WriteString(w, "body"); err != nil {
					return
				}
			}
		case "/abort":
			panic(http.ErrAbortHandler)
		default:
			r.Header = r.Header.Clone()
			select {
			case requests <- r:
			default:
			}
		}
	})
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.pair(t, serverCert())}}
	server.EnableHTTP2 = true
	server.Config.ErrorLog = quiet
	server.StartTLS()
	route := func(path string) *config.Route {
		r := testRoute(t, server.URL+path)
		r.TLS.Config = &tls.Config{RootCAs: ca.pool()}
		return r
	}
	e := testEndpoint(t, route("/x"))
	var all sync.WaitGroup
	if o := e.try(t); o.Verdict != queue.Delivered {
		t.Fatalf("%+v", o)
	}
	for range 20 {
		all.Go(func() {
			if o := e.try(t); o.Verdict != queue.Delivered {
				t.Errorf("%+v", o)
			}
		})
	}
	all.Wait()
	if n := conns(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	r := <-requests
	if r.ProtoMajor != 2 || r.Header.Get("Webhook-Id") != testDelivery().ID.String() || r.Header["Idempotency-Key"] != nil {
		t.Errorf("%s, header %v", r.Proto, r.Header)
	}
	short := route("/hang")
	short.Timeout = time.Second
	wantFailure(t, testEndpoint(t, short).try(t), "timeout: connected, but no answer within 1s")
	wantFailure(t, testEndpoint(t, route("/abort")).try(t))
	if o := testEndpoint(t, route("/endless")).try(t); o.Verdict != queue.Delivered || !strings.HasPrefix(o.Response, "bodybody") {
		t.Errorf("%+v", o)
	}
}

// testProxy is a small forward proxy: CONNECT and plain requests. It answers
// with the status instead, if that is not 0.
func testProxy(t testing.TB, status int, credentials string) (address string, served func() int32) {
	t.Helper()
	var n atomic.Int32
	address = wire(t, func(_ int, c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		n.Add(1)
		if credentials != "" && req.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte(credentials)) {
			io.WriteString(c, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
			return
		}
		if status != 0 {
			fmt.Fprintf(c, "HTTP/1.1 %d Whatever\r\nContent-Length: 0\r\n\r\n", status)
			return
		}
		address := req.Host
		if _, _, err := net.SplitHostPort(address); err != nil {
			address += ":80"
		}
		far, err := net.Dial("tcp", address)
		if err != nil {
			io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
			return
		}
		defer far.Close()
		if req.Method == http.MethodConnect {
			io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
		} else {
			req.Header.Del("Proxy-Authorization")
			req.Write(far)
		}
		back := make(chan struct{})
		go func() {
			defer close(back)
			io.Copy(c, far)
			c.Close()
		}()
		io.Copy(far, r)
		far.Close()
		<-back
	})
	return address, n.Load
}

func TestProxy(t *testing.T) {
	noLeak(t)
	ca := newAuthority(t, "our CA")
	secure := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{ca.pair(t, serverCert())}}, func(http.ResponseWriter, *http.Request) {})
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != "" {
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	defer plain.Close()
	closed := wire(t, func(_ int, _ net.Conn, r *bufio.Reader) { readRequest(r) })

	attempt := func(t *testing.T, target string, proxy *url.URL) queue.Outcome {
		t.Helper()
		r := testRoute(t, target+"/hooks/s3cr3t-path")
		r.TLS.Config = &tls.Config{RootCAs: ca.pool()}
		o := endpointVia(t, r, func(o *network) { o.proxy = http.ProxyURL(proxy) }).try(t)
		if strings.Contains(o.Error, "pr0xy-pass") || strings.Contains(o.Error, "s3cr3t-path") {
			t.Errorf("secret in %q", o.Error)
		}
		return o
	}
	me := url.UserPassword("me", "pr0xy-pass")
	for name, target := range map[string]string{"https": secure.URL, "http": plain.URL} {
		t.Run(name, func(t *testing.T) {
			address, served := testProxy(t, 0, "")
			if o := attempt(t, target, &url.URL{Scheme: "http", Host: address}); o.Verdict != queue.Delivered || served() != 1 {
				t.Errorf("%+v, %d requests at the proxy", o, served())
			}
			address, served = testProxy(t, 0, "me:pr0xy-pass")
			if o := attempt(t, target, &url.URL{Scheme: "http", Host: address, User: me}); o.Verdict != queue.Delivered || served() != 1 {
				t.Errorf("with credentials: %+v, %d requests at the proxy", o, served())
			}
			o := attempt(t, target, &url.URL{Scheme: "http", Host: address, User: url.UserPassword("me", "wrong")})
			if want := "answered 407 Proxy Authentication Required"; o.Status != 407 && !strings.HasPrefix(o.Error, "proxy http://"+address+": "+want) || !strings.Contains(o.Error, want) {
				t.Errorf("%+v, want error %q", o, want)
			}
			wantFailure(t, attempt(t, target, &url.URL{Scheme: "http", Host: nobody}), "proxy http://"+nobody+": connection refused")
		})
	}
	host := strings.TrimPrefix(secure.URL, "https://")
	for _, status := range []int{403, 502, 504} {
		address, _ := testProxy(t, status, "")
		wantFailure(t, attempt(t, secure.URL, &url.URL{Scheme: "http", Host: address}),
			fmt.Sprintf("proxy http://%s: answered %s when asked to connect to %s", address, statusName(status), host))
	}
	wantFailure(t, attempt(t, secure.URL, &url.URL{Scheme: "http", Host: closed}), "proxy http://"+closed+": connection closed")
	address, _ := testProxy(t, 0, "")
	wantFailure(t, attempt(t, "https://"+nobody, &url.URL{Scheme: "http", Host: address, User: me}), "proxy http://"+address+": answered 502 Bad Gateway when asked to connect to "+nobody)
	// A certificate that does not fit is not the proxy's fault.
	r := testRoute(t, secure.URL)
	o := endpointVia(t, r, func(o *network) { o.proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: address}) }).try(t)
	if wantFailure(t, o, "from an unknown authority"); strings.Contains(o.Error, "proxy") {
		t.Errorf("error %q names the proxy", o.Error)
	}

	t.Run("unreadable", func(t *testing.T) {
		bad := network{proxy: func(*http.Request) (*url.URL, error) {
			return nil, fmt.Errorf("invalid proxy address %q", "me:pr0xy-pass@x")
		}}
		if _, err := newEndpoint(r, testAgent, bad); err == nil || strings.Contains(err.Error(), "pr0xy-pass") {
			t.Errorf("error %v", err)
		}
	})
}

// A worker may hold an endpoint that a reload has closed: its attempt is made,
// and leaves no connection.
func TestClosedEndpoint(t *testing.T) {
	noLeak(t)
	ended := make(chan struct{}, 1)
	address := wire(t, func(_ int, c net.Conn, r *bufio.Reader) {
		for readRequest(r) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
		ended <- struct{}{}
	})
	e := testEndpoint(t, testRoute(t, "http://"+address+"/x"))
	e.try(t)
	e.Close()
	<-ended
	if o := e.try(t); o.Verdict != queue.Delivered {
		t.Errorf("%+v", o)
	}
	<-ended
}

// The time for the body is its own: it neither waits for the route's timeout
// nor ends with it.
func TestTimeForBody(t *testing.T) {
	noLeak(t)
	address := wire(t, func(_ int, c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		io.Copy(io.Discard, req.Body)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
		if req.URL.Path == "/late" {
			time.Sleep(800 * time.Millisecond)
			io.WriteString(c, "late")
		}
		hang(r)
	})
	short := testRoute(t, "http://"+address+"/late")
	short.Timeout = 700 * time.Millisecond
	if o := testEndpoint(t, short).try(t); o.Verdict != queue.Delivered || o.Response != "late" {
		t.Errorf("%+v", o)
	}
	long := testRoute(t, "http://"+address+"/never")
	long.Timeout = time.Hour // the test would not end
	if o := testEndpoint(t, long).try(t); o.Verdict != queue.Delivered || o.Response != "" {
		t.Errorf("%+v", o)
	}
}
