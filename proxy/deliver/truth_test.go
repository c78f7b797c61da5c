package deliver

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"signalpost/proxy/config"
	"signalpost/proxy/sign"
	"signalpost/queue"
)

// A way is how requests are sent.
type way struct {
	name   string
	tls    bool
	http2  bool
	change func(*Endpoint)
}

var ways = []way{
	{"plain", false, false, func(*Endpoint) {}},
	{"HTTP/1.1 of net/http", false, false, overHTTP},
	{"HTTP/1.1 over TLS", true, false, func(*Endpoint) {}},
	{"HTTP/2", true, true, func(*Endpoint) {}},
}

// serve is a receiver that is reached that way, and a route to it.
func (w way) serve(t *testing.T, h http.HandlerFunc) (*httptest.Server, *config.Route) {
	ca := newAuthority(t, "our CA")
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = quiet
	server.EnableHTTP2 = w.http2
	if w.tls {
		server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.pair(t, serverCert())}}
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	r := testRoute(t, server.URL+"/x")
	r.TLS.Config = &tls.Config{RootCAs: ca.pool()}
	return server, r
}

// checkTruth checks what must be so of any outcome: what was sent has a peer, a
// time and a request; all else has none.
func checkTruth(t *testing.T, o queue.Outcome, sent bool) {
	t.Helper()
	if sent != (o.Peer != "") || sent != !o.Started.IsZero() || sent != (o.Request != "") {
		t.Errorf("sent: %t, peer %q, started %v, request %.20q", sent, o.Peer, o.Started, o.Request)
	}
}

