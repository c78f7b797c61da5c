package proxy

import (
	"net"
	"net/http"
	"sync"
	"time"

	"signalpost/proxy/system"
)

// maxConns is how many connections are open at once, unless half of the files
// that the process may open are fewer.
const maxConns = 1000

func connsAllowed() int {
	files, limited := system.MostFiles()
	if !limited {
		return maxConns
	}
	return max(int(min(maxConns, files/2)), 1)
}

// A connLimit is a listener with a bound to the connections that are open. A
// new one takes the place of the one that has waited longest for a request to
// begin or to come whole; while all of them are being answered it waits for the
// first that is not.
type connLimit struct {
	net.Listener
	most int

	mu     sync.Mutex
	open   map[*limitedConn]bool // guarded by mu
	closed bool                  // guarded by mu
	freed  *sync.Cond            // of mu: a connection has ended, or waits for a request
}

func limitConns(l net.Listener, most int) *connLimit {
	c := &connLimit{Listener: l, most: most, open: map[*limitedConn]bool{}}
	c.freed = sync.NewCond(&c.mu)
	return c
}

// Accept waits for a connection, and for room.
func (l *connLimit) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.open) >= l.most && !l.closed {
		var oldest *limitedConn
		for c := range l.open {
			if !c.busy && (oldest == nil || c.since.Before(oldest.since)) {
				oldest = c
			}
		}
		if oldest == nil {
			l.freed.Wait()
			continue
		}
		delete(l.open, oldest)
		oldest.halfCloser.Close()
	}
	c := &limitedConn{halfCloser: accepted.(halfCloser), limit: l, since: time.Now()}
	l.open[c] = true
	return c, nil
}

// Close ends the listening, not the connections.
func (l *connLimit) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.freed.Broadcast()
	return l.Listener.Close()
}

// A halfCloser is a connection whose writing side can be closed: TCP and Unix sockets.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// A limitedConn is one of a connLimit's connections.
type limitedConn struct {
	halfCloser
	limit *connLimit
	busy  bool      // a request is being answered; guarded by limit.mu
	since time.Time // it waits for one, unless it is busy; guarded by limit.mu
}

// A connAddr leads from a request to its connection.
type connAddr struct {
	net.Addr
	conn *limitedConn
}

// LocalAddr is what servers put into the context of each request.
func (c *limitedConn) LocalAddr() net.Addr { return connAddr{c.halfCloser.LocalAddr(), c} }

// Close closes it and makes room.
func (c *limitedConn) Close() error {
	c.limit.mu.Lock()
	delete(c.limit.open, c)
	c.limit.freed.Signal()
	c.limit.mu.Unlock()
	return c.halfCloser.Close()
}

// answering notes that the request of a context is being answered, or no longer.
func answering(r *http.Request, busy bool) {
	a, ok := r.Context().Value(http.LocalAddrContextKey).(connAddr)
	if !ok {
		return
	}
	a.conn.limit.mu.Lock()
	defer a.conn.limit.mu.Unlock()
	a.conn.busy = busy
	if !busy {
		a.conn.since = time.Now()
		a.conn.limit.freed.Signal()
	}
}
