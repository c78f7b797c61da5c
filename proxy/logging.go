package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmittmann/tint"

	"signalpost/proxy/config"
	"signalpost/proxy/health"
	"signalpost/proxy/term"
	"signalpost/queue"
)

// NewLogger returns a logger that writes as [log] of the config says, and that
// a Proxy keeps in step with it when the config is reloaded. terminal says
// whether w is one: auto is coloured text there and JSON elsewhere. Text is
// without colours elsewhere, and where the environment sets NO_COLOR.
//
// The keys of a line are fixed: time level msg route signal delivery attempt
// status duration_ms verdict err. On a terminal a long line is folded.
func NewLogger(w io.Writer, terminal bool, c config.Log) *slog.Logger {
	out := &logOutput{terminal: terminal, lineWriter: lineWriter{w: w}}
	out.apply(c)
	log := slog.New(&logHandler{
		out,
		slog.NewJSONHandler(out, &slog.HandlerOptions{Level: &out.level}),
		tint.NewTextHandler(folded{out}, &tint.Options{
			Level:      &out.level,
			TimeFormat: time.TimeOnly,
			NoColor:    !terminal || os.Getenv("NO_COLOR") != "",
		}),
	})
	out.resumed = func(dropped int64) {
		log.Warn(fmt.Sprintf("%s of the log dropped: who reads it was not fast enough, or away", term.Count(int(dropped), "line")))
	}
	return log
}

// A logOutput is where lines go, with the level and form that a reload may change.
type logOutput struct {
	lineWriter
	terminal bool
	level    slog.LevelVar
	asText   atomic.Bool
}

// folded is where lines of text go: on a terminal they fit it.
type folded struct{ *logOutput }

func (f folded) Write(line []byte) (int, error) {
	if !f.terminal {
		return f.lineWriter.Write(line)
	}
	return f.lineWriter.Write([]byte(term.Fold(strings.TrimSuffix(string(line), "\n"), 4) + "\n"))
}

func (o *logOutput) apply(c config.Log) {
	o.level.Set(c.Level)
	o.asText.Store(c.Format == "text" || c.Format != "json" && o.terminal)
}

// A logHandler hands each record to one of two handlers.
type logHandler struct {
	out        *logOutput // shared with all that are derived from it
	json, text slog.Handler
}

func (h *logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.out.level.Level() }

func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	if h.out.asText.Load() {
		return h.text.Handle(ctx, r)
	}
	return h.json.Handle(ctx, r)
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{h.out, h.json.WithAttrs(attrs), h.text.WithAttrs(attrs)}
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	return &logHandler{h.out, h.json.WithGroup(name), h.text.WithGroup(name)}
}

// output is the output of a logger made by NewLogger; of another logger an unused one.
func output(log *slog.Logger) *logOutput {
	if h, ok := log.Handler().(*logHandler); ok {
		return h.out
	}
	return &logOutput{}
}

// A lineWriter writes lines in order and never blocks its callers: a goroutine, which
// lasts as long as there is something to write, writes what has gathered. Lines that do
// not fit behind a reader that stalls are dropped and counted, as are those that cannot
// be written.
type lineWriter struct {
	w       io.Writer
	resumed func(dropped int64) // called when lines flow again after some were dropped

	mu      sync.Mutex
	total   int64         // lines dropped; guarded by mu
	since   time.Time     // the first of them after a long time without; guarded by mu
	last    time.Time     // the last of them; guarded by mu
	lines   []byte        // that wait; guarded by mu
	spare   []byte        // what lines was before, to be used again; guarded by mu
	noted   int64         // of total, by resumed; guarded by mu
	writing chan struct{} // closed when nothing is left to write; nil while nothing is written; guarded by mu
}

// maxLines is how many bytes of lines wait at most.
const maxLines = 256 << 10

// Write takes one line. It never fails.
func (w *lineWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.lines)+len(line) > maxLines {
		w.drop(1)
		return len(line), nil
	}
	w.lines = append(w.lines, line...)
	if w.writing == nil {
		w.writing = make(chan struct{})
		go w.write()
	}
	return len(line), nil
}

func (w *lineWriter) write() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.lines) > 0 {
		out := w.lines
		w.lines = w.spare[:0]
		w.mu.Unlock()
		n, err := w.w.Write(out)
		w.mu.Lock()
		w.spare = out
		if err != nil {
			w.drop(bytes.Count(out[n:], []byte("\n")))
		} else if dropped := w.total - w.noted; dropped > 0 {
			w.noted += dropped
			w.mu.Unlock()
			w.resumed(dropped)
			w.mu.Lock()
		}
	}
	close(w.writing)
	w.writing = nil
}

// drop notes that lines are lost. mu is held.
func (w *lineWriter) drop(lines int) {
	now := time.Now()
	if now.Sub(w.last) > health.Recently {
		w.since = now
	}
	w.total, w.last = w.total+int64(lines), now
}

// drops returns how many lines were lost, and when: see health.Facts.
func (w *lineWriter) drops() (total int64, since, last time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.total, w.since, w.last
}

// flush waits until everything is written, at most flushTimeout.
func (w *lineWriter) flush() {
	w.mu.Lock()
	writing := w.writing
	w.mu.Unlock()
	if writing == nil {
		return
	}
	select {
	case <-writing:
	case <-time.After(flushTimeout):
	}
}

const flushTimeout = 250 * time.Millisecond

// logEntry writes lines for an entry of the delivery log: a warning
// for each attempt that failed, a line for each that ended a delivery. The last attempt of
// a delivery that dies is both. An end without an attempt (attempt 0) is a
// warning if something failed.
func logEntry(log *slog.Logger, e *queue.Entry) {
	attrs := append(make([]slog.Attr, 0, 8),
		slog.String("route", e.Route),
		slog.String("signal", e.Signal.String()),
		slog.String("delivery", e.Delivery.String()),
		slog.Int("attempt", e.Attempt))
	if e.Status != 0 {
		attrs = append(attrs, slog.Int("status", e.Status))
	}
	if e.Attempt > 0 {
		attrs = append(attrs, slog.Float64("duration_ms", e.DurationMS))
	}
	attrs = append(attrs, slog.String("verdict", string(e.Verdict)))
	if e.Error != "" {
		attrs = append(attrs, slog.String("err", e.Error))
	}
	line := func(level slog.Level, msg string) { log.LogAttrs(context.Background(), level, msg, attrs...) }
	switch {
	case e.Verdict == queue.Delivered:
		line(slog.LevelInfo, "delivered")
		return
	case e.Attempt > 0:
		line(slog.LevelWarn, "attempt failed")
	case e.Error != "":
		line(slog.LevelWarn, "delivery failed")
		return
	}
	if e.Verdict == queue.Dead {
		line(slog.LevelInfo, "delivery given up: "+string(e.Reason))
	}
}
