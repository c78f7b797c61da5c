package deliver

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/go-retryablehttp"

	"signalpost/proxy/config"
	"signalpost/proxy/sign"
	"signalpost/queue"
)

const (
	maxResponse    = 64 << 10            // bytes of a response's body that are read
	responseTime   = time.Second         // for that
	maxResponseLog = 1 << 10             // bytes of it that are logged
	maxErrorText   = 300                 // bytes
	maxRetryAfter  = 30 * 24 * time.Hour // a longer Retry-After counts as so long
)

// An Endpoint is the sending half of a route under one config. It is immutable
// but for its connections, and safe for concurrent use.
type Endpoint struct {
	request  http.Request // what all requests have in common
	fixed    http.Header  // headers that all requests share; names without values are for each to fill in
	varying  []string     // those names
	head     []byte       // request line and the headers that all share, as they go over a link's own connections; nil: none does
	secret   []string     // names of headers whose values are not for people
	signer   *sign.Signer
	timeout  time.Duration
	giveUpOn []int
	schedule queue.Schedule
	target   string // scheme and host
	mask     *mask
	link     *link
	closed   atomic.Bool
}

// New returns the endpoint of a route. If old is not nil, and scheme,
// host, TLS, timeout, concurrency and block_private_networks are as they were,
// the two share their connections. Each is closed by itself.
func New(r *config.Route, userAgent string, old *Endpoint) (*Endpoint, error) {
	u, err := url.Parse(r.URL.Reveal())
	if err != nil || u.Host == "" {
		return nil, errors.New("url is not an absolute URL") // the error would show it
	}
	return newEndpointWith(r, u, outfitOf(r, u), userAgent, old)
}

func newEndpointWith(r *config.Route, u *url.URL, o outfit, userAgent string, old *Endpoint) (*Endpoint, error) {
	e := &Endpoint{
		request: http.Request{
			Method: http.MethodPost,
			URL:    u,
			Host:   u.Host,
			Proto:  "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{}, // see lineTransport
		},
		fixed:    http.Header{},
		signer:   r.Signer,
		timeout:  r.Timeout,
		giveUpOn: slices.Clone(r.GiveUpOn),
		schedule: r.Retry,
		target:   r.Target,
		mask:     newMask(r, u),
	}
	for name, value := range r.Headers {
		name = http.CanonicalHeaderKey(name)
		e.fixed[name] = []string{value.Reveal()}
		e.secret = append(e.secret, name)
	}
	switch {
	case r.BasicAuth != nil:
		e.fixed["Authorization"] = []string{"Basic " + basicCredentials(r.BasicAuth)}
	case !r.BearerToken.IsZero():
		e.fixed["Authorization"] = []string{"Bearer " + r.BearerToken.Reveal()}
	}
	e.fixed["Content-Type"] = []string{"application/json"}
	e.fixed["User-Agent"] = []string{userAgent}
	for _, name := range perRequest {
		e.fixed[name] = nil
	}
	for _, name := range sign.Headers(r.Signatures) {
		e.fixed[name] = nil
	}
	// net/http sends a request a second time if a connection that served
	// before is closed under it before a byte of the answer, which is how
	// servers end idle connections; a POST only with this name in its header.
	// Without a value it is not sent. Receivers know repetitions by webhook-id.
	if _, ok := e.fixed[idempotencyKey]; !ok {
		e.fixed[idempotencyKey] = nil
	}
	for name, values := range e.fixed {
		if values == nil && name != idempotencyKey {
			e.varying = append(e.varying, name)
		}
	}
	slices.Sort(e.varying)
	if old != nil && old.link.same(&o) && old.link.share() {
		e.link = old.link
	} else {
		l, err := newLink(o)
		if err != nil {
			return nil, err
		}
		e.link = l
	}
	if e.link.address != "" {
		e.head = e.writeHead()
	}
	return e, nil
}

// writeHead has net/http write what it would send before the varying headers.
// It returns nil if there is something that net/http would refuse to send.
func (e *Endpoint) writeHead() []byte {
	for _, values := range e.fixed {
		if len(values) > 0 && !sendable(strings.Trim(values[0], " \t")) {
			return nil
		}
	}
	r := e.request
	r.Header = e.fixed
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		return nil
	}
	return bytes.Replace(bytes.TrimSuffix(b.Bytes(), []byte("\r\n")), []byte("\r\nContent-Length: 0\r\n"), []byte("\r\n"), 1)
}

// sendable reports whether a header's value can be sent as it is.
func sendable(value string) bool {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return value == strings.Trim(value, " \t")
}

