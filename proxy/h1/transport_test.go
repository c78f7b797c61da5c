package h1

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"time"
)

// receiver serves each connection, with its number from 1, until serve returns.
func receiver(t testing.TB, serve func(n int, c net.Conn, r *bufio.Reader)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
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

// transport is one to an address, whose certificates are from the roots.
func transport(t testing.TB, address string, roots *x509.CertPool) *Transport {
	t.Helper()
	tr := &Transport{Timeout: time.Minute, BodyTimeout: time.Second, MaxIdle: 8}
	tr.Dial = func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", address) }
	tr.Next = func() Next {
		return &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true,
			DisableCompression: true, MaxResponseHeaderBytes: MaxHead,
		}
	}
	t.Cleanup(tr.Close)
	return tr
}

// request is a POST of a body. Its number is in a header.
func request(t testing.TB, ctx context.Context, scheme, address, body string, number int) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, "POST", scheme+"://"+address+"/x", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Number", fmt.Sprint(number))
	r.Header["Idempotency-Key"] = nil
	return r
}

// send makes a request and reads the answer whole.
func send(t testing.TB, tr *Transport, r *http.Request) (status int, body string, err error) {
	t.Helper()
	resp, err := tr.RoundTrip(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), nil
}

// readRequest reads one request whole.
func readRequest(r *bufio.Reader) (*http.Request, bool) {
	req, err := http.ReadRequest(r)
	if err != nil {
		return nil, false
	}
	_, err = io.Copy(io.Discard, req.Body)
	return req, err == nil
}

// authority returns the side of a server at 127.0.0.1 and who trusts it.
func authority(t testing.TB, protocols ...string) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(c)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: protocols}, pool
}

func (t *Transport) idle() []*conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.active == nil {
		return nil
	}
	return t.active.idle
}

// grow has the connections be as old as they may.
func (t *Transport) grow() { t.active.timer.Reset(0) }

// An answer that nothing asked for is never the answer to the next request:
// each has the answer with its own number.
func TestStrayAnswer(t *testing.T) {
	answer := func(s string) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(s), s)
	}
	for name, how := range map[string]string{"none": "", "in one piece": "one", "later": "later", "half of one later": "half", "closed later": "closed"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			later := make(chan bool)
			var used [2]atomic.Int32
			address := receiver(t, func(n int, c net.Conn, r *bufio.Reader) {
				for {
					req, ok := readRequest(r)
					if !ok {
						return
					}
					number := req.Header.Get("X-Number")
					used[number[0]-'1'].Store(int32(n))
					if how == "one" {
						io.WriteString(c, answer(number)+answer("stray"))
					} else {
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
						return
					}
				}
			})
			tr := transport(t, address, nil)
			for n := 1; n <= 2; n++ {
				if status, body, err := send(t, tr, request(t, t.Context(), "http", address, "{}", n)); err != nil || status != 200 || body != fmt.Sprint(n) {
					t.Errorf("request %d: %d %q, %v", n, status, body, err)
				}
				if n == 1 {
					later <- true
					for slices.Contains([]string{"later", "half", "closed"}, how) && tr.idle()[0].quiet() {
						time.Sleep(time.Millisecond) // until it is here
					}
				}
			}
			if a, b := used[0].Load(), used[1].Load(); (a == b) != (how == "") {
				t.Errorf("connections %d and %d", a, b)
			}
		})
	}
	t.Run("before the first request", func(t *testing.T) {
		address := receiver(t, func(_ int, c net.Conn, r *bufio.Reader) {
			io.WriteString(c, answer("stray"))
			io.Copy(io.Discard, r)
		})
		tr := transport(t, address, nil)
		dial := tr.Dial
		tr.Dial = func(ctx context.Context) (net.Conn, error) {
			c, err := dial(ctx)
			if err == nil {
				probe, _ := tr.newConn(nil, c)
				for probe.quiet() {
					time.Sleep(time.Millisecond)
				}
			}
			return c, err
		}
		if _, _, err := send(t, tr, request(t, t.Context(), "http", address, "{}", 1)); err != ErrEarly {
			t.Errorf("%v", err)
		}
	})
}

