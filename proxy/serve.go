package proxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/explain"
	"signalpost/proxy/front"
	"signalpost/proxy/h1"
	"signalpost/proxy/health"
	"signalpost/proxy/ingest"
	"signalpost/proxy/system"
	"signalpost/queue"
)

// grace is how long a stop waits for attempts under way; what is not done
// then is given back uncharged.
const grace = 10 * time.Second

const (
	lookAtHealth = 5 * time.Second
	lookAtAlerts = time.Second // that are due
)

// timeouts bound how long clients take.
type timeouts struct {
	header   time.Duration // for the headers of a request
	request  time.Duration // for a request whole
	body     time.Duration // the longest that a large body waits for memory
	answer   time.Duration // from the headers until the answer has been taken
	long     time.Duration // the same of what changes, or tries, many things
	follower time.Duration // for each piece of a followed log, which may go on for ever
	idle     time.Duration // between the requests of a connection
	drain    time.Duration // that a stop waits for signals that have been read, and later for clients
}

var usualTimeouts = timeouts{
	header:   10 * time.Second,
	request:  30 * time.Second,
	body:     10 * time.Second,
	answer:   time.Minute,
	long:     10 * time.Minute, // sending a million deliveries again takes a while
	follower: 30 * time.Second,
	idle:     2 * time.Minute,
	drain:    2 * time.Second,
}

// Serve listens, and answers until ctx ends; ready, unless nil, is called with
// the address once requests are answered: HOST:PORT, or unix: and a path. The
// config is reloaded when its files change. Then it stops, in order: new signals
// are refused; signals and attempts under way are waited for, grace at most; the
// store is closed; so is the port. Serve returns nil after a stop that ctx
// asked for, and leaves no goroutine. It must be called once.
func (p *Proxy) Serve(ctx context.Context, ready func(addr string)) (err error) {
	var tasks sync.WaitGroup
	defer func() {
		tasks.Wait()
		p.table.Load().Close()
		output(p.log).flush()
	}()
	l, err := listen(p.listen)
	if err != nil {
		return errors.Join(err, p.close())
	}
	into := ingest.Options{Queue: p.queue, Table: p.table.Load, Metrics: p.metrics, BodyWait: p.timeouts.body}
	if p.fleet != nil {
		into.Claim = p.fleet.Claim // of the whole fleet
	}
	in := ingest.New(into)
	answer, stopFollowers := p.handler(in, p.front(in, p.queue))
	var requests sync.WaitGroup // net/http does not wait for those it closes the connections of
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		defer requests.Done()
		answering(r, true)
		defer answering(r, false)
		answer.ServeHTTP(w, r)
	})
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: p.timeouts.header,
		ReadTimeout:       p.timeouts.request,
		WriteTimeout:      p.timeouts.answer,
		IdleTimeout:       p.timeouts.idle,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	if ctx.Err() == nil {
		p.startTasks(watching, &tasks, in)
	}
	plain := h1.Listen(limitConns(l, p.conns), h1.Options{
		Path: "/signals", Handler: handler, Log: p.log,
		Header: p.timeouts.header, Answer: p.timeouts.answer, Idle: p.timeouts.idle,
	})
	served := make(chan error, 1)
	tasks.Go(func() { served <- server.Serve(plain) })
	addr := address(l)
	p.greet(addr)
	if ready != nil {
		ready(addr)
	}
	select {
	case <-ctx.Done():
	case err = <-served:
		err = fmt.Errorf("%s: serving ended: %w", addr, err)
	}
	stopWatching()

	p.log.Info("stopping: no new signals; attempts under way have " + grace.String())
	stopFollowers()
	in.Stop(p.timeouts.drain) // a signal takes as long as an fsync, or an expression that runs away
	err = errors.Join(err, p.close())
	closing, cancel := context.WithTimeout(context.Background(), p.timeouts.drain)
	defer cancel()
	server.Shutdown(closing) // its only error is that time is up
	server.Close()
	plain.Wait(closing)
	requests.Wait()
	if err == nil {
		p.log.Info("stopped")
	}
	return err
}

