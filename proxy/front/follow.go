package front

import (
	"context"
	"net/http"
	"sync"
	"time"

	"signalpost/proxy/api"
	"signalpost/queue"
)

// stream answers with the JSON objects that write sends, one a line, until write
// returns. The ctx of write ends when the client goes away or the sidecar stops. what is
// what the client does, for the error if there are too many.
func (f *Front) stream(w http.ResponseWriter, r *http.Request, what string, write func(ctx context.Context, s *api.Lines) error) error {
	if !f.streams.TryAcquire(1) {
		return busy("many requests that " + what)
	}
	defer f.streams.Release(1)
	s := api.NewLines(w, f.Follower)
	if r.Method == http.MethodHead {
		return nil
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(f.stopping, cancel)()
	if err := write(ctx, s); !s.Begun() {
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
	return f.stream(w, r, "follow the log", func(ctx context.Context, s *api.Lines) error {
		var beating sync.WaitGroup
		defer beating.Wait()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		begin := func() error {
			beating.Go(func() {
				beat := time.NewTicker(api.BeatEvery)
				defer beat.Stop()
				for {
					select {
					case <-ctx.Done():
						return
					case <-beat.C:
						if s.Send([]byte("\n")) != nil {
							cancel()
						}
					}
				}
			})
			return s.Send(nil)
		}
		return f.Queue.Follow(ctx, filter, begin, func(e queue.Entry) error { return s.SendJSON(e) })
	})
}