// The connections of a Transport: as many idle as it may keep, no longer than MaxAge, and none once it is closed.
func TestIdleConnections(t *testing.T) {
	const n = 5
	var gate sync.WaitGroup
	var open, made atomic.Int32
	address := receiver(t, func(_ int, c net.Conn, r *bufio.Reader) {
		made.Add(1)
		open.Add(1)
		defer open.Add(-1)
		for {
			if _, ok := readRequest(r); !ok {
				return
			}
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
	tr := transport(t, address, nil)
	tr.MaxIdle = 3
	burst := func(n int) {
		var all sync.WaitGroup
		gate.Add(n)
		for range n {
			all.Go(func() {
				if status, body, err := send(t, tr, request(t, t.Context(), "http", address, "{}", 1)); status != 200 || body != "ok" {
					t.Errorf("%d %q, %v", status, body, err)
				}
			})
		}
		all.Wait()
	}
	burst(n)
	wantOpen(3)
	burst(3)
	wantOpen(3)
	before := made.Load()
	tr.grow()
	wantOpen(0)
	burst(1)
	if wantOpen(1); made.Load() != before+1 {
		t.Error("not one new connection")
	}
	tr.Close()
	wantOpen(0)
	burst(1)
	if wantOpen(0); tr.active != nil {
		t.Error("it is closed, and has connections")
	}
}

// A request whose context ends after the head of its answer waits for no more
// of it, and may yet end what is under way on its connection: nobody else gets it.
func TestEndedRequestKeepsItsConnection(t *testing.T) {
	for name, body := range map[string][2]string{"whole": {"ok", ""}, "under way": {"", "ok"}} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			address := receiver(t, func(n int, c net.Conn, r *bufio.Reader) {
				for {
					if _, ok := readRequest(r); !ok {
						return
					}
					io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"+body[0])
					if n == 1 {
						<-ctx.Done()
					}
					io.WriteString(c, body[1])
				}
			})
			tr := transport(t, address, nil)
			resp, err := tr.RoundTrip(request(t, ctx, "http", address, "{}", 1))
			if err != nil {
				t.Fatal(err)
			}
			cancel()
			for body[1] != "" && resp.Body.(*conn).quiet() {
				time.Sleep(time.Millisecond) // until it is here
			}
			text, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(text) != body[0] || len(tr.idle()) != 0 {
				t.Errorf("response %q, %d idle connections", text, len(tr.idle()))
			}
			if status, _, err := send(t, tr, request(t, t.Context(), "http", address, "{}", 1)); status != 200 || len(tr.idle()) != 1 {
				t.Errorf("%d, %v, %d idle connections", status, err, len(tr.idle()))
			}
		})
	}
}

