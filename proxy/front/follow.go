package front

import (
	"context"
	"net/http"
	"time"

	"signalpost/proxy/api"
	"signalpost/queue"
)

// maxFollowers is how many follow the log at once, at most.
const maxFollowers = 64

// follow sends each entry as it is written, until the caller goes away or the
// sidecar stops. The request, which may go on for ever, loses its deadlines;
// each piece has one of its own.
func (f *Front) follow(w http.ResponseWriter, r *http.Request, q *query, filter queue.LogFilter) error {
	for _, name := range []string{"after", "until"} {
		if _, given := q.values[name]; given {
			return api.Refuse(http.StatusBadRequest, "parameter %s has no meaning together with follow; leave one of them out", name)
		}
	}
	if !f.follows.TryAcquire(1) {
		return busy("many requests that follow the log")
	}
	defer f.follows.Release(1)
	h := w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Method == http.MethodHead {
		return nil
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(f.stopping, cancel)()
	var s *stream
	err := f.Queue.Follow(ctx, filter, func() error {
		s = &stream{w, http.NewResponseController(w), f.Follower}
		return s.begin()
	}, func(e queue.Entry) error {
		b, err := api.Marshal(e)
		if err != nil {
			return err
		}
		return s.send(b)
	})
	if s != nil { // the 200 has gone out: an end of the stream is all the caller can be told
		return nil
	}
	return err
}

// A stream is an answer without an end, each piece of which must be taken in time.
type stream struct {
	http.ResponseWriter
	control *http.ResponseController
	time    time.Duration
}

// begin sends the headers, so that the caller knows at once that it listens,
// and takes the deadlines off the request: not before, as net/http waits for what
// is left of a request's body then.
func (s *stream) begin() error {
	s.WriteHeader(http.StatusOK)
	if err := s.send(nil); err != nil {
		return err
	}
	return s.control.SetReadDeadline(time.Time{}) // once it has passed, net/http ends the request's context
}

// send writes a piece, and waits until it has gone out.
func (s *stream) send(piece []byte) error {
	s.control.SetWriteDeadline(time.Now().Add(s.time))
	if _, err := s.Write(piece); err != nil {
		return err
	}
	if err := s.control.Flush(); err != nil {
		return err
	}
	return s.control.SetWriteDeadline(time.Time{}) // it may be long until the next
}
