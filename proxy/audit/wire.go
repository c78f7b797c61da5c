package audit

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"signalpost/proxy/config"
	"signalpost/proxy/deliver"
	"signalpost/proxy/term"
	"signalpost/queue"
)

// speed measures samples one after the other, which also shows whether connections are
// kept, then some at once.
func (a *auditor) speed() {
	const alone, together, kept = "is quick", "is quick with 8 at once", "keeps connections"
	if a.moot(alone) {
		a.moot(together)
		a.moot(kept)
		return
	}
	var row []queue.Outcome
	reused, failed := 0, false
	for i := range inARow {
		o := a.send(a.endpoint, a.sample(nil), 1)
		row = append(row, o)
		failed = failed || !accepted(o)
		if i > 0 && o.Reused {
			reused++
		}
	}
	a.quick(alone, row)
	switch {
	case a.route.Rate > 0 && a.route.Rate < atOnce:
		a.line(together, None, "", "The route's rate never sends so many at once.")
	case a.route.Concurrency < atOnce:
		a.line(together, None, "", "The route's concurrency is %d.", a.route.Concurrency)
	default:
		a.quick(together, a.together())
	}
	const do = "Answer with HTTP/1.1 or HTTP/2 and without Connection: close, and read the body before answering: a new connection for each delivery costs both sides."
	switch {
	case reused > 0:
		a.line(kept, Passed, "", "%d of %d samples came over a connection that was used before.", reused, inARow-1)
	case failed:
		a.line(kept, Unknown, do, "After an answer that fails connections are not used again.")
	default:
		a.line(kept, Failed, do, "Each of %s in a row took a connection of its own.", term.Count(inARow, "sample"))
	}
}

func (a *auditor) together() []queue.Outcome {
	many := make([]queue.Outcome, atOnce)
	var all errgroup.Group
	for i := range many {
		d := a.sample(nil)
		all.Go(func() (err error) {
			many[i], err = a.endpoint.Attempt(a.ctx, d, 1)
			return err
		})
	}
	a.err = cmp.Or(a.err, all.Wait())
	a.answers = append(a.answers, many...)
	return many
}

// quick reports how fast samples were answered. A third of the timeout is left for a bad day.
func (a *auditor) quick(check string, all []queue.Outcome) {
	var took []time.Duration
	failed := map[string]int{}
	for _, o := range all {
		if took = append(took, o.Duration); !accepted(o) {
			failed[o.Error]++
		}
	}
	slices.Sort(took)
	slowest := took[len(took)-1]
	text := fmt.Sprintf("Of %d samples the median took %s, the slowest %s.", len(all), term.Span(took[len(took)/2]), term.Span(slowest))
	const do = "Answer at once, and do the work afterwards: what takes longer than the route's timeout is sent again."
	switch {
	case len(failed) > 0:
		worst := slices.MaxFunc(slices.Sorted(maps.Keys(failed)), func(x, y string) int { return failed[x] - failed[y] })
		a.line(check, Failed, do, "%s %d failed: %s.", text, failed[worst], worst)
	case slowest > a.route.Timeout*2/3:
		a.line(check, Failed, do, "%s The timeout is %s.", text, term.Span(a.route.Timeout))
	default:
		a.line(check, Passed, "", "%s", text)
	}
}

func (a *auditor) redirects() {
	const check = "answers itself, without redirects"
	i := slices.IndexFunc(a.answers, func(o queue.Outcome) bool { return o.Class == queue.Class3xx })
	switch {
	case a.silent && a.moot(check):
	case i >= 0:
		a.line(check, Failed, "Put the URL that it redirects to into the route: redirects are not followed.", "%s", answered(a.answers[i]))
	default:
		a.line(check, Passed, "", "No sample was redirected.")
	}
}

// handshake makes a TLS connection of this version at most. A receiver that nobody trusts
// shows itself too: unverified says why it is not trusted.
func (a *auditor) handshake(most uint16) (state tls.ConnectionState, unverified *tls.CertificateVerificationError, err error) {
	if state, err = a.endpoint.Handshake(a.ctx, most); errors.As(err, &unverified) {
		state.PeerCertificates, err = unverified.UnverifiedCertificates, nil
	}
	return state, unverified, err
}

