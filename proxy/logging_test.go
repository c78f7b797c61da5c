package proxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"signalpost/proxy/config"
	"signalpost/proxy/term"
	"signalpost/queue"
)

// written waits until all that was logged is written.
func written(t *testing.T, log *slog.Logger) {
	t.Helper()
	out := output(log)
	for deadline := latest(); out.busy(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the log is never written")
		}
	}
}

func (w *lineWriter) busy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.writing != nil
}

// A gate is a reader of a log that can stall, or be away.
type gate struct {
	lines
	stall sync.Mutex // held while it stalls
	away  atomic.Bool
}

func (g *gate) Write(b []byte) (int, error) {
	g.stall.Lock()
	defer g.stall.Unlock()
	if g.away.Load() {
		return 0, syscall.EPIPE
	}
	return g.lines.Write(b)
}

// Who reads the log may stall for as long as they like: nobody waits for them,
// what they miss is counted, and they are told how much it was.
func TestLogReaderStalls(t *testing.T) {
	out := &gate{}
	log := NewLogger(out, false, config.Log{Format: "json"})
	writer := output(log)
	out.stall.Lock()
	const size, n = 1 << 10, 4 * maxLines / (1 << 10)
	for i := range n {
		log.Info(strings.Repeat("x", size), "attempt", i) // a write that waits would never end
	}
	writer.flush() // nor this
	total, _, _ := writer.drops()
	dropped := int(total)
	if dropped < n/2 || dropped >= n {
		t.Errorf("%d of %d lines are dropped", dropped, n)
	}
	out.stall.Unlock()
	written(t, log)
	log.Info("and on")
	written(t, log)
	text := out.String()
	told := fmt.Sprintf("%d lines of the log dropped", dropped)
	if got := strings.Count(text, "\n"); got != n-dropped+2 || strings.Count(text, told) != 1 || !strings.Contains(text, "and on") {
		t.Errorf("%d lines came through, %d dropped; told: %d times", got, dropped, strings.Count(text, told))
	}
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if !json.Valid([]byte(line)) {
			t.Fatalf("line %d is cut: %q", i, line)
		}
	}
}

// Who reads the log may go away, and come back.
func TestLogReaderGoesAway(t *testing.T) {
	out := &gate{}
	log := NewLogger(out, false, config.Log{Format: "json"})
	out.away.Store(true)
	for range 3 {
		log.Info("to nobody")
		written(t, log)
	}
	out.away.Store(false)
	log.Info("to somebody")
	written(t, log)
	if text := out.String(); strings.Contains(text, "nobody") || !strings.Contains(text, "somebody") || !strings.Contains(text, "3 lines of the log dropped") {
		t.Errorf("%s", text)
	}
	if n, since, last := output(log).drops(); n != 3 || since.IsZero() || last.Before(since) {
		t.Errorf("%d are counted", n)
	}
}

