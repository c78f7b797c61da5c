package deliver

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"strings"
	"time"

	"signalpost/proxy/config"
)

// An Alteration changes the requests of an endpoint, to see what a receiver does with
// them.
type Alteration struct {
	Ago    time.Duration     // before now, which is the time that is sent and signed
	Forged bool              // every signature is of another body
	Seen   func(http.Header) // unless nil, called with the headers of each answer
}

// NewAltered is New for an endpoint whose requests are altered.
func NewAltered(r *config.Route, userAgent string, x Alteration) (*Endpoint, error) {
	e, err := New(r, userAgent)
	if err == nil {
		e.altered = &x
	}
	return e, err
}

// Handshake makes a TLS connection of its own to the receiver, of this version at most,
// and returns its state.
func (e *Endpoint) Handshake(ctx context.Context, most uint16) (tls.ConnectionState, error) {
	if e.dial == nil {
		return tls.ConnectionState{}, errors.New("requests go through the proxy " + e.proxy)
	}
	ctx, cancel := context.WithTimeout(ctx, e.route.Timeout)
	defer cancel()
	conn, err := e.dial(ctx, "443")
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	c := e.secure.Clone()
	c.ServerName, c.MaxVersion, c.ClientSessionCache, c.GetClientCertificate = e.request.URL.Hostname(), most, nil, nil
	if most < tls.VersionTLS12 {
		c.MinVersion = tls.VersionTLS10
	}
	secured := tls.Client(conn, c)
	err = secured.HandshakeContext(ctx)
	return secured.ConnectionState(), err
}

// Secure reports whether requests go over TLS.
func (e *Endpoint) Secure() bool { return strings.EqualFold(e.request.URL.Scheme, "https") }
