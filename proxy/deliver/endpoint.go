package deliver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"signalpost/proxy/config"
	"signalpost/proxy/h1"
	"signalpost/queue"
)

// An Endpoint is the sending half of a route under one config. It is immutable
// but for its connections, and safe for concurrent use. It prints as the scheme
// and host of its URL, with every verb: the rest is secret.
type Endpoint struct {
	route   *config.Route
	request http.Request // what all requests have in common, but for headers
	fixed   http.Header  // headers that all requests share; names without values are not sent
	secret  []string     // names of headers whose values are not for people
	proxy   string       // scheme and host of the proxy that requests go through; "": none
	mask    *mask

	transport *h1.Transport
	client    *retryablehttp.Client
}

// New returns the endpoint of a route, which nobody changes from now on. Its requests say that they come from the
// userAgent. It must be closed.
func New(r *config.Route, userAgent string) (*Endpoint, error) {
	return newEndpoint(r, userAgent, network{proxy: http.ProxyFromEnvironment})
}

func newEndpoint(r *config.Route, userAgent string, n network) (*Endpoint, error) {
	u, err := url.Parse(r.URL.Reveal())
	if err != nil || u.Host == "" {
		return nil, errors.New("url is not an absolute URL") // the error would show it
	}
	e := &Endpoint{route: r}
	if err := e.shapeRequest(r, u, userAgent); err != nil {
		return nil, err
	}
	e.mask = newMask(r, u, e.request.URL)
	if err := e.connectTo(r, n); err != nil {
		return nil, err
	}
	e.client = &retryablehttp.Client{
		HTTPClient: &http.Client{Transport: signing{e}},
		// One Do is one attempt. The waiting is the queue's: it survives a restart.
		RetryMax:     0,
		RetryWaitMin: r.Retry.First,
		RetryWaitMax: r.Retry.Window,
		CheckRetry:   e.checkRetry,
		Backoff:      e.backoff,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	return e, nil
}

// Format implements fmt.Formatter.
func (e *Endpoint) Format(f fmt.State, _ rune) { io.WriteString(f, "endpoint("+e.route.Target+")") }

// Close closes the connections: the idle ones now, those of attempts under way
// when they end. Attempts may still be made.
func (e *Endpoint) Close() { e.transport.Close() }

// CloseIdle closes the connections that no attempt is using.
func (e *Endpoint) CloseIdle() { e.transport.CloseIdle() }

// An attempt is one request under way. The context of all that is done for it
// holds it.
type attempt struct {
	delivery queue.Delivery
	number   int
	start    time.Time
	request  retryablehttp.Request
	body     bytes.Reader // of the request

	phase       atomic.Int32
	certificate atomic.Bool // the receiver has asked for one of ours
	location    string      // of a redirect

	outcome queue.Outcome
	err     error // why there is no verdict
}

type attemptKey struct{}

func attemptOf(ctx context.Context) *attempt { return ctx.Value(attemptKey{}).(*attempt) }

// Attempt makes one attempt of a delivery, the number-th, and judges it. It
// returns an error if there is no verdict: ctx ended before, or, as
// queue.ErrShortage, the machine lacks what a request takes.
func (e *Endpoint) Attempt(ctx context.Context, d queue.Delivery, number int) (queue.Outcome, error) {
	a := &attempt{delivery: d, number: number, start: time.Now()}
	req := e.request.WithContext(context.WithValue(ctx, attemptKey{}, a))
	a.request.Request = req
	if len(d.Body) > 0 {
		a.body.Reset(d.Body)
		req.Body, req.ContentLength = io.NopCloser(&a.body), int64(len(d.Body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(a.delivery.Body)), nil }
	}
	resp, err := e.client.Do(&a.request) // err is in the outcome, by checkRetry
	if a.err != nil {
		return queue.Outcome{}, a.err
	}
	a.outcome.Duration = time.Since(a.start)
	if err == nil {
		a.outcome.Response = e.read(resp)
	}
	if a.outcome.Verdict == queue.Retry {
		if d.Step >= e.route.Retry.Attempts {
			a.outcome.Verdict, a.outcome.Reason = queue.Dead, queue.Exhausted
		} else {
			a.outcome.Gap = e.client.Backoff(e.client.RetryWaitMin, e.client.RetryWaitMax, d.Step, resp)
		}
	}
	return a.outcome, nil
}
