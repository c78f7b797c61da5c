package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"signalpost/proxy/config"
	"signalpost/proxy/deliver"
	"signalpost/proxy/term"
	"signalpost/queue"
)

// A Verdict is what came of a check.
type Verdict string

// The verdicts. Only one that failed is a failure.
const (
	Passed  Verdict = "passed"
	Failed  Verdict = "failed"
	Unknown Verdict = "cannot tell"
	None    Verdict = "does not apply"
)

// A Line is one check.
type Line struct {
	Check   string  `json:"check"`
	Verdict Verdict `json:"verdict"`
	Text    string  `json:"text"`         // what was seen
	Do      string  `json:"do,omitempty"` // about it
}

// Options are what is examined, and how.
type Options struct {
	Config    *config.Config
	Route     string // of it, which is examined
	UserAgent string
	Signal    []byte // the signal that samples are made of
	// Ask asks somebody who can see the receiver; known is false if nobody can. nil asks nobody.
	Ask func(question string) (yes, known bool)
	// Report is called with each line as it is known.
	Report func(Line)
}

// Samples is how many requests an audit makes, at most.
const Samples = 9 + inARow + atOnce + 1

const (
	inARow = 5
	atOnce = 8
	pause  = time.Second // between samples of a route with a rate, at most
)

// An auditor is an audit under way. Once it has an error it sends no samples and reports
// no lines, so that checks need not look at it.
type auditor struct {
	Options
	ctx      context.Context
	route    *config.Route
	endpoint *deliver.Endpoint // as deliveries are sent
	answers  []queue.Outcome   // so far
	refuses  bool              // what is right, so that a refusal of what is wrong proves nothing
	silent   bool              // there is no answer
	err      error             // the first
}

// Run examines a receiver. The error says why it could not be; ctx ends it.
func Run(ctx context.Context, o Options) error {
	a := &auditor{Options: o, ctx: ctx}
	for i := range o.Config.Routes {
		if r := o.Config.Routes[i]; r.Name == o.Route {
			r.Where, r.SignalTypes = nil, nil // samples pass
			a.route = &r
		}
	}
	if a.route == nil {
		return fmt.Errorf("there is no route %q", o.Route)
	}
	var err error
	if a.endpoint, err = deliver.New(a.route, o.UserAgent); err != nil {
		return err
	}
	defer a.endpoint.Close()
	for _, check := range []func(){
		a.right, a.forged, a.unsigned, a.old, a.twice, a.unicode, a.large, a.foreign, a.speed, a.redirects, a.certificate, a.versions, a.options,
	} {
		check()
		if err := cmp.Or(a.err, ctx.Err()); err != nil {
			return err
		}
	}
	return nil
}

// line adds the line of a check.
func (a *auditor) line(check string, v Verdict, do, format string, args ...any) {
	if v == Passed || v == None {
		do = ""
	}
	if a.err == nil {
		a.Report(Line{check, v, fmt.Sprintf(format, args...), do})
	}
}

// moot reports whether a check cannot be made; if so, it adds its line.
func (a *auditor) moot(check string) bool {
	switch {
	case a.silent:
		a.line(check, Unknown, "", "It does not answer.")
	case a.refuses:
		a.line(check, Unknown, "", "It does not accept what is right.")
	}
	return a.silent || a.refuses
}

// send sends a sample through an endpoint, the number-th time.
func (a *auditor) send(e *deliver.Endpoint, d queue.Delivery, number int) (o queue.Outcome) {
	if a.err != nil {
		return o
	}
	if a.route.Rate > 0 && len(a.answers) > 0 {
		select {
		case <-time.After(min(time.Duration(float64(time.Second)/a.route.Rate), pause)):
		case <-a.ctx.Done():
		}
	}
	if o, a.err = e.Attempt(a.ctx, d, number); a.err == nil {
		a.answers = append(a.answers, o)
	}
	return o
}

// altered sends a sample with an alteration, by a route that may differ.
func (a *auditor) altered(r *config.Route, x deliver.Alteration, d queue.Delivery) queue.Outcome {
	e, err := deliver.NewAltered(r, a.UserAgent, x)
	if err != nil {
		a.err = cmp.Or(a.err, err)
		return queue.Outcome{}
	}
	defer e.Close()
	return a.send(e, d, 1)
}

// answered says what came of a sample.
func answered(o queue.Outcome) string {
	took := term.Span(o.Duration)
	switch {
	case o.Verdict == queue.Delivered:
		return fmt.Sprintf("Answered %s after %s.", status(o.Status), took)
	case o.Status != 0 && strings.HasPrefix(o.Error, "answered "):
		return fmt.Sprintf("A%s, after %s.", strings.TrimPrefix(o.Error, "a"), took)
	}
	return fmt.Sprintf("No answer that counts, after %s: %s.", took, o.Error)
}

func status(code int) string { return strings.TrimSpace(fmt.Sprint(code, " ", http.StatusText(code))) }

func accepted(o queue.Outcome) bool { return o.Verdict == queue.Delivered }

// refused is whether an answer says that the sender is at fault.
func refused(o queue.Outcome) bool {
	return o.Class == queue.Class4xx && o.Status != http.StatusTooManyRequests || o.Class == queue.ClassSuccess
}

// errNoSample means that the route makes nothing of the signal.
var errNoSample = errors.New("the route makes no delivery of the sample signal: give one that it does, as a FILE")
