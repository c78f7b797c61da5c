package h1

import (
	"bufio"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A relay passes the bytes of its connections on to an address. It can freeze
// those that it has: they stay open, and nothing gets through.
type relay struct {
	address string
	mu      sync.Mutex
	gates   []*sync.RWMutex // of the connections; locked: frozen
	open    atomic.Int32
}

func newRelay(t *testing.T, to string) *relay {
	r := &relay{}
	r.address = receiver(t, func(_ int, near net.Conn, _ *bufio.Reader) {
		far, err := net.Dial("tcp", to)
		if err != nil {
			t.Error(err)
			return
		}
		gate := new(sync.RWMutex)
		r.mu.Lock()
		r.gates = append(r.gates, gate)
		r.mu.Unlock()
		r.open.Add(1)
		defer r.open.Add(-1)
		pass := func(to, from net.Conn) {
			defer to.Close()
			buf := make([]byte, 32<<10)
			for {
				n, err := from.Read(buf)
				gate.RLock()
				_, err2 := to.Write(buf[:n])
				gate.RUnlock()
				if err != nil || err2 != nil {
					return
				}
			}
		}
		var both sync.WaitGroup
		both.Go(func() { pass(far, near) })
		pass(near, far)
		both.Wait()
	})
	return r
}

// freeze freezes all connections, and returns what thaws them.
func (r *relay) freeze() (thaw func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	gates := r.gates
	for _, g := range gates {
		g.Lock()
	}
	return func() {
		for _, g := range gates {
			g.Unlock()
		}
	}
}

func (r *relay) made() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.gates)
}

func (r *relay) wantOpen(t *testing.T, want int32) {
	t.Helper()
	for range 1000 {
		if r.open.Load() == want {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("%d connections are open, want %d", r.open.Load(), want)
}

// answering is a receiver that answers with the status in X-Status. With X-Slow it
// says in begun that it has the request, and answers when it may go on.
func answering(t *testing.T, http2 bool, begun, goOn chan bool) (address string, roots *x509.CertPool) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		var status int
		if r.Header.Get("X-Slow") != "" {
			begun <- true
			<-goOn
		}
		if fmt.Sscan(r.Header.Get("X-Status"), &status); status != 0 {
			w.WriteHeader(status)
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if http2 {
		server.TLS, roots = authority(t, "h2")
		server.EnableHTTP2 = true
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), roots
}

// When a request timed out on a connection none takes a new one. Those under way
// on them end by themselves.
func TestAfterATimeout(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			begun, goOn := make(chan bool), make(chan bool)
			address, roots := answering(t, scheme == "https", begun, goOn)
			r := newRelay(t, address)
			tr := transport(t, r.address, roots)
			var under sync.WaitGroup
			begin := func(n int) {
				for range n {
					slow := request(t, t.Context(), scheme, r.address, "{}", 1)
					slow.Header.Set("X-Slow", "yes")
					under.Go(func() {
						if status, _, err := send(t, tr, slow); status != 200 {
							t.Errorf("the one under way: %d, %v", status, err)
						}
					})
					<-begun
				}
			}
			end := func(n int) {
				for range n {
					goOn <- true
				}
				under.Wait()
			}
			if status, _, err := send(t, tr, request(t, t.Context(), scheme, r.address, "{}", 1)); status != 200 {
				t.Fatalf("%d, %v", status, err)
			}
			// All that may be idle are, and one more is under way.
			begin(8)
			end(8)
			begin(1)
			connections := r.made()
			tr.Timeout = 300 * time.Millisecond
			thaw := r.freeze()
			if _, _, err := send(t, tr, request(t, t.Context(), scheme, r.address, "{}", 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("on a dead connection: %v", err)
			}
			tr.Timeout = time.Minute
			for range 3 {
				if status, _, err := send(t, tr, request(t, t.Context(), scheme, r.address, "{}", 1)); status != 200 {
					t.Errorf("%d, %v", status, err)
				}
			}
			if n := r.made() - connections; n != 1 {
				t.Errorf("%d new connections, want 1", n)
			}
			thaw()
			end(1)
			r.wantOpen(t, 1)
		})
	}
}

// After an answer that fails, and when it is old, a connection is not used.
func TestConnectionsEnd(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			address, roots := answering(t, scheme == "https", nil, nil)
			r := newRelay(t, address)
			tr := transport(t, r.address, roots)
			post := func(status, want int) {
				t.Helper()
				req := request(t, t.Context(), scheme, r.address, "{}", 1)
				req.Header.Set("X-Status", fmt.Sprint(status))
				if got, _, err := send(t, tr, req); got != status || err != nil {
					t.Errorf("%d, %v", got, err)
				}
				if n := r.made(); n != want {
					t.Errorf("%d connections, want %d", n, want)
				}
			}
			post(200, 1)
			post(404, 1)
			post(500, 1)
			post(429, 2)
			post(503, 3)
			post(200, 4)
			post(200, 4)
			tr.grow()
			r.wantOpen(t, 0)
			post(200, 5)
			r.wantOpen(t, 1)
			tr.CloseIdle()
			r.wantOpen(t, 0)
			post(200, 6)
			post(200, 6)
			tr.Close()
			r.wantOpen(t, 0)
			post(200, 7)
			r.wantOpen(t, 0)
		})
	}
}

// No connection takes a request for longer than two minutes: not one that is
// plain, nor one of Next, whose idle ones are closed then.
func TestConnectionsAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var closed atomic.Int32
		tr := &Transport{MaxIdle: 1, Next: func() Next { return &counted{closed: &closed} }}
		defer tr.Close()
		first := tr.current()
		time.Sleep(2*time.Minute - time.Second)
		if tr.current() != first || closed.Load() != 0 {
			t.Error("connections end before their time")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if tr.current() == first || closed.Load() == 0 || tr.keep(&conn{generation: first}) {
			t.Error("connections are used for longer than two minutes")
		}
	})
}

// A counted transport makes no request.
type counted struct {
	http.RoundTripper
	closed *atomic.Int32
}

func (c *counted) CloseIdleConnections() { c.closed.Add(1) }
