package deliver

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"signalpost/proxy/config"
	"signalpost/queue"
)

const (
	maxResponse    = 64 << 10            // bytes of a response's body that are read
	keptResponse   = 4 << 10             // of these, in which secrets are looked for
	responseTime   = time.Second         // for all of them
	maxResponseLog = 1 << 10             // bytes of it that are logged
	maxErrorText   = 300                 // bytes
	maxRetryAfter  = 30 * 24 * time.Hour // a longer Retry-After counts as so long
)

// checkRetry gives the verdict: it is the client's CheckRetry. The outcome goes
// to the attempt.
func (e *Endpoint) checkRetry(ctx context.Context, resp *http.Response, err error) (bool, error) {
	a := attemptOf(ctx)
	switch {
	case err == nil:
		e.judge(a, resp)
	case ctx.Err() != nil:
		a.err = ctx.Err()
	default:
		a.err = shortage(err)
		a.outcome.Verdict = queue.Retry
		e.explain(a, err)
	}
	a.outcome.Error = e.plain(a)
	return a.outcome.Verdict == queue.Retry, nil
}

// judge gives the verdict on an answer: by its status, and of a 2xx by the route's success.
func (e *Endpoint) judge(a *attempt, resp *http.Response) {
	o, status := &a.outcome, resp.StatusCode
	o.Status, o.Class = status, classOf(status)
	if o.Class == queue.Class2xx {
		if o.Verdict = queue.Delivered; e.route.Success != nil {
			e.judgeSuccess(a, resp)
		}
		return
	}
	o.Verdict, o.Error = queue.Retry, "answered "+statusName(status)
	switch {
	case slices.ContainsFunc(e.route.GiveUpOn, func(s config.Status) bool { return s.Covers(status) }):
		o.Verdict, o.Reason = queue.Dead, queue.Gone
		o.Error += ", which is in give_up_on"
	case status < 100:
		o.Status, o.Fault = 0, true
		o.Error = "malformed answer: its status is " + strconv.Itoa(status)
	case o.Class == queue.Class3xx && a.location != "":
		target := "what is not a URL"
		if u, err := e.request.URL.Parse(a.location); err == nil && u.Host != "" {
			target = origin(u)
		}
		o.Error += ", a redirect to " + target + ": redirects are not followed"
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		o.Fault, o.Hold = true, min(retryAfter(resp.Header, time.Now()), e.route.Retry.Window)
	case o.Class == queue.Class5xx:
		o.Fault = true
	}
}

// classOf is the class of an answer by its status. One that HTTP does not know is malformed.
func classOf(status int) queue.Class {
	if status < 200 || status > 599 {
		return queue.ClassMalformed
	}
	return [...]queue.Class{queue.Class2xx, queue.Class3xx, queue.Class4xx, queue.Class5xx}[status/100-2]
}

// backoff is the time from the end of an attempt to the next, by the schedule
// and what the answer, if there was one, asks for: it is the client's Backoff.
// step is the attempt's in the schedule, from 1.
func (e *Endpoint) backoff(_, _ time.Duration, step int, resp *http.Response) time.Duration {
	var asked time.Duration
	if resp != nil {
		asked = retryAfter(resp.Header, time.Now())
	}
	return e.route.Retry.Gap(step, rand.Float64(), asked)
}

// retryAfter reads a Retry-After header: seconds, or a date, which is compared with the
// answer's own Date. It is 0 if the header is past, malformed or missing.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 64); !errors.Is(err, strconv.ErrSyntax) { // the most there is, if they are more
		return time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	if theirs, err := http.ParseTime(h.Get("Date")); err == nil {
		now = theirs
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}

// read reads what it may of the response's body, so that the connection can
// be used again if that was all, and returns its beginning for the log.
func (e *Endpoint) read(a *attempt, resp *http.Response) string {
	defer resp.Body.Close()
	if resp.ContentLength == 0 || resp.StatusCode == http.StatusSwitchingProtocols {
		return ""
	}
	buf := responses.Get().(*[keptResponse]byte)
	defer responses.Put(buf)
	n, err := 0, error(nil)
	for n < len(buf) && err == nil {
		var more int
		more, err = resp.Body.Read(buf[n:])
		n += more
	}
	if err == nil {
		io.CopyN(io.Discard, resp.Body, maxResponse-keptResponse)
	}
	if coding := resp.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return "[a body with a Content-Encoding]" // secrets in it could not be found
	}
	return cut(e.mask.clean(string(buf[:n]), err == io.EOF, e.credentials(a, n)...), maxResponseLog)
}

var responses = sync.Pool{New: func() any { return new([keptResponse]byte) }}

// plain makes the error text of an attempt fit for people.
func (e *Endpoint) plain(a *attempt) string {
	if a.outcome.Error == "" {
		return ""
	}
	return e.fit(a.outcome.Error, e.credentials(a, len(a.outcome.Error))...)
}

// fit makes a text fit for people: without secrets that the other side may have echoed,
// without the further needles, without control characters, and not too long.
func (e *Endpoint) fit(text string, further ...string) string {
	return cut(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, e.mask.clean(text, true, further...)), maxErrorText)
}

// cut cuts text to at most n bytes of valid UTF-8.
func cut(text string, n int) string {
	text = strings.ToValidUTF8(text, string(utf8.RuneError))
	if len(text) > n {
		text = strings.ToValidUTF8(text[:n], "")
	}
	return text
}

// origin is the scheme and host of a URL: the part that people may see.
func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }

func statusName(status int) string {
	return strings.TrimSpace(strconv.Itoa(status) + " " + http.StatusText(status))
}
