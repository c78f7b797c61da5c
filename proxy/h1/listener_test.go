package h1

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

const sample = `{"signal_type":"product_qualified_lead","confidence":0.92}`

const plainLine = "POST /signals HTTP/1.1\r\n"

// usual are timeouts that no test reaches.
var usual = Options{Header: 10 * time.Second, Answer: time.Minute, Idle: 2 * time.Minute}

// listen is a Listener for POST /signals.
func listen(l net.Listener, h http.Handler, log slog.Handler, o Options) *Listener {
	o.Path, o.Handler, o.Log = "/signals", h, slog.New(log)
	return Listen(l, o)
}

// head is the beginning of a request, whose body it announces with the headers.
func head(path string, headers ...string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + strings.Join(append(headers, "\r\n"), "\r\n")
}

// plainRequest is one that the shortcut answers.
func plainRequest(body string, headers ...string) string {
	return head("/signals", append(headers, fmt.Sprint("Content-Length: ", len(body)))...) + body
}

// Whatever the shortcut takes, net/http reads as the same request, of the
// same length. What it does not take it leaves whole.
func FuzzPlain(f *testing.F) {
	for _, seed := range []string{
		plainRequest(sample),
		plainRequest("{}", "Connection: Keep-Alive", "X: \t a b \t", "X: c", "x-y:"),
		plainRequest("{}") + plainRequest("[]"),
		plainRequest("{}", "Content-Length: 2"),
		plainRequest("{}", "Transfer-Encoding: chunked"),
		plainRequest("{}", "Host: b"),
		plainRequest("{}", "X: a\nContent-Length: 5"),
		plainRequest("{}", " folded"),
		plainRequest("{}", "Connection: close"),
		strings.Replace(plainRequest("{}"), "Host: localhost", "Host: a b", 1),
		strings.Replace(plainRequest("{}"), "Content-Length: 2", "Content-Length: +2", 1),
		strings.Replace(plainRequest("{}"), "Content-Length: 2", "Content-Length : 2", 1),
		strings.Replace(plainRequest("{}"), "1.1", "1.0", 1),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		data = data[:min(len(data), maxPlain)]
		c := newServerConn(t.Context(), silent{bytes.NewReader(data)}, "/signals")
		c.reader.Peek(1)
		size, ok := c.parse(plainLine)
		if left, _ := c.reader.Peek(c.reader.Buffered()); !bytes.Equal(left, data) {
			t.Fatalf("of %q it leaves %q", data, left)
		}
		if !ok {
			return
		}
		reader := bufio.NewReaderSize(bytes.NewReader(data), 2*maxPlain)
		want, err := http.ReadRequest(reader)
		if err != nil {
			t.Fatalf("net/http does not read %q: %v", data, err)
		}
		body, err := io.ReadAll(want.Body)
		if err != nil {
			t.Fatalf("net/http does not read the body of %q: %v", data, err)
		}
		if left := len(data) - size; reader.Buffered() != left {
			t.Errorf("net/http leaves %d bytes of %q, not %d", reader.Buffered(), data, left)
		}
		got := &c.request
		if gotBody, err := io.ReadAll(got.Body); !bytes.Equal(gotBody, body) || err != nil {
			t.Errorf("the body of %q is %q, %v; want %q", data, gotBody, err, body)
		}
		if _, ok := want.Header["Pragma"]; ok {
			want.Header["Cache-Control"] = got.Header["Cache-Control"] // net/http makes one of the other
			if got.Header["Cache-Control"] == nil {
				delete(want.Header, "Cache-Control")
			}
		}
		if !maps.EqualFunc(got.Header, want.Header, slices.Equal) {
			t.Errorf("the headers of %q are %q; want %q", data, got.Header, want.Header)
		}
		if got.Method != want.Method || got.URL.String() != want.URL.String() || got.Host != want.Host || got.Proto != want.Proto ||
			got.ContentLength != want.ContentLength || got.RequestURI != want.RequestURI || want.Close || want.TransferEncoding != nil {
			t.Errorf("%q is %+v; want %+v", data, got, want)
		}
	})
}

