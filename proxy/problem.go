package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"signalpost/queue"
)

// A problem is a refusal as the caller reads it: an answer of RFC 9457. Its
// detail says what happened, to what, and what to do, and holds no secret.
type problem struct {
	status int
	detail string
	index  int // of the element of a batch, from 0; -1 if it is about the whole request
	// headers are name-value pairs that go with the status: Allow, Retry-After.
	headers []string
}

func (p *problem) Error() string { return p.detail }

// refuse makes a problem. The detail is a sentence without its full stop.
func refuse(status int, format string, args ...any) *problem {
	return &problem{status: status, detail: fmt.Sprintf(format, args...), index: -1}
}

// with adds a header to the answer.
func (p *problem) with(name, value string) *problem {
	p.headers = append(p.headers, name, value)
	return p
}

// at says which element of a batch it is about.
func (p *problem) at(index int) *problem {
	p.index = index
	return p
}

// waitSeconds is how many seconds a refused producer is asked to wait: long
// enough not to hammer a full store, short enough not to lose the thread.
const waitSeconds = "5"

// problemOf says how an error of the queue is answered. What it does not know
// is a fault of ours: the caller is told so and nothing of the inside.
func problemOf(err error) *problem {
	var p *problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, queue.ErrNotFound):
		return refuse(http.StatusNotFound, "%s; what is finished is kept for queue.retention", err)
	case errors.Is(err, queue.ErrHeld):
		return refuse(http.StatusConflict, "%s; put its route back into the config first", err)
	case errors.Is(err, queue.ErrFinished):
		return refuse(http.StatusConflict, "%s; there is nothing left to discard", err)
	case errors.Is(err, queue.ErrKeyReused):
		return refuse(http.StatusUnprocessableEntity, "%s; send the first body again, or use a new key for a new request", err)
	case errors.Is(err, queue.ErrClosed):
		return refuse(http.StatusServiceUnavailable, "the sidecar is stopping; send it again in a moment").with("Retry-After", waitSeconds)
	case errors.Is(err, queue.ErrUnavailable):
		return refuse(http.StatusServiceUnavailable, "%s", err).with("Retry-After", waitSeconds)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return refuse(http.StatusServiceUnavailable, "the request was given up before it was done").with("Retry-After", "1")
	default:
		return refuse(http.StatusInternalServerError, "a fault of the sidecar itself; its log says more")
	}
}

// write answers with the problem.
func (p *problem) write(w http.ResponseWriter) {
	h := w.Header()
	for i := 0; i < len(p.headers); i += 2 {
		h.Add(p.headers[i], p.headers[i+1])
	}
	b := append(make([]byte, 0, 256), `{"type":"about:blank","title":`...)
	b = appendJSON(b, http.StatusText(p.status))
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(p.status), 10)
	b = append(b, `,"detail":`...)
	b = appendJSON(b, p.detail)
	if p.index >= 0 {
		b = append(b, `,"index":`...)
		b = strconv.AppendInt(b, int64(p.index), 10)
	}
	b = append(b, '}', '\n')
	h.Set("Content-Type", "application/problem+json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(p.status)
	w.Write(b)
}
