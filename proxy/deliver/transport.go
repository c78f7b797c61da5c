package deliver

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/go-retryablehttp"

	"signalpost/proxy/config"
)

const (
	maxResponseHeader = 64 << 10         // bytes of status line and headers, with those of interim responses
	idleTimeout       = 90 * time.Second // a connection not used for so long is closed
	keepAlive         = 30 * time.Second // after which a silent connection is probed
)

// An outfit is everything about a route that its connections depend on.
type outfit struct {
	scheme, host string
	tls          *tls.Config // nil: the system's CAs, no client certificate
	publicOnly   bool
	concurrency  int
	timeout      time.Duration
	proxy        func(*http.Request) (*url.URL, error)
	resolver     *net.Resolver // nil: the system's; set by tests
}

func outfitOf(r *config.Route, u *url.URL) outfit {
	return outfit{
		scheme:      u.Scheme,
		host:        u.Host,
		tls:         r.TLS.Config,
		publicOnly:  r.BlockPrivateNetworks,
		concurrency: r.Concurrency,
		timeout:     r.Timeout,
		proxy:       http.ProxyFromEnvironment,
	}
}

// same reports whether connections made under o may be used under p.
func (o *outfit) same(p *outfit) bool {
	return o.scheme == p.scheme && o.host == p.host && sameTLS(o.tls, p.tls) &&
		o.publicOnly == p.publicOnly && o.concurrency == p.concurrency && o.timeout == p.timeout
}

func sameTLS(a, b *tls.Config) bool {
	if a == nil || b == nil {
		return a == b
	}
	// A pool that is missing means the system's, as does one that Equal takes for it.
	if (a.RootCAs == nil) != (b.RootCAs == nil) || a.RootCAs != nil && !a.RootCAs.Equal(b.RootCAs) {
		return false
	}
	if len(a.Certificates) != len(b.Certificates) {
		return false
	}
	for i := range a.Certificates {
		x, y := a.Certificates[i], b.Certificates[i]
		if len(x.Certificate) != len(y.Certificate) {
			return false
		}
		for j := range x.Certificate { // a new key means a new certificate
			if !bytes.Equal(x.Certificate[j], y.Certificate[j]) {
				return false
			}
		}
	}
	return true
}

// A link is the connections to one endpoint. Endpoints that follow each other
// over reloads share one as long as their outfit is the same.
type link struct {
	outfit
	proxyName string // scheme://host of the proxy requests go through; "": none
	address   string // host:port to connect to; "": for net/http to say
	dialer    *net.Dialer
	idle      idlePool
	http2     atomic.Bool // what the host chose last
	transport *http.Transport
	client    *retryablehttp.Client
	users     atomic.Int32 // endpoints that are not closed
}

