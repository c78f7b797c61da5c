package proxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"signalpost/proxy/config"
	"signalpost/proxy/h1"
	"signalpost/queue"
)

// grace is how long a stop waits for attempts under way; what is not done
// then is given back uncharged.
const grace = 10 * time.Second

// polite is how long a stop waits for signals that have been read, and later for clients.
const polite = 2 * time.Second

// A Proxy is the sidecar: signals in, deliveries out, people looking in. Make
// it with New, run it with Serve.
type Proxy struct {
	log     *slog.Logger
	version string
	started time.Time
	path    string // of the config file
	listen  string // server.listen as it was at the start; a reload does not change it
	store   string // queue.path likewise

	times   times // set before Serve
	queue   *queue.Queue
	metrics *metrics
	table   atomic.Pointer[table] // never nil
	fault   atomic.Pointer[error] // why the config was not reloaded the last time; nil if it was

	reloading sync.Mutex // one Reload at a time
	stopping  atomic.Bool
	entered   atomic.Int64 // signals that have been read and not been answered
}

// New opens the store and begins to send what is due. log gets a line for each
// event; one made by NewLogger follows [log] when the config is reloaded.
// version is what the User-Agent says. The caller must call Serve, once: it
// closes what New opened.
func New(cfg *config.Config, log *slog.Logger, version string) (*Proxy, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p := &Proxy{
		log:     log,
		version: version,
		started: time.Now(),
		path:    cfg.Path,
		listen:  cfg.Server.Listen,
		store:   cfg.Queue.Path,
		times:   usualTimes,
	}
	t, err := newTable(cfg, p.userAgent(), nil)
	if err != nil {
		return nil, err
	}
	p.table.Store(t)
	p.metrics = newMetrics(func() queue.Status { return p.queue.Status() }, func() (bool, time.Time) {
		loaded, err := p.reloadState()
		return err == nil, loaded.loaded
	})
	p.queue, err = queue.Open(queue.Options{
		Path:    p.store,
		Courier: p,
		Log:     log,
		Observe: p.observe,
		Limits:  t.queueLimits(),
	})
	if err != nil {
		t.retire(nil)
		return nil, err
	}
	if err := p.queue.Configure(t.queueLimits(), t.queueRoutes()); err != nil {
		t.retire(nil)
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *Proxy) userAgent() string { return "signalpost/" + p.version }

// Deliver makes one attempt, by the table of this moment: it is the queue's
// Courier.
func (p *Proxy) Deliver(ctx context.Context, d queue.Delivery, attempt int) (queue.Outcome, error) {
	if r := p.table.Load().route(d.Route); r != nil {
		return r.endpoint.Attempt(ctx, d, attempt)
	}
	// A reload took the route away just after the queue took the delivery up,
	// and is telling the queue, which holds it then.
	return queue.Outcome{}, fmt.Errorf("route %q has gone from the config", d.Route)
}

// Reload reads the config file again and applies it, or changes nothing and
// returns why. It loses and repeats nothing: a signal or attempt under way ends with
// the table it began with.
func (p *Proxy) Reload() error {
	p.reloading.Lock()
	defer p.reloading.Unlock()
	old := p.table.Load()
	t, err := p.load(old)
	if err != nil {
		p.fault.Store(&err)
		return err
	}
	// From here on nothing fails that would have to be undone.
	p.fault.Store(nil)
	p.table.Store(t)
	if err := p.queue.Configure(t.queueLimits(), t.queueRoutes()); err != nil {
		// It has them nonetheless, for when the store can be written again.
		p.log.Warn("the queue takes up the new config when its store works again", "err", err)
	}
	old.retire(t)
	if h, ok := p.log.Handler().(*logHandler); ok {
		h.set.apply(t.cfg.Log)
	}
	if t.cfg.Server.Listen != p.listen {
		p.log.Warn(fmt.Sprintf("server.listen is now %s, but the sidecar goes on listening on %s: restart it to change that; all else is applied", t.cfg.Server.Listen, p.listen))
	}
	if t.cfg.Queue.Path != p.store {
		p.log.Warn(fmt.Sprintf("queue.path is now %s, but the store stays at %s: restart the sidecar to change that; all else is applied", t.cfg.Queue.Path, p.store))
	}
	p.log.Info(fmt.Sprintf("config reloaded: %s, %s", t.cfg.Hash, count(len(t.routes), "route")))
	return nil
}

// load does everything of a reload that can fail.
func (p *Proxy) load(old *table) (*table, error) {
	cfg, err := config.Load(p.path)
	if err != nil {
		return nil, err
	}
	return newTable(cfg, p.userAgent(), old)
}

// reload is Reload for those who have nobody to return an error to.
func (p *Proxy) reload() {
	if err := p.Reload(); err != nil {
		p.log.Error("config not reloaded, the running one stays", "err", err)
	}
}

// reloadState returns the running table and why it is not that of the file:
// the faults of the last reload, or nil.
func (p *Proxy) reloadState() (*table, error) {
	if fault := p.fault.Load(); fault != nil {
		return p.table.Load(), *fault
	}
	return p.table.Load(), nil
}

// ready is nil while signals are accepted, else it says why not: it wraps an
// error of the queue.
func (p *Proxy) ready() error {
	if p.stopping.Load() {
		return fmt.Errorf("stopping: %w", queue.ErrClosed)
	}
	return p.queue.Ready()
}

// enter has a signal that has been read waited for, should the sidecar stop,
// until leave is called. It is an error where ready is, and there is nothing to leave.
func (p *Proxy) enter() error {
	p.entered.Add(1) // before the look: who stops counts after it has said so
	err := p.ready()
	if err != nil {
		p.leave()
	}
	return err
}

func (p *Proxy) leave() { p.entered.Add(-1) }

// observe takes the entries of the delivery log as they are written: for the
// metrics and the log. The lines of a batch are written at once.
func (p *Proxy) observe(batch []queue.Entry) {
	if h, ok := p.log.Handler().(*logHandler); ok {
		h.out.hold()
		defer h.out.flush()
	}
	for i := range batch {
		p.metrics.observe(&batch[i])
		logEntry(p.log, &batch[i])
	}
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
		p.table.Load().retire(nil)
	}()
	l, err := listen(p.listen)
	if err != nil {
		return errors.Join(err, p.close())
	}
	d := &door{handler: p.routes(), readerTime: p.times.reader}
	server := &http.Server{
		Handler:           d,
		ReadHeaderTimeout: p.times.header,
		ReadTimeout:       p.times.request,
		WriteTimeout:      p.times.answer,
		IdleTimeout:       p.times.idle,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	if ctx.Err() == nil {
		tasks.Go(func() { p.watch(watching) })
	}
	short := h1.New(l, d, p.log, h1.Timeouts{Header: p.times.header, Answer: p.times.answer, Idle: p.times.idle})
	served := make(chan error, 1)
	tasks.Go(func() { served <- server.Serve(short) })
	addr := address(l)
	p.log.Info("listening on " + addr)
	if ready != nil {
		ready(addr)
	}
	select {
	case <-ctx.Done():
	case err = <-served:
		err = fmt.Errorf("%s: serving ended: %w", addr, err)
	}
	stopWatching()
	return errors.Join(err, p.drain(server, short, d))
}

// drain ends serving as Serve describes it.
func (p *Proxy) drain(server *http.Server, short *h1.Listener, d *door) error {
	p.log.Info("stopping: no new signals; attempts under way have " + grace.String())
	p.stopping.Store(true)
	d.close()
	// A signal takes as long as an fsync, or an expression that runs away.
	for end := time.Now().Add(polite); p.entered.Load() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	err := p.close()
	ctx, cancel := context.WithTimeout(context.Background(), polite)
	defer cancel()
	server.Shutdown(ctx) // its only error is that time is up
	server.Close()
	short.End(ctx)
	d.wait()
	if err == nil {
		p.log.Info("stopped")
	}
	return err
}

// close closes the queue, giving attempts under way the grace.
func (p *Proxy) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	return p.queue.Close(ctx)
}

