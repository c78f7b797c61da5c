package h1

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

const (
	maxPlain = 4 << 10     // bytes of a connection's buffer, which a plain request fits
	lateBody = time.Second // that a plain request's body may come after its head
)

// A serverConn is a connection that has brought nothing but plain requests.
type serverConn struct {
	net.Conn
	reader   *bufio.Reader
	idle     atomic.Bool // it waits for a request
	answered bool        // one, at least
	timed    time.Time   // when it got the time for an answer and the next request

	// Of one request, and used for the next.
	request http.Request
	fields  fields
	body    bytes.Reader
	answer  answer
	out     []byte
}

func newServerConn(ctx context.Context, conn net.Conn, path string) *serverConn {
	c := &serverConn{Conn: conn, reader: bufio.NewReaderSize(conn, maxPlain), answer: answer{header: http.Header{}}}
	c.request = *(&http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: path}, RequestURI: path,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RemoteAddr: conn.RemoteAddr().String(),
		Body: io.NopCloser(&c.body),
	}).WithContext(context.WithValue(ctx, http.LocalAddrContextKey, conn.LocalAddr()))
	c.fields.header = http.Header{}
	c.request.Header = c.fields.header
	return c
}

// parse makes c.request of a plain request, whose bytes it leaves in the reader.
func (c *serverConn) parse(line string) (size int, ok bool) {
	b, _ := c.reader.Peek(c.reader.Buffered())
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 || !bytes.HasPrefix(b, []byte(line)) {
		return 0, false
	}
	head := string(b[:end+2])
	if !c.fields.parse(head[len(line):]) || !c.takeHost() || c.fields.length < 0 || c.request.Header["Content-Encoding"] != nil { // packed, it may not be small
		return 0, false
	}
	length := int(c.fields.length)
	if size = len(head) + 2 + length; size > maxPlain {
		return 0, false
	}
	if size > len(b) { // some clients send head and body apart
		c.SetReadDeadline(time.Now().Add(lateBody))
		c.timed = time.Time{}
		var err error
		if b, err = c.reader.Peek(size); err != nil {
			return 0, false
		}
	}
	c.body.Reset(b[size-length : size])
	c.request.ContentLength = int64(length)
	return size, true
}

// takeHost makes the one Host of the request what net/http makes of it.
func (c *serverConn) takeHost() bool {
	host := c.request.Header["Host"]
	if len(host) != 1 || host[0] == "" || !httpguts.ValidHostHeader(host[0]) {
		return false
	}
	c.request.Host = host[0]
	delete(c.request.Header, "Host")
	return true
}

// An answer is an http.ResponseWriter that keeps all until it is sent.
type answer struct {
	header http.Header
	status int
	body   []byte
}

func (a *answer) reset() {
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

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	a.body = append(a.body, b...)
	return len(b), nil
}

// send sends the answer, and that it is the last if it is.
func (c *serverConn) send(now time.Time, last bool) error {
	a := &c.answer
	a.WriteHeader(http.StatusOK)
	b := append(c.out, "HTTP/1.1 "...)
	b = append(strconv.AppendInt(b, int64(a.status), 10), ' ')
	b = append(append(b, http.StatusText(a.status)...), "\r\nDate: "...)
	b = now.UTC().AppendFormat(b, http.TimeFormat)
	if last {
		delete(a.header, "Connection")
		b = append(b, "\r\nConnection: close"...)
	}
	if a.header["Content-Length"] == nil {
		b = strconv.AppendInt(append(b, "\r\nContent-Length: "...), int64(len(a.body)), 10)
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
