package proxy

import (
	"context"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmittmann/tint"

	"signalpost/proxy/config"
	"signalpost/queue"
)

// NewLogger returns a logger that writes as [log] of the config says, and that
// a Proxy keeps in step with it when the config is reloaded. terminal says
// whether w is one: auto is coloured text there and JSON elsewhere. Text is
// without colours elsewhere, and where the environment sets NO_COLOR.
//
// The keys of a line are fixed: time level msg route signal delivery attempt
// status duration_ms verdict err.
func NewLogger(w io.Writer, terminal bool, c config.Log) *slog.Logger {
	set := &logSetting{terminal: terminal}
	set.apply(c)
	out := &lineWriter{w: w}
	return slog.New(&logHandler{
		set:  set,
		out:  out,
		json: slog.NewJSONHandler(out, &slog.HandlerOptions{Level: &set.level}),
		text: tint.NewTextHandler(out, &tint.Options{
			Level:      &set.level,
			TimeFormat: time.TimeOnly,
			NoColor:    !terminal || os.Getenv("NO_COLOR") != "",
		}),
	})
}

// A logSetting is what of a logger can change while it is used.
type logSetting struct {
	terminal bool
	level    slog.LevelVar
	asText   atomic.Bool
}

func (s *logSetting) apply(c config.Log) {
	s.level.Set(c.Level)
	s.asText.Store(c.Format == "text" || c.Format != "json" && s.terminal)
}

// A logHandler hands each record to one of two handlers.
type logHandler struct {
	set        *logSetting // shared with all that are derived from it
	out        *lineWriter // likewise
	json, text slog.Handler
}

// A lineWriter hands lines on as they come, but for those that come while it
// is held: they go in one piece when it is flushed. A system call a line is what a
// line costs most.
type lineWriter struct {
	mu   sync.Mutex
	w    io.Writer
	held bool
	buf  []byte // while held
}

// heldLines is how many bytes of lines are held at most.
const heldLines = 64 << 10

func (w *lineWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.held {
		return w.w.Write(line)
	}
	w.buf = append(w.buf, line...)
	if len(w.buf) >= heldLines {
		w.empty()
	}
	return len(line), nil
}

func (w *lineWriter) hold() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = true
}

func (w *lineWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = false
	if len(w.buf) > 0 {
		w.empty()
	}
}

// empty writes what is held; where nobody takes it, there is nobody to tell.
// mu is held.
func (w *lineWriter) empty() {
	w.w.Write(w.buf)
	w.buf = w.buf[:0]
}

func (h *logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.set.level.Level() }

func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	if h.set.asText.Load() {
		return h.text.Handle(ctx, r)
	}
	return h.json.Handle(ctx, r)
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{h.set, h.out, h.json.WithAttrs(attrs), h.text.WithAttrs(attrs)}
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	return &logHandler{h.set, h.out, h.json.WithGroup(name), h.text.WithGroup(name)}
}

// logEntry writes what an entry of the delivery log means to people: a warning
// for each attempt that failed, a line for each that ended a delivery. The last attempt of
// a delivery that dies is both. An end without an attempt (attempt 0) is a
// warning if something failed.
func logEntry(log *slog.Logger, e *queue.Entry) {
	ends := e.Verdict != queue.Retry
	failed := e.Verdict != queue.Delivered && (e.Attempt > 0 || e.Error != "")
	if failed {
		msg := "attempt failed"
		if e.Attempt == 0 {
			msg = "delivery failed"
		}
		logLine(log, slog.LevelWarn, msg, e)
	}
	switch {
	case !ends || failed && e.Attempt == 0:
	case e.Verdict == queue.Delivered:
		logLine(log, slog.LevelInfo, "delivered", e)
	default:
		logLine(log, slog.LevelInfo, "delivery given up: "+string(e.Reason), e)
	}
}

func logLine(log *slog.Logger, level slog.Level, msg string, e *queue.Entry) {
	ctx := context.Background()
	if !log.Enabled(ctx, level) {
		return
	}
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
	log.LogAttrs(ctx, level, msg, attrs...)
}