// TestClass is why attempts fail, by receivers that do.
func TestClass(t *testing.T) {
	noLeak(t)
	raw := func(answer func(c net.Conn, r *bufio.Reader)) func(*testing.T) *config.Route {
		return func(t *testing.T) *config.Route {
			return testRoute(t, "http://"+wire(t, func(_ int, c net.Conn, r *bufio.Reader) { answer(c, r) })+"/x")
		}
	}
	for name, tc := range map[string]struct {
		route func(*testing.T) *config.Route
		class queue.Class
		sent  bool
	}{
		"refused":        {func(t *testing.T) *config.Route { return testRoute(t, "http://"+nobody+"/x") }, queue.ClassConnect, false},
		"reset":          {raw(after(reset)), queue.ClassConnect, true},
		"closed":         {raw(after(func(net.Conn) {})), queue.ClassConnect, true},
		"closed in head": {raw(says("HTTP/1.1 200 OK\r\nX: y\r\n")), queue.ClassConnect, true},
		"no answer":      {raw(after(func(c net.Conn) { hang(c) })), queue.ClassTimeout, true},
		"half a head":    {raw(after(func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\n"); hang(c) })), queue.ClassTimeout, true},
		"no HTTP":        {raw(says("SSH-2.0-OpenSSH_9.7\r\n")), queue.ClassMalformed, true},
		"TLS":            {raw(says("\x15\x03\x01\x00\x02\x02\x50\n")), queue.ClassMalformed, true},
		"endless head":   {raw(after(flood("HTTP/1.1 200 OK\r\n", "X: "+strings.Repeat("x", 1000)+"\r\n"))), queue.ClassMalformed, true},
		"bad length":     {raw(says("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")), queue.ClassMalformed, true},
		"status 099":     {raw(says("HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n")), queue.ClassMalformed, true},
		"status 101":     {raw(says("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")), queue.ClassMalformed, true},
		"status 600":     {raw(says("HTTP/1.1 600 Six\r\nContent-Length: 0\r\n\r\n")), queue.ClassMalformed, true},
		"private network": {func(t *testing.T) *config.Route {
			r := testRoute(t, "http://"+nobody+"/x")
			r.BlockPrivateNetworks = true
			return r
		}, queue.ClassLocal, false},
		"TLS where there is none": {func(t *testing.T) *config.Route {
			return testRoute(t, "https://"+wire(t, func(_ int, c net.Conn, r *bufio.Reader) { r.Peek(1); io.WriteString(c, "SSH-2.0-x\r\n"); hang(r) }))
		}, queue.ClassTLS, false},
		"unknown authority": {func(t *testing.T) *config.Route {
			_, r := ways[3].serve(t, func(http.ResponseWriter, *http.Request) {})
			r.TLS.Config = nil
			return r
		}, queue.ClassTLS, false},
		"TLS that hangs": {func(t *testing.T) *config.Route {
			return testRoute(t, "https://"+wire(t, func(_ int, _ net.Conn, r *bufio.Reader) { hang(r) }))
		}, queue.ClassTimeout, false},
		"no HTTP/2": {func(t *testing.T) *config.Route {
			ca := newAuthority(t, "our CA")
			side := &tls.Config{Certificates: []tls.Certificate{ca.pair(t, serverCert())}, NextProtos: []string{"h2"}}
			r := testRoute(t, "https://"+wire(t, func(_ int, c net.Conn, _ *bufio.Reader) {
				secure := tls.Server(c, side)
				io.ReadFull(secure, make([]byte, len(http2.ClientPreface)))
				for f := http2.NewFramer(nil, secure); ; { // until the request is there
					frame, err := f.ReadFrame()
					if _, ok := frame.(*http2.HeadersFrame); ok || err != nil {
						break
					}
				}
				io.WriteString(secure, strings.Repeat("\x00", 100))
				hang(secure)
			}))
			r.TLS.Config = &tls.Config{RootCAs: ca.pool()}
			return r
		}, queue.ClassMalformed, true},
	} {
		for _, w := range ways[:2] {
			t.Run(name+" "+w.name, func(t *testing.T) {
				t.Parallel()
				r := tc.route(t)
				r.Timeout = time.Minute
				if tc.class == queue.ClassTimeout {
					r.Timeout = time.Second
				}
				e := testEndpoint(t, r)
				w.change(e)
				o := e.try(t)
				if o.Class != tc.class {
					t.Errorf("class %q, want %q: %s", o.Class, tc.class, o.Error)
				}
				checkTruth(t, o, tc.sent)
			})
		}
	}
	for name, code := range map[string]byte{"unknown": 3, "failing": 2} {
		t.Run("DNS "+name, func(t *testing.T) {
			o := endpointVia(t, testRoute(t, "http://crm.example.test./x"), func(n *network) { n.resolver = dnsFailing(t, code) }).try(t)
			if o.Class != queue.ClassDNS {
				t.Errorf("class %q: %s", o.Class, o.Error)
			}
			checkTruth(t, o, false)
		})
	}
	t.Run("proxy refuses", func(t *testing.T) {
		address, _ := testProxy(t, 403, "")
		o := endpointVia(t, testRoute(t, "https://crm.example.com/x"), func(n *network) {
			n.proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: address})
		}).try(t)
		if o.Class != queue.ClassConnect {
			t.Errorf("class %q: %s", o.Class, o.Error)
		}
		checkTruth(t, o, false)
	})
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			server, r := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				switch status := 0; r.URL.Path {
				case "/hang":
					<-r.Context().Done()
				case "/abort":
					panic(http.ErrAbortHandler)
				default:
					fmt.Sscan(strings.TrimPrefix(r.URL.Path, "/"), &status)
					w.WriteHeader(status)
				}
			})
			for path, want := range map[string]queue.Class{
				"/200": queue.Class2xx, "/204": queue.Class2xx, "/302": queue.Class3xx, "/401": queue.Class4xx, "/410": queue.Class4xx,
				"/429": queue.Class4xx, "/503": queue.Class5xx, "/hang": queue.ClassTimeout, "/abort": queue.ClassConnect,
			} {
				r := *r
				r.URL = config.NewSecret(server.URL + path)
				if path == "/hang" {
					r.Timeout = time.Second
				}
				e := testEndpoint(t, &r)
				w.change(e)
				o := e.try(t)
				if o.Class != want {
					t.Errorf("%s: class %q, want %q: %s", path, o.Class, want, o.Error)
				}
				checkTruth(t, o, true)
			}
		})
	}
}

