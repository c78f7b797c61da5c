package h1

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"syscall"
	"time"
)

// A conn is a connection over which a Transport makes plain requests. It belongs
// to one request, or is idle. As the body of an answer it is read to the end, or
// not, and closed, which gives it back.
type conn struct {
	owner  *Transport
	conn   net.Conn // TLS over raw, or raw
	raw    net.Conn
	fd     syscall.RawConn // of raw
	reader *bufio.Reader   // of conn, within the bounds of answerReader
	made   time.Time
	since  time.Time // when it became idle; zero: it is new

	// Functions made once, not for each request.
	abort   func() // ends what goes on, from another goroutine
	peek    func(fd uintptr)
	peeked  int   // by peek, of one byte; 0: the end
	peekErr error // EAGAIN: there was nothing

	// Of one request.
	ctx      context.Context
	stop     func() bool // false: ctx has ended, and abort may come yet
	left     int         // bytes that the answer's head may take; -1: it is the body's turn
	failed   error       // of a read
	extended bool        // the body has got its time
	body     io.Reader
	answered bool // a byte of the answer has come
	ended    bool // the answer has been read to its end
	last     bool // request of this connection
}

func (t *Transport) newConn(nc net.Conn) (*conn, error) {
	raw := nc
	if secure, ok := nc.(*tls.Conn); ok {
		raw = secure.NetConn()
	}
	fd, err := raw.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &conn{owner: t, conn: nc, raw: raw, fd: fd, made: time.Now()}
	c.reader = bufio.NewReader((*answerReader)(c))
	c.abort = func() { raw.SetDeadline(longAgo) }
	var b [1]byte
	c.peek = func(fd uintptr) {
		c.peeked, _, c.peekErr = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	}
	return c, nil
}

var longAgo = time.Unix(1, 0)

// quiet reports whether the peer has neither sent something nor closed.
func (c *conn) quiet() bool {
	return c.fd.Control(c.peek) == nil && (c.peekErr == syscall.EAGAIN || c.peekErr == syscall.EWOULDBLOCK)
}

// exchange sends the bytes of a request and reads the head of the answer by the
// deadline. After an error the connection is closed.
func (c *conn) exchange(ctx context.Context, request []byte, req *http.Request, deadline time.Time) (*http.Response, error) {
	c.ctx, c.left, c.extended, c.answered, c.failed = ctx, MaxHead, false, false, nil
	c.raw.SetDeadline(deadline)
	c.stop = context.AfterFunc(ctx, c.abort)
	resp, err := c.answer(request, req)
	if err != nil {
		c.stop()
		c.raw.Close()
		return nil, err
	}
	c.left = -1
	c.body, resp.Body = resp.Body, c
	c.ended = c.body == http.NoBody
	return resp, nil
}

func (c *conn) answer(request []byte, req *http.Request) (*http.Response, error) {
	// On a new connection over TLS there may be tickets to read.
	if c.since.IsZero() && c.conn == c.raw && !c.quiet() && c.peekErr == nil && c.peeked > 0 {
		return nil, ErrEarly
	}
	_, unsent := c.conn.Write(request)
	if unsent != nil && !closedByPeer(unsent) {
		return nil, unsent
	}
	// An answer may have come before the request was whole.
	const alert = 0x15 // type of a TLS record
	first, err := c.reader.Peek(1)
	switch {
	case err == io.EOF && unsent != nil:
		return nil, unsent
	case err == io.EOF:
		return nil, ErrClosed
	case err != nil:
		return nil, err
	}
	c.answered = true
	if first[0] == alert && c.conn == c.raw {
		return nil, ErrTLS
	}
	resp, err := c.readHead(req)
	if err == nil {
		c.last = resp.Close || resp.StatusCode <= 199 || fails(resp.StatusCode) || unsent != nil
	}
	return resp, err
}

