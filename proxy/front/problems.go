package front

import (
	"context"
	"errors"
	"net/http"

	"signalpost/proxy/api"
	"signalpost/queue"
)

// waitSeconds is how many seconds a refused producer is asked to wait: long
// enough not to hammer a full store, short enough not to lose the thread.
const waitSeconds = "5"

// problemOf says how an error of the queue is answered. What it does not know
// is a fault of ours: the caller is told so and nothing of the inside.
func problemOf(err error) *api.Problem {
	var p *api.Problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, queue.ErrNotFound):
		return api.Refuse(http.StatusNotFound, "%s; what is finished is kept for queue.retention", err)
	case errors.Is(err, queue.ErrHeld):
		return api.Refuse(http.StatusConflict, "%s; put its route back into the config first", err)
	case errors.Is(err, queue.ErrFinished):
		return api.Refuse(http.StatusConflict, "%s; there is nothing left to discard", err)
	case errors.Is(err, queue.ErrKeyReused):
		return api.Refuse(http.StatusUnprocessableEntity, "%s; send the first body again, or use a new key for a new request", err)
	case errors.Is(err, queue.ErrClosed):
		return api.Refuse(http.StatusServiceUnavailable, "the sidecar is stopping; send it again in a moment").With("Retry-After", waitSeconds)
	case errors.Is(err, queue.ErrUnavailable):
		return api.Refuse(http.StatusServiceUnavailable, "%s", err).With("Retry-After", waitSeconds)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return api.Refuse(http.StatusServiceUnavailable, "the request was given up before it was done").With("Retry-After", "1")
	default:
		return api.Refuse(http.StatusInternalServerError, "a fault of the sidecar itself; its log says more")
	}
}