// A connection that is idle when the context of its last request ends may be
// ended by that at any moment: no other request gets it.
func TestContextEndsIdleConnection(t *testing.T) {
	var made atomic.Int32
	address := receiver(t, func(_ int, c net.Conn, r *bufio.Reader) {
		made.Add(1)
		for {
			if _, ok := readRequest(r); !ok {
				return
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	tr := transport(t, address, nil)
	ctx, cancel := context.WithCancel(t.Context())
	for i, ctx := range []context.Context{ctx, ctx, context.WithoutCancel(ctx), ctx} {
		if status, _, err := send(t, tr, request(t, ctx, "http", address, "{}", 1)); status != 200 {
			t.Errorf("request %d: %d, %v", i, status, err)
		}
	}
	if made.Load() != 1 {
		t.Errorf("%d connections while nothing ended", made.Load())
	}
	cancel()
	if status, _, err := send(t, tr, request(t, t.Context(), "http", address, "{}", 1)); status != 200 || made.Load() != 2 {
		t.Errorf("%d, %v, %d connections", status, err, made.Load())
	}
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

// replay makes a request on a connection that was used before.
func (t *Transport) replay(ctx context.Context, r recording) (*http.Response, error) {
	t.Next = func() Next { return new(http.Transport) }
	c, err := t.newConn(t.current(), r)
	if err != nil {
		return nil, err
	}
	c.used = true
	c.watch(ctx)
	return c.exchange(nil, post, time.Now().Add(time.Minute))
}

var post = &http.Request{Method: http.MethodPost}

// A receiver may have answered before it broke off the request.
func TestAnswerToHalfARequest(t *testing.T) {
	for _, tc := range []struct {
		unsent error
		answer string
		status int
		want   error
	}{
		{nil, "HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n", 413, nil},
		{syscall.EPIPE, "HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n", 413, nil},
		{syscall.ECONNRESET, "HTTP/1.1 413 No\r\n", 0, ErrCut},
		{syscall.EPIPE, "", 0, syscall.EPIPE},
		{nil, "", 0, ErrClosed},
		{syscall.ENOBUFS, "HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n", 0, syscall.ENOBUFS},
	} {
		tr := &Transport{MaxIdle: 1}
		resp, err := tr.replay(t.Context(), recording{Reader: strings.NewReader(tc.answer), unsent: tc.unsent})
		status := 0
		if err == nil {
			status = resp.StatusCode
			resp.Body.Close()
		}
		if kept := len(tr.idle()) == 1; status != tc.status || err != tc.want || kept != (tc.unsent == nil && tc.want == nil) {
			t.Errorf("%v, %q: status %d, %v, kept: %t", tc.unsent, tc.answer, status, err, kept)
		}
	}
}

// Whatever is answered has the status that net/http's parser gives, and the
// connection is kept only if the answer is whole and nothing after it has been
// read. What has come and not been read is seen before the next request.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 \r\n0 \r\n\r\n",
		"HTTP/1.1 200 \n\r\nContent-Length:00\r\n\r\n",
		"HTTP/1.1 200 OK\r\nx-a: 1\r\nX-A:2 \r\nPragma: no-cache\r\nContent-Length: 2\r\n\r\no",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 500 No\r\n\r\n",
		"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\nHTTP/1.1 403 No\r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\nT: u\r\n\r\n",
		"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nok",
		"HTTP/1.1 204\r\nConnection: close\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\n\r\n",
		"HTTP/1.1 302 Found\nLocation: /x\n\n",
		"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
		"\x15\x03\x01\x00\x02\x02\x50\n",
	} {
		f.Add([]byte(seed), 3)
	}
	f.Fuzz(func(t *testing.T, answer []byte, piece int) {
		sent := bytes.NewReader(answer)
		var in io.Reader = sent
		if piece%4 == 0 {
			in = iotest.OneByteReader(in)
		}
		tr := &Transport{MaxIdle: 1}
		resp, err := tr.replay(t.Context(), recording{Reader: in})
		var body []byte
		if err == nil {
			body, _ = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		kept := len(tr.idle()) == 1

		again := bytes.NewReader(answer)
		whole := bufio.NewReader(again)
		var want *http.Response
		wantErr := error(nil)
		for interim := true; interim && wantErr == nil; {
			want, wantErr = http.ReadResponse(whole, post)
			interim = wantErr == nil && want.StatusCode >= 100 && want.StatusCode < 200 && want.StatusCode != 101
		}
		if len(answer) <= MaxHead && (err == nil) != (wantErr == nil) {
			t.Fatalf("error %v, want %v", err, wantErr)
		}
		if err == nil && resp.StatusCode != want.StatusCode {
			t.Errorf("status %d, want %d", resp.StatusCode, want.StatusCode)
		}
		if err != nil || wantErr != nil {
			return
		}
		wantBody, readErr := io.ReadAll(want.Body)
		if !maps.EqualFunc(resp.Header, want.Header, slices.Equal) || resp.ContentLength != want.ContentLength || !bytes.Equal(body, wantBody) {
			t.Errorf("%v, %q, want %v, %q", resp, body, want, wantBody)
		}
		if !kept {
			return
		}
		used, read := len(answer)-again.Len()-whole.Buffered(), len(answer)-sent.Len()
		if readErr != nil || used != read || want.Close || want.StatusCode < 200 || want.StatusCode >= 500 || want.StatusCode == 429 {
			t.Errorf("kept after %d of %d bytes, status %d, close: %t, %v", used, read, want.StatusCode, want.Close, readErr)
		}
	})
}

// What net/http's transport says in words alone is what a plain request fails with.
func TestClassify(t *testing.T) {
	flood := "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", MaxHead+1<<10)
	for answer, want := range map[string]error{
		"":                                    ErrClosed,
		"HTTP/1.1 200 OK\r\nX: y\r\n":         ErrCut,
		flood:                                 ErrLongHead,
		"\x15\x03\x01\x00\x02\x02\x50\n":      ErrTLS,
		"SSH-2.0-OpenSSH_9.7\r\n":             ErrMalformed,
		"HTTP/1.1 OK\r\n\r\n":                 ErrMalformed,
		"HTTP/1.1 200 OK\r\nno colon\r\n\r\n": ErrMalformed,
		"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n":                              ErrMalformed,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: x\r\n\r\n":                           ErrMalformed,
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab":       ErrMalformed,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n": ErrCut,
	} {
		address := receiver(t, func(_ int, c net.Conn, r *bufio.Reader) {
			if _, ok := readRequest(r); ok {
				io.WriteString(c, answer)
				c.(*net.TCPConn).CloseWrite()
				io.Copy(io.Discard, r)
			}
		})
		for _, size := range []int{2, maxPlainBody + 1} {
			_, _, err := send(t, transport(t, address, nil), request(t, t.Context(), "http", address, strings.Repeat("x", size), 1))
			if !errors.Is(err, want) {
				t.Errorf("%.40q, body of %d bytes: %v, want %v", answer, size, err, want)
			}
			if want == ErrMalformed && strings.Contains(err.Error(), "net/http") {
				t.Errorf("%v", err)
			}
		}
	}
}
