package term_test

import (
	"testing"
	"time"

	"signalpost/proxy/term"
)

func TestPrint(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 300 * time.Microsecond: "0.3ms", 12 * time.Millisecond: "12ms", 5 * time.Second: "5s", 1500 * time.Millisecond: "1.5s",
		52 * time.Second: "52s", 169 * time.Second: "2m49s", time.Hour: "1h", 16*time.Hour + 35*time.Minute: "16h35m", 24 * time.Hour: "24h", 168 * time.Hour: "7d",
		50 * time.Hour: "2d2h", -5 * time.Second: "-5s",
	} {
		if got := term.Span(d); got != want {
			t.Errorf("Span(%v) is %s, want %s", d, got, want)
		}
	}
	for text, want := range map[string]string{
		"plain é ✓": "plain é ✓", "a\x1b[31mb": `a\x1b[31mb`, "a\nb\tc": `a\nb\tc`, "\u202e": `\u202e`, "\xff": `\xff`, "\ufffd": "\ufffd", "\x00\x7f": `\x00\x7f`,
	} {
		if got := term.Escape(text); got != want {
			t.Errorf("Escape(%q) is %s, want %s", text, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 10 << 30: "10.0 GiB", 500 << 30: "500 GiB"} {
		if got := term.Size(n); got != want {
			t.Errorf("Size(%d) is %s, want %s", n, got, want)
		}
	}
}