// TestTiming is where the time of an attempt went, and over which connection.
func TestTiming(t *testing.T) {
	noLeak(t)
	const wait = 30 * time.Millisecond
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			server, r := w.serve(t, func(_ http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				time.Sleep(wait)
			})
			var leads atomic.Pointer[net.IP]
			leads.Store(&net.IP{127, 0, 0, 1})
			_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
			r.URL = config.NewSecret(strings.Replace(server.URL, "127.0.0.1", "crm.example.test.", 1))
			if w.tls {
				r.TLS.Config.ServerName = "127.0.0.1"
			}
			e := endpointVia(t, r, func(n *network) { n.resolver = dnsOf(t, &leads) })
			w.change(e)
			first, second := e.try(t), e.try(t)
			for _, o := range []queue.Outcome{first, second} {
				if o.Peer != "127.0.0.1:"+port || o.Timing.FirstByte < wait || o.Timing.FirstByte > o.Duration {
					t.Errorf("peer %q, %+v of %s", o.Peer, o.Timing, o.Duration)
				}
				checkTruth(t, o, true)
			}
			a := first.Timing
			if first.Reused || a.DNS <= 0 || a.Connect <= 0 || w.tls != (a.TLS > 0) || a.DNS+a.Connect+a.TLS+a.FirstByte > first.Duration {
				t.Errorf("on a new connection: reused %t, %+v of %s", first.Reused, a, first.Duration)
			}
			if b := second.Timing; !second.Reused || b.DNS+b.Connect+b.TLS > 0 {
				t.Errorf("on the same: reused %t, %+v", second.Reused, b)
			}
		})
	}
}

// TestShownRequest: people see the request as it came, but for what is secret.
func TestShownRequest(t *testing.T) {
	noLeak(t)
	presets := [][]string{sign.Presets()}
	for _, p := range sign.Presets() {
		presets = append(presets, []string{p})
	}
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			came := make(chan *http.Request, 1)
			server, base := w.serve(t, func(_ http.ResponseWriter, r *http.Request) { came <- r.Clone(context.Background()) })
			for i, names := range presets {
				route := *base
				route.Signatures = names
				route.Headers = map[string]config.Secret{"x-api-key": config.NewSecret(" k3y-of-the-crm\t")}
				if i%2 == 0 {
					route.BearerToken = config.NewSecret("t0ken")
				}
				e := testEndpoint(t, signed(t, &route, "a-secret", "another-secret"))
				w.change(e)
				d := testDelivery()
				if i == 1 {
					d.Traceparent = ""
				}
				o, err := e.Attempt(t.Context(), d, 7+i)
				if err != nil {
					t.Fatal(err)
				}
				got := <-came
				r := Describe(o.Request, &d, 7+i, o.Started)
				if r.Method != got.Method || r.Target != server.URL || r.Path != "" {
					t.Errorf("%+v", r)
				}
				shown := canonical(r.Headers)
				for _, name := range []string{"Content-Length", "Accept-Encoding"} {
					delete(got.Header, name) // those of the connection
				}
				if a, b := slices.Sorted(maps.Keys(shown)), slices.Sorted(maps.Keys(got.Header)); !slices.Equal(a, b) {
					t.Errorf("%v: shown %v, came %v", names, a, b)
				}
				signatures := sign.SignatureHeaders(names)
				for name, values := range got.Header {
					want := strings.Join(values, ", ")
					switch {
					case name == "X-Api-Key":
						want = "[secret]"
					case name == "Authorization":
						want = "Bearer [secret]"
					case slices.Contains(signatures, name):
						want = "[signature]"
					}
					if shown[name] != want {
						t.Errorf("%v: %s shown as %q, want %q", names, name, shown[name], want)
					}
				}
			}
		})
	}
}

