package h1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/http/httpguts"
)

// A Listener is a listener for net/http's server that keeps to itself what
// producers send all day: a POST /signals that has come whole, is small, and
// asks nothing of its connection but to be kept. It answers those through the
// same handler, at a fraction of the server's cost. With the first request that
// is anything else, late or malformed, the connection goes to the server, which
// reads that request from its first byte and all after it: everything hard
// about HTTP is the server's alone.
type Listener struct {
	net.Listener
	handler  http.Handler
	log      *slog.Logger
	timeouts Timeouts

	handed chan net.Conn   // to the server
	failed chan error      // of the Listener
	done   chan struct{}   // closed when the server takes no more
	ctx    context.Context // of the requests
	giveUp context.CancelFunc
	tasks  sync.WaitGroup

	mu     sync.Mutex
	conns  map[*plainConn]bool // guarded by mu
	closed bool                // guarded by mu
}

// Timeouts are what clients have, whatever they send or do not.
type Timeouts struct {
	Header time.Duration // for the headers of the first request
	Answer time.Duration // until an answer has been taken
	Idle   time.Duration // between the requests of a connection
}

// maxPlain is the size in bytes of a connection's buffer, which a plain request fits.
const maxPlain = 4 << 10

// New returns a Listener that begins to accept from l at once. Plain requests go
// to the handler; log is told of what cannot be accepted. End must be called.
func New(l net.Listener, handler http.Handler, log *slog.Logger, t Timeouts) *Listener {
	s := &Listener{
		Listener: l, handler: handler, log: log, timeouts: t,
		handed: make(chan net.Conn), failed: make(chan error), done: make(chan struct{}),
		conns: map[*plainConn]bool{},
	}
	s.ctx, s.giveUp = context.WithCancel(context.Background())
	s.tasks.Go(s.acceptAll)
	return s
}

// Accept returns the next connection that is the server's.
func (s *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-s.handed:
		return c, nil
	case err := <-s.failed:
		return nil, err
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// Close ends listening, and the connections that wait for a request. Those
// that are answered end behind their answer.
func (s *Listener) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	close(s.done)
	for c := range s.conns {
		if c.idle.Load() {
			c.SetReadDeadline(longAgo)
		}
	}
	return s.Listener.Close()
}

// End ends the context of every request, and waits until no connection is
// left, closing those that are when ctx ends.
func (s *Listener) End(ctx context.Context) {
	s.giveUp()
	defer context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			c.Close()
		}
	})()
	s.tasks.Wait()
}

// acceptAll accepts until the listener is closed. After a failure it asks again,
// after a pause that grows as net/http's does, and says so in the log from time
// to time. Only the end of the listener goes to the server, which ends with it.
func (s *Listener) acceptAll() {
	var pause time.Duration // after the failure before, none after a success
	var logged time.Time
	for {
		c, err := s.Listener.Accept()
		if err == nil {
			pause = 0
			s.tasks.Go(func() { s.serve(c) })
			continue
		}
		if !ended(err) {
			if now := time.Now(); now.Sub(logged) >= acceptQuiet {
				logged = now
				s.log.Error("connections cannot be accepted; they wait, and it is tried again", "err", adviseFiles(err))
			}
			pause = min(max(2*pause, acceptPause), acceptPauseMost)
			select {
			case <-time.After(pause):
				continue
			case <-s.done:
				return
			}
		}
		select {
		case s.failed <- err:
		case <-s.done:
			return
		}
	}
}

const (
	acceptPause     = 5 * time.Millisecond // after the first failure
	acceptPauseMost = time.Second
	acceptQuiet     = 10 * time.Second // between two lines of the log
)

// ended is whether a failure to accept is the listener's own. Any other passes:
// it is a connection's fault, as accept(2) says of many, or the system has run
// out of something.
func ended(err error) bool {
	for _, end := range []error{net.ErrClosed, syscall.EBADF, syscall.EINVAL, syscall.ENOTSOCK, syscall.EOPNOTSUPP} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

// adviseFiles adds what to do to an error that tells of too many open files.
func adviseFiles(err error) error {
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		return fmt.Errorf("%w: raise the limit of open files (ulimit -n, LimitNOFILE), or have clients keep fewer connections", err)
	}
	return err
}

