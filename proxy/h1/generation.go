package h1

import (
	"context"
	"net/http"
	"time"
)

// Next is what a Transport needs of an http.Transport.
type Next interface {
	http.RoundTripper
	CloseIdleConnections()
}

// A generation is the connections that are made within MaxAge. When it is retired, then
// or before, they take no new request.
type generation struct {
	Next
	timer *time.Timer // retires it
	idle  []*conn     // the one used last is at the end; guarded by the Transport's mu
}

// current returns the generation that takes requests now.
func (t *Transport) current() *generation {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.active != nil {
		return t.active
	}
	g := &generation{Next: t.Next()}
	g.timer = time.AfterFunc(MaxAge, func() { t.retire(g) })
	if !t.closed {
		t.active = g
	}
	return g
}

// retire closes the idle connections of a generation. Those in use end with
// their requests.
func (t *Transport) retire(g *generation) {
	t.mu.Lock()
	if t.active == g {
		t.active = nil
	}
	idle := g.idle
	g.idle = nil
	t.mu.Unlock()
	g.timer.Stop()
	for _, c := range idle {
		c.end()
	}
	g.CloseIdleConnections()
	time.AfterFunc(time.Second, g.CloseIdleConnections) // net/http may take a moment to see that one over HTTP/2 is idle
}

// release ends a request of Next, which is retired if it is spent.
func (t *Transport) release(g *generation, spent bool) {
	t.mu.Lock()
	spent = spent || t.active != g
	t.mu.Unlock()
	if spent {
		t.retire(g)
	}
}

// takeIdle returns the connection used last that is fit for use under ctx, or nil.
func (t *Transport) takeIdle(g *generation, ctx context.Context) *conn {
	for {
		t.mu.Lock()
		n := len(g.idle) - 1
		if n < 0 {
			t.mu.Unlock()
			return nil
		}
		c := g.idle[n]
		g.idle[n] = nil
		g.idle = g.idle[:n]
		t.mu.Unlock()
		if c.quiet() && c.watch(ctx) {
			return c
		}
		c.end()
	}
}

// keep makes a connection idle, unless there are enough or its time is over.
func (t *Transport) keep(c *conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := c.generation
	if t.active != g || len(g.idle) >= t.MaxIdle {
		return false
	}
	c.used = true
	g.idle = append(g.idle, c)
	return true
}

// CloseIdle closes the connections that no request is using, and those in use
// when their requests end.
func (t *Transport) CloseIdle() {
	t.mu.Lock()
	g := t.active
	t.mu.Unlock()
	if g != nil {
		t.retire(g)
	}
}

// Close closes all connections that are idle, and those in use when their
// requests end. Requests may still be made.
func (t *Transport) Close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.CloseIdle()
}
