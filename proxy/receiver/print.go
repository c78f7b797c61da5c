package receiver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"signalpost/proxy/term"
)

// How much of a request Print shows: enough to read, and never so much that a
// hostile body fills the terminal or the memory.
const (
	lineRunes  = 1000      // of a line of the body, which a terminal wraps so that it can be copied
	bodyLines  = 200       // of the body
	prettySize = 256 << 10 // bytes; a longer body is shown as it came
	prettyDeep = 64        // levels; a deeper body is shown as it came
)

// Print writes the request for people, in one Write, with a blank line after
// it: when it came, what was asked and answered, the verdict on each signature
// and the body, indented if it is JSON. Numbers and strings are shown as they came.
func Print(to term.Page, r Request) error {
	var out bytes.Buffer
	p := term.Page{Writer: &out, Shaded: to.Shaded}
	whole := head(p, r)
	if r.Duplicate {
		p.Printf("%s\n", p.In(term.Yellow, "  ! delivered before: at least once means that an id can come again"))
	}
	verdict := func(shade term.Shade, mark string, text string) {
		p.Printf("%s %s\n", p.In(shade, "  "+mark), term.Wrap(text, 4))
	}
	switch {
	case r.Err != nil:
		verdict(term.Red, "✗", r.Err.Error())
	case len(r.Signatures) == 0:
		verdict(term.Yellow, "-", "no signature")
	}
	for _, s := range r.Signatures {
		switch {
		case s.Err == nil:
			verdict(term.Green, "✓", s.Preset)
		case errors.Is(s.Err, ErrNoSecret):
			verdict(term.Yellow, "?", s.Preset+": "+s.Err.Error())
		default:
			verdict(term.Red, "✗", s.Preset+": "+s.Err.Error())
		}
	}
	if !whole {
		bodyLine(p, []byte(r.Path))
	}
	if r.Err == nil {
		body(p, r)
	}
	p.Printf("\n")
	_, err := to.Write(out.Bytes())
	return err
}

// head prints when a request came, what it was and what it was answered, and reports
// whether its path had room.
func head(p term.Page, r Request) (whole bool) {
	answer, shade := fmt.Sprint(r.Status), term.Red
	switch {
	case r.Status == 0:
		answer = "no answer"
	case r.Status/100 == 2:
		shade = term.Green
	}
	rest := ""
	if r.ID != "" {
		rest += " " + string(term.Cut(r.ID, 32))
	}
	if r.Attempt > 0 {
		rest += fmt.Sprintf(" attempt %d", r.Attempt)
	}
	rest = string(term.Cut(rest, 44)) // so that at least 8 columns are left to the path
	clock, method := r.Time.Format("15:04:05"), term.Cut(r.Method, 8)
	path := term.Cut(r.Path, term.Columns-term.Width(clock+" "+string(method)+"  "+answer+rest))
	p.Printf("%s%s%s%s\n", p.In(term.Dim, clock), p.In(term.Bold, " "+method+" "+path), p.In(shade, " "+answer), p.In(term.Dim, rest))
	if r.SignalType != "" || r.SignalID != "" {
		p.Printf("%s\n", p.In(term.Dim, "  "+term.Cut(strings.TrimSpace(r.SignalType+" "+r.SignalID), term.Columns-2)))
	}
	return string(path) == term.Escape(r.Path)
}

// body prints the body, each line of text two columns in.
func body(p term.Page, r Request) {
	if len(r.Body) == 0 {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			p.Printf("%s\n", p.In(term.Dim, "  (no body)"))
		}
		return
	}
	text := r.Body
	if len(text) <= prettySize && !deep(text) {
		var pretty bytes.Buffer
		if json.Indent(&pretty, text, "", "  ") == nil {
			text = pretty.Bytes()
		}
	}
	text = bytes.TrimSuffix(text, []byte("\n"))
	lines, shown := 0, 0
	for line := range bytes.Lines(text) {
		if lines == bodyLines {
			p.Printf("%s\n", p.In(term.Dim, fmt.Sprintf("  … %d bytes more", len(text)-shown)))
			return
		}
		bodyLine(p, bytes.TrimRight(line, "\r\n"))
		lines++
		shown += len(line)
	}
}

func bodyLine(p term.Page, line []byte) {
	if len(line) > 0 {
		p.Printf("  ")
	}
	shown := 0
	for range lineRunes {
		_, n := utf8.DecodeRune(line[shown:])
		shown += n
	}
	p.Printf("%s", string(line[:shown]))
	if left := len(line) - shown; left > 0 {
		p.Printf("%s", p.In(term.Dim, fmt.Sprintf("… %d bytes more", left)))
	}
	p.Printf("\n")
}

// deep reports whether JSON nests deeper than is shown indented.
func deep(text []byte) bool {
	d := jsontext.NewDecoder(bytes.NewReader(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for d.StackDepth() <= prettyDeep {
		if _, err := d.ReadToken(); err != nil {
			return false
		}
	}
	return true
}