// Format writes where the endpoint leads, whatever the verb: the rest is secret.
func (e *Endpoint) Format(f fmt.State, _ rune) { io.WriteString(f, "endpoint("+e.target+")") }

const idempotencyKey = "Idempotency-Key"

// Headers that each request fills in.
const (
	webhookID        = "Webhook-Id"
	webhookTimestamp = "Webhook-Timestamp"
	signalID         = "X-Beton-Signal-Id"
	signalType       = "X-Beton-Signal-Type"
	attemptNumber    = "X-Beton-Attempt"
	traceparent      = "Traceparent"
)

var perRequest = []string{webhookID, webhookTimestamp, signalID, signalType, attemptNumber, traceparent}

// header returns the headers of one request, signed as of now. Names without
// values are not sent.
func (e *Endpoint) header(d queue.Delivery, attempt int, now time.Time) http.Header {
	h := maps.Clone(e.fixed)
	e.fill(h, d, attempt, now)
	return h
}

// fill sets the varying headers.
func (e *Endpoint) fill(h http.Header, d queue.Delivery, attempt int, now time.Time) {
	values := make([]string, 0, len(perRequest))
	set := func(name, value string) {
		values = append(values, value)
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
	id := d.ID.String()
	set(webhookID, id)
	set(webhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	set(signalID, d.Signal.String())
	set(signalType, d.Type)
	set(attemptNumber, strconv.Itoa(attempt))
	if d.Traceparent != "" {
		set(traceparent, d.Traceparent)
	}
	e.signer.Sign(h, sign.Message{ID: id, Time: now, Type: d.Type, Body: d.Body})
}

var headers = sync.Pool{New: func() any { return http.Header{} }}

// appendRequest appends a request as it goes over a link's own connections,
// with the headers that header returns. It reports false if one cannot be sent.
func (e *Endpoint) appendRequest(b []byte, d queue.Delivery, attempt int, now time.Time) ([]byte, bool) {
	h := headers.Get().(http.Header)
	defer headers.Put(h)
	clear(h)
	e.fill(h, d, attempt, now)
	b = append(b, e.head...)
	for _, name := range e.varying {
		for _, value := range h[name] {
			if !sendable(value) {
				return b, false
			}
			b = append(append(b, name...), ": "...)
			b = append(append(b, value...), "\r\n"...)
		}
	}
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, int64(len(d.Body)), 10)
	b = append(b, "\r\n\r\n"...)
	return append(b, d.Body...), true
}

// Describe returns a request for people: where it goes by scheme and host, and
// its headers, with secret values taken out.
func (e *Endpoint) Describe(d queue.Delivery, attempt int) (method, target string, h http.Header) {
	h = e.header(d, attempt, time.Now())
	if a := h["Authorization"]; len(a) > 0 {
		scheme, _, _ := strings.Cut(a[0], " ")
		h["Authorization"] = []string{scheme + " " + redacted}
	}
	for _, name := range e.secret {
		h[name] = []string{redacted}
	}
	maps.DeleteFunc(h, func(_ string, values []string) bool { return len(values) == 0 })
	return e.request.Method, e.target, h
}

// Attempt makes one attempt of a delivery and judges it. It returns an error
// only if ctx ended before there was a verdict.
func (e *Endpoint) Attempt(ctx context.Context, d queue.Delivery, attempt int) (queue.Outcome, error) {
	start := time.Now()
	t := &try{ctx: ctx, deadline: start.Add(e.timeout)}
	defer t.end()
	resp, err := e.send(t, d, attempt, start)
	took := time.Since(start)
	if e.link.users.Load() == 0 { // closed meanwhile, or before
		defer e.link.transport.CloseIdleConnections()
	}
	if err != nil {
		if resp != nil {
			resp.Body.Close()
		}
		if ctx.Err() != nil {
			return queue.Outcome{}, ctx.Err()
		}
		text, fault := e.link.explain(err, t)
		o := queue.Outcome{Verdict: queue.Retry, Duration: took, Error: e.plain(text), Fault: fault}
		e.follow(&o, d.Step, 0)
		return o, nil
	}
	o, after := e.judge(resp)
	o.Duration = took
	o.Response = e.read(resp, t)
	e.follow(&o, d.Step, after)
	return o, nil
}

// follow completes an outcome by the schedule: after is what the endpoint asked
// for. With the last attempt of the schedule the delivery is dead.
func (e *Endpoint) follow(o *queue.Outcome, step int, after time.Duration) {
	switch {
	case o.Verdict != queue.Retry:
	case step >= e.schedule.Attempts:
		o.Verdict, o.Reason = queue.Dead, queue.Exhausted
	default:
		o.Gap = e.schedule.Gap(step, rand.Float64(), after)
	}
}

var requests = sync.Pool{New: func() any { return new([]byte) }}

// send sends the request of an attempt, over a connection of the link's own if
// that can be, and returns the answer.
func (e *Endpoint) send(t *try, d queue.Delivery, attempt int, now time.Time) (*http.Response, error) {
	if e.head != nil && len(d.Body) <= maxWireBody && !e.link.http2.Load() {
		buf := requests.Get().(*[]byte)
		defer requests.Put(buf)
		request, ok := e.appendRequest((*buf)[:0], d, attempt, now)
		*buf = request
		if ok {
			if resp, err := e.link.roundTrip(t, request); err != errHTTP2 {
				return resp, err
			}
		}
	}
	t.header = e.header(d, attempt, now)
	req := retryablehttp.Request{Request: e.request.WithContext(t.timed())}
	if len(d.Body) > 0 {
		req.SetBody(d.Body) // fails only for types that it does not know
	}
	resp, err := e.link.client.Do(&req)
	if err == nil {
		resp.Header["Location"] = resp.Header[location] // see lineTransport
	}
	return resp, err
}

// judge gives the verdict, by the status alone, and for how long the endpoint
// asked to be left in peace.
func (e *Endpoint) judge(resp *http.Response) (o queue.Outcome, after time.Duration) {
	o.Status = resp.StatusCode
	switch {
	case o.Status >= 200 && o.Status <= 299:
		o.Verdict = queue.Delivered
		return o, 0
	case slices.Contains(e.giveUpOn, o.Status):
		o.Verdict, o.Reason = queue.Dead, queue.Gone
		o.Error = "answered " + statusName(o.Status) + ", which is in give_up_on"
		return o, 0
	}
	o.Verdict = queue.Retry
	o.Error = "answered " + statusName(o.Status)
	if o.Status == http.StatusProxyAuthRequired && e.link.proxyName != "" {
		o.Error = "proxy " + e.link.proxyName + ": asks for credentials (407)"
	}
	if l := resp.Header["Location"]; len(l) > 0 && o.Status >= 300 && o.Status <= 399 {
		o.Error += ", a redirect to " + e.redirectTarget(l[0]) + ": redirects are not followed"
	}
	o.Error = e.plain(o.Error)
	o.Fault = o.Status >= 500 && o.Status <= 599 || o.Status == http.StatusTooManyRequests
	after = retryAfter(resp.Header["Retry-After"], time.Now())
	if o.Status == http.StatusTooManyRequests || o.Status == http.StatusServiceUnavailable {
		o.Hold = min(after, e.schedule.Window)
	}
	return o, after
}

func (e *Endpoint) redirectTarget(location string) string {
	u, err := e.request.URL.Parse(location)
	if err != nil || u.Host == "" {
		return "what is not a URL"
	}
	return origin(u)
}

// retryAfter reads a Retry-After header: seconds or a date. What is past,
// malformed or missing is 0.
func retryAfter(values []string, now time.Time) time.Duration {
	if len(values) == 0 || values[0] == "" {
		return 0
	}
	text := values[0]
	if strings.Trim(text, "0123456789") == "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil || seconds > int64(maxRetryAfter/time.Second) {
			return maxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}

var readBuffers = sync.Pool{New: func() any { return new([8 << 10]byte) }}

// read reads what it may of the response's body, so that the connection can
// be used again if that was all, and returns its beginning for the log.
func (e *Endpoint) read(resp *http.Response, t *try) string {
	defer resp.Body.Close()
	if resp.ContentLength == 0 || resp.StatusCode == http.StatusSwitchingProtocols {
		return ""
	}
	if t.timer != nil { // net/http's; a wireConn sees to it itself
		t.timer.Reset(responseTime)
	}
	buf := readBuffers.Get().(*[8 << 10]byte)
	defer readBuffers.Put(buf)
	// The first half is kept; all that follows goes over the second.
	kept, n := 0, 0
	var err error
	for n < maxResponse && err == nil {
		var m int
		if kept < len(buf)/2 {
			m, err = resp.Body.Read(buf[kept : len(buf)/2])
			kept += m
		} else {
			m, err = resp.Body.Read(buf[len(buf)/2 : len(buf)/2+min(len(buf)/2, maxResponse-n)])
		}
		n += m
	}
	if coding := resp.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return "[a body with a Content-Encoding]" // secrets in it could not be found
	}
	return cut(e.mask.clean(string(buf[:kept]), n == kept && err == io.EOF), maxResponseLog)
}

