package deliver

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"signalpost/proxy/config"
	"signalpost/proxy/h1"
	"signalpost/proxy/system"
	"signalpost/queue"
)

const (
	keepAlive = 30 * time.Second // after which a silent TCP connection is probed
	pingAfter = 5 * time.Second  // the same of HTTP/2, and how long the answer may take
)

// A network has the parts of the way to a receiver that tests replace.
type network struct {
	proxy    func(*http.Request) (*url.URL, error)
	resolver *net.Resolver // nil: the system's
}

// connectTo makes the transport for the request's URL.
func (e *Endpoint) connectTo(r *config.Route, n network) error {
	u := e.request.URL
	via, err := n.proxy(&e.request)
	switch {
	case err != nil: // the error shows the value, which may hold a password
		return errors.New("the proxy set in the environment (HTTP_PROXY, HTTPS_PROXY) is not a URL")
	case via != nil && r.BlockPrivateNetworks:
		return fmt.Errorf("block_private_networks cannot hold while requests go through the proxy %s, which connects in our stead: "+
			"drop one of them, or name the host in NO_PROXY", origin(via))
	case via != nil:
		e.proxy = origin(via)
	}
	dialer := &net.Dialer{
		Timeout:   r.Timeout, // net/http does not end a dial with the request that began it
		Resolver:  n.resolver,
		KeepAlive: keepAlive,
	}
	// Called for each address, when it is known and before it is connected to.
	// So no name, whatever it resolves to and when, leads past the check.
	dialer.Control = func(_, address string, c syscall.RawConn) error {
		if err := leaveFiles(c); err != nil {
			return err
		}
		if at, err := netip.ParseAddrPort(address); r.BlockPrivateNetworks && (err != nil || !globallyReachable(at.Addr())) {
			return refusal{queue.ClassLocal, fmt.Sprintf("address %s of %s is not public and the route has block_private_networks", at.Addr(), u.Host)}
		}
		return nil
	}
	secure := tlsConfig(r, u)
	e.secure = secure
	e.transport = &h1.Transport{Timeout: r.Timeout, BodyTimeout: responseTime, MaxIdle: r.Concurrency}
	e.transport.Next = func() h1.Next {
		return holding{&http.Transport{
			Proxy:                  http.ProxyURL(via),
			DialContext:            dialer.DialContext,
			TLSClientConfig:        secure,
			TLSHandshakeTimeout:    r.Timeout,
			ForceAttemptHTTP2:      true, // a dialer of one's own turns it off
			HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingAfter},
			MaxIdleConns:           r.Concurrency,
			MaxIdleConnsPerHost:    r.Concurrency,
			IdleConnTimeout:        h1.MaxAge,
			MaxResponseHeaderBytes: h1.MaxHead,
			// Connections in use are as many as attempts, which the queue bounds.
			// A bound here would make attempts wait for dials that others gave up on.
			MaxConnsPerHost: 0,
			// Responses are not unpacked.
			DisableCompression:     true,
			OnProxyConnectResponse: checkProxy,
		}}
	}
	if via == nil {
		e.dial = func(ctx context.Context, port string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port)))
		}
		e.transport.Dial = func(ctx context.Context) (net.Conn, error) { return e.dial(ctx, "80") }
	}
	return nil
}

// A holding transport notes that net/http has had an attempt, and may still use it.
type holding struct{ *http.Transport }

func (h holding) RoundTrip(req *http.Request) (*http.Response, error) {
	attemptOf(req.Context()).trace.held = true
	return h.Transport.RoundTrip(req)
}

// leaveFiles returns an error if a connection takes one of the last files that the
// process may open, which clients, the store and the config need. (The system gives the
// lowest free number.)
func leaveFiles(c syscall.RawConn) (err error) {
	files, limited := system.MostFiles()
	if !limited {
		return nil
	}
	if lost := c.Control(func(fd uintptr) {
		if uint64(fd) >= files-min(files/8, 128) {
			err = syscall.EMFILE
		}
	}); lost != nil {
		return lost
	}
	return err
}

func tlsConfig(r *config.Route, u *url.URL) *tls.Config {
	c := &tls.Config{}
	if r.TLS.Config != nil {
		c = r.TLS.Config.Clone()
	}
	if c.RootCAs == nil && u.Scheme == "https" {
		// The system's certificates are read once in a process. They are read now, since
		// the first attempt might find no file descriptor left, and they would be missing
		// for good.
		x509.SystemCertPool()
	}
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	c.NextProtos = []string{"h2", "http/1.1"}
	c.ClientSessionCache = tls.NewLRUClientSessionCache(r.Concurrency)
	certificates := c.Certificates
	c.GetClientCertificate = func(wanted *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		t := &attemptOf(wanted.Context()).trace
		t.mu.Lock()
		t.certificate = true
		t.mu.Unlock()
		for i := range certificates {
			if wanted.SupportsCertificate(&certificates[i]) == nil {
				return &certificates[i], nil
			}
		}
		return new(tls.Certificate), nil
	}
	return c
}

// A refusal is an error whose text is shown as it is.
type refusal struct {
	class queue.Class
	text  string
}

func (r refusal) Error() string { return r.text }

func checkProxy(_ context.Context, _ *url.URL, connect *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return refusal{queue.ClassConnect, "answered " + statusName(resp.StatusCode) + " when asked to connect to " + connect.Host}
}
