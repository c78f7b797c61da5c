// Package front is everything that Signalpost answers under HTTP: the guard that stands
// before all of it (guard.go), the parameters and bodies that callers send (params.go), the
// problems that they are answered (front.go), and a file for each kind of resource:
//
//	endpoints.go  the table of them all, which /openapi.json describes
//	read.go       the delivery log, deliveries and stored signals
//	follow.go     answers that go on: the delivery log as it grows, all signals
//	stats.go      what happened in each step of time, and what fails
//	amend.go      retry and discard, pause and resume
//	try.go        what routes would make of a signal, or of the last ones, and explain
//	status.go     the state of the sidecar and its routes, and the probes
//
// POST /signals itself, GET /metrics and the dashboard are in other packages; front
// calls them. It changes nothing but through the queue, and reads the current routing
// table once for each request.
package front

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"signalpost/proxy/api"
	"signalpost/proxy/dashboard"
	"signalpost/proxy/explain"
	"signalpost/proxy/health"
	"signalpost/proxy/ingest"
	"signalpost/proxy/memory"
	"signalpost/proxy/table"
	"signalpost/queue"
	"signalpost/transform/json"
)

// Options are what a Front works with. All are needed, and safe for concurrent use.
type Options struct {
	Version string
	Started time.Time // the uptime counts from then
	Queue   *queue.Queue
	Table   func() *table.Table               // the running one
	Look    func() (health.Facts, api.Health) // the state of the sidecar and its health
	Explain *explain.Explainer
	Metrics http.Handler
	Log     *slog.Logger
	Ingest  *ingest.Ingest
	Refused func() // called once for each POST /signals that is refused, by Ingest or before

	Requests int           // answered at once, at most; POST /signals and the probes are not among them
	Long     time.Duration // for a request that changes, or tries, many things
	Follower time.Duration // for a follower of the log to take each piece
}

// A Front is the handler of all requests. It is safe for concurrent use.
type Front struct {
	Options
	mux      *http.ServeMux
	others   *semaphore.Weighted // counts the requests but POST /signals
	streams  *semaphore.Weighted // and those of them whose answer is a stream
	tries    *memory.Budget      // and those that try
	answers  *memory.Budget      // for answers that are not small
	stopping context.Context
	stop     context.CancelFunc
	document func() ([]byte, error) // made when it is first asked for
}

const answersBytes = 32 << 20

// A handler answers one method of one path; q is the request's parameters. A
// problem it returns is the answer; any other error becomes one by problemOf.
type handler func(f *Front, w http.ResponseWriter, r *http.Request, q *query) error

// New returns a Front.
func New(o Options) *Front {
	f := &Front{
		Options: o, mux: http.NewServeMux(),
		others: semaphore.NewWeighted(int64(o.Requests)), streams: semaphore.NewWeighted(min(api.MaxStreams, max(int64(o.Requests)/2, 1))),
		answers: memory.New(answersBytes, memory.Wait), tries: memory.New(maxTries, memory.Wait),
	}
	f.stopping, f.stop = context.WithCancel(context.Background())
	f.document = sync.OnceValues(func() ([]byte, error) { return Document(o.Version) })
	for _, e := range endpoints {
		known := slices.DeleteFunc(slices.Clone(e.Params), func(name string) bool { return parameters[name].In != "query" })
		f.mux.HandleFunc(e.Pattern, func(w http.ResponseWriter, r *http.Request) {
			q, err := readQuery(r.URL.RawQuery, known)
			if err == nil {
				oneOf(q, "here", "true", "false") // see package union
				err = q.err
			}
			if err == nil {
				err = e.handler(f, w, r, q)
			}
			if err != nil {
				f.refuse(w, r, err)
			}
		})
	}
	f.mux.Handle("/{$}", dashboard.Handler())
	f.mux.Handle("/assets/", dashboard.Handler())
	f.mux.HandleFunc("/", f.notFound)
	return f
}

// Stop ends the requests that would not end by themselves: those that follow the log.
func (f *Front) Stop() { f.stop() }

