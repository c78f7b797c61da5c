package h1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
)

const (
	// MaxHead is how many bytes the head of an answer may have, with those of
	// interim answers.
	MaxHead = 64 << 10
	// MaxAge is how long a connection is used, so that a name which leads
	// elsewhere is followed, and how long one is kept without a request.
	MaxAge = 2 * time.Minute

	maxPlainBody = 64 << 10 // a longer one may have to be answered before it is sent
)

// What became of a request that has no answer. An error that is none of these
// is one of the network or of TLS. A timeout is os.ErrDeadlineExceeded.
var (
	ErrClosed    = errors.New("connection closed before an answer")
	ErrCut       = errors.New("connection closed in the middle of the answer")
	ErrLongHead  = errors.New("headers exceeded the limit")
	ErrEarly     = errors.New("an answer before the request")
	ErrTLS       = errors.New("the port speaks TLS")
	ErrMalformed = errors.New("malformed answer")         // wrapped with what is wrong with it
	ErrHeader    = errors.New("not sent: invalid header") // the request's; wrapped with its name
)

// A Transport is an http.RoundTripper for requests to one origin. It makes those
// that are plain, without TLS and with a small body, in the caller's goroutine, for
// a third of what net/http's transport costs; Next makes all others.
//
// A connection takes no new request once it is MaxAge old, or after an answer
// of 429 or 5xx; when one timed out on it, nor does any other. Requests under way
// are never disturbed. A request that was sent on a connection which the other
// side then closed without a byte of an answer is sent again on a new one:
// servers end idle connections just so.
//
// The hooks of the context's httptrace.ClientTrace are called. With a plain request
// GetConn is called only if a connection must be made.
//
// A plain request is not used any more when RoundTrip has returned, whatever its
// body's reader or the map of its headers is. A plain answer and the map of its
// headers are valid until its body is closed.
//
// All fields are set before the first request. It is safe for concurrent use.
type Transport struct {
	// Dial connects to the origin for plain requests. nil: Next makes all requests.
	Dial func(ctx context.Context) (net.Conn, error)
	// Next returns a new transport for what is not plain.
	Next func() Next

	Timeout time.Duration // from the beginning to the head of the answer
	// Until, unless nil, returns the end of that time instead, of the request's context.
	Until       func(ctx context.Context) time.Time
	BodyTimeout time.Duration // for the answer's body
	MaxIdle     int           // connections that are kept without a request, of each kind

	mu     sync.Mutex
	closed bool        // guarded by mu
	active *generation // takes requests now; nil: not made yet; guarded by mu
}

// RoundTrip makes a request. The answer's body must be closed.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	deadline := time.Now().Add(t.Timeout)
	if t.Until != nil {
		deadline = t.Until(req.Context())
	}
	if err := checkHeader(req.Header); err != nil {
		return nil, err
	}
	if uri := req.URL.RequestURI(); t.Dial != nil && plain(req, uri) {
		return t.sendPlain(req, uri, deadline)
	}
	return t.sendNext(req, deadline)
}

func checkHeader(h http.Header) error {
	invalid := func(v string) bool { return !httpguts.ValidHeaderFieldValue(v) }
	for name, values := range h {
		if !httpguts.ValidHeaderFieldName(name) || slices.ContainsFunc(values, invalid) {
			return fmt.Errorf("%w %q", ErrHeader, name)
		}
	}
	return nil
}

// plain reports whether a request can be sent as appendRequest writes it.
func plain(req *http.Request, uri string) bool {
	for _, name := range []string{"Host", "Content-Length", "Transfer-Encoding", "Trailer", "Connection", "Expect"} {
		if req.Header[name] != nil {
			return false
		}
	}
	return req.URL.Scheme == "http" && req.ContentLength >= 0 && req.ContentLength <= maxPlainBody && (req.Body != nil || req.ContentLength == 0) &&
		req.TransferEncoding == nil && req.Trailer == nil && !req.Close && (req.Host == "" || req.Host == req.URL.Host) && httpguts.ValidHostHeader(req.URL.Host) &&
		!strings.ContainsFunc(uri, func(c rune) bool { return c <= ' ' || c >= 0x7f })
}

// appendRequest appends a plain request, whose body it reads and closes.
func appendRequest(b []byte, req *http.Request, uri string) ([]byte, error) {
	b = append(append(b, req.Method...), ' ')
	b = append(append(b, uri...), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, req.URL.Host...), "\r\n"...)
	for name, values := range req.Header {
		for _, v := range values {
			b = append(append(b, name...), ": "...)
			b = append(append(b, textproto.TrimString(v)...), "\r\n"...)
		}
	}
	b = strconv.AppendInt(append(b, "Content-Length: "...), req.ContentLength, 10)
	b = append(b, "\r\n\r\n"...)
	if req.Body == nil {
		return b, nil
	}
	defer req.Body.Close()
	n := len(b)
	b = slices.Grow(b, int(req.ContentLength))[:n+int(req.ContentLength)]
	_, err := io.ReadFull(req.Body, b[n:])
	return b, err
}

var requests = sync.Pool{New: func() any { return new([]byte) }}

// sendPlain sends a plain request, and returns the answer.
func (t *Transport) sendPlain(req *http.Request, uri string, deadline time.Time) (*http.Response, error) {
	ctx := req.Context()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	buf := requests.Get().(*[]byte)
	defer requests.Put(buf)
	request, err := appendRequest((*buf)[:0], req, uri)
	*buf = request
	if err != nil {
		return nil, err
	}
	g := t.current()
	if c := t.takeIdle(g, ctx); c != nil {
		resp, err := c.exchange(request, req, deadline)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil:
			t.retire(g)
			return nil, err
		case err == nil || c.answered || ctx.Err() != nil:
			return resp, err
		}
	}
	if trace := httptrace.ContextClientTrace(ctx); trace != nil && trace.GetConn != nil {
		trace.GetConn(req.URL.Host)
	}
	dialing, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	nc, err := t.Dial(dialing)
	if err != nil {
		return nil, timeoutOf(dialing, err)
	}
	c, err := t.newConn(g, nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	c.watch(ctx)
	return c.exchange(request, req, deadline)
}

// timeoutOf returns err, or os.ErrDeadlineExceeded with it if that is why ctx has ended.
func timeoutOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, context.DeadlineExceeded) || errors.Is(cause, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: %w", os.ErrDeadlineExceeded, err)
	}
	return err
}

// sendNext has Next make a request.
func (t *Transport) sendNext(req *http.Request, deadline time.Time) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	timer := time.AfterFunc(time.Until(deadline), func() { cancel(os.ErrDeadlineExceeded) })
	end := func() { timer.Stop(); cancel(nil) }
	g := t.current()
	resp, err := g.RoundTrip(req.WithContext(ctx))
	if err != nil {
		err = timeoutOf(ctx, classify(err))
		end()
		t.release(g, errors.Is(err, os.ErrDeadlineExceeded))
		return nil, err
	}
	timer.Reset(t.BodyTimeout)
	resp.Body = &nextBody{resp.Body, func() {
		end()
		t.release(g, fails(resp.StatusCode))
	}}
	return resp, nil
}

// fails reports whether a connection ends with the answer: another may lead to
// a machine that is well.
func fails(status int) bool { return status >= 500 || status == http.StatusTooManyRequests }

// A nextBody is the body of an answer that came through Next.
type nextBody struct {
	io.ReadCloser
	done func()
}

func (b *nextBody) Close() error {
	err := b.ReadCloser.Close()
	if b.done != nil {
		b.done()
		b.done = nil
	}
	return err
}
