package deliver

import (
	"crypto/tls"
	"net/http/httptrace"
	"sync"
	"time"

	"signalpost/queue"
)

// How far an attempt has got.
type phase int

const (
	resolving phase = iota
	connecting
	handshaking
	waiting // sending the request, then waiting for the answer
)

// A trace is what is seen of an attempt's way to the receiver. net/http goes on
// with a dial, and tells of it, when the attempt has got another connection.
type trace struct {
	held bool // net/http may hold the attempt: a connection was asked of it, or of the network

	mu sync.Mutex
	seen
	started [4]time.Time // each phase; guarded by mu
}

// What a trace has seen.
type seen struct {
	phase       phase
	certificate bool // the receiver has asked for one of ours
	peer        string
	reused      bool
	timing      queue.Timing
}

// hooks fill the trace, also for the attempts after this one.
func (t *trace) hooks() *httptrace.ClientTrace {
	locked := func(f func()) {
		t.mu.Lock()
		defer t.mu.Unlock()
		f()
	}
	begin := func(p phase) { locked(func() { t.phase, t.started[p] = p, time.Now() }) }
	end := func(p phase, took *time.Duration) { locked(func() { *took = time.Since(t.started[p]) }) }
	return &httptrace.ClientTrace{
		GetConn:  func(string) { t.held = true; begin(resolving) },
		DNSStart: func(httptrace.DNSStartInfo) { begin(resolving) },
		DNSDone:  func(httptrace.DNSDoneInfo) { end(resolving, &t.timing.DNS) },
		ConnectStart: func(string, string) {
			locked(func() {
				if t.phase < connecting { // to the first of several addresses
					t.phase, t.started[connecting] = connecting, time.Now()
				}
			})
		},
		ConnectDone: func(_, _ string, err error) {
			if err == nil {
				end(connecting, &t.timing.Connect)
			}
		},
		TLSHandshakeStart: func() { begin(handshaking) },
		TLSHandshakeDone:  func(tls.ConnectionState, error) { end(handshaking, &t.timing.TLS) },
		GotConn: func(c httptrace.GotConnInfo) {
			locked(func() {
				t.phase, t.reused, t.peer = waiting, c.Reused, c.Conn.RemoteAddr().String()
				if c.Reused {
					t.timing = queue.Timing{}
				}
			})
		},
		WroteRequest:         func(httptrace.WroteRequestInfo) { begin(waiting) },
		GotFirstResponseByte: func() { end(waiting, &t.timing.FirstByte) },
	}
}

// reset forgets what was seen.
func (t *trace) reset() {
	t.mu.Lock()
	t.seen = seen{}
	t.mu.Unlock()
}

// look returns what has been seen.
func (t *trace) look() seen {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.seen
}

// asked notes that the receiver wants a certificate.
func (t *trace) asked() {
	t.mu.Lock()
	t.certificate = true
	t.mu.Unlock()
}
