package term_test

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"signalpost/proxy/term"
)

func TestPrint(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 300 * time.Microsecond: "0.3ms", 12 * time.Millisecond: "12ms", 5 * time.Second: "5s", 1500 * time.Millisecond: "1.5s",
		52 * time.Second: "52s", 169 * time.Second: "2m49s", time.Hour: "1h", 16*time.Hour + 35*time.Minute: "16h35m", 24 * time.Hour: "24h", 168 * time.Hour: "7d",
		50 * time.Hour: "2d2h", 244 * time.Hour: "10d4h", 2*time.Hour + 30*time.Second: "2h1m", 20 * time.Minute: "20m", 59600 * time.Millisecond: "1m", -5 * time.Second: "-5s",
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

// What JSON text says stays the same, and nothing in it steers a terminal.
func TestEscapeJSON(t *testing.T) {
	const said = "plain é ✓ \u009b31m \u202e \ufeff \U000e0041 \x7f \x1b"
	text, err := json.Marshal(said)
	if err != nil {
		t.Fatal(err)
	}
	escaped := term.EscapeJSON(string(text))
	for _, r := range escaped {
		if !strconv.IsPrint(r) {
			t.Errorf("%q is in %s", r, escaped)
		}
	}
	var got string
	if err := json.Unmarshal([]byte(escaped), &got); err != nil || got != said {
		t.Errorf("%s says %q, %v", escaped, got, err)
	}
	if !strings.Contains(escaped, "é ✓") {
		t.Errorf("%s escapes too much", escaped)
	}
}

// A Page escapes whatever it is given, but a Text.
func TestPage(t *testing.T) {
	var out strings.Builder
	p := term.Page{Writer: &out, Shaded: true}
	type name string
	p.Printf("%s %s %s %v %d %s", "a\x1b", name("b\u202e"), errors.New("c\x07"), time.Second, 7, p.In(term.Red, "d\x1b"))
	if want := `a\x1b b\u202e c\a 1s 7 ` + "\x1b[31m" + `d\x1b` + "\x1b[0m"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
}

func TestTable(t *testing.T) {
	var out strings.Builder
	term.Page{Writer: &out}.Table([]term.Column{{Name: "A"}, {Name: "NUMBER", Number: true}, {Name: "C"}}, [][]string{{"x\x1b", "1", "long"}, {"y", "1000000", "s"}})
	if want := "A       NUMBER  C\nx\\x1b        1  long\ny      1000000  s\n"; out.String() != want {
		t.Errorf("printed\n%swant\n%s", out.String(), want)
	}
}

func TestWrap(t *testing.T) {
	text := term.Wrap(strings.Repeat("word ", 30)+strings.Repeat("x", 100)+" \x1b", 4)
	for i, line := range strings.Split(string(text), "\n") {
		if i > 0 && !strings.HasPrefix(line, "    ") || term.Width(line) > term.Columns && !strings.Contains(line, "xxx") {
			t.Errorf("line %d is %q", i, line)
		}
	}
	if strings.Contains(string(text), "\x1b") {
		t.Error("it is not escaped")
	}
}
