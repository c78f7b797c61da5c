package deliver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"signalpost/proxy/h1"
	"signalpost/queue"
)

// What the machine may lack, with what to do.
var shortages = []struct {
	errno  syscall.Errno
	advice string
}{
	{syscall.EMFILE, "raise the limit of open files (ulimit -n, LimitNOFILE)"},
	{syscall.ENFILE, "raise the system's limit of open files (fs.file-max)"},
	{syscall.ENOBUFS, "the system has no memory left for the network"},
	{syscall.ENOMEM, "the system has no memory left"},
	{syscall.EADDRNOTAVAIL, "the system has no local port left: lower the concurrency of routes, or widen net.ipv4.ip_local_port_range"},
}

// lastShortage is when the last one was met.
var lastShortage atomic.Pointer[time.Time]

// resolverRefresh is how long the resolver goes on with what it read, or could
// not read, of its configuration: after a shortage it may have no server.
const resolverRefresh = 6 * time.Second

// shortage returns err as queue.ErrShortage if it is for a lack of the
// machine's that there was no answer, else nil.
func shortage(err error) error {
	var dns *net.DNSError
	inDNS := errors.As(err, &dns)
	for _, s := range shortages {
		if errors.Is(err, s.errno) && !(s.errno == syscall.EADDRNOTAVAIL && unusable(err)) || inDNS && hides(dns, s.errno) {
			now := time.Now()
			lastShortage.Store(&now)
			return fmt.Errorf("%w: %w: %s", queue.ErrShortage, s.errno, s.advice)
		}
	}
	if last := lastShortage.Load(); inDNS && last != nil && time.Since(*last) < resolverRefresh {
		return fmt.Errorf("%w: DNS suffers from what was short a moment ago: %s", queue.ErrShortage, dns.Err)
	}
	return nil
}

// unusable reports whether the address that could not be connected to is one
// that nobody can connect to from here, whatever ports are left: IPv6 without
// any, for one. Nothing is sent.
func unusable(err error) bool {
	var op *net.OpError
	if !errors.As(err, &op) || op.Addr == nil {
		return false
	}
	c, err := net.Dial("udp", op.Addr.String())
	if err == nil {
		c.Close()
	}
	return errors.Is(err, syscall.EADDRNOTAVAIL)
}

// explain says in a few words why there was no answer, and whether the endpoint
// is to blame. The text may hold what the other side sent, but no part of our
// URL beyond scheme and host.
func (e *Endpoint) explain(a *attempt, err error) (text string, fault bool) {
	var u *url.Error
	if errors.As(err, &u) { // its text is the whole URL
		err = u.Err
	}
	if errors.Is(err, h1.ErrHeader) {
		return "not sent: " + err.Error(), false
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return e.timeoutText(a), true
	}
	text = e.reason(a, err)
	if phase, _ := a.trace.state(); e.proxy != "" && (phase == resolving || phase == connecting) {
		text = "proxy " + e.proxy + ": " + text
	}
	return text, true
}

func (e *Endpoint) timeoutText(a *attempt) string {
	host := e.request.URL.Host
	switch phase, _ := a.trace.state(); {
	case phase == waiting:
		return fmt.Sprintf("timeout: connected, but no answer within %s", e.route.Timeout)
	case phase == handshaking:
		return fmt.Sprintf("timeout: TLS handshake with %s not done within %s", host, e.route.Timeout)
	case e.proxy != "":
		return fmt.Sprintf("timeout: no connection to %s through the proxy %s within %s", host, e.proxy, e.route.Timeout)
	case phase == resolving:
		return fmt.Sprintf("timeout: DNS gave no answer for %s within %s", host, e.route.Timeout)
	}
	return fmt.Sprintf("timeout: no connection to %s within %s", host, e.route.Timeout)
}

func (e *Endpoint) reason(a *attempt, err error) string {
	var (
		told    refusal
		dns     *net.DNSError
		op      *net.OpError
		timeout net.Error
	)
	switch {
	case errors.As(err, &told):
		return told.Error()
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Sprintf("host %s not found in DNS", dns.Name)
	case errors.As(err, &dns) && dns.IsTimeout:
		return fmt.Sprintf("timeout: DNS gave no answer for %s", dns.Name)
	case errors.As(err, &dns):
		return fmt.Sprintf("DNS look-up of %s failed: %s", dns.Name, dns.Err)
	case errors.As(err, &timeout) && timeout.Timeout():
		return e.timeoutText(a)
	}
	if text := e.tlsReason(a, err); text != "" {
		return text
	}
	for _, f := range failures {
		if errors.Is(err, f.err) {
			if errors.As(err, &op) && op.Addr != nil && op.Op == "dial" {
				return f.text + " (" + op.Addr.String() + ")"
			}
			return f.text
		}
	}
	return err.Error()
}

// What an error is called, in this order.
var failures = []struct {
	err  error
	text string
}{
	{syscall.ECONNREFUSED, "connection refused"},
	{syscall.ECONNRESET, "connection reset before an answer"},
	{syscall.EPIPE, "connection reset before an answer"},
	{syscall.ENETUNREACH, "no route to the host"},
	{syscall.EHOSTUNREACH, "no route to the host"},
	{h1.ErrCut, h1.ErrCut.Error()},
	{h1.ErrClosed, h1.ErrClosed.Error()},
	{io.EOF, h1.ErrClosed.Error()},
	{h1.ErrLongHead, fmt.Sprintf("malformed answer: more than %d KiB of headers", h1.MaxHead>>10)},
	{h1.ErrEarly, "malformed answer: it came before the request"},
	{h1.ErrTLS, h1.ErrTLS.Error() + ": the url should begin with https"},
}

// tlsReason returns "" if the error is not one of TLS.
func (e *Endpoint) tlsReason(a *attempt, err error) string {
	var (
		host       = e.request.URL.Host
		unknown    x509.UnknownAuthorityError
		unverified *tls.CertificateVerificationError
		noTLS      tls.RecordHeaderError
		reason     = alertOf(err)
	)
	// The end of the connection may overtake the alert.
	closed := func(end error) bool { return errors.Is(err, end) }
	if reason == "" && slices.ContainsFunc([]error{io.EOF, h1.ErrClosed, syscall.ECONNRESET, syscall.EPIPE}, closed) {
		reason = "connection closed"
	}
	phase, certificate := a.trace.state()
	switch {
	case errors.As(err, &unknown):
		return fmt.Sprintf("TLS certificate of %s is from an unknown authority: if that is yours, set tls.ca_file", host)
	case errors.As(err, &unverified):
		return fmt.Sprintf("TLS certificate of %s is not acceptable: %s", host, strings.TrimPrefix(unverified.Err.Error(), "x509: "))
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &noTLS):
		return fmt.Sprintf("%s does not speak TLS on this port", host)
	case certificate && reason != "":
		return fmt.Sprintf("%s wants a TLS client certificate that it accepts (tls.cert_file and tls.key_file): %s", host, reason)
	case alertOf(err) != "":
		return fmt.Sprintf("%s refused the TLS handshake: %s", host, reason)
	case phase == handshaking:
		return fmt.Sprintf("TLS handshake with %s failed: %v", host, err)
	}
	return ""
}