// plain makes an error text fit for people: no secret that the other side may
// have echoed, no control characters, not too long.
func (e *Endpoint) plain(text string) string {
	text = e.mask.clean(text, true)
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	return cut(text, maxErrorText)
}

// cut cuts text to at most n bytes of valid UTF-8.
func cut(text string, n int) string {
	text = strings.ToValidUTF8(text, string(utf8.RuneError))
	if len(text) <= n {
		return text
	}
	for !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// Close closes the connections that no other endpoint shares: the idle ones
// now, those of attempts under way when they end. Attempts may still be made.
func (e *Endpoint) Close() {
	if !e.closed.Swap(true) {
		e.link.leave()
	}
}

func basicCredentials(b *config.BasicAuth) string {
	return base64.StdEncoding.EncodeToString([]byte(b.Username + ":" + b.Password.Reveal()))
}

// redacted stands where a secret was.
const redacted = "[secret]"

// minSecret is the length in bytes from which on a secret is masked in text
// from receivers: shorter ones are found in any text, and hiding them would show where.
const minSecret = 4

// A mask knows a route's secrets, and takes them out of text that is not ours.
type mask struct {
	needles func() []string // a closure, so that nothing prints them
}

func newMask(r *config.Route, u *url.URL) *mask {
	var known []string
	add := func(s string) {
		if len(s) >= minSecret {
			known = append(known, s)
		}
	}
	for _, s := range r.Secrets {
		add(s.Reveal())
		add(strings.TrimPrefix(s.Reveal(), "whsec_"))
	}
	for _, s := range r.Headers {
		add(s.Reveal())
		if _, credentials, ok := strings.Cut(s.Reveal(), " "); ok { // "Token abc"
			add(credentials)
		}
	}
	if r.BasicAuth != nil {
		add(r.BasicAuth.Password.Reveal())
		add(basicCredentials(r.BasicAuth))
	}
	add(r.BearerToken.Reveal())

	add(u.RequestURI())
	add(u.EscapedPath())
	add(u.Path)
	add(u.RawQuery)
	for _, values := range u.Query() {
		for _, v := range values {
			add(v)
		}
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if credential(segment) {
			add(segment)
		}
	}

	// The forms in which a receiver may echo them.
	var needles []string
	for _, s := range known {
		needles = append(needles, s, url.QueryEscape(s), url.PathEscape(s), html.EscapeString(s))
		if b, err := json.Marshal(s); err == nil {
			safe := string(b[1 : len(b)-1]) // for HTML
			plain := strings.NewReplacer(`\u0026`, "&", `\u003c`, "<", `\u003e`, ">").Replace(safe)
			needles = append(needles, safe, plain, strings.ReplaceAll(safe, "/", `\/`), strings.ReplaceAll(plain, "/", `\/`))
		}
	}
	slices.Sort(needles)
	needles = slices.Compact(needles)
	return &mask{func() []string { return needles }}
}

// credential reports whether a segment of a path looks like one: long, or with
// digits, where words have none.
func credential(segment string) bool {
	return len(segment) >= 20 || len(segment) >= 6 && strings.ContainsAny(segment, "0123456789")
}

// clean returns text with every known secret replaced. If the text is not
// whole, the beginning of a secret at its end goes too.
func (m *mask) clean(text string, whole bool) string {
	type span struct{ from, to int }
	var spans []span
	for _, needle := range m.needles() {
		for at := 0; ; {
			i := strings.Index(text[at:], needle)
			if i < 0 {
				break
			}
			spans = append(spans, span{at + i, at + i + len(needle)})
			at += i + 1
		}
		if whole {
			continue
		}
		for n := min(len(needle)-1, len(text)); n > 0; n-- {
			if strings.HasSuffix(text, needle[:n]) {
				spans = append(spans, span{len(text) - n, len(text)})
				break
			}
		}
	}
	if len(spans) == 0 {
		return text
	}
	slices.SortFunc(spans, func(a, b span) int { return a.from - b.from })
	var b strings.Builder
	end := 0
	for i, s := range spans {
		if i == 0 || s.from > end {
			b.WriteString(text[end:s.from])
			b.WriteString(redacted)
		}
		end = max(end, s.to)
	}
	b.WriteString(text[end:])
	return b.String()
}
