package h1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
)

// Options are what a Listener is made with.
type Options struct {
	Path    string       // of the requests that it answers itself
	Handler http.Handler // answers them
	Log     *slog.Logger // of connections that cannot be accepted, and of panics

	// The time that clients have.
	Header time.Duration // for the headers of the first request
	Answer time.Duration // until an answer has been taken
	Idle   time.Duration // between the requests of a connection
}

// A Listener is a listener for net/http's server that answers the usual requests itself:
// a POST to one path that has come whole, is small, and asks nothing of its connection
// but to be kept. The handler answers those, at a fraction of the server's cost. With the
// first request that is anything else, late or malformed, the connection goes to the
// server, which reads that request from its first byte and all after it.
type Listener struct {
	net.Listener
	Options
	line string // the first of a plain request

	handed  chan net.Conn   // to the server
	closed  context.Context // done when the server takes no more
	close   context.CancelFunc
	serving context.Context // of the requests
	end     context.CancelFunc
	tasks   sync.WaitGroup

	mu    sync.Mutex
	conns map[*serverConn]bool // guarded by mu
}

// Listen returns a Listener that begins to accept from l at once. It must be
// closed, and then waited for with Wait.
func Listen(l net.Listener, o Options) *Listener {
	s := &Listener{
		Listener: l, Options: o, line: "POST " + o.Path + " HTTP/1.1\r\n",
		handed: make(chan net.Conn), conns: map[*serverConn]bool{},
	}
	s.closed, s.close = context.WithCancel(context.Background())
	s.serving, s.end = context.WithCancel(context.Background())
	s.tasks.Go(s.acceptAll)
	return s
}

// Accept returns the next connection that is the server's.
func (s *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-s.handed:
		return c, nil
	case <-s.closed.Done():
		return nil, net.ErrClosed
	}
}

// Close ends listening, and the connections that wait for a request. Those
// that are answered end behind their answer.
func (s *Listener) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed.Err() != nil {
		return nil
	}
	s.close()
	for c := range s.conns {
		if c.idle.Load() {
			c.SetReadDeadline(longAgo)
		}
	}
	return s.Listener.Close()
}

// Wait ends the context of every request, and returns when no connection is
// left. It closes those that are when ctx ends.
func (s *Listener) Wait(ctx context.Context) {
	s.end()
	defer context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			c.Close()
		}
	})()
	s.tasks.Wait()
}

const (
	acceptPause     = 5 * time.Millisecond // after the first failure, then doubled
	acceptPauseMost = time.Second
	acceptQuiet     = 10 * time.Second // between two lines of the log
)

// acceptAll accepts until the listener is closed. After a failure it asks again,
// after a pause, and says so in the log from time to time: it was a connection's
// fault, as accept(2) says of many, or the system has run out of something.
func (s *Listener) acceptAll() {
	pause := acceptPause
	var logged time.Time
	for {
		c, err := s.Listener.Accept()
		if err == nil {
			pause = acceptPause
			s.tasks.Go(func() { s.serve(c) })
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			s.Close() // or the server would wait for ever for what nobody accepts
			return
		}
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			err = fmt.Errorf("%w: raise the limit of open files (ulimit -n, LimitNOFILE), or have clients keep fewer connections", err)
		}
		if now := time.Now(); now.Sub(logged) >= acceptQuiet {
			logged = now
			s.Log.Error("connections cannot be accepted; they wait, and it is tried again", "err", err)
		}
		select {
		case <-time.After(pause):
		case <-s.closed.Done():
			return
		}
		pause = min(2*pause, acceptPauseMost)
	}
}

// serve answers plain requests until another comes, or none.
func (s *Listener) serve(conn net.Conn) {
	c := newServerConn(s.serving, conn, s.Path)
	s.mu.Lock()
	s.conns[c] = true
	s.mu.Unlock()
	other := s.answerAll(c)
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	if other {
		conn.SetDeadline(time.Time{})
		select {
		case s.handed <- &readConn{conn, c.reader}:
			return
		case <-s.closed.Done():
		}
	}
	conn.Close()
}

// A readConn is a connection some of which has been read.
type readConn struct {
	net.Conn
	reader *bufio.Reader
}

func (c *readConn) Read(b []byte) (int, error) { return c.reader.Read(b) }

// CloseWrite closes the writing side, as net/http's server does at the end.
func (c *readConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// answerAll answers plain requests. It reports whether another has come, which
// is in the reader, and else leaves the connection to be closed.
func (s *Listener) answerAll(c *serverConn) (other bool) {
	defer func() {
		if p := recover(); p != nil {
			s.Log.Error("POST "+s.Path+" failed", "err", fmt.Errorf("%v\n%s", p, debug.Stack()))
		}
	}()
	c.SetReadDeadline(time.Now().Add(s.Header))
	for s.await(c) {
		size, ok := c.parse(s.line)
		if !ok {
			return true
		}
		c.answer.reset()
		s.Handler.ServeHTTP(&c.answer, &c.request)
		c.reader.Discard(size)
		c.answered = true
		now := time.Now()
		if now.Sub(c.timed) > min(s.Idle, s.Answer)/128 { // to set a timer costs more than exactness is worth
			c.timed = now
			c.SetWriteDeadline(now.Add(s.Answer))
			c.SetReadDeadline(now.Add(s.Idle))
		}
		last := s.closed.Err() != nil || c.answer.header["Connection"] != nil
		if c.send(now, last) != nil || last {
			return false
		}
	}
	return false
}

// await waits for the beginning of a request. Line ends behind the one before
// are skipped as net/http does: some clients send them.
func (s *Listener) await(c *serverConn) bool {
	const few = 4
	if c.reader.Buffered() < few {
		c.idle.Store(true)
		defer c.idle.Store(false)
		if s.closed.Err() != nil {
			return false
		}
	}
	b, err := c.reader.Peek(few)
	if err == nil && c.answered {
		c.reader.Discard(few - len(bytes.TrimLeft(b, "\r\n")))
	}
	return err == nil
}