// closedByPeer reports whether the other side ended the connection.
func closedByPeer(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// readHead reads heads up to that of the final answer, and no byte of what follows.
func (c *conn) readHead(req *http.Request) (*http.Response, error) {
	for {
		resp, err := http.ReadResponse(c.reader, req)
		switch {
		case err == nil && (resp.StatusCode < 100 || resp.StatusCode > 199 || resp.StatusCode == http.StatusSwitchingProtocols):
			return resp, nil
		case err == nil:
		case c.failed != nil:
			return nil, c.failed
		case errors.Is(err, io.ErrUnexpectedEOF):
			return nil, ErrCut
		default:
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
	}
}

// An answerReader is what the connection's reader reads from.
type answerReader conn

func (r *answerReader) Read(p []byte) (n int, err error) {
	switch {
	case r.left > 0:
		n, err = r.conn.Read(p[:min(len(p), r.left)])
		r.left -= n
	case r.left == 0:
		err = ErrLongHead
	default:
		if !r.extended {
			r.extended = true
			r.raw.SetReadDeadline(time.Now().Add(r.owner.BodyTimeout))
			if r.ctx.Err() != nil { // or the deadline that abort has set is gone
				r.abort()
			}
		}
		n, err = r.conn.Read(p)
	}
	if err != nil && err != io.EOF {
		r.failed = err
	}
	return n, err
}

// Read reads the body of the answer.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.body.Read(p)
	if err == io.EOF {
		c.ended = true
	}
	return n, err
}

// Close ends the request. The connection becomes idle if the next answer on it
// can only be the answer to the next request.
func (c *conn) Close() error {
	if c.stop == nil {
		return nil // closed before
	}
	stopped := c.stop()
	c.ctx, c.stop, c.body = nil, nil, nil
	switch {
	case !c.ended: // or TLS might wait to say goodbye
		return c.raw.Close()
	case !stopped || c.last || c.reader.Buffered() > 0 || !c.drained() || !c.owner.keep(c):
		return c.conn.Close()
	}
	return nil
}

// drained reports whether TLS holds no byte of an answer that has been read from
// raw. The beginning of a record that is not whole it does not tell.
func (c *conn) drained() bool {
	if c.conn == c.raw {
		return true
	}
	c.raw.SetReadDeadline(longAgo) // raw is not read
	var b [1]byte
	n, err := c.conn.Read(b[:])
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
}

func (c *conn) expired(now time.Time) bool {
	return now.Sub(c.since) >= MaxIdle || now.Sub(c.made) >= MaxAge
}

// takeIdle returns the connection used last that is fit for use, or nil.
func (t *Transport) takeIdle() *conn {
	for {
		t.mu.Lock()
		n := len(t.idle) - 1
		if n < 0 {
			t.mu.Unlock()
			return nil
		}
		c := t.idle[n]
		t.idle = slices.Delete(t.idle, n, n+1)
		t.mu.Unlock()
		if !c.expired(time.Now()) && c.quiet() {
			return c
		}
		c.conn.Close()
	}
}

// keep makes a connection idle, unless there are enough or the Transport is closed.
func (t *Transport) keep(c *conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || len(t.idle) >= t.MaxIdle {
		return false
	}
	c.since = time.Now()
	t.idle = append(t.idle, c)
	if t.sweep == nil {
		t.sweep = time.AfterFunc(MaxIdle, t.closeExpired)
	}
	return true
}

// closeExpired closes what has been idle for too long, and comes again as long
// as anything is left.
func (t *Transport) closeExpired() {
	now := time.Now()
	t.closeIdle(func(c *conn) bool { return c.expired(now) })
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sweep != nil {
		t.sweep.Reset(MaxIdle / 8)
	}
}

// closeIdle closes the idle connections that are gone.
func (t *Transport) closeIdle(gone func(*conn) bool) {
	t.mu.Lock()
	var closing []*conn
	t.idle = slices.DeleteFunc(t.idle, func(c *conn) bool {
		if !gone(c) {
			return false
		}
		closing = append(closing, c)
		return true
	})
	if len(t.idle) == 0 && t.sweep != nil {
		t.sweep.Stop()
		t.sweep = nil
	}
	t.mu.Unlock()
	for _, c := range closing {
		c.conn.Close()
	}
}
