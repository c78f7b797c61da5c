// Package term writes text for people at a terminal: 80 columns, shaded where
// the terminal can and the user did not say NO_COLOR.
//
// Much of what the commands print comes from the network. A Page therefore
// escapes every argument that is not a Text, and all that makes a Text escapes
// what it is given: nothing steers the terminal or reorders what is on it.
package term

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"unicode/utf8"
)

// Columns is the width everything for people is made for.
const Columns = 80

// A Text is escaped already: a Page prints it as it is.
type Text string

// A Shade is a colour as a terminal knows it.
type Shade string

// The shades.
const (
	Plain  Shade = ""
	Bold   Shade = "\x1b[1m"
	Dim    Shade = "\x1b[2m"
	Red    Shade = "\x1b[31m"
	Green  Shade = "\x1b[32m"
	Yellow Shade = "\x1b[33m"
)

// A Page is where text for people goes.
type Page struct {
	io.Writer
	Shaded bool // in colour
}

// NewPage writes to w, in colour if it is a terminal whose user did not set NO_COLOR.
func NewPage(w io.Writer) Page {
	f, ok := w.(*os.File)
	return Page{w, ok && IsTerminal(f) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// IsTerminal reports whether f is one.
func IsTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Printf prints the arguments, escaped, as fmt.Printf does.
func (p Page) Printf(format string, args ...any) {
	fmt.Fprintf(p, format, escapeAll(args)...)
}

// In shades what fmt.Sprint makes of v, escaped.
func (p Page) In(s Shade, v any) Text {
	text := fmt.Sprint(escapeAll([]any{v})...)
	if !p.Shaded || s == Plain || text == "" {
		return Text(text)
	}
	return Text(string(s) + text + "\x1b[0m")
}

func escapeAll(args []any) []any {
	safe := make([]any, len(args))
	for i, arg := range args {
		switch a := arg.(type) {
		case Text:
			safe[i] = a
		case error, fmt.Stringer:
			safe[i] = Escape(fmt.Sprint(a))
		default:
			safe[i] = a
			if v := reflect.ValueOf(a); v.Kind() == reflect.String {
				safe[i] = Escape(v.String())
			}
		}
	}
	return safe
}

// JSON prints v as JSON on lines of its own, indented or on one line, with
// what is no printable character escaped as JSON has it.
func (p Page) JSON(v any, indent string) error {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(p, EscapeJSON(b.String()))
	return err
}

// A Column is one of a table: its heading, and whether it holds numbers.
type Column struct {
	Name   string
	Number bool
}

// Table prints rows under a heading, each column as wide as it must be, but
// the last, which is as long as its text.
func (p Page) Table(columns []Column, rows [][]string) {
	heading := make([]string, len(columns))
	for i, c := range columns {
		heading[i] = c.Name
	}
	rows = append([][]string{heading}, rows...)
	widths := make([]int, len(columns))
	for _, row := range rows {
		for i, cell := range row {
			row[i] = Escape(cell)
			widths[i] = max(widths[i], Width(row[i]))
		}
	}
	for r, row := range rows {
		line := ""
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-Width(cell))
			if columns[i].Number {
				line += pad + cell + "  "
			} else {
				line += cell + pad + "  "
			}
		}
		shade := Plain
		if r == 0 {
			shade = Dim
		}
		p.Printf("%s\n", p.In(shade, strings.TrimRight(line, " ")))
	}
}

// Wrap breaks text between words so that no line is longer than Columns where
// that can be. The first line begins at the column indent, where the caller
// stands; the others are indented by it.
func Wrap(text string, indent int) Text {
	var b strings.Builder
	at := indent
	for i, word := range strings.Fields(Escape(text)) {
		switch {
		case i == 0:
		case at+1+Width(word) > Columns:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			at = indent
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += Width(word)
	}
	return Text(b.String())
}

// Cut shortens text to at most so many columns.
func Cut(text string, most int) Text {
	text = Escape(text)
	if Width(text) > most {
		text = string([]rune(text)[:max(most-1, 0)]) + "…"
	}
	return Text(text)
}

// Fit cuts or fills text to so many columns.
func Fit(text string, columns int) Text {
	t := Cut(text, columns)
	return t + Text(strings.Repeat(" ", columns-Width(t)))
}

// Width is how many columns text takes that is escaped and not shaded.
func Width[T ~string](text T) int { return utf8.RuneCountInString(string(text)) }