// silent is a connection that only reads.
type silent struct{ io.Reader }

func (silent) Write(b []byte) (int, error)        { return 0, errors.ErrUnsupported }
func (silent) Close() error                       { return nil }
func (silent) LocalAddr() net.Addr                { return &net.TCPAddr{} }
func (silent) RemoteAddr() net.Addr               { return &net.TCPAddr{} }
func (silent) SetDeadline(time.Time) error        { return nil }
func (silent) SetReadDeadline(t time.Time) error  { return nil }
func (silent) SetWriteDeadline(t time.Time) error { return nil }

// tell answers with what it was asked, and whether net/http's server asked.
var tell = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	by := "shortcut"
	if r.Context().Value(http.ServerContextKey) != nil {
		by = "server"
	}
	if r.Header.Get("X-Panic") != "" {
		panic("as asked")
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if close := r.Header.Get("X-Close"); close != "" {
		w.Header().Set("Connection", close)
	}
	w.Header().Set("X-By", by)
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, "%s %s %s %q %q", r.Method, r.URL, r.Host, r.Header["X-Test"], body)
})

// shorten serves tell through a shortcut until the test ends.
func shorten(t *testing.T, h http.Handler, times Options) (s *Listener, log *lines) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log = &lines{}
	s = listen(l, h, slog.NewTextHandler(log, nil), times)
	server := &http.Server{Handler: h, ReadHeaderTimeout: times.Header, ReadTimeout: times.Header}
	served := make(chan error, 1)
	go func() { served <- server.Serve(s) }()
	t.Cleanup(func() {
		server.Close()
		<-served
		s.Wait(t.Context())
	})
	return s, log
}

// lines is a log.
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

// A oneConn is a listener with what connections it is given.
type oneConn struct{ conns chan net.Conn }

func (l oneConn) Accept() (net.Conn, error) {
	c, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (l oneConn) Close() error   { close(l.conns); return nil }
func (l oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// A failingListener fails until it is well, and then accepts what it is given.
type failingListener struct {
	oneConn
	well  time.Time
	err   error
	asked []time.Time // when Accept was called
}

func (l *failingListener) Accept() (net.Conn, error) {
	l.asked = append(l.asked, time.Now())
	if time.Now().Before(l.well) {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", l.err)}
	}
	return l.oneConn.Accept()
}

// Accepting that fails is tried again after pauses that grow to a second, for as
// long as it takes; the log says so now and then, and the server never hears of it.
func TestAcceptFails(t *testing.T) {
	for _, failure := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ECONNABORTED, syscall.EPROTO, syscall.ENOMEM} {
		synctest.Test(t, func(t *testing.T) {
			log := &lines{}
			l := &failingListener{oneConn: oneConn{make(chan net.Conn)}, well: time.Now().Add(time.Minute), err: failure}
			s := listen(l, tell, slog.NewJSONHandler(log, nil), usual)
			server := &http.Server{Handler: tell}
			served := make(chan error, 1)
			go func() { served <- server.Serve(s) }()
			client, conn := net.Pipe()
			l.conns <- conn
			fmt.Fprint(client, plainRequest("1"))
			answer, err := http.ReadResponse(bufio.NewReader(client), nil)
			if err != nil || answer.StatusCode != http.StatusAccepted {
				t.Errorf("%v: then it answers %v, %v", failure, answer, err)
			}
			client.Close()
			server.Close()
			if err := <-served; err != http.ErrServerClosed {
				t.Errorf("%v: the server ends with %v", failure, err)
			}
			s.Wait(t.Context())

			for i := 1; i < len(l.asked)-1; i++ { // the last call is after the connection
				want := min(5*time.Millisecond<<min(i-1, 10), time.Second)
				if got := l.asked[i].Sub(l.asked[i-1]); got != want {
					t.Errorf("%v: pause %d is %v, want %v", failure, i, got, want)
				}
			}
			told := 0
			for line := range strings.Lines(log.String()) {
				var entry map[string]string
				if err := json.Unmarshal([]byte(line), &entry); err != nil {
					t.Fatal(err)
				}
				if len(entry) != 4 || entry["level"] != "ERROR" || !strings.Contains(entry["err"], failure.Error()) || entry["time"] == "" {
					t.Errorf("%v: the log says %s", failure, line)
				}
				if files := failure == syscall.EMFILE || failure == syscall.ENFILE; files != strings.Contains(entry["err"], "ulimit") {
					t.Errorf("%v: the log advises %s", failure, line)
				}
				told++
			}
			if told < 2 || told > 6 {
				t.Errorf("%v: the log has %d lines of a minute:\n%s", failure, told, log)
			}
		})
	}
}

// A listener that somebody else closed ends the server.
func TestAcceptBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &lines{}
		l := &failingListener{oneConn: oneConn{make(chan net.Conn)}, well: time.Now().Add(time.Hour), err: net.ErrClosed}
		s := listen(l, tell, slog.NewJSONHandler(log, nil), usual)
		if err := (&http.Server{Handler: tell}).Serve(s); !errors.Is(err, net.ErrClosed) || log.String() != "" {
			t.Errorf("%v; the log says %q", err, log)
		}
		s.Wait(t.Context())
	})
}

