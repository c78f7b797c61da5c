package deliver

import (
	"cmp"
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
	"signalpost/proxy/system"
	"signalpost/queue"
)

// What the machine may lack, and what to do.
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

// resolverRefresh is how long the resolver keeps its configuration before it reads it
// again: after a shortage it may have read none, and know no server.
const resolverRefresh = 6 * time.Second

// shortage returns a queue.ErrShortage if the machine lacked something and there was no
// answer for that, else nil.
func shortage(err error) error {
	dns, inDNS := errors.AsType[*net.DNSError](err)
	for _, s := range shortages {
		if system.Is(err, s.errno) && !(s.errno == syscall.EADDRNOTAVAIL && unusable(err)) || inDNS && hides(dns, s.errno) {
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

// unusable reports whether no connection can be made from here to the address that
// failed, whatever ports are left: to one of IPv6 on a machine without, for example.
// Nothing is sent.
func unusable(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Addr == nil {
		return false
	}
	c, err := net.Dial("udp", op.Addr.String())
	if err == nil {
		c.Close()
	}
	return system.Is(err, syscall.EADDRNOTAVAIL)
}

// explain sets the outcome of an attempt without an answer: its class, a few words, and
// whether the endpoint is to blame. The text may hold what the other side sent, but no
// part of our URL beyond scheme and host.
func (e *Endpoint) explain(a *attempt, err error) {
	if u, ok := errors.AsType[*url.Error](err); ok { // its text is the whole URL
		err = u.Err
	}
	o, s := &a.outcome, a.trace.look()
	if err == a.unfit {
		o.Class, o.Error = queue.ClassLocal, "not sent: "+err.Error()
		return
	}
	o.Class, o.Error = e.reason(s, err)
	o.Fault = !errors.Is(err, h1.ErrHeader)
	if e.proxy != "" && !s.reached(tlsStart) && !s.reached(connected) && o.Class != queue.ClassTimeout {
		o.Error = "proxy " + e.proxy + ": " + o.Error
	}
}

func (e *Endpoint) reason(s seen, err error) (queue.Class, string) {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return queue.ClassTimeout, e.timeoutText(s)
	}
	if told, ok := errors.AsType[refusal](err); ok {
		return told.class, told.text
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		text := fmt.Sprintf("DNS look-up of %s failed: %s", dns.Name, dns.Err)
		switch {
		case dns.IsNotFound:
			text = fmt.Sprintf("host %s not found in DNS", dns.Name)
		case dns.IsTimeout:
			text = "timeout: DNS gave no answer for " + dns.Name
		}
		return queue.ClassDNS, text
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return queue.ClassTimeout, e.timeoutText(s)
	}
	if text := e.tlsReason(s, err); text != "" {
		return queue.ClassTLS, text
	}
	for _, f := range failures {
		if !system.Is(err, f.err) {
			continue
		}
		text := cmp.Or(f.text, err.Error())
		if op, ok := errors.AsType[*net.OpError](err); ok && op.Addr != nil && op.Op == "dial" {
			text += " (" + op.Addr.String() + ")"
		}
		return f.class, text
	}
	return queue.ClassConnect, err.Error()
}

func (e *Endpoint) timeoutText(s seen) string {
	host, timeout := e.request.URL.Host, e.route.Timeout
	switch {
	case s.reached(connected):
		return fmt.Sprintf("timeout: connected, but no answer within %s", timeout)
	case s.reached(tlsStart):
		return fmt.Sprintf("timeout: TLS handshake with %s not done within %s", host, timeout)
	case e.proxy != "":
		return fmt.Sprintf("timeout: no connection to %s through the proxy %s within %s", host, e.proxy, timeout)
	case !s.reached(connectStart):
		return fmt.Sprintf("timeout: DNS gave no answer for %s within %s", host, timeout)
	}
	return fmt.Sprintf("timeout: no connection to %s within %s", host, timeout)
}

// What an error is called, in this order. An empty text is the error's own.
var failures = []struct {
	err   error
	class queue.Class
	text  string
}{
	{h1.ErrHeader, queue.ClassLocal, ""},
	{syscall.ECONNREFUSED, queue.ClassConnect, "connection refused"},
	{syscall.ECONNRESET, queue.ClassConnect, "connection reset before an answer"},
	{syscall.EPIPE, queue.ClassConnect, "connection reset before an answer"},
	{syscall.ENETUNREACH, queue.ClassConnect, "no route to the host"},
	{syscall.EHOSTUNREACH, queue.ClassConnect, "no route to the host"},
	{h1.ErrCut, queue.ClassConnect, h1.ErrCut.Error()},
	{h1.ErrClosed, queue.ClassConnect, h1.ErrClosed.Error()},
	{io.EOF, queue.ClassConnect, h1.ErrClosed.Error()},
	{h1.ErrLongHead, queue.ClassMalformed, fmt.Sprintf("malformed answer: more than %d KiB of headers", h1.MaxHead>>10)},
	{h1.ErrEarly, queue.ClassMalformed, "malformed answer: it came before the request"},
	{h1.ErrTLS, queue.ClassMalformed, h1.ErrTLS.Error() + ": the url should begin with https"},
	{h1.ErrMalformed, queue.ClassMalformed, ""},
}

// tlsReason returns "" if the error is not one of TLS.
func (e *Endpoint) tlsReason(s seen, err error) string {
	var (
		host       = e.request.URL.Host
		unknown    x509.UnknownAuthorityError
		unverified *tls.CertificateVerificationError
		noTLS      tls.RecordHeaderError
		alert      = alertOf(err)
		reason     = alert
	)
	// The end of the connection may overtake the alert.
	closed := func(end error) bool { return system.Is(err, end) }
	if reason == "" && slices.ContainsFunc([]error{io.EOF, h1.ErrClosed, syscall.ECONNRESET, syscall.EPIPE}, closed) {
		reason = "connection closed"
	}
	switch {
	case errors.As(err, &unknown):
		return fmt.Sprintf("TLS certificate of %s is from an unknown authority: if that is yours, set tls.ca_file", host)
	case errors.As(err, &unverified):
		return fmt.Sprintf("TLS certificate of %s is not acceptable: %s", host, strings.TrimPrefix(unverified.Err.Error(), "x509: "))
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &noTLS):
		return fmt.Sprintf("%s does not speak TLS on this port", host)
	case s.certificate && reason != "":
		return fmt.Sprintf("%s wants a TLS client certificate that it accepts (tls.cert_file and tls.key_file): %s", host, reason)
	case alert != "":
		return fmt.Sprintf("%s refused the TLS handshake: %s", host, reason)
	case s.reached(tlsStart) && !s.reached(connected):
		return fmt.Sprintf("TLS handshake with %s failed: %v", host, err)
	}
	return ""
}
