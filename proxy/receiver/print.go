package receiver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

// How much of a request Print shows: enough to read, and never so much that a
// hostile body fills the terminal or the memory.
const (
	columns    = 80        // of all but the body's lines, which a terminal wraps so that they can be copied
	lineRunes  = 1000      // of a line of the body
	bodyLines  = 200       // of the body
	prettySize = 256 << 10 // bytes; a longer body is shown as it came
	prettyDeep = 64        // levels; a deeper body is shown as it came
)

// Colours, as a terminal knows them.
const (
	plain  = ""
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
)

// Print writes the request for people, in one Write, with a blank line after
// it: when it came, what was asked and answered, the verdict on each signature
// and the body, indented if it is JSON. Characters that would steer a terminal
// or reorder its text are escaped; numbers and strings are shown as they came.
func Print(w io.Writer, r Request, colour bool) error {
	p := printer{colour: colour}

	answer, shade := strconv.Itoa(r.Status), red
	switch {
	case r.Status == 0:
		answer = "no answer"
	case r.Status/100 == 2:
		shade = green
	}
	rest := ""
	if r.ID != "" {
		rest += " " + cut(Escape(r.ID), 32)
	}
	if r.Attempt > 0 {
		rest += fmt.Sprintf(" attempt %d", r.Attempt)
	}
	rest = cut(rest, 44) // so that at least 8 columns are left to the path
	clock, method := r.Time.Format("15:04:05"), cut(Escape(r.Method), 8)
	room := columns - width(clock+" "+method+"  "+answer+rest)
	p.put(dim, clock)
	p.put(bold, " "+method+" "+cut(Escape(r.Path), room))
	p.put(shade, " "+answer)
	p.put(dim, rest+"\n")

	if r.SignalType != "" || r.SignalID != "" {
		p.put(dim, "  "+cut(strings.TrimSpace(Escape(r.SignalType+" "+r.SignalID)), columns-2)+"\n")
	}
	if r.Duplicate {
		p.put(yellow, "  ! delivered before: at least once means that an id can come again\n")
	}
	if r.Err != nil {
		p.verdict(red, "✗", r.Err.Error())
		return p.flush(w)
	}
	if len(r.Signatures) == 0 {
		p.verdict(yellow, "-", "no signature")
	}
	for _, s := range r.Signatures {
		switch {
		case s.Err == nil:
			p.verdict(green, "✓", s.Preset)
		case errors.Is(s.Err, ErrNoSecret):
			p.verdict(yellow, "?", s.Preset+": "+s.Err.Error())
		default:
			p.verdict(red, "✗", s.Preset+": "+s.Err.Error())
		}
	}
	p.body(r)
	return p.flush(w)
}

type printer struct {
	out    bytes.Buffer
	colour bool
}

func (p *printer) flush(w io.Writer) error {
	p.out.WriteByte('\n')
	_, err := w.Write(p.out.Bytes())
	return err
}

// put writes text that is safe to print.
func (p *printer) put(shade, text string) {
	if !p.colour || shade == plain || text == "" {
		p.out.WriteString(text)
		return
	}
	body := strings.TrimSuffix(text, "\n")
	p.out.WriteString(shade + body + "\x1b[0m" + text[len(body):])
}

// verdict writes a sentence behind a mark, wrapped between words.
func (p *printer) verdict(shade, mark, text string) {
	p.put(shade, "  "+mark)
	column := 3
	for i, word := range strings.Fields(Escape(text)) {
		if i > 0 && column+1+width(word) > columns {
			p.put(plain, "\n   ")
			column = 3
		}
		p.put(plain, " "+word)
		column += 1 + width(word)
	}
	p.put(plain, "\n")
}

// body writes the body, each line of text two columns in.
func (p *printer) body(r Request) {
	if len(r.Body) == 0 {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			p.put(dim, "  (no body)\n")
		}
		return
	}
	text := r.Body
	if len(text) <= prettySize && depth(text) <= prettyDeep {
		var pretty bytes.Buffer
		if json.Indent(&pretty, text, "", "  ") == nil {
			text = pretty.Bytes()
		}
	}
	text = bytes.TrimSuffix(text, []byte("\n"))
	for n := 0; ; n++ {
		if n == bodyLines {
			p.put(dim, fmt.Sprintf("  … %d bytes more\n", len(text)))
			return
		}
		line, after, more := bytes.Cut(text, []byte("\n"))
		p.line(bytes.TrimSuffix(line, []byte("\r")))
		if !more {
			return
		}
		text = after
	}
}

func (p *printer) line(line []byte) {
	if len(line) > 0 {
		p.put(plain, "  ")
	}
	shown := 0
	for range lineRunes {
		_, n := utf8.DecodeRune(line[shown:])
		shown += n
	}
	p.put(plain, Escape(string(line[:shown])))
	if left := len(line) - shown; left > 0 {
		p.put(dim, fmt.Sprintf("… %d bytes more", left))
	}
	p.put(plain, "\n")
}

// depth returns how deep valid JSON nests.
func depth(text []byte) int {
	deep, deepest := 0, 0
	quoted, escaped := false, false
	for _, c := range text {
		switch {
		case escaped:
			escaped = false
		case c == '\\':
			escaped = quoted
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			deep++
			deepest = max(deepest, deep)
		case c == ']' || c == '}':
			deep--
		}
	}
	return deepest
}

// Escape makes text from the network safe for a terminal: what is not a
// letter, mark, number, punctuation, symbol or space is written \x1b, \u202e
// and the like, and so are bytes that are not UTF-8.
func Escape(text string) string {
	var b strings.Builder
	for i, r := range text {
		switch {
		case r == utf8.RuneError && isByte(text[i:]):
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}

// isByte reports whether the text begins with a byte that is not UTF-8.
func isByte(text string) bool {
	_, n := utf8.DecodeRuneInString(text)
	return n == 1
}

// cut shortens text to at most so many columns.
func cut(text string, most int) string {
	if width(text) <= most {
		return text
	}
	return string([]rune(text)[:most-1]) + "…"
}

func width(text string) int { return utf8.RuneCountInString(text) }
