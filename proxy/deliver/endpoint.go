package deliver

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"signalpost/proxy/config"
	"signalpost/proxy/h1"
	"signalpost/proxy/shape"
	"signalpost/queue"
)

// An Endpoint is the sending half of a route under one config. It is immutable
// but for its connections, and safe for concurrent use. It prints as the scheme
// and host of its URL, with every verb: the rest is secret.
type Endpoint struct {
	route    *config.Route
	request  http.Request // what all requests have in common, but for headers
	fixed    http.Header  // headers that all requests share; names without values are not sent
	signed   []string     // names of headers whose values are signatures
	template string       // of the request, for people
	proxy    string       // scheme and host of the proxy that requests go through; "": none
	mask     *mask
	params   shape.Values
	tokens   *tokens // nil: the route has no oauth2

	dial      func(ctx context.Context, port string) (net.Conn, error) // to the receiver, whose port that is by default; nil: through a proxy
	secure    *tls.Config
	altered   *Alteration // nil: not
	transport *h1.Transport
	client    *retryablehttp.Client
	attempts  sync.Pool
}

// New returns the endpoint of a route, which must not change any more. userAgent is the
// User-Agent of its requests. The endpoint must be closed.
func New(r *config.Route, userAgent string) (*Endpoint, error) {
	return newEndpoint(r, userAgent, network{proxy: http.ProxyFromEnvironment})
}

func newEndpoint(r *config.Route, userAgent string, n network) (*Endpoint, error) {
	u, err := url.Parse(r.URL.Reveal())
	if err != nil || u.Host == "" {
		return nil, errors.New("url is not an absolute URL") // the error would show it
	}
	switch via := r.Proxy.Reveal(); via {
	case "":
	case config.NoProxy:
		n.proxy = http.ProxyURL(nil)
	default:
		u, err := url.Parse(via)
		if err != nil {
			return nil, errors.New("proxy is not a URL")
		}
		n.proxy = http.ProxyURL(u)
	}
	e := &Endpoint{route: r, params: valuesOf(r.Params)}
	if err := e.shapeRequest(r, u, userAgent); err != nil {
		return nil, err
	}
	e.mask = newMask(r, u, e.request.URL)
	if err := e.connectTo(r, n); err != nil {
		return nil, err
	}
	if r.OAuth2 != nil {
		if err := e.newTokens(userAgent, n); err != nil {
			return nil, err
		}
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
func (e *Endpoint) Close() {
	e.transport.Close()
	if e.tokens != nil {
		e.tokens.endpoint.Close()
	}
}

// CloseIdle closes the connections that no attempt is using.
func (e *Endpoint) CloseIdle() {
	e.transport.CloseIdle()
	if e.tokens != nil {
		e.tokens.endpoint.CloseIdle()
	}
}

// An attempt is one request under way, and the context of all that is done for it. It
// is used again for others under the same context, unless net/http may still use it.
type attempt struct {
	context.Context // the caller's; it stays
	call            retryablehttp.Request
	header          http.Header
	reader          io.ReadCloser // of body
	body            bytes.Reader

	delivery queue.Delivery
	sent     []byte // its body, as it goes over the wire
	unfit    error  // why there is no request to be sent
	number   int
	start    time.Time
	token    *token // nil: the route has no oauth2
	trace    trace
	location string // of a redirect
	outcome  queue.Outcome
	err      error // why there is no verdict
}

type attemptKey struct{}

// Value implements context.Context.
func (a *attempt) Value(key any) any {
	if key == (attemptKey{}) {
		return a
	}
	return a.Context.Value(key)
}

func attemptOf(ctx context.Context) *attempt { return ctx.Value(attemptKey{}).(*attempt) }

// newAttempt returns an attempt for use under a context.
func (e *Endpoint) newAttempt(ctx context.Context) *attempt {
	a := &attempt{Context: ctx, header: maps.Clone(e.fixed)}
	a.reader = io.NopCloser(&a.body)
	a.call.Request = e.request.WithContext(httptrace.WithClientTrace(a, a.trace.hooks()))
	a.call.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(a.sent)), nil }
	return a
}

// Attempt makes one attempt of a delivery, the number-th, and judges it. It returns an
// error if there is no verdict: ctx has ended, or, as queue.ErrShortage, the machine
// lacks files, ports or memory.
func (e *Endpoint) Attempt(ctx context.Context, d queue.Delivery, number int) (queue.Outcome, error) {
	if e.tokens != nil {
		return e.authorized(ctx, d, number)
	}
	return e.once(ctx, d, number, time.Now(), nil)
}

// once makes one request of an attempt, which began at start.
func (e *Endpoint) once(ctx context.Context, d queue.Delivery, number int, start time.Time, t *token) (queue.Outcome, error) {
	a, _ := e.attempts.Get().(*attempt)
	if a == nil || a.Context != ctx {
		a = e.newAttempt(ctx)
	}
	a.delivery, a.number, a.start, a.token = d, number, start, t
	a.trace.reset()
	fill := d.Shape != "" || e.route.Compression == "gzip"
	if a.sent = d.Body; fill {
		a.unfit = e.fill(a)
	}
	a.call.Body, a.call.ContentLength = nil, int64(len(a.sent))
	if len(a.sent) > 0 {
		a.body.Reset(a.sent)
		a.call.Body = a.reader
	}
	resp, err := e.client.Do(&a.call) // err is in the outcome, by checkRetry
	o, lack := a.outcome, a.err
	if lack == nil {
		o.Duration = time.Since(a.start)
		s := a.trace.look()
		o.Peer, o.Reused, o.Timing = s.peer, s.reused, s.timing()
		if s.reached(connected) {
			o.Started, o.Request = a.start, e.template
		}
		e.schedule(&o, d.Step, resp)
		if err == nil {
			o.Response = e.read(a, resp)
		}
	} else if err == nil { // there is an answer, which could not be judged
		resp.Body.Close()
	}
	if !a.trace.held { // an idle connection keeps hold of the attempt that has made it
		a.call.Header, a.location, a.outcome, a.err = e.request.Header, "", queue.Outcome{}, nil
		a.delivery, a.sent, a.token = queue.Delivery{}, nil, nil
		if fill {
			e.unfill(a)
		}
		a.body.Reset(nil)
		if !a.trace.dialed && ctx.Err() == nil {
			e.attempts.Put(a)
		}
	}
	return o, lack
}

// schedule sets the gap after a failed attempt, the step-th of its schedule, or makes the
// delivery dead. resp is the answer, or nil.
func (e *Endpoint) schedule(o *queue.Outcome, step int, resp *http.Response) {
	switch {
	case o.Verdict != queue.Retry:
	case step >= e.route.Retry.Attempts:
		o.Verdict, o.Reason = queue.Dead, queue.Exhausted
	default:
		o.Gap = e.client.Backoff(e.client.RetryWaitMin, e.client.RetryWaitMax, step, resp)
	}
}
