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

// A table fits its terminal: cells are shortened first, as far as they may be,
// then the highest rank goes, and what differs still does. Without a terminal it is whole.
func TestTableFits(t *testing.T) {
	long := strings.Repeat("crm-", 15)
	odd := long[:30] + "X" + long[31:] + "eu2"
	columns := []term.Column{{Name: "ROUTE", Least: 12}, {Name: "DEAD", Number: true, Rank: 1}, {Name: "TARGET", Rank: 2, Least: 20}}
	rows := [][]string{{long + "eu1", "12", "https://eu.example.com"}, {long + "eu2", "3", "https://example.com"}, {odd, "3", "https://example.com"}}
	for width, want := range map[int]string{
		0: long + "eu1    12  https://eu.example.com\n" + long + "eu2     3  https://example.com\n" + odd + "     3  https://example.com\n",
		80: "crm-crm-crm-crm-crm-crm-crm-crm…-crm-crm-crm-crm-eu1    12  https://eu…ample.com\n" +
			"crm-crm-crm-crm-crm-crm-crm-crm…-crm-crm-crm-crm-eu2     3  https://example.com\n" +
			"crm-crm-crm-crm-crm-crm-crm-crX…-crm-crm-crm-crm-eu2     3  https://example.com\n",
		40: "crm-crm-crm-crm-crm-crm-crm-crm…u1    12\ncrm-crm-crm-crm-crm-crm-crm-crm…u2     3\ncrm-crm-crm-crm-crm-crm-crm-crX…u2     3\n",
		33: "crm-crm-crm-crm-crm-crm-crm-crm…1\ncrm-crm-crm-crm-crm-crm-crm-crm…2\ncrm-crm-crm-crm-crm-crm-crm-crX…2\n",
	} {
		var out strings.Builder
		term.Page{Writer: &out, Width: width}.Table(columns, rows)
		if _, body, _ := strings.Cut(out.String(), "\n"); body != want {
			t.Errorf("%d columns: printed\n%swant\n%s", width, body, want)
		}
	}
	for width := 33; width < 130; width++ {
		var out strings.Builder
		term.Page{Writer: &out, Width: width}.Table(columns, rows)
		names := map[string]bool{}
		for line := range strings.Lines(out.String()) {
			if term.Width(strings.TrimSuffix(line, "\n")) > width {
				t.Errorf("%d columns: %q", width, line)
			}
			names[strings.Fields(line)[0]] = true
		}
		if len(names) != 4 {
			t.Errorf("%d columns: names are the same:\n%s", width, out.String())
		}
	}
}

// What is shortened is no longer than it must be to differ.
func TestShorten(t *testing.T) {
	for _, tt := range []struct {
		texts, most, want string
	}{
		{"crm-europe-1 crm-europe-2", "12", "crm-europe-1 crm-europe-2"},
		{"crm-europe-1 crm-europe-2 crm-europe-1", "7", "crm…e-1 crm…e-2 crm…e-1"},
		{"1-crm-europe 2-crm-europe", "7", "1-c…ope 2-c…ope"},
		{"aaa1bbbbbbbb aaa2bbbbbbbb", "7", "aaa1…bb aaa2…bb"},
		{"aaaa1bbbbb aaaa2bbbbb x", "3", "aaaa1… aaaa2… x"},
	} {
		most, _ := strconv.Atoi(tt.most)
		if got := strings.Join(term.Shorten(strings.Fields(tt.texts), most), " "); got != tt.want {
			t.Errorf("%s in %d: %s, want %s", tt.texts, most, got, tt.want)
		}
	}
}
