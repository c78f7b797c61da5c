package deliver

import (
	"crypto/tls"
	"net/http/httptrace"
	"sync"
)

// How far an attempt has got. One that goes over a connection which is there
// already begins with waiting.
const (
	waiting = iota // sending the request, then waiting for the answer
	resolving
	connecting
	handshaking
)

// A trace is what is seen of an attempt's way to the receiver.
type trace struct {
	dialed bool // a connection was asked of the network, or of net/http

	mu          sync.Mutex // net/http goes on with a dial when the attempt has another connection
	phase       int        // guarded by mu
	certificate bool       // the receiver has asked for one of ours; guarded by mu
}

// hooks fill the trace, also of what it is used for next.
func (t *trace) hooks() *httptrace.ClientTrace {
	reached := func(phase int) {
		t.mu.Lock()
		t.phase = phase
		t.mu.Unlock()
	}
	return &httptrace.ClientTrace{
		GetConn:           func(string) { t.dialed = true; reached(resolving) },
		ConnectStart:      func(string, string) { reached(connecting) },
		TLSHandshakeStart: func() { reached(handshaking) },
		GotConn:           func(httptrace.GotConnInfo) { reached(waiting) },
	}
}

// clientCertificate chooses the certificate that the receiver has asked for.
func (t *trace) clientCertificate(wanted *tls.CertificateRequestInfo, ours []tls.Certificate) *tls.Certificate {
	t.mu.Lock()
	t.certificate = true
	t.mu.Unlock()
	for i := range ours {
		if wanted.SupportsCertificate(&ours[i]) == nil {
			return &ours[i]
		}
	}
	return new(tls.Certificate)
}

// state returns how far the attempt has got, and whether a certificate was asked of us.
func (t *trace) state() (phase int, certificate bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.phase, t.certificate
}
