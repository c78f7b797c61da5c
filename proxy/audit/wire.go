package audit

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"signalpost/proxy/config"
	"signalpost/proxy/deliver"
	"signalpost/proxy/term"
	"signalpost/queue"
)

// speed measures samples one after the other, which also tell whether connections are
// kept, then some at once.
func (a *auditor) speed() error {
	const alone, together, kept = "is quick", "is quick with 8 at once", "keeps connections"
	if a.moot(alone) {
		a.moot(together)
		a.moot(kept)
		return nil
	}
	var row []queue.Outcome
	reused := 0
	for i := range inARow {
		d, err := a.sample(nil)
		if err != nil {
			return err
		}
		o, err := a.send(a.endpoint, d, 1)
		if err != nil {
			return err
		}
		row = append(row, o)
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
		many, err := a.together()
		if err != nil {
			return err
		}
		a.quick(together, many)
	}
	const do = "Answer with HTTP/1.1 or HTTP/2 and without Connection: close, and read the body before answering: a new connection for each delivery costs both sides."
	switch {
	case reused > 0:
		return a.line(kept, Passed, "", "%d of %d samples came over a connection that was used before.", reused, inARow-1)
	case slices.ContainsFunc(row, func(o queue.Outcome) bool { return !accepted(o) }):
		return a.line(kept, Unknown, do, "After an answer that fails connections are not used again.")
	}
	return a.line(kept, Failed, do, "Each of %s in a row took a connection of its own.", term.Count(inARow, "sample"))
}

func (a *auditor) together() ([]queue.Outcome, error) {
	var all errgroup.Group
	var mu sync.Mutex
	var many []queue.Outcome
	for range atOnce {
		d, err := a.sample(nil)
		if err != nil {
			return nil, err
		}
		all.Go(func() error {
			o, err := a.endpoint.Attempt(a.ctx, d, 1)
			mu.Lock()
			defer mu.Unlock()
			many = append(many, o)
			return err
		})
	}
	err := all.Wait()
	a.answers = append(a.answers, many...)
	return many, err
}

// quick tells how fast samples were answered. A third of the timeout is left for a bad day.
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

func (a *auditor) redirects() error {
	const check = "answers itself, without redirects"
	if a.silent {
		return a.line(check, Unknown, "", "It does not answer.")
	}
	for _, o := range a.answers {
		if o.Class == queue.Class3xx {
			return a.line(check, Failed, "Put the URL that it redirects to into the route: redirects are not followed.", "%s", answered(o))
		}
	}
	return a.line(check, Passed, "", "No sample was redirected.")
}

// certificate looks at the receiver's certificate. That it is trusted the samples have shown.
func (a *auditor) certificate() error {
	const chain, expiry = "has a certificate that is trusted", "has a certificate that is valid for a while"
	if !a.endpoint.Secure() {
		a.line(chain, None, "", "The url is http.")
		return a.line(expiry, None, "", "The url is http.")
	}
	state, err := a.endpoint.Handshake(a.ctx, tls.VersionTLS13)
	var unverified *tls.CertificateVerificationError
	switch known := errors.As(err, &unverified); {
	case err != nil && !known:
		a.line(chain, Unknown, "", "%s.", err)
		return a.line(expiry, Unknown, "", "There is no certificate to look at.")
	case known:
		a.line(chain, Failed, "Have it send its whole chain, for the host name in the url; if the authority is yours, set tls.ca_file.", "%s.", unverified.Err)
	default:
		a.line(chain, Passed, "", "%s, by %s.", tls.VersionName(state.Version), issuer(state.VerifiedChains[0]))
	}
	certificates := state.PeerCertificates
	if known := unverified != nil; known {
		certificates = unverified.UnverifiedCertificates
	}
	if len(certificates) == 0 {
		return a.line(expiry, Unknown, "", "There is no certificate to look at.")
	}
	leaf := certificates[0]
	left := time.Until(leaf.NotAfter)
	text := fmt.Sprintf("It is valid until %s.", leaf.NotAfter.UTC().Format(time.DateOnly))
	if left < min(14*24*time.Hour, leaf.NotAfter.Sub(leaf.NotBefore)/5) {
		return a.line(expiry, Failed, "Renew it, and see why that did not happen by itself.", "%s That is in %s.", text, term.Span(left))
	}
	return a.line(expiry, Passed, "", "%s", text)
}

func issuer(chain []*x509.Certificate) string {
	last := chain[len(chain)-1]
	return strings.TrimSpace(strings.Join(last.Subject.Organization, " ") + " " + last.Subject.CommonName)
}

// versions tries what nobody should speak any more.
func (a *auditor) versions() error {
	const check = "refuses TLS before 1.2"
	if !a.endpoint.Secure() {
		return a.line(check, None, "", "The url is http.")
	}
	if a.silent {
		return a.line(check, Unknown, "", "It does not answer.")
	}
	state, err := a.endpoint.Handshake(a.ctx, tls.VersionTLS11)
	var unverified *tls.CertificateVerificationError
	switch old := errors.As(err, &unverified); {
	case err == nil:
		return a.line(check, Failed, "Set its least version to TLS 1.2.", "It speaks %s.", tls.VersionName(state.Version))
	case old: // it had come so far
		return a.line(check, Failed, "Set its least version to TLS 1.2.", "It speaks a version before 1.2.")
	}
	if _, err := a.endpoint.Handshake(a.ctx, tls.VersionTLS12); err != nil && !errors.As(err, &unverified) {
		if _, err := a.endpoint.Handshake(a.ctx, tls.VersionTLS13); err != nil && !errors.As(err, &unverified) {
			return a.line(check, Unknown, "", "%s.", err)
		}
	}
	return a.line(check, Passed, "", "It speaks no TLS 1.1 or older.")
}

// options asks as CloudEvents has senders of webhooks ask first.
func (a *auditor) options() error {
	const check, origin = "answers OPTIONS with WebHook-Request-Origin", "signalpost.audit"
	if a.silent {
		return a.line(check, Unknown, "", "It does not answer.")
	}
	asking := *a.route
	asking.Method, asking.Signer, asking.Compression = http.MethodOptions, nil, "none"
	asking.Headers = maps.Clone(a.route.Headers)
	if asking.Headers == nil {
		asking.Headers = map[string]config.Secret{}
	}
	asking.Headers["WebHook-Request-Origin"] = config.NewSecret(origin)
	d, err := a.sample(nil)
	if err != nil {
		return err
	}
	d.Body, d.Shape = nil, ""
	var allowed, rate string
	o, err := a.altered(&asking, deliver.Alteration{Seen: func(h http.Header) {
		allowed, rate = h.Get("WebHook-Allowed-Origin"), h.Get("WebHook-Allowed-Rate")
	}}, d)
	switch {
	case err != nil:
		return err
	case o.Status == 0:
		return a.line(check, Unknown, "", "%s", answered(o))
	case allowed == "*" || strings.EqualFold(allowed, origin):
		if rate != "" {
			rate = ", " + rate + " a minute"
		}
		return a.line(check, Passed, "", "It allows %s%s.", allowed, rate)
	case allowed != "":
		return a.line(check, Failed, "Allow the origin that deliveries come from.", "It allows %s alone.", allowed)
	}
	return a.line(check, None, "", "%s It does not take part in the abuse protection of CloudEvents, and need not: deliveries do not ask for permission.", answered(o))
}
