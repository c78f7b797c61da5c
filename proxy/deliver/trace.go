package deliver

import (
	"crypto/tls"
	"net/http/httptrace"
	"sync"
	"time"

	"signalpost/queue"
)

// What is seen of an attempt, in the order in which it happens.
const (
	dnsStart = iota
	dnsDone
	connectStart // to the first of several addresses
	connectDone
	tlsStart
	tlsDone
	connected
	written
	firstByte
	events
)

// A trace is what is seen of an attempt's way to the receiver. net/http goes on with a
// dial, and calls the hooks, after the attempt has got another connection.
type trace struct {
	dialed bool // a connection was asked for: hooks may be called at any time
	held   bool // net/http has the request, and may read its body at any time

	mu sync.Mutex
	seen
}

// What a trace has seen.
type seen struct {
	at          [events]time.Time
	certificate bool // the receiver has asked for one of ours
	peer        string
	reused      bool
}

// hooks fill the trace, also for the attempts after this one.
func (t *trace) hooks() *httptrace.ClientTrace {
	mark := func(event int) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if event != connectStart || t.at[connectStart].IsZero() {
			t.at[event] = time.Now()
		}
	}
	return &httptrace.ClientTrace{
		GetConn:      func(string) { t.dialed = true; t.reset() },
		DNSStart:     func(httptrace.DNSStartInfo) { mark(dnsStart) },
		DNSDone:      func(httptrace.DNSDoneInfo) { mark(dnsDone) },
		ConnectStart: func(string, string) { mark(connectStart) },
		ConnectDone: func(_, _ string, err error) {
			if err == nil {
				mark(connectDone)
			}
		},
		TLSHandshakeStart: func() { mark(tlsStart) },
		TLSHandshakeDone:  func(tls.ConnectionState, error) { mark(tlsDone) },
		GotConn: func(c httptrace.GotConnInfo) {
			if c.Reused { // whatever was begun for another
				t.reset()
			}
			t.mu.Lock()
			t.reused, t.peer = c.Reused, c.Conn.RemoteAddr().String()
			t.mu.Unlock()
			mark(connected)
		},
		WroteRequest:         func(httptrace.WroteRequestInfo) { mark(written) },
		GotFirstResponseByte: func() { mark(firstByte) },
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

// reached reports whether the attempt has got so far.
func (s *seen) reached(event int) bool { return !s.at[event].IsZero() }

// timing is how long the parts took that were finished.
func (s *seen) timing() queue.Timing {
	took := func(from, to int) time.Duration {
		if !s.reached(from) || !s.reached(to) {
			return 0
		}
		return s.at[to].Sub(s.at[from])
	}
	return queue.Timing{
		DNS: took(dnsStart, dnsDone), Connect: took(connectStart, connectDone), TLS: took(tlsStart, tlsDone), FirstByte: took(written, firstByte),
	}
}