func TestLogEntry(t *testing.T) {
	base := queue.Entry{Route: "crm", Attempt: 3, DurationMS: 1.5, Status: 200}
	with := func(change func(*queue.Entry)) queue.Entry {
		e := base
		change(&e)
		return e
	}
	tests := []struct {
		name  string
		entry queue.Entry
		want  []string // level, message
	}{
		{"delivered", with(func(e *queue.Entry) { e.Verdict = queue.Delivered }), []string{"INFO delivered"}},
		{"failed", with(func(e *queue.Entry) { e.Verdict, e.Status, e.Error = queue.Retry, 500, "answered 500" }), []string{"WARN attempt failed"}},
		{"exhausted", with(func(e *queue.Entry) {
			e.Verdict, e.Reason, e.Status, e.Error = queue.Dead, queue.Exhausted, 500, "answered 500"
		}), []string{"WARN attempt failed", "INFO delivery given up: exhausted"}},
		{"transform", with(func(e *queue.Entry) {
			e.Verdict, e.Reason, e.Attempt, e.Error = queue.Dead, queue.Transform, 0, "not a number"
		}),
			[]string{"WARN delivery failed"}},
		{"discarded", with(func(e *queue.Entry) { e.Verdict, e.Reason, e.Attempt = queue.Dead, queue.Discarded, 0 }),
			[]string{"INFO delivery given up: discarded"}},
	}
	for _, test := range tests {
		var out bytes.Buffer
		log := NewLogger(&out, false, config.Log{Format: "json"})
		logEntry(log, &test.entry)
		written(t, log)
		var got []string
		for d := json.NewDecoder(&out); d.More(); {
			var line map[string]any
			if err := d.Decode(&line); err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprint(line["level"], " ", line["msg"]))
			for key := range line {
				switch key {
				case "time", "level", "msg", "route", "signal", "delivery", "attempt", "status", "duration_ms", "verdict", "err":
				default:
					t.Errorf("%s: unknown key %s", test.name, key)
				}
			}
			if line["route"] != "crm" || line["verdict"] != string(test.entry.Verdict) {
				t.Errorf("%s: got %v", test.name, line)
			}
		}
		if strings.Join(got, "; ") != strings.Join(test.want, "; ") {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestNewLogger(t *testing.T) {
	tests := []struct {
		format   string
		terminal bool
		want     string // "json", "coloured" or "plain"
	}{
		{"auto", true, "coloured"},
		{"auto", false, "json"},
		{"text", true, "coloured"},
		{"text", false, "plain"},
		{"json", true, "json"},
		{"json", false, "json"},
	}
	t.Setenv("NO_COLOR", "")
	for _, test := range tests {
		var out bytes.Buffer
		log := NewLogger(&out, test.terminal, config.Log{Format: test.format, Level: slog.LevelWarn})
		log.Info("not this")
		log.With("route", "crm").Warn("this", "err", "x")
		written(t, log)
		got := "plain"
		switch {
		case json.Valid(out.Bytes()):
			got = "json"
		case strings.Contains(out.String(), "\x1b["):
			got = "coloured"
		}
		if got != test.want || strings.Contains(out.String(), "not this") || !strings.Contains(out.String(), "crm") {
			t.Errorf("%s, terminal %t: got %s: %q", test.format, test.terminal, got, out.String())
		}
		// A reload changes level and format of loggers that are derived, too.
		out.Reset()
		derived := log.With("route", "crm")
		output(log).apply(config.Log{Format: "json", Level: slog.LevelInfo})
		derived.Info("now this")
		written(t, log)
		if !json.Valid(out.Bytes()) || !strings.Contains(out.String(), "now this") {
			t.Errorf("%s, terminal %t: after a reload: %q", test.format, test.terminal, out.String())
		}
	}
}

// On a terminal each line fits it, and nothing is lost of it.
func TestTerminalLines(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	var out bytes.Buffer
	log := NewLogger(&out, true, config.Log{})
	logEntry(log, &queue.Entry{Route: "crm", Attempt: 1, Status: 503, Verdict: queue.Retry, DurationMS: 12.3,
		Error: strings.Repeat("answered 503 Service Unavailable; ", 9)})
	log.Info("listening on 127.0.0.1:8787")
	written(t, log)
	text := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(out.String(), "")
	for line := range strings.Lines(text) {
		if n := term.Width(strings.TrimSuffix(line, "\n")); n > 80 {
			t.Errorf("a line of %d columns: %q", n, line)
		}
	}
	whole := strings.Join(strings.Fields(text), " ")
	if strings.Count(text, "\n    ") < 4 || !strings.Contains(whole, strings.Repeat("answered 503 Service Unavailable; ", 9)) ||
		!strings.Contains(whole, " status=503 duration_ms=12.3 verdict=retry ") || !strings.HasSuffix(text, " INF listening on 127.0.0.1:8787\n") {
		t.Errorf("it shows\n%s", text)
	}
}
