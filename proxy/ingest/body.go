package ingest

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"os"
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
