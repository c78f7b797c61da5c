package deliver

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Most attempts are HTTP/1.1 without a proxy. Those a link makes by itself, in
// the attempt's own goroutine, for a third of what net/http's transport costs.
// What the transport alone can do goes to it: HTTP/2, proxies, names of hosts
// beyond ASCII, and bodies so large that the answer may come, and have to be
// read, before they are sent.
const maxWireBody = 64 << 10

var (
	errHTTP2    = errors.New("the host speaks HTTP/2")
	errTooEarly = errors.New("an answer before the request")
	errLongHead = errors.New("headers exceeded the limit")
)

// A wireConn is a connection over which its link speaks HTTP/1.1. It belongs to
// one attempt, or is idle. As the body of an answer it is read to the end, or
// not, and closed, which gives it back.
type wireConn struct {
	link   *link
	conn   net.Conn // TLS over raw, or raw
	raw    net.Conn
	fd     syscall.RawConn // of raw
	reader *bufio.Reader   // of conn, within the bounds of wireReader
	since  time.Time       // when it became idle

	// Functions made once, not for each attempt.
	abort func() // ends what goes on, from another goroutine
	peek  func(fd uintptr)
	heard int   // by peek, of one byte; 0: the end
	deaf  error // EAGAIN: there was nothing

	// Of one exchange.
	ctx      context.Context
	stop     func() bool // false: ctx has ended, and abort may come yet
	left     int         // bytes that the answer's head may take; -1: it is the body's turn
	extended bool        // the body has got its time
	body     io.Reader
	ended    bool // the answer has been read to its end
	last     bool // of this connection
}

// roundTrip sends a request and returns the head of the answer. Its body must be
// closed. The error is errHTTP2 if the host speaks that; the connection is the
// try's then.
func (l *link) roundTrip(t *try, request []byte) (*http.Response, error) {
	if err := t.ctx.Err(); err != nil {
		return nil, err
	}
	if c := l.idleConn(); c != nil {
		resp, began, err := c.exchange(t, request)
		// Servers end idle connections just when one is used again. A receiver knows
		// repetitions by webhook-id.
		if err == nil || began || errors.Is(err, os.ErrDeadlineExceeded) {
			return resp, err
		}
	}
	c, err := l.newConn(t)
	if err != nil {
		return nil, err
	}
	resp, _, err := c.exchange(t, request)
	return resp, err
}

// newConn connects.
func (l *link) newConn(t *try) (*wireConn, error) {
	t.phase.Store(resolving)
	ctx, cancel := context.WithDeadline(t.context(), t.deadline)
	defer cancel()
	conn, err := l.connect(ctx, l.address)
	if err != nil {
		return nil, err
	}
	raw := conn
	if secure, ok := conn.(*tls.Conn); ok {
		if secure.ConnectionState().NegotiatedProtocol == "h2" {
			t.spare.Store(secure)
			return nil, errHTTP2
		}
		raw = secure.NetConn()
	}
	return l.wrap(conn, raw)
}

func (l *link) wrap(conn, raw net.Conn) (*wireConn, error) {
	fd, err := raw.(syscall.Conn).SyscallConn()
	if err != nil {
		raw.Close()
		return nil, err
	}
	c := &wireConn{link: l, conn: conn, raw: raw, fd: fd}
	c.reader = bufio.NewReader((*wireReader)(c))
	c.abort = func() { raw.SetDeadline(longAgo) }
	var b [1]byte
	c.peek = func(fd uintptr) {
		c.heard, _, c.deaf = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	}
	return c, nil
}

var longAgo = time.Unix(1, 0)

// quiet reports whether the peer has neither sent something nor closed.
func (c *wireConn) quiet() bool {
	return c.fd.Control(c.peek) == nil && (c.deaf == syscall.EAGAIN || c.deaf == syscall.EWOULDBLOCK)
}

// exchange sends a request and reads the head of the answer, all within the
// try's time. After an error the connection is closed; began tells whether a
// byte of the answer had come.
func (c *wireConn) exchange(t *try, request []byte) (resp *http.Response, began bool, err error) {
	t.phase.Store(waiting)
	c.ctx, c.left, c.extended = t.ctx, maxResponseHeader, false
	c.raw.SetDeadline(t.deadline)
	c.stop = context.AfterFunc(t.ctx, c.abort)
	// On a new connection over TLS there may be tickets to read.
	if c.since.IsZero() && c.conn == c.raw && !c.quiet() && c.deaf == nil && c.heard > 0 {
		c.stop()
		c.raw.Close()
		return nil, true, errTooEarly
	}
	_, unsent := c.conn.Write(request)
	if err = unsent; err == nil || lost(err) { // an answer may have come before the request was whole
		if _, err = c.reader.Peek(1); err == nil {
			began = true
			resp, err = c.readHead()
		} else if err == io.EOF && unsent != nil {
			err = unsent
		}
	}
	if err != nil {
		c.stop()
		c.raw.Close()
		return nil, began, err
	}
	c.left = -1
	c.body, resp.Body = resp.Body, c
	c.ended = c.body == http.NoBody
	c.last = resp.Close || resp.StatusCode <= 199 || unsent != nil
	return resp, began, nil
}