// certificate looks at the receiver's certificate. That it is trusted the samples have shown.
func (a *auditor) certificate() {
	const chain, expiry = "has a certificate that is trusted", "has a certificate that is valid for a while"
	if !a.endpoint.Secure() {
		a.line(chain, None, "", "The url is http.")
		a.line(expiry, None, "", "The url is http.")
		return
	}
	state, unverified, err := a.handshake(tls.VersionTLS13)
	switch {
	case err != nil:
		a.line(chain, Unknown, "", "%s.", err)
	case unverified != nil:
		a.line(chain, Failed, "Have it send its whole chain, for the host name in the url; if the authority is yours, set tls.ca_file.", "%s.", strings.TrimPrefix(unverified.Err.Error(), "x509: "))
	default:
		a.line(chain, Passed, "", "%s, by %s.", tls.VersionName(state.Version), issuer(state.VerifiedChains[0]))
	}
	if len(state.PeerCertificates) == 0 {
		a.line(expiry, Unknown, "", "There is no certificate to look at.")
		return
	}
	leaf := state.PeerCertificates[0]
	left := time.Until(leaf.NotAfter)
	text := fmt.Sprintf("It is valid until %s.", leaf.NotAfter.UTC().Format(time.DateOnly))
	if left < min(14*24*time.Hour, leaf.NotAfter.Sub(leaf.NotBefore)/5) {
		a.line(expiry, Failed, "Renew it, and see why that did not happen by itself.", "%s That is in %s.", text, term.Span(left))
		return
	}
	a.line(expiry, Passed, "", "%s", text)
}

func issuer(chain []*x509.Certificate) string {
	last := chain[len(chain)-1]
	return strings.TrimSpace(strings.Join(last.Subject.Organization, " ") + " " + last.Subject.CommonName)
}

// versions tries what nobody should speak any more.
func (a *auditor) versions() {
	const check = "refuses TLS before 1.2"
	if !a.endpoint.Secure() {
		a.line(check, None, "", "The url is http.")
		return
	}
	if a.silent && a.moot(check) {
		return
	}
	state, _, err := a.handshake(tls.VersionTLS11)
	if err == nil {
		a.line(check, Failed, "Set its least version to TLS 1.2.", "It speaks %s.", tls.VersionName(state.Version))
		return
	}
	if _, _, err := a.handshake(tls.VersionTLS13); err != nil { // of 1.2 either
		a.line(check, Unknown, "", "%s.", err)
		return
	}
	a.line(check, Passed, "", "It speaks no TLS 1.1 or older.")
}

// options asks as CloudEvents has senders of webhooks ask first.
func (a *auditor) options() {
	const check, origin = "answers OPTIONS with WebHook-Request-Origin", "signalpost.audit"
	if a.silent && a.moot(check) {
		return
	}
	asking := *a.route
	asking.Method, asking.Signer, asking.Compression = http.MethodOptions, nil, "none"
	asking.Headers = map[string]config.Secret{}
	maps.Copy(asking.Headers, a.route.Headers)
	asking.Headers["WebHook-Request-Origin"] = config.NewSecret(origin)
	d := a.sample(nil)
	d.Body, d.Shape = nil, ""
	var allowed, rate string
	o := a.altered(&asking, deliver.Alteration{Seen: func(h http.Header) {
		allowed, rate = h.Get("WebHook-Allowed-Origin"), h.Get("WebHook-Allowed-Rate")
	}}, d)
	switch {
	case o.Status == 0:
		a.line(check, Unknown, "", "%s", answered(o))
	case allowed == "*" || strings.EqualFold(allowed, origin):
		if rate != "" {
			rate = ", " + rate + " a minute"
		}
		a.line(check, Passed, "", "It allows %s%s.", allowed, rate)
	case allowed != "":
		a.line(check, Failed, "Allow the origin that deliveries come from.", "It allows %s alone.", allowed)
	default:
		a.line(check, None, "", "%s It does not take part in the abuse protection of CloudEvents, and need not: deliveries do not ask for permission.", answered(o))
	}
}