// times are what clients have, whatever they send or do not.
type times struct {
	header  time.Duration // for the headers of a request
	request time.Duration // for a request whole
	room    time.Duration // that a large body waits for room, at most
	answer  time.Duration // from the headers until the answer has been taken
	long    time.Duration // the same of what changes, or tries, many things
	reader  time.Duration // for each piece of a followed log, which may go on for ever
	idle    time.Duration // between the requests of a connection
}

var usualTimes = times{
	header:  10 * time.Second,
	request: 30 * time.Second,
	room:    10 * time.Second,
	answer:  time.Minute,
	long:    10 * time.Minute, // sending a million deliveries again takes a while
	reader:  30 * time.Second,
	idle:    2 * time.Minute,
}

// takesLong gives the answer to a request, whose body has been read, more time
// than usual.
func (p *Proxy) takesLong(w http.ResponseWriter) {
	c := http.NewResponseController(w)
	until := time.Now().Add(p.times.long)
	c.SetReadDeadline(until) // once it has passed, net/http ends the request's context
	c.SetWriteDeadline(until)
}

// A door lets requests in and keeps count of them. Those that follow the log
// it gives all the time they want.
type door struct {
	handler    http.Handler
	readerTime time.Duration // in which who follows the log must take what is sent
	inside     sync.WaitGroup
	mu         sync.Mutex
	closed     bool                         // guarded by mu
	streams    map[*context.CancelFunc]bool // what ends each followed log; guarded by mu
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.inside.Add(1)
	defer d.inside.Done()
	if r.URL.Path == "/log" && strings.Contains(r.URL.RawQuery, "follow=") {
		c := http.NewResponseController(w)
		c.SetReadDeadline(time.Time{}) // once it has passed, net/http ends the request's context
		c.SetWriteDeadline(time.Time{})
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer d.stream(cancel)()
		w, r = streamWriter{w, c, d.readerTime}, r.WithContext(ctx)
	}
	d.handler.ServeHTTP(w, r)
}

