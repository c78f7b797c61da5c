package front

import (
	"context"
	"net/http"
	"sync"
	"time"

	"signalpost/proxy/api"
	"signalpost/queue"
)

const (
	maxStreams = 64              // answered at once, at most
	beatEvery  = 5 * time.Second // a blank line shows that the sidecar lives
)

// stream answers with the JSON objects that write sends, one a line, until write
// returns. The ctx of write ends when the client goes away or the sidecar stops. what is
// what the client does, for the error if there are too many.
func (f *Front) stream(w http.ResponseWriter, r *http.Request, what string, write func(ctx context.Context, s *stream) error) error {
	if !f.streams.TryAcquire(1) {
		return busy("many requests that " + what)
	}
	defer f.streams.Release(1)
	h := w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no")
	if r.Method == http.MethodHead {
		return nil
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(f.stopping, cancel)()
	s := &stream{ResponseWriter: w, control: http.NewResponseController(w), time: f.Follower}
	if err := write(ctx, s); !s.begun {
		return err
	}
	return nil // the 200 is sent: the client can only be shown the end of the stream
}

// follow sends each entry as it is written, and a blank line now and then.
func (f *Front) follow(w http.ResponseWriter, r *http.Request, q *query, filter queue.LogFilter) error {
	for _, name := range []string{"after", "until"} {
		if _, given := q.values[name]; given {
			return api.Refuse(http.StatusBadRequest, "parameter %s has no meaning together with follow; leave one of them out", name)
		}
	}
	return f.stream(w, r, "follow the log", func(ctx context.Context, s *stream) error {
		var beating sync.WaitGroup
		defer beating.Wait()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		begin := func() error {
			beating.Go(func() {
				beat := time.NewTicker(beatEvery)
				defer beat.Stop()
				for {
					select {
					case <-ctx.Done():
						return
					case <-beat.C:
						if s.send([]byte("\n")) != nil {
							cancel()
						}
					}
				}
			})
			return s.send(nil)
		}
		return f.Queue.Follow(ctx, filter, begin, func(e queue.Entry) error { return s.sendJSON(e) })
	})
}

// A stream is an answer without an end, each piece of which must be taken in
// time. It is safe for concurrent use.
type stream struct {
	http.ResponseWriter
	control *http.ResponseController
	time    time.Duration

	mu    sync.Mutex
	begun bool // guarded by mu while it is written
}

// begin sends the headers and takes the deadlines off the request, which may go
// on for ever: not before, as net/http waits for what is left of a request's body then.
func (s *stream) begin() error {
	s.begun = true
	s.WriteHeader(http.StatusOK)
	if err := s.control.Flush(); err != nil {
		return err
	}
	return s.control.SetReadDeadline(time.Time{}) // once it has passed, net/http ends the request's context
}

// send writes a piece, after the headers, and waits until it has gone out.
func (s *stream) send(piece []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.control.SetWriteDeadline(time.Now().Add(s.time))
	if !s.begun {
		if err := s.begin(); err != nil {
			return err
		}
	}
	if _, err := s.Write(piece); err != nil {
		return err
	}
	if err := s.control.Flush(); err != nil {
		return err
	}
	return s.control.SetWriteDeadline(time.Time{}) // it may be long until the next
}

// sendJSON sends v as a line.
func (s *stream) sendJSON(v any) error {
	b, err := api.Marshal(v)
	if err != nil {
		return err
	}
	return s.send(b)
}
