// Package receiver is a webhook receiver for development: it shows each
// request, judges its signatures, and misbehaves on request, so that retries
// and time-outs can be watched without waiting for a real outage. It stands
// behind the commands listen and demo.
//
// Whatever a request holds comes from the network: it is bounded when it is
// read and escaped when it is printed.
package receiver

import (
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"signalpost/proxy/sign"
)

// MaxBody is the largest request body read, in bytes. A larger one is
// answered 413.
const MaxBody = 10 << 20

// remembered is how many delivered ids a Receiver knows again.
const remembered = 4096

// ErrNoSecret is the verdict on a signature when there is no secret to verify
// it with: neither good nor bad.
var ErrNoSecret = errors.New("not verified: no secret given")

// Options say how to judge requests and how to misbehave. The zero value
// answers 200 to everything at once and verifies nothing.
type Options struct {
	// Secrets to verify signatures with; one that matches is enough.
	Secrets []string

	Status     int           // of the answers, 200 to 599; default 200
	Fail       float64       // share of the requests, 0 to 1, answered FailStatus
	FailStatus int           // 200 to 599; default 503
	RetryAfter time.Duration // Retry-After of answers from 400 up, in whole seconds, rounded up; 0: none
	Latency    time.Duration // between a request and its answer
	Hang       bool          // never answer

	// Seen is called with each request once it has been judged, before it is
	// answered. Calls do not overlap.
	Seen func(Request)

	Rand func() float64 // in [0, 1), decides what fails; calls do not overlap; default math/rand
}

// Check says what New would not accept.
func (o Options) Check() error {
	for name, status := range map[string]int{"status": o.Status, "status of failures": o.FailStatus} {
		if status != 0 && (status < 200 || status > 599) {
			return fmt.Errorf("%s %d: expected 200 to 599", name, status)
		}
	}
	switch {
	case !(o.Fail >= 0 && o.Fail <= 1):
		return fmt.Errorf("share of failures %v: expected 0 to 1", o.Fail)
	case o.Latency < 0:
		return fmt.Errorf("latency %s: expected 0 or more", o.Latency)
	case o.RetryAfter < 0:
		return fmt.Errorf("retry after %s: expected 0 or more", o.RetryAfter)
	}
	return nil
}

// Format writes the options without the secrets.
func (o Options) Format(f fmt.State, verb rune) {
	type plain Options
	if len(o.Secrets) > 0 {
		o.Secrets = []string{fmt.Sprintf("%d redacted", len(o.Secrets))}
	}
	fmt.Fprintf(f, fmt.FormatString(f, verb), plain(o))
}

// A Request is one that came, and what was made of it.
type Request struct {
	Time   time.Time // when its body had been read
	Method string
	Path   string // with the query
	Header http.Header
	Body   []byte // at most MaxBody; nil if Err is set
	Err    error  // why the body could not be read

	Signatures []Signature // those it carries, in the order of sign.Presets
	Status     int         // it is answered with, unless the Receiver is closed first; 0: never answered
	Duplicate  bool        // its ID was delivered before: an earlier request with it was answered 2xx

	ID         string // webhook-id
	SignalID   string // X-Beton-Signal-Id
	SignalType string // X-Beton-Signal-Type
	Attempt    int    // X-Beton-Attempt, from 1; 0 if there is none
}

// A Signature is the verdict on one signature: good if Err is nil, unknown if
// it is ErrNoSecret, and otherwise bad, for the reason Err gives.
type Signature struct {
	Preset string
	Err    error
}

// Verified reports whether the request carries signatures, and all are good.
func (r *Request) Verified() bool {
	return len(r.Signatures) > 0 && !slices.ContainsFunc(r.Signatures, func(s Signature) bool { return s.Err != nil })
}

// A Receiver is an http.Handler that takes every method and path. It keeps no
// request, starts no goroutine, and prints as its Options do.
type Receiver struct {
	Options
	open  context.Context // ends with Close
	close context.CancelFunc

	mu        sync.Mutex // held while Options.Seen and Options.Rand are called
	delivered map[string]bool
	oldest    []string // the delivered ids in the order they came
}