// A streamWriter gives each write its own time.
type streamWriter struct {
	http.ResponseWriter
	c    *http.ResponseController
	time time.Duration
}

func (w streamWriter) Write(b []byte) (int, error) {
	w.c.SetWriteDeadline(time.Now().Add(w.time))
	return w.ResponseWriter.Write(b)
}

// Unwrap leads http.ResponseController to the rest.
func (w streamWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// stream has cancel called when the door closes, unless the function it
// returns was called before.
func (d *door) stream(cancel context.CancelFunc) (done func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		cancel()
		return func() {}
	}
	if d.streams == nil {
		d.streams = make(map[*context.CancelFunc]bool)
	}
	d.streams[&cancel] = true
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.streams, &cancel)
	}
}

// close ends the streams, which would not end by themselves.
func (d *door) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for cancel := range d.streams {
		(*cancel)()
	}
}

// wait returns when no request is left. None may come in any more.
func (d *door) wait() { d.inside.Wait() }

// listen listens on HOST:PORT, or on unix: and a path. The socket is for its
// owner alone. One that a killed process left behind is replaced; one that
// somebody listens on, and a file that is no socket, is not.
func listen(addr string) (net.Listener, error) {
	path, unix := strings.CutPrefix(addr, "unix:")
	if !unix {
		l, err := net.Listen("tcp", addr)
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("listen on %s: another process does already; stop it, or change server.listen: %w", addr, err)
		}
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", addr, err)
		}
		return l, nil
	}
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != fs.ModeSocket {
			return nil, fmt.Errorf("listen on %s: there is a file that is no socket; move it away, or change server.listen", addr)
		}
		if c, err := net.Dial("unix", path); err == nil {
			c.Close()
			return nil, fmt.Errorf("listen on %s: another process does already; stop it, or change server.listen", addr)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("listen on %s: a socket is left over from before and cannot be removed: %w", addr, err)
		}
	}
	// The mask, which is the whole process's, keeps others out from the first moment on.
	mask := syscall.Umask(0o177)
	l, err := net.Listen("unix", path)
	syscall.Umask(mask)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return l, nil
}

// address is where a listener listens, as server.listen writes it.
func address(l net.Listener) string {
	if l.Addr().Network() == "unix" {
		return "unix:" + l.Addr().String()
	}
	return l.Addr().String()
}

// count writes a number of things: 1 route, 2 routes.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