// startTasks starts the tasks that watch the config's files and the sidecar's health, until
// watching ends.
func (p *Proxy) startTasks(watching context.Context, tasks *sync.WaitGroup, in *ingest.Ingest) {
	tasks.Go(func() { p.watch(watching) })
	tasks.Go(func() {
		look := time.NewTicker(lookAtAlerts)
		defer look.Stop()
		p.sendAlerts(watching, in, look.C)
	})
	tasks.Go(func() { // so that health knows since when, though nobody asks
		for look := time.NewTicker(lookAtHealth); watching.Err() == nil; {
			p.look()
			select {
			case <-watching.Done():
			case <-look.C:
			}
		}
	})
}

// greet logs that the sidecar listens, and on a terminal where the dashboard is, where
// deliveries go, and how to stop.
func (p *Proxy) greet(addr string) {
	p.log.Info("listening on " + addr)
	if !output(p.log).terminal {
		return
	}
	if host, port, err := net.SplitHostPort(addr); err == nil {
		if ip, _ := netip.ParseAddr(host); ip.IsUnspecified() {
			host = "127.0.0.1"
		}
		p.log.Info("dashboard at http://" + net.JoinHostPort(host, port) + "/")
	}
	for _, r := range p.table.Load().Config.Routes {
		p.log.Info("route " + r.Name + " to " + r.Target)
	}
	p.log.Info("Ctrl-C stops it; what waits goes on with the next run")
}

// front returns the handler of all requests for a queue.
func (p *Proxy) front(in *ingest.Ingest, q *queue.Queue) *front.Front {
	look := p.look
	if p.fleet != nil { // whose other ledgers answer for themselves
		look = func() (health.Facts, api.Health) {
			facts, whole := p.look()
			facts.Queue = q.Status()
			return facts, whole
		}
	}
	return front.New(front.Options{
		Version:  p.version,
		Started:  p.started,
		Queue:    q,
		Table:    p.table.Load,
		Look:     look,
		Explain:  &explain.Explainer{Queue: q, Table: p.table.Load, Started: p.started, History: &p.history},
		Metrics:  p.metrics.handler(),
		Log:      p.log,
		Ingest:   in,
		Refused:  p.metrics.refused.Inc,
		Requests: max(p.conns/2, 1),
		Long:     p.timeouts.long,
		Follower: p.timeouts.follower,
	})
}

// listen listens on HOST:PORT, or on unix: and a path. The socket is for its
// owner alone. One that a killed process left behind is replaced; one that
// somebody listens on, and a file that is no socket, is not.
func listen(addr string) (l net.Listener, err error) {
	defer func() {
		if op := (*net.OpError)(nil); errors.As(err, &op) {
			err = op.Err // the rest is said here
		}
		if err != nil {
			err = fmt.Errorf("listen on %s: %w", addr, err)
		}
	}()
	inUse := errors.New("another process does already; stop it, or change server.listen")
	path, unix := strings.CutPrefix(addr, "unix:")
	if !unix {
		l, err = net.Listen("tcp", addr)
		if system.Is(err, syscall.EADDRINUSE) {
			err = inUse
		}
		return l, err
	}
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != fs.ModeSocket {
			return nil, errors.New("there is a file that is no socket; move it away, or change server.listen")
		}
		if c, err := net.Dial("unix", path); err == nil {
			c.Close()
			return nil, inUse
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("a socket is left over from before and cannot be removed: %w", err)
		}
	}
	// The mask, which is the whole process's, keeps others out from the first moment on.
	defer system.Umask(system.Umask(0o177))
	return net.Listen("unix", path)
}

// address is where a listener listens, as server.listen writes it.
func address(l net.Listener) string {
	if l.Addr().Network() == "unix" {
		return "unix:" + l.Addr().String()
	}
	return l.Addr().String()
}
