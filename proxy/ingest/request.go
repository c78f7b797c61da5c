package ingest

import (
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"signalpost/proxy/api"
	"signalpost/queue"
)

// largeBody is how many bytes of a body are read before it has to wait for room.
const largeBody = 64 << 10

// A buffer holds a request's body while it is read. Buffers are used again, so
// what is kept of one is a copy.
type buffer struct {
	b      []byte
	unpack gzip.Reader
	room   int64 // bytes of Ingest.arriving that it holds
}

var buffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, 4<<10)} }}

// ReadBody reads a request's body, unpacked, of so many bytes at most. It
// belongs to the caller until done, which must be called. An error is a problem.
func (in *Ingest) ReadBody(r *http.Request, most int64) (body []byte, done func(), err error) {
	return in.readBody(r, most, "send less")
}

// readBody is ReadBody with an advice to whom the bound is too low.
func (in *Ingest) readBody(r *http.Request, most int64, advice string) (body []byte, done func(), err error) {
	b := buffers.Get().(*buffer)
	done = func() {
		in.arriving.Give(b.room)
		b.room = 0
		const keep = 1 << 20 // what one huge body needed is not held for the small ones
		if cap(b.b) <= keep {
			buffers.Put(b)
		}
	}
	if err := in.read(b, r, most); err != nil {
		done()
		return nil, nil, bodyProblem(err, most, advice)
	}
	return b.b, done, nil
}

// read reads the body. The error of one that is larger is an
// *http.MaxBytesError. The buffer grows with what has arrived, not with what is announced.
func (in *Ingest) read(b *buffer, r *http.Request, most int64) error {
	b.b = b.b[:0]
	tooLarge := &http.MaxBytesError{Limit: most}
	room := most
	var from io.Reader = r.Body
	switch encoding := strings.ToLower(strings.Join(r.Header["Content-Encoding"], ",")); encoding {
	case "", "identity":
		if r.ContentLength > most {
			return tooLarge
		}
		if r.ContentLength >= 0 {
			room = r.ContentLength
		}
	case "gzip", "x-gzip":
		// What does not shrink grows by a few bytes; empty members could go on for ever.
		packed := most + most>>6 + 64<<10
		if r.ContentLength > packed {
			return tooLarge
		}
		if err := b.unpack.Reset(http.MaxBytesReader(nil, r.Body, packed)); err != nil {
			return err
		}
		from = &b.unpack
	default:
		return api.Refuse(http.StatusUnsupportedMediaType, "Content-Encoding %q is not understood; send gzip or none", api.Clip(encoding)).
			With("Accept-Encoding", "gzip")
	}
	for {
		if len(b.b) == cap(b.b) {
			b.b = append(b.b, 0)[:len(b.b)]
		}
		n, err := from.Read(b.b[len(b.b):cap(b.b)])
		b.b = b.b[:len(b.b)+n]
		if int64(len(b.b)) > most {
			return tooLarge
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if len(b.b) > largeBody && b.room == 0 {
			if b.room, err = in.arriving.Take(r.Context(), room); err != nil {
				return err
			}
		}
	}
}

// bodyProblem says what an error in reading a body means.
func bodyProblem(err error, most int64, advice string) error {
	var over *http.MaxBytesError
	var no *api.Problem
	switch {
	case errors.As(err, &no):
		return no
	case errors.Is(err, queue.ErrUnavailable):
		return api.Refuse(http.StatusServiceUnavailable, "%s", err).With("Retry-After", "5").With("Connection", "close")
	case errors.As(err, &over):
		return api.Refuse(http.StatusRequestEntityTooLarge,
			"the body is larger than %d bytes unpacked; %s", most, advice).With("Connection", "close")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return api.Refuse(http.StatusRequestTimeout, "the body did not arrive in time").With("Connection", "close")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return api.Refuse(http.StatusBadRequest, "the body ended before it was complete")
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum):
		return api.Refuse(http.StatusBadRequest, "Content-Encoding says gzip, but the body is not: %s", err)
	default:
		return api.Refuse(http.StatusBadRequest, "the body could not be read: %s", api.Clip(err.Error()))
	}
}