// newLink returns a link with one user.
func newLink(o outfit) (*link, error) {
	l := &link{outfit: o}
	l.users.Store(1)

	via, err := o.proxy(&http.Request{URL: &url.URL{Scheme: o.scheme, Host: o.host}})
	switch {
	case err != nil: // the error shows the value, which may hold a password
		return nil, errors.New("the proxy set in the environment (HTTP_PROXY, HTTPS_PROXY) is not a URL")
	case via != nil && o.publicOnly:
		return nil, fmt.Errorf("block_private_networks cannot hold while requests go through the proxy %s, which connects in our stead: "+
			"drop one of them, or name the host in NO_PROXY", origin(via))
	case via != nil:
		l.proxyName = origin(via)
	}

	l.dialer = &net.Dialer{
		// net/http does not end a dial with the request that began it.
		Timeout:   o.timeout,
		Resolver:  o.resolver,
		KeepAlive: keepAlive,
	}
	// Called for each address, when it is known and before it is connected to.
	l.dialer.ControlContext = func(ctx context.Context, network, address string, c syscall.RawConn) error {
		if t := tryOf(ctx); t != nil {
			t.phase.CompareAndSwap(resolving, connecting)
		}
		if o.publicOnly {
			return publicOnly(ctx, network, address, c)
		}
		return nil
	}
	l.transport = &http.Transport{
		Proxy:                  http.ProxyURL(via),
		DialContext:            l.dialer.DialContext,
		TLSClientConfig:        l.tlsConfig(),
		TLSHandshakeTimeout:    o.timeout,
		ForceAttemptHTTP2:      true, // a dialer of one's own turns it off
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: keepAlive, PingTimeout: keepAlive},
		MaxIdleConns:           o.concurrency,
		MaxIdleConnsPerHost:    o.concurrency,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxResponseHeader,
		// Connections in use are as many as attempts, which the queue bounds.
		// A bound here would make attempts wait for dials that others gave up on.
		MaxConnsPerHost: 0,
		// What a response unpacks to is nobody's business here.
		DisableCompression:     true,
		OnProxyConnectResponse: checkProxy,
	}
	if via == nil {
		l.transport.DialTLSContext = func(ctx context.Context, _, address string) (net.Conn, error) {
			if t := tryOf(ctx); t != nil {
				if c := t.spare.Swap(nil); c != nil {
					return c, nil
				}
			}
			return l.connect(ctx, address)
		}
		l.transport.CloseIdleConnections() // has it put into its TLS config which protocols it speaks
		u := &url.URL{Host: o.host}
		port := u.Port()
		if port == "" {
			port = map[string]string{"http": "80", "https": "443"}[o.scheme]
		}
		if !strings.ContainsFunc(o.host, func(c rune) bool { return c >= utf8.RuneSelf }) {
			l.address = net.JoinHostPort(u.Hostname(), port)
		}
	}
	// One Do is one attempt: the waiting and counting is the queue's.
	l.client = &retryablehttp.Client{
		HTTPClient: &http.Client{
			Transport: lineTransport{l.transport},
			// A second lock: lineTransport leaves nothing to follow.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		RetryMax:     0,
		CheckRetry:   func(context.Context, *http.Response, error) (bool, error) { return false, nil },
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	return l, nil
}

// connect connects to an address. For https it does the handshake too.
func (l *link) connect(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	raw, err := l.dialer.DialContext(ctx, "tcp", address)
	if err != nil || l.scheme != "https" {
		return raw, err
	}
	if t := tryOf(ctx); t != nil {
		t.phase.Store(handshaking)
	}
	c := l.transport.TLSClientConfig.Clone()
	if c.ServerName == "" {
		c.ServerName, _, _ = net.SplitHostPort(address)
	}
	secure := tls.Client(raw, c)
	if err := secure.HandshakeContext(ctx); err != nil {
		raw.Close()
		if e, ok := err.(tls.RecordHeaderError); ok && string(e.RecordHeader[:]) == "HTTP/" {
			err = http.ErrSchemeMismatch
		}
		return nil, err
	}
	l.http2.Store(secure.ConnectionState().NegotiatedProtocol == "h2")
	return secure, nil
}

func (l *link) tlsConfig() *tls.Config {
	c := &tls.Config{}
	if l.tls != nil {
		c = l.tls.Clone()
	}
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	c.ClientSessionCache = tls.NewLRUClientSessionCache(l.concurrency)
	certificates := c.Certificates
	note := func(wanted *tls.CertificateRequestInfo, what int32) {
		if t := tryOf(wanted.Context()); t != nil {
			t.certificate.Store(what)
		}
	}
	c.GetClientCertificate = func(wanted *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		for i := range certificates {
			if wanted.SupportsCertificate(&certificates[i]) == nil {
				note(wanted, certificateShown)
				return &certificates[i], nil
			}
		}
		note(wanted, certificateMissing)
		return new(tls.Certificate), nil
	}
	return c
}

// share adds a user, unless the last one has gone.
func (l *link) share() bool {
	for {
		n := l.users.Load()
		if n == 0 {
			return false
		}
		if l.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// leave takes a user away. With the last one the idle connections go.
func (l *link) leave() {
	if l.users.Add(-1) == 0 {
		l.expire(time.Now())
		l.transport.CloseIdleConnections()
	}
}

// A lineTransport is the last step before net/http's transport.
//
// It has no CloseIdleConnections, which go-retryablehttp would call on each
// failure: one attempt's timeout is no reason to drop the connections of the others.
type lineTransport struct {
	next http.RoundTripper
}

// location is where RoundTrip puts a Location. A header from the wire never
// has a name in lower case.
const location = "location"

// RoundTrip sends the request with the header of its try: http.Client would
// copy it, for redirects that are never followed. For the same reason it
// hides a redirect's Location, which http.Client fails on if it cannot be parsed.
func (lt lineTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if t := tryOf(req.Context()); t != nil {
		req.Header = t.header
	}
	resp, err := lt.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if l, ok := resp.Header["Location"]; ok {
		delete(resp.Header, "Location")
		resp.Header[location] = l
	}
	return resp, nil
}

// The phases of a try, as far as it has got.
const (
	resolving int32 = iota
	connecting
	handshaking
	waiting // sending the request, then waiting for the answer
)

// What became of the receiver's wish for a client certificate.
const (
	_ int32 = iota // it has none
	certificateMissing
	certificateShown
)

// A try is one request under way. It ends with the context of its attempt, or
// when its time is up.
type try struct {
	ctx         context.Context
	deadline    time.Time
	phase       atomic.Int32
	certificate atomic.Int32
	spare       atomic.Pointer[tls.Conn] // a connection that net/http is to use

	// Of a request that net/http makes.
	header http.Header
	trace  httptrace.ClientTrace
	timer  *time.Timer
	cancel context.CancelFunc
}

type tryKey struct{}

// context returns the try's context, by which all that sees it knows the try.
func (t *try) context() context.Context { return context.WithValue(t.ctx, tryKey{}, t) }

func tryOf(ctx context.Context) *try {
	t, _ := ctx.Value(tryKey{}).(*try)
	return t
}

// timed returns the context of a request that net/http makes. It ends when the
// time is up, or the try is ended, which it must be.
func (t *try) timed() context.Context {
	t.trace.TLSHandshakeStart = func() { t.phase.Store(handshaking) }
	t.trace.GotConn = func(httptrace.GotConnInfo) { t.phase.Store(waiting) }
	ctx, cancel := context.WithCancel(t.context())
	t.cancel, t.timer = cancel, time.AfterFunc(time.Until(t.deadline), cancel)
	return httptrace.WithClientTrace(ctx, &t.trace)
}

// late reports whether the time is up.
func (t *try) late() bool { return !time.Now().Before(t.deadline) }

func (t *try) end() {
	if t.timer != nil {
		t.timer.Stop()
		t.cancel()
	}
	if c := t.spare.Swap(nil); c != nil {
		c.Close()
	}
}

// explain says in a few words why there was no answer, and whether the endpoint
// is to blame. The text may hold what the other side sent, but no part of our
// URL beyond scheme and host.
func (l *link) explain(err error, t *try) (text string, fault bool) {
	if t.late() {
		return l.timeoutText(t), true
	}
	var u *url.Error
	if errors.As(err, &u) { // its text is the whole URL
		err = u.Err
	}
	text = err.Error()
	if strings.HasPrefix(text, "net/http: invalid header") {
		return "not sent: " + strings.TrimPrefix(text, "net/http: "), false
	}
	text = l.reason(err, t)
	if l.proxyName != "" && t.phase.Load() <= connecting {
		text = "proxy " + l.proxyName + ": " + text
	}
	return text, true
}

func (l *link) timeoutText(t *try) string {
	switch phase := t.phase.Load(); {
	case phase == waiting:
		return fmt.Sprintf("timeout: connected, but no answer within %s", l.timeout)
	case phase == handshaking:
		return fmt.Sprintf("timeout: TLS handshake with %s not done within %s", l.host, l.timeout)
	case l.proxyName != "":
		return fmt.Sprintf("timeout: no connection to %s through the proxy %s within %s", l.host, l.proxyName, l.timeout)
	case phase == resolving:
		return fmt.Sprintf("timeout: DNS gave no answer for %s within %s", l.host, l.timeout)
	}
	return fmt.Sprintf("timeout: no connection to %s within %s", l.host, l.timeout)
}

func (l *link) reason(err error, t *try) string {
	var (
		refusal   *proxyRefusal
		notPublic *notPublicError
		dns       *net.DNSError
		op        *net.OpError
		timeout   net.Error
	)
	switch {
	case errors.As(err, &refusal):
		return refusal.Error()
	case errors.As(err, &notPublic):
		return fmt.Sprintf("address %s of %s is not public and the route has block_private_networks", notPublic.address, l.host)
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Sprintf("host %s not found in DNS", dns.Name)
	case errors.As(err, &dns) && dns.IsTimeout:
		return fmt.Sprintf("timeout: DNS gave no answer for %s", dns.Name)
	case errors.As(err, &dns):
		return fmt.Sprintf("DNS look-up of %s failed: %s", dns.Name, dns.Err)
	}
	if text := l.tlsReason(err, t); text != "" {
		return text
	}
	at := ""
	if errors.As(err, &op) && op.Addr != nil && t.phase.Load() <= connecting {
		at = " (" + op.Addr.String() + ")"
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused" + at
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset before an answer" + at
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "no route to the host" + at
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "no connection: too many open files, raise the limit (ulimit -n)"
	case errors.As(err, &timeout) && timeout.Timeout():
		return l.timeoutText(t)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed in the middle of the answer"
	}
	text := err.Error()
	for _, prefix := range []string{"net/http: ", "HTTP/1.x transport connection broken: ", "http: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	switch {
	case lost(err):
		return "connection closed before an answer"
	case strings.Contains(text, "headers exceeded"), strings.Contains(text, "message too large"):
		return fmt.Sprintf("malformed answer: more than %d KiB of headers", maxResponseHeader>>10)
	case errors.Is(err, errTooEarly), strings.Contains(text, "readLoopPeekFailLocked"):
		return "malformed answer: it came before the request"
	case strings.HasPrefix(text, `malformed HTTP response "\x15\x03`):
		return fmt.Sprintf("%s speaks TLS on this port: its url should begin with https", l.host)
	}
	for _, sign := range []string{"malformed", "Content-Length", "ransfer encoding", "PROTOCOL_ERROR"} {
		if strings.Contains(text, sign) {
			return "malformed answer: " + text
		}
	}
	return text
}

// A proxyRefusal is a proxy's answer to CONNECT other than 200.
type proxyRefusal struct {
	status int
	host   string // that it was asked to connect to
}

func (p *proxyRefusal) Error() string {
	if p.status == http.StatusProxyAuthRequired {
		return fmt.Sprintf("asks for credentials (407) before it connects to %s", p.host)
	}
	return fmt.Sprintf("answered %s when asked to connect to %s", statusName(p.status), p.host)
}

func checkProxy(_ context.Context, _ *url.URL, connect *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return &proxyRefusal{resp.StatusCode, connect.Host}
}

const setClientCertificate = "no fitting one is set (tls.cert_file and tls.key_file)"

// tlsReason returns "" if the error is not one of TLS.
func (l *link) tlsReason(err error, t *try) string {
	var (
		invalid    x509.CertificateInvalidError
		unknown    x509.UnknownAuthorityError
		wrongHost  x509.HostnameError
		unverified *tls.CertificateVerificationError
		noTLS      tls.RecordHeaderError
		op         *net.OpError
	)
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil:
		if time.Now().Before(invalid.Cert.NotBefore) {
			return fmt.Sprintf("TLS certificate of %s is not valid before %s", l.host, invalid.Cert.NotBefore.UTC().Format(time.RFC3339))
		}
		return fmt.Sprintf("TLS certificate of %s expired at %s", l.host, invalid.Cert.NotAfter.UTC().Format(time.RFC3339))
	case errors.As(err, &unknown):
		return fmt.Sprintf("TLS certificate of %s is from an unknown authority: if that is yours, set tls.ca_file", l.host)
	case errors.As(err, &wrongHost):
		return fmt.Sprintf("TLS certificate is for %s, not for %s", namesOf(wrongHost.Certificate), wrongHost.Host)
	case errors.As(err, &unverified):
		return fmt.Sprintf("TLS certificate of %s is not acceptable: %v", l.host, unverified.Err)
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Sprintf("%s speaks HTTP without TLS on this port", l.host)
	case errors.As(err, &noTLS):
		return fmt.Sprintf("%s does not speak TLS on this port", l.host)
	case errors.As(err, &op) && op.Op == "remote error":
		alert := strings.TrimPrefix(op.Err.Error(), "tls: ")
		switch {
		case t.certificate.Load() == certificateMissing:
			return fmt.Sprintf("%s wants a TLS client certificate, and %s: %s", l.host, setClientCertificate, alert)
		case strings.Contains(alert, "certificate"):
			return fmt.Sprintf("%s refused our TLS client certificate: %s", l.host, alert)
		}
		return fmt.Sprintf("%s refused the TLS handshake: %s", l.host, alert)
	// The end of the connection may overtake the alert.
	case t.certificate.Load() == certificateMissing && lost(err):
		return fmt.Sprintf("%s wants a TLS client certificate, and %s: connection closed", l.host, setClientCertificate)
	case t.certificate.Load() == certificateShown && lost(err):
		return fmt.Sprintf("connection closed before an answer: %s may have refused our TLS client certificate", l.host)
	}
	if _, text, ok := strings.Cut(err.Error(), "tls: "); ok {
		return fmt.Sprintf("TLS with %s failed: %s", l.host, text)
	}
	var timeout net.Error
	if t.phase.Load() == handshaking && !(errors.As(err, &timeout) && timeout.Timeout()) {
		return fmt.Sprintf("TLS handshake with %s failed: %v", l.host, err)
	}
	return ""
}

// lost reports whether the connection ended before a byte of the answer.
// net/http has no error to compare with for some of the ways.
func lost(err error) bool {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return true
	}
	text := err.Error()
	return strings.Contains(text, "server closed idle connection") || strings.Contains(text, "http2: client conn") ||
		strings.Contains(text, "http2: Transport received Server's graceful shutdown GOAWAY")
}

// namesOf lists what a certificate is for, the first few.
func namesOf(c *x509.Certificate) string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	switch {
	case len(names) == 0:
		return "no host"
	case len(names) > 3:
		return strings.Join(names[:3], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

// origin is the scheme and host of a URL: the part that people may see.
func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }

func statusName(status int) string {
	if name := http.StatusText(status); name != "" {
		return fmt.Sprintf("%d %s", status, name)
	}
	return fmt.Sprintf("%d", status)
}