// ServeHTTP answers a request if the guard lets it pass. The number of requests under
// way is bounded but for signals, so that there is room for these.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/healthz" && r.URL.Path != "/readyz" {
		if no := guard(r, &f.Table().Config.Server); no != nil {
			w.Header().Set("Connection", "close") // or net/http would wait for the rest of the body
			f.refuse(w, r, no)
			return
		}
		if !isSignals(r) {
			if !f.others.TryAcquire(1) {
				w.Header().Set("Connection", "close")
				f.refuse(w, r, busy("many requests"))
				return
			}
			defer f.others.Release(1)
		}
	}
	if !strings.HasPrefix(r.URL.Path, "/") || strings.Contains(r.URL.Path, "//") || strings.Contains(r.URL.Path, "/.") {
		nothing(r).Write(w) // ServeMux would redirect, which for a signal is an answer that few clients follow
		return
	}
	f.mux.ServeHTTP(w, r)
}

// isSignals reports whether the request is POST /signals.
func isSignals(r *http.Request) bool { return r.Method == http.MethodPost && r.URL.Path == "/signals" }

func busy(what string) *api.Problem {
	return api.Refuse(http.StatusServiceUnavailable, "too %s are under way; ask again in a moment", what).With("Retry-After", "1")
}

// refuse answers with an error of a handler, or of the guard.
func (f *Front) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if isSignals(r) {
		f.Refused()
	}
	no := problemOf(err)
	if no.Status == http.StatusInternalServerError {
		f.Log.Error(r.Method+" "+api.Clip(r.URL.Path)+" failed", "err", err)
	}
	no.Write(w)
}

// waitSeconds is how many seconds a refused producer is asked to wait.
const waitSeconds = "5"

// problemOf returns the answer to an error of the queue. An error that it does not know
// is a fault of the sidecar: the answer says that, and not what the error is.
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
	case errors.Is(err, queue.ErrDamaged):
		return api.Refuse(http.StatusInternalServerError, "a file of the store is damaged, and holds this: restore the folder from a backup, or discard the delivery; the sidecar's log names the file")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return api.Refuse(http.StatusServiceUnavailable, "the request was given up before it was done").With("Retry-After", "1")
	default:
		return api.Refuse(http.StatusInternalServerError, "a fault of the sidecar itself; its log says more")
	}
}

func (f *Front) postSignals(w http.ResponseWriter, r *http.Request, q *query) error {
	kind, given := q.values["type"]
	if given && !json.IsType(kind) {
		return api.Refuse(http.StatusBadRequest, "parameter type must be a signal_type, 1 to 256 printable ASCII characters without a space at either end; found %q", api.Clip(kind))
	}
	return f.Ingest.Post(w, r, ingest.Offer{Only: q.values["route"], Type: kind})
}

func (f *Front) getMetrics(w http.ResponseWriter, r *http.Request, _ *query) error {
	f.Metrics.ServeHTTP(w, r)
	return nil
}

// notFound answers a request for which there is no handler: of its path, or of its method.
func (f *Front) notFound(w http.ResponseWriter, r *http.Request) {
	var methods []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
		if _, pattern := f.mux.Handler(&http.Request{Method: method, URL: r.URL}); strings.Contains(pattern, " ") {
			methods = append(methods, method)
		}
	}
	no := nothing(r)
	if allow := strings.Join(methods, ", "); allow != "" {
		no = api.Refuse(http.StatusMethodNotAllowed, "%s does not take %s; it takes %s", api.Clip(r.URL.Path), api.Clip(r.Method), allow).With("Allow", allow)
	}
	no.Write(w)
}

func nothing(r *http.Request) *api.Problem {
	return api.Refuse(http.StatusNotFound, "there is nothing at %s; signals go to POST /signals", api.Clip(r.URL.Path))
}

// takesLong gives a request, whose body has been read, more time than usual
// until it is answered.
func (f *Front) takesLong(w http.ResponseWriter) {
	c := http.NewResponseController(w)
	until := time.Now().Add(f.Long)
	c.SetReadDeadline(until) // once it has passed, net/http ends the request's context
	c.SetWriteDeadline(until)
}