// A plainConn is a connection that has brought nothing but plain requests.
type plainConn struct {
	net.Conn
	reader   *bufio.Reader
	idle     atomic.Bool // it waits for a request
	answered bool        // one, at least
	reading  deadline
	writing  deadline

	// Of one request, and used for the next.
	request http.Request
	values  []string // of its headers
	body    bytes.Reader
	answer  plainAnswer
	out     []byte
}

// A readConn is a connection some of which has been read.
type readConn struct {
	net.Conn
	reader *bufio.Reader
}

func (c *readConn) Read(b []byte) (int, error) { return c.reader.Read(b) }

// CloseWrite lets the server take leave as it does of any connection.
func (c *readConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// A deadline moves on only when a third of its time has gone: to move it with
// each request is dear. It passes wait to 3/2 wait after it was last renewed.
type deadline struct{ moved time.Time }

func (d *deadline) renew(now time.Time, wait time.Duration, set func(time.Time) error) {
	if now.Sub(d.moved) >= wait/2 {
		d.moved = now
		set(now.Add(wait + wait/2))
	}
}

func newPlainConn(ctx context.Context, conn net.Conn) *plainConn {
	c := &plainConn{Conn: conn, reader: bufio.NewReaderSize(conn, maxPlain), answer: plainAnswer{header: http.Header{}}}
	c.request = *(&http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: "/signals"}, RequestURI: "/signals",
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RemoteAddr: conn.RemoteAddr().String(),
		Header: http.Header{}, Body: io.NopCloser(&c.body),
	}).WithContext(context.WithValue(ctx, http.LocalAddrContextKey, conn.LocalAddr()))
	return c
}

// serve answers plain requests until another comes, or none.
func (s *Listener) serve(conn net.Conn) {
	c := newPlainConn(s.ctx, conn)
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.conns[c] = true
	}
	s.mu.Unlock()
	if closed {
		conn.Close()
		return
	}
	other := s.answerAll(c)
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	if other {
		conn.SetDeadline(time.Time{})
		select {
		case s.handed <- &readConn{conn, c.reader}:
			return
		case <-s.done:
		}
	}
	conn.Close()
}

// answerAll answers plain requests. It reports whether another has come, which
// is in the reader, and else leaves the connection to be closed.
func (s *Listener) answerAll(c *plainConn) (other bool) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("POST /signals failed", "err", fmt.Errorf("%v\n%s", p, debug.Stack()))
		}
	}()
	c.SetReadDeadline(time.Now().Add(s.timeouts.Header))
	for {
		if !s.await(c) {
			return false
		}
		size, ok := c.parse()
		if !ok {
			return true
		}
		c.answer.reset()
		s.handler.ServeHTTP(&c.answer, &c.request)
		c.reader.Discard(size)
		c.answered = true
		now := time.Now()
		c.writing.renew(now, s.timeouts.Answer, c.SetWriteDeadline)
		last := s.stopping() || c.answer.header["Connection"] != nil
		if c.send(now, last) != nil || last {
			return false
		}
		c.reading.renew(now, s.timeouts.Idle, c.SetReadDeadline)
	}
}

// await waits for the beginning of a request. Line ends behind the one before
// are skipped as net/http does: some clients send them.
func (s *Listener) await(c *plainConn) bool {
	const few = 4
	if c.reader.Buffered() < few {
		c.idle.Store(true)
		defer c.idle.Store(false)
		if s.stopping() {
			return false
		}
	}
	b, err := c.reader.Peek(few)
	if err == nil && c.answered {
		c.reader.Discard(few - len(bytes.TrimLeft(b, "\r\n")))
	}
	return err == nil
}

func (s *Listener) stopping() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

const plainLine = "POST /signals HTTP/1.1\r\n"

