package h1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/http/httpguts"
)

// A conn is a connection over which a Transport makes plain requests. It belongs
// to one request, or is idle. As the body of an answer it is read to the end, or
// not, and closed, which gives it back.
type conn struct {
	net.Conn
	generation *generation
	owner      *Transport
	fd         syscall.RawConn
	reader     *bufio.Reader // of the connection, within the bounds of answerReader
	used       bool          // for a request before

	// Functions made once, not for each request.
	abort   func() // ends what goes on, from another goroutine
	peek    func(fd uintptr)
	peeked  int   // by peek, of one byte; 0: the end
	peekErr error // EAGAIN: there was nothing

	ctx  context.Context // of the request. If it ends, abort is called, also while the connection is idle
	stop func() bool     // has abort not called; false: it may come yet

	// Of one request.
	left     int   // bytes that the answer's head may take; -1: it is the body's turn
	failed   error // of a read
	extended bool  // the body has got its time
	body     io.Reader
	answered bool // a byte of the answer has come
	ended    bool // the answer has been read to its end
	last     bool // request of this connection

	// Of a plain answer, and used for the next.
	response http.Response
	fields   fields
	sized    io.LimitedReader // its body
}

func (t *Transport) newConn(g *generation, nc net.Conn) (*conn, error) {
	fd, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, generation: g, owner: t, fd: fd}
	c.reader = bufio.NewReader((*answerReader)(c))
	c.abort = func() { nc.SetDeadline(longAgo) }
	var b [1]byte
	c.peek = func(fd uintptr) {
		c.peeked, c.peekErr = peek(fd, b[:])
	}
	return c, nil
}

var longAgo = time.Unix(1, 0)

// quiet reports whether the peer has neither sent something nor closed.
func (c *conn) quiet() bool {
	return c.fd.Control(c.peek) == nil && (c.peekErr == syscall.EAGAIN || c.peekErr == syscall.EWOULDBLOCK)
}

// watch has ctx end what goes on over the connection. It returns false if the context
// before has ended, and may still do that.
func (c *conn) watch(ctx context.Context) bool {
	if c.stop != nil && c.ctx.Done() == ctx.Done() {
		return true // saves the lock that all children of ctx share
	}
	if c.stop != nil && !c.stop() {
		return false
	}
	c.ctx, c.stop = ctx, context.AfterFunc(ctx, c.abort)
	return true
}

// end closes the connection.
func (c *conn) end() error {
	if c.stop != nil {
		c.stop()
	}
	return c.Conn.Close()
}

// exchange sends the bytes of a request and reads the head of the answer by the
// deadline. After an error the connection is closed.
func (c *conn) exchange(request []byte, req *http.Request, deadline time.Time) (*http.Response, error) {
	c.left, c.extended, c.answered, c.failed = MaxHead, false, false, nil
	c.SetDeadline(deadline)
	if c.ctx.Err() != nil { // or the deadline that abort has set is gone
		c.abort()
	}
	trace := httptrace.ContextClientTrace(req.Context())
	if trace == nil {
		trace = new(httptrace.ClientTrace)
	}
	if trace.GotConn != nil {
		trace.GotConn(httptrace.GotConnInfo{Conn: c.Conn, Reused: c.used, WasIdle: c.used})
	}
	resp, err := c.answer(request, req, trace)
	if err != nil {
		c.end()
		return nil, err
	}
	c.left, c.body, c.ended = -1, resp.Body, resp.Body == http.NoBody
	if resp.Body == nil {
		c.body = &c.sized
	}
	resp.Body = c
	return resp, nil
}

func (c *conn) answer(request []byte, req *http.Request, trace *httptrace.ClientTrace) (*http.Response, error) {
	if !c.used && !c.quiet() && c.peekErr == nil && c.peeked > 0 {
		return nil, ErrEarly
	}
	_, unsent := c.Conn.Write(request)
	if unsent != nil && !closedByPeer(unsent) {
		return nil, unsent
	}
	if trace.WroteRequest != nil {
		trace.WroteRequest(httptrace.WroteRequestInfo{Err: unsent})
	}
	// An answer may have come before the request was whole.
	switch _, err := c.reader.Peek(1); {
	case err == io.EOF && unsent != nil:
		return nil, unsent
	case err == io.EOF:
		return nil, ErrClosed
	case err != nil:
		return nil, err
	}
	c.answered = true
	if trace.GotFirstResponseByte != nil {
		trace.GotFirstResponseByte()
	}
	resp, err := c.plainAnswer(req), error(nil)
	if resp == nil {
		resp, err = c.readHead(req)
	}
	if err == nil {
		c.last = resp.Close || resp.StatusCode <= 199 || fails(resp.StatusCode) || unsent != nil
	}
	return resp, err
}

// closedByPeer reports whether the other side ended the connection.
func closedByPeer(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, errReset) || errors.Is(err, errEnded)
}

// plainAnswer reads the head of an answer whose body has a length, if it has
// come whole and says nothing unusual: what any server says to a POST. Else it
// returns nil, and leaves it in the reader. A body there is c.sized, not the answer's.
func (c *conn) plainAnswer(req *http.Request) *http.Response {
	const proto = "HTTP/1.1 "
	b, _ := c.reader.Peek(c.reader.Buffered())
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 || !bytes.HasPrefix(b, []byte(proto)) {
		return nil
	}
	status, lines, _ := strings.Cut(string(b[len(proto):end+2]), "\r\n")
	if len(status) < len("200 ") || status[3] != ' ' || !httpguts.ValidHeaderFieldValue(status) {
		return nil
	}
	code, err := strconv.ParseUint(status[:3], 10, 16)
	bodiless := code < 200 || code == http.StatusNoContent || code == http.StatusNotModified
	if err != nil || bodiless || !c.fields.parse(lines) || c.fields.length < 0 {
		return nil
	}
	c.reader.Discard(end + 4)
	c.response = http.Response{
		Status: status, StatusCode: int(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: c.fields.header, ContentLength: c.fields.length, Body: http.NoBody, Request: req,
	}
	if c.fields.length > 0 {
		c.sized = io.LimitedReader{R: c.reader, N: c.fields.length}
		c.response.Body = nil
	}
	return &c.response
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
		default:
			return nil, malformed(err)
		}
	}
}

// An answerReader is what the connection's reader reads from.
type answerReader conn

func (r *answerReader) Read(p []byte) (n int, err error) {
	switch {
	case r.left > 0:
		n, err = r.Conn.Read(p[:min(len(p), r.left)])
		r.left -= n
	case r.left == 0:
		err = ErrLongHead
	default:
		if !r.extended {
			r.extended = true
			r.SetReadDeadline(time.Now().Add(r.owner.BodyTimeout))
			if r.ctx.Err() != nil { // or the deadline that abort has set is gone
				r.abort()
			}
		}
		n, err = r.Conn.Read(p)
	}
	if err != nil && err != io.EOF {
		r.failed = err
	}
	return n, err
}

// Read reads the body of the answer.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.body.Read(p)
	if c.body == &c.sized && c.sized.N == 0 {
		err = io.EOF
	} else if c.body == &c.sized && err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	c.ended = c.ended || err == io.EOF
	return n, err
}

// Close ends the request. The connection becomes idle if the next answer on it
// can only be the answer to the next request.
func (c *conn) Close() error {
	if c.body == nil {
		return nil // closed before
	}
	c.body = nil
	if !c.ended || c.last || c.ctx.Err() != nil || c.reader.Buffered() > 0 || !c.owner.keep(c) {
		return c.end()
	}
	return nil
}