// A receiver that echoes a signature does not put it in the log.
func TestEchoedSignature(t *testing.T) {
	var signatures []string
	base, _, _ := receives(t, func(w http.ResponseWriter, r *http.Request) {
		signatures = nil
		for _, name := range sign.SignatureHeaders(sign.Presets()) {
			signatures = append(signatures, r.Header.Get(name))
		}
		quoted, _ := json.Marshal(signatures)
		if r.URL.Path == "/escaped" {
			quoted = []byte(strings.ReplaceAll(string(quoted), "/", `\/`) + url.QueryEscape(strings.Join(signatures, "&")))
		}
		w.Write(quoted)
	})
	for _, path := range []string{"/", "/escaped"} {
		r := testRoute(t, base+path)
		r.Signatures = sign.Presets()
		e := testEndpoint(t, signed(t, r, "a-secret", "another-secret"))
		for range 20 { // until + and / are among them
			d := testDelivery()
			d.Body = fmt.Appendf(nil, "%d", time.Now().UnixNano())
			o, err := e.Attempt(t.Context(), d, 1)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := url.QueryUnescape(strings.ReplaceAll(strings.ReplaceAll(o.Response, `\/`, "/"), "+", "%2B"))
			for _, s := range signatures {
				for _, part := range strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(" ,=", r) }) {
					if len(part) >= 40 && (strings.Contains(got, part) || strings.Contains(got, part[:20])) {
						t.Errorf("%s of %s is in %s", part, s, o.Response)
					}
				}
			}
			if !strings.Contains(o.Response, "[secret]") {
				t.Errorf("response %q", o.Response)
			}
		}
	}
}

// An attempt that goes over a connection which was there has nothing of the
// dial that it had begun, nor of the attempt before it.
func TestTraceForgets(t *testing.T) {
	var tr trace
	hooks := tr.hooks()
	hooks.GetConn("")
	hooks.DNSStart(httptrace.DNSStartInfo{})
	hooks.DNSDone(httptrace.DNSDoneInfo{})
	hooks.ConnectStart("tcp", "127.0.0.1:1")
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	hooks.GotConn(httptrace.GotConnInfo{Conn: near, Reused: true})
	if s := tr.look(); s.timing() != (queue.Timing{}) || !s.reused || !s.reached(connected) {
		t.Errorf("%+v", s)
	}
	base, _, _ := receives(t, func(http.ResponseWriter, *http.Request) {})
	e := testEndpoint(t, testRoute(t, base))
	for range 3 {
		checkTruth(t, e.try(t), true)
	}
	d := testDelivery()
	d.Type = "no\x00header"
	for range 3 {
		o, err := e.Attempt(context.Background(), d, 1)
		if err != nil || o.Class != queue.ClassLocal || o.Reused || o.Timing != (queue.Timing{}) {
			t.Errorf("%+v, %v", o, err)
		}
		checkTruth(t, o, false)
	}
}

// What net/http may still hold is not used for another attempt.
func TestHeldAttempts(t *testing.T) {
	for _, w := range ways {
		_, r := w.serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) })
		e := testEndpoint(t, r)
		w.change(e)
		for range 3 {
			e.try(t)
			a, _ := e.attempts.Get().(*attempt)
			if a != nil && (w.name != "plain" || a.trace.dialed || a.trace.held || a.delivery.Body != nil) {
				t.Errorf("%s: an attempt is free", w.name)
			}
		}
	}
}

// A connection that is kept keeps no body.
func TestBodyIsLetGo(t *testing.T) {
	for _, w := range ways {
		server, r := w.serve(t, func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
		e := testEndpoint(t, r)
		w.change(e)
		freed := make(chan bool, 1)
		func() {
			d := testDelivery()
			d.Body = append(make([]byte, 0, 32<<10), sampleBody...)
			runtime.AddCleanup(&d.Body[0], func(bool) { freed <- true }, true)
			if o, err := e.Attempt(t.Context(), d, 1); err != nil || o.Verdict != queue.Delivered {
				t.Errorf("%+v, %v", o, err)
			}
		}()
		free := false
		for n := 0; n < 1000 && !free; n++ {
			runtime.GC()
			select {
			case free = <-freed:
			case <-time.After(10 * time.Millisecond):
			}
		}
		if !free {
			t.Errorf("%s: a connection to %s holds a body", w.name, server.URL)
		}
	}
}