// TestShortcut: who answers is a matter of the first request that is not
// plain; what is answered is not.
func TestShortcut(t *testing.T) {
	s, _ := shorten(t, tell, usual)
	direct := httptest.NewServer(tell)
	t.Cleanup(direct.Close)
	const pause = "\x00" // between two writes
	large := strings.Repeat(" ", maxPlain)
	chunked := head("/signals", "Transfer-Encoding: chunked") + "2\r\n{}\r\n0\r\n\r\n"
	other := "GET /log?x=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
	tests := map[string]struct {
		send string
		by   string // who answers each
	}{
		"plain":                  {plainRequest(sample), "S"},
		"one after the other":    {plainRequest("1") + pause + plainRequest("2") + pause + plainRequest("3"), "SSS"},
		"pipelined":              {plainRequest("1") + plainRequest("2") + plainRequest("3"), "SSS"},
		"kept on purpose":        {plainRequest("1", "Connection: keep-alive") + plainRequest("2"), "SS"},
		"no body":                {plainRequest("") + plainRequest("2"), "SS"},
		"headers":                {plainRequest("1", "X-Test: a", "x-test:b", "X-TEST: \tc d\t "), "S"},
		"a head, then a body":    {head("/signals", "Content-Length: 3") + pause + "123" + pause + plainRequest("2"), "SS"},
		"another path":           {other + plainRequest("2"), "NN"},
		"another in between":     {plainRequest("1") + other + plainRequest("2"), "SNN"},
		"another after a while":  {plainRequest("1") + pause + other + pause + plainRequest("2"), "SNN"},
		"a parameter":            {strings.Replace(plainRequest("1"), "/signals", "/signals?route=a", 1), "N"},
		"chunks":                 {plainRequest("1") + chunked + plainRequest("2"), "SNN"},
		"large":                  {plainRequest("1") + plainRequest(large) + plainRequest("2"), "SNN"},
		"a large head":           {plainRequest("1") + plainRequest("2", "X-Test: "+strings.Repeat("x", maxPlain)), "SN"},
		"a head in pieces":       {plainRequest("1") + pause + "POST /sig" + pause + plainRequest("2")[9:], "SN"},
		"to be closed":           {plainRequest("1") + plainRequest("2", "Connection: close"), "SN"},
		"HTTP/1.0":               {plainRequest("1") + strings.Replace(plainRequest("2"), "1.1", "1.0", 1), "SN"},
		"asks for leave":         {plainRequest("1") + plainRequest("2", "Expect: 100-continue"), "SNN"},
		"packed":                 {plainRequest("1") + plainRequest("2", "Content-Encoding: gzip"), "SN"},
		"an upgrade":             {plainRequest("1") + plainRequest("2", "Connection: Upgrade", "Upgrade: h2c"), "SN"},
		"two hosts":              {plainRequest("1") + plainRequest("2", "Host: b"), "SN"},
		"two lengths":            {plainRequest("1") + plainRequest("2", "Content-Length: 1") + plainRequest("3"), "SNN"},
		"lengths that differ":    {plainRequest("1") + plainRequest("2", "Content-Length: 2"), "SN"},
		"a length and chunks":    {plainRequest("1") + plainRequest("2", "Transfer-Encoding: chunked"), "SN"},
		"a name that is none":    {plainRequest("1") + plainRequest("2", "a b: c"), "SN"},
		"a value that is none":   {plainRequest("1") + plainRequest("2", "a: b\x01"), "SN"},
		"a line without colon":   {plainRequest("1") + plainRequest("2", "a"), "SN"},
		"a line that goes on":    {plainRequest("1") + plainRequest("2", "X-Test: a", " b"), "SN"},
		"no host":                {plainRequest("1") + "POST /signals HTTP/1.1\r\nContent-Length: 1\r\n\r\n2", "SN"},
		"no length":              {plainRequest("1") + "POST /signals HTTP/1.1\r\nHost: a\r\n\r\n", "SN"},
		"lines without CR":       {plainRequest("1") + "POST /signals HTTP/1.1\nHost: a\nContent-Length: 1\n\n2", "SN"},
		"closed by the handler":  {plainRequest("1", "X-Close: close"), "S"},
		"garbage":                {plainRequest("1") + "\x16\x03\x01\r\n\r\n", "SN"},
		"half a request":         {plainRequest("1") + "POST /signals HT", "SN"},
		"a body cut short":       {plainRequest("1") + plainRequest("123")[:len(plainRequest("123"))-1], "SN"},
		"nothing but line ends":  {"\r\n\r\n\r\n", "N"},
		"a line end in between":  {plainRequest("1") + "\r\n" + plainRequest("2"), "SS"},
		"many line ends":         {plainRequest("1") + "\r\n\r\n\r\n" + plainRequest("2"), "SN"},
		"twice the content type": {plainRequest("1", "Content-Type: text/plain"), "S"},
	}
	// talk sends it all and returns each answer, and who gave it.
	talk := func(t *testing.T, addr, send string) (answers []string, by string) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for i, part := range strings.Split(send, pause) {
			if i > 0 {
				time.Sleep(20 * time.Millisecond) // long enough for it to come alone, mostly; any other way is right too
			}
			io.WriteString(c, part)
		}
		c.(*net.TCPConn).CloseWrite()
		for in := bufio.NewReader(c); ; {
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				return answers, by
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := http.ParseTime(resp.Header.Get("Date")); resp.StatusCode == http.StatusAccepted && err != nil {
				t.Error(err)
			}
			answers = append(answers, fmt.Sprintf("%d %t %s", resp.StatusCode, resp.Close, body))
			if resp.Header.Get("X-By") == "shortcut" {
				by += "S"
			} else {
				by += "N"
			}
		}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, by := talk(t, s.Addr().String(), test.send)
			want, _ := talk(t, direct.Listener.Addr().String(), test.send)
			if !slices.Equal(got, want) {
				t.Errorf("answers\n%s\nwant, as by net/http,\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if by != test.by && !strings.Contains(test.send, pause) {
				t.Errorf("answered by %s, want %s", by, test.by)
			}
		})
	}
}