var post = &http.Request{Method: http.MethodPost}

// readHead reads heads up to that of the final answer, and no byte of what follows.
func (c *wireConn) readHead() (*http.Response, error) {
	for {
		resp, err := http.ReadResponse(c.reader, post)
		if err != nil && c.left == 0 {
			err = errLongHead
		}
		if err != nil || resp.StatusCode < 100 || resp.StatusCode > 199 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, err
		}
	}
}

// A wireReader is what the connection's reader reads from.
type wireReader wireConn

func (r *wireReader) Read(p []byte) (int, error) {
	if r.left >= 0 {
		if r.left == 0 {
			return 0, errLongHead
		}
		n, err := r.conn.Read(p[:min(len(p), r.left)])
		r.left -= n
		return n, err
	}
	if !r.extended {
		r.extended = true
		r.raw.SetReadDeadline(time.Now().Add(responseTime))
		if r.ctx.Err() != nil { // or the deadline that abort has set is gone
			r.abort()
		}
	}
	return r.conn.Read(p)
}

// Read reads the body of the answer.
func (c *wireConn) Read(p []byte) (int, error) {
	n, err := c.body.Read(p)
	if err == io.EOF {
		c.ended = true
	}
	return n, err
}

// Close ends the exchange. The connection becomes idle if the next answer on it
// can only be the answer to the next request.
func (c *wireConn) Close() error {
	stopped := c.stop()
	c.ctx, c.stop, c.body = nil, nil, nil
	switch {
	case !c.ended: // or TLS might wait to say goodbye
		return c.raw.Close()
	case !stopped || c.last || c.reader.Buffered() > 0 || !c.drained() || !c.link.keep(c):
		return c.conn.Close()
	}
	return nil
}

// drained reports whether TLS holds no byte of an answer that has been read from
// raw. The beginning of a record that is not whole it does not tell.
func (c *wireConn) drained() bool {
	if c.conn == c.raw {
		return true
	}
	c.raw.SetReadDeadline(longAgo) // raw is not read
	var b [1]byte
	n, err := c.conn.Read(b[:])
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
}

// An idlePool is the idle connections of a link.
type idlePool struct {
	mu    sync.Mutex
	conns []*wireConn // the one used last is at the end
	timer *time.Timer // of expire; nil if there are none
}

// idleConn returns the connection used last that is fit for use, or nil.
func (l *link) idleConn() *wireConn {
	for {
		l.idle.mu.Lock()
		n := len(l.idle.conns) - 1
		if n < 0 {
			l.idle.mu.Unlock()
			return nil
		}
		c := l.idle.conns[n]
		l.idle.conns[n] = nil
		l.idle.conns = l.idle.conns[:n]
		l.idle.mu.Unlock()
		if time.Since(c.since) < idleTimeout && c.quiet() {
			return c
		}
		c.conn.Close()
	}
}

// keep makes a connection idle, unless there are enough or the link has no user.
func (l *link) keep(c *wireConn) bool {
	l.idle.mu.Lock()
	defer l.idle.mu.Unlock()
	c.since = time.Now()
	if l.users.Load() == 0 || len(l.idle.conns) >= l.concurrency {
		return false
	}
	l.idle.conns = append(l.idle.conns, c)
	if l.idle.timer == nil {
		l.idle.timer = time.AfterFunc(idleTimeout, func() { l.expire(time.Now().Add(-idleTimeout)) })
	}
	return true
}

// expire closes the connections that have been idle since then or longer.
func (l *link) expire(then time.Time) {
	l.idle.mu.Lock()
	n := 0
	for n < len(l.idle.conns) && !l.idle.conns[n].since.After(then) {
		n++
	}
	gone := slices.Clone(l.idle.conns[:n])
	l.idle.conns = slices.Delete(l.idle.conns, 0, n)
	switch {
	case l.idle.timer == nil:
	case len(l.idle.conns) > 0:
		l.idle.timer.Reset(time.Until(l.idle.conns[0].since.Add(idleTimeout)))
	default:
		l.idle.timer.Stop()
		l.idle.timer = nil
	}
	l.idle.mu.Unlock()
	for _, c := range gone {
		c.conn.Close()
	}
}