// maxKey is the longest Idempotency-Key in bytes.
const maxKey = 255

// readType reports whether the body is lines of JSON (NDJSON) or JSON, and refuses all
// other types: a form and text/plain, for two, which any web page can send without a
// preflight request.
func readType(h http.Header) (lines bool, err error) {
	switch api.MediaType(h) {
	case "application/json":
		return false, nil
	case "application/x-ndjson":
		return true, nil
	}
	found := "none"
	switch values := h["Content-Type"]; len(values) {
	case 0:
	case 1:
		found = strconv.Quote(api.Clip(values[0]))
	default:
		found = "several"
	}
	return false, api.Refuse(http.StatusUnsupportedMediaType,
		"Content-Type must be application/json or application/x-ndjson, in UTF-8; found %s", found).
		With("Accept", "application/json, application/x-ndjson")
}

// readKey returns the request's key, or nothing if it has none.
func readKey(h http.Header) (string, error) {
	values := h["Idempotency-Key"]
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	switch {
	case len(values) > 1:
		return "", api.Refuse(http.StatusBadRequest, "Idempotency-Key came %d times; send it once", len(values))
	case key == "":
		return "", api.Refuse(http.StatusBadRequest, "Idempotency-Key is empty; leave it out or give it 1 to %d bytes", maxKey)
	case len(key) > maxKey:
		return "", api.Refuse(http.StatusBadRequest, "Idempotency-Key is %d bytes long; at most %d are allowed", len(key), maxKey)
	case strings.ContainsFunc(key, func(c rune) bool { return c < ' ' || c > '~' }):
		return "", api.Refuse(http.StatusBadRequest, "Idempotency-Key must be printable ASCII")
	}
	return key, nil
}

// digest stands for what a key is bound to: the bytes, unpacked, and what else
// decides what becomes of them.
func digest(lines bool, to Offer, body []byte) (sum [32]byte) {
	h := sha256.New()
	fmt.Fprintf(h, "%t %s", lines, to.Only)
	if to.Type != "" { // without one it is as earlier versions made it
		fmt.Fprintf(h, " %s", to.Type)
	}
	h.Write([]byte{'\n'})
	h.Write(body)
	h.Sum(sum[:0])
	return sum
}

// traceContext is a W3C traceparent: its version, two ids, flags, and what a
// version later than 00 may add.
var traceContext = regexp.MustCompile(`^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-[ -~]*)?$`)

// stateMember is a member of a W3C tracestate.
var stateMember = regexp.MustCompile(`^[a-z0-9][a-z0-9_*/@-]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~]$`)

const (
	stateMost  = 32  // members of a tracestate that go on
	stateBytes = 512 // and their length together
)

// trace returns the traceparent that goes on to the receivers, or nothing if there is
// none that is valid, and its tracestate.
func trace(h http.Header) (parent, state string) {
	values := h["Traceparent"]
	if len(values) != 1 || len(values[0]) > 512 {
		return "", ""
	}
	m := traceContext.FindStringSubmatch(values[0])
	if m == nil || m[1] == "ff" || m[1] == "00" && m[4] != "" || strings.Trim(m[2], "0") == "" || strings.Trim(m[3], "0") == "" {
		return "", ""
	}
	var members []string
	for member := range strings.SplitSeq(strings.Join(h["Tracestate"], ","), ",") {
		member = strings.Trim(member, " \t")
		switch {
		case member == "":
		case !stateMember.MatchString(member):
			return strings.Clone(m[0]), ""
		case len(members) < stateMost && len(state)+len(member) < stateBytes:
			members = append(members, member)
			state = strings.Join(members, ",")
		}
	}
	return strings.Clone(m[0]), state // without the rest of the request's head
}