// TestShortcutTimes: a connection ends when nothing comes of it.
func TestShortcutTimes(t *testing.T) {
	brief := Options{Header: 250 * time.Millisecond, Answer: 250 * time.Millisecond, Idle: 250 * time.Millisecond}
	tests := map[string]struct {
		send    string
		answers int
	}{
		"says nothing":      {"", 0},
		"says nothing more": {plainRequest("1"), 1},
		"stops in a head":   {plainRequest("1") + "POST /signals HTTP", 2},
		"stops in a body":   {plainRequest("1") + plainRequest("22")[:len(plainRequest("22"))-1], 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, _ := shorten(t, tell, brief)
			c, err := net.Dial("tcp", s.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			io.WriteString(c, test.send)
			c.SetReadDeadline(time.Now().Add(3 * time.Minute))
			b, err := io.ReadAll(c)
			if n := bytes.Count(b, []byte("HTTP/1.1 ")); n != test.answers {
				t.Errorf("%d answers, want %d:\n%s", n, test.answers, b)
			}
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Error("the connection does not end")
			}
		})
	}
	t.Run("takes no answer", func(t *testing.T) {
		brief := usual
		brief.Answer = time.Second
		s, _ := shorten(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Write(make([]byte, 32<<20)) // more than the kernel holds
		}), brief)
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, plainRequest("1"))
		for s.open() == 0 {
			time.Sleep(time.Millisecond)
		}
		for s.open() > 0 { // for ever, if its connection does not end
			time.Sleep(time.Millisecond)
		}
	})
}