// New returns a Receiver. It panics on options that Check does not pass.
func New(o Options) *Receiver {
	if err := o.Check(); err != nil {
		panic("receiver: " + err.Error())
	}
	o.Status = cmp.Or(o.Status, http.StatusOK)
	o.FailStatus = cmp.Or(o.FailStatus, http.StatusServiceUnavailable)
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	if o.Seen == nil {
		o.Seen = func(Request) {}
	}
	rc := &Receiver{Options: o, delivered: map[string]bool{}}
	rc.open, rc.close = context.WithCancel(context.Background())
	return rc
}

// Close makes requests that hang, or wait for the latency to pass, end at
// once, answered 503, and all later ones too. It does not wait for them: the
// server's Shutdown does.
func (rc *Receiver) Close() { rc.close() }

// ServeHTTP implements http.Handler.
func (rc *Receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := read(w, r)
	req := Request{
		Time:       time.Now(),
		Method:     r.Method,
		Path:       r.URL.RequestURI(),
		Header:     r.Header,
		Body:       body,
		ID:         r.Header.Get("webhook-id"),
		SignalID:   r.Header.Get("X-Beton-Signal-Id"),
		SignalType: r.Header.Get("X-Beton-Signal-Type"),
	}
	if n, err := strconv.Atoi(r.Header.Get("X-Beton-Attempt")); err == nil {
		req.Attempt = max(n, 0)
	}
	if err != nil {
		rc.refuse(w, req, err)
		return
	}
	for _, preset := range sign.Detect(r.Header) {
		verdict := ErrNoSecret
		if len(rc.Secrets) > 0 {
			verdict = sign.Verify(preset, rc.Secrets, r.Header, body, req.Time, sign.Tolerance)
			if errors.Is(verdict, sign.ErrNoKey) {
				verdict = ErrNoSecret
			}
		}
		req.Signatures = append(req.Signatures, Signature{preset, verdict})
	}
	status := rc.see(&req)
	if !rc.wait(r) {
		status = http.StatusServiceUnavailable
	}
	rc.answer(w, status)
	if status/100 == 2 {
		rc.remember(req.ID)
	}
}

// read reads a body, which may be compressed: what is signed is what it unpacks to.
func read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	from := io.Reader(http.MaxBytesReader(w, r.Body, MaxBody))
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(from)
		if err != nil {
			return nil, err
		}
		from = http.MaxBytesReader(w, z, MaxBody)
	}
	return io.ReadAll(from)
}

// refuse answers a request whose body could not be read.
func (rc *Receiver) refuse(w http.ResponseWriter, req Request, err error) {
	req.Body, req.Status, req.Err = nil, http.StatusBadRequest, fmt.Errorf("its body could not be read: %w", err)
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		req.Status, req.Err = http.StatusRequestEntityTooLarge, fmt.Errorf("its body is over %d MiB", MaxBody>>20)
	}
	rc.mu.Lock()
	rc.Seen(req)
	rc.mu.Unlock()
	http.Error(w, req.Err.Error(), req.Status)
}

// see decides the answer, shows the request, and returns the status.
func (rc *Receiver) see(req *Request) int {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	status := rc.Status
	if rc.Fail > 0 && rc.Rand() < rc.Fail {
		status = rc.FailStatus
	}
	if !rc.Hang {
		req.Status = status
	}
	req.Duplicate = rc.delivered[req.ID]
	rc.Seen(*req)
	return status
}

// wait lets the latency pass, or for ever when the receiver hangs. It reports
// false if the request or the Receiver ended before.
func (rc *Receiver) wait(r *http.Request) bool {
	var done <-chan time.Time // nil: never
	if !rc.Hang {
		done = time.After(rc.Latency)
	}
	select {
	case <-done:
	case <-r.Context().Done():
	case <-rc.open.Done():
	}
	return r.Context().Err() == nil && rc.open.Err() == nil
}

// answer repeats nothing of the request, which may come from a browser.
func (rc *Receiver) answer(w http.ResponseWriter, status int) {
	if status >= 400 && rc.RetryAfter > 0 {
		seconds := (rc.RetryAfter + time.Second - 1) / time.Second
		w.Header().Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintf(w, "signalpost listen: %d %s\n", status, http.StatusText(status)) // some statuses have no body
}

// remember notes that the id was delivered, and forgets the oldest when there
// are too many.
func (rc *Receiver) remember(id string) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	if id == "" || rc.delivered[id] {
		return
	}
	rc.delivered[id] = true
	rc.oldest = append(rc.oldest, id)
	if len(rc.oldest) > remembered {
		delete(rc.delivered, rc.oldest[0])
		rc.oldest = rc.oldest[1:]
	}
}
