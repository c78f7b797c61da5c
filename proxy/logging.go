package proxy

import (
	"context"
	"io"
	"log/slog"
	"os"
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
	return slog.New(&logHandler{
		set:  set,
		json: slog.NewJSONHandler(w, &slog.HandlerOptions{Level: &set.level}),
		text: tint.NewTextHandler(w, &tint.Options{
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
	json, text slog.Handler
}

func (h *logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.set.level.Level() }

func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	if h.set.asText.Load() {
		return h.text.Handle(ctx, r)
	}
	return h.json.Handle(ctx, r)
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{h.set, h.json.WithAttrs(attrs), h.text.WithAttrs(attrs)}
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	return &logHandler{h.set, h.json.WithGroup(name), h.text.WithGroup(name)}
}

// logEntry writes what an entry of the delivery log means to people: a warning
// for each attempt that failed, a line for each that ended a delivery. The last attempt of
// a delivery that dies is both. An end without an attempt (attempt 0) is a
// warning if something failed.
func logEntry(log *slog.Logger, e queue.Entry) {
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

func logLine(log *slog.Logger, level slog.Level, msg string, e queue.Entry) {
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