// open is how many connections the shortcut has.
func (s *Listener) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// TestShortcutEnds: those that wait are closed; one that is answered gets its
// answer, which says that it is the last, and after that nothing is read.
func TestShortcutEnds(t *testing.T) {
	begun, finish := make(chan struct{}, 2), make(chan struct{})
	s, log := shorten(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-finish
		tell(w, r)
	}), usual)
	dial := func(text string) (net.Conn, *bufio.Reader) {
		t.Helper()
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		io.WriteString(c, text)
		return c, bufio.NewReader(c)
	}
	_, idle := dial("")
	_, busy := dial(plainRequest("1") + plainRequest("2"))
	_, panics := dial(plainRequest("1", "X-Panic: yes"))
	<-begun
	<-begun
	for s.open() < 3 {
		time.Sleep(time.Millisecond)
	}
	s.Close()
	if _, err := idle.ReadByte(); err != io.EOF {
		t.Errorf("the idle connection: %v", err)
	}
	close(finish)
	resp, err := http.ReadResponse(busy, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusAccepted || !resp.Close || !bytes.HasSuffix(body, []byte(strconv.Quote("1"))) {
		t.Errorf("%d %s, last: %t", resp.StatusCode, body, resp.Close)
	}
	if rest, _ := io.ReadAll(busy); len(rest) > 0 {
		t.Errorf("after the last answer: %q", rest)
	}
	if rest, _ := io.ReadAll(panics); len(rest) > 0 {
		t.Errorf("after a panic: %q", rest)
	}
	s.Wait(t.Context())
	if text := log.String(); !strings.Contains(text, "as asked") {
		t.Errorf("the log does not tell the panic: %s", text)
	}
	if c, err := net.Dial("tcp", s.Addr().String()); err == nil {
		c.Close()
		t.Error("it still listens")
	}
}

// TestShortcutKeepsLittle: what a large answer took is not kept for the next.
func TestShortcutKeepsLittle(t *testing.T) {
	c := newServerConn(t.Context(), silent{strings.NewReader("")}, "/signals")
	c.answer.reset()
	c.answer.Write(make([]byte, 1<<20))
	c.send(time.Now(), false)
	c.answer.reset()
	if n := cap(c.answer.body) + cap(c.out); n > 2*maxPlain {
		t.Errorf("%d bytes are kept", n)
	}
	c.answer.Write(make([]byte, 1000))
	c.send(time.Now(), false)
	if c.answer.reset(); cap(c.answer.body) == 0 || cap(c.out) == 0 {
		t.Error("nothing is kept of a small answer")
	}
}