// parse makes c.request of a plain request, whose bytes it leaves in the reader.
func (c *plainConn) parse() (size int, ok bool) {
	b, _ := c.reader.Peek(c.reader.Buffered())
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 || !bytes.HasPrefix(b, []byte(plainLine)) {
		return 0, false
	}
	head := string(b[:end+2])
	length, ok := c.parseHead(head[len(plainLine):])
	if !ok {
		return 0, false
	}
	size = len(head) + 2 + length
	if size > maxPlain {
		return 0, false
	}
	if size > len(b) { // some clients send head and body apart
		now := time.Now()
		c.SetReadDeadline(now.Add(lateBody))
		var err error
		b, err = c.reader.Peek(size)
		if err != nil {
			return 0, false
		}
		c.reading = deadline{}
	}
	c.body.Reset(b[size-length : size])
	c.request.ContentLength = int64(length)
	return size, true
}

// lateBody is how long a plain request's body may come after its head.
const lateBody = time.Second

// parseHead reads header lines, each ended by CR LF. It is not ok with any
// that says how the connection goes on, or that the body is more than so many bytes.
func (c *plainConn) parseHead(lines string) (length int, ok bool) {
	header := c.request.Header
	clear(header)
	c.request.Host = ""
	c.values = c.values[:0]
	length = -1
	for lines != "" {
		var line string
		line, lines, _ = strings.Cut(lines, "\r\n")
		name, value, found := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		if !found || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return 0, false
		}
		switch name = http.CanonicalHeaderKey(name); name {
		case "Host":
			if c.request.Host != "" || value == "" || !httpguts.ValidHostHeader(value) {
				return 0, false
			}
			c.request.Host = value
			continue
		case "Content-Length":
			n, err := strconv.ParseUint(value, 10, 31)
			if err != nil || length >= 0 {
				return 0, false
			}
			length = int(n)
		case "Connection":
			if !strings.EqualFold(value, "keep-alive") {
				return 0, false
			}
		case "Transfer-Encoding", "Trailer", "Expect", "Upgrade", "Content-Encoding": // packed, it may not be small
			return 0, false
		}
		if header[name] != nil {
			header[name] = append(header[name], value)
			continue
		}
		c.values = append(c.values, value)
		header[name] = c.values[len(c.values)-1 : len(c.values) : len(c.values)]
	}
	return length, length >= 0 && c.request.Host != ""
}

// A plainAnswer is the answer to a plain request before it is sent.
type plainAnswer struct {
	header http.Header
	status int
	body   []byte
}

func (a *plainAnswer) reset() {
	clear(a.header)
	a.status, a.body = 0, kept(a.body)
}

// kept is a buffer's memory for the next answer, unless it is much.
func kept(b []byte) []byte {
	if cap(b) > maxPlain {
		return nil
	}
	return b[:0]
}

func (a *plainAnswer) Header() http.Header { return a.header }

func (a *plainAnswer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *plainAnswer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	a.body = append(a.body, b...)
	return len(b), nil
}

// send sends the answer, and that it is the last if it is.
func (c *plainConn) send(now time.Time, last bool) error {
	a := &c.answer
	a.WriteHeader(http.StatusOK)
	b := append(c.out, "HTTP/1.1 "...)
	b = append(strconv.AppendInt(b, int64(a.status), 10), ' ')
	b = append(append(b, http.StatusText(a.status)...), "\r\nDate: "...)
	b = now.UTC().AppendFormat(b, http.TimeFormat)
	if last {
		a.header["Connection"] = []string{"close"}
	}
	if a.header["Content-Length"] == nil {
		a.header["Content-Length"] = []string{strconv.Itoa(len(a.body))}
	}
	for name, values := range a.header {
		for _, v := range values {
			b = append(append(append(append(b, "\r\n"...), name...), ": "...), v...)
		}
	}
	b = append(append(b, "\r\n\r\n"...), a.body...)
	a.body = kept(a.body)
	c.out = kept(b)
	_, err := c.Conn.Write(b)
	return err
}
