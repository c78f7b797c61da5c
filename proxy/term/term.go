// Package term writes text for people at a terminal: sentences in 80 columns,
// tables that fit it, shaded where it can and the user did not say NO_COLOR.
// Where no terminal is, nothing is cut.
//
// Much of what the commands print comes from the network. A Page therefore
// escapes every argument that is not a Text, and all that makes a Text escapes
// what it is given: nothing steers the terminal or reorders what is on it.
package term

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// Columns is the width that sentences are wrapped at.
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
	Width  int  // of the terminal, in columns; 0 if it is none
}

// NewPage writes to w, in colour if it is a terminal whose user did not set NO_COLOR.
func NewPage(w io.Writer) Page {
	p := Page{Writer: w}
	if f, ok := w.(*os.File); ok && IsTerminal(f) {
		p.Shaded = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		p.Width, _, _ = term.GetSize(int(f.Fd()))
		p.Width = cmp.Or(p.Width, Columns)
	}
	return p
}

// IsTerminal reports whether f is one.
func IsTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

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

// Mark is ✓ or ✗.
func (p Page) Mark(ok bool) Text {
	if ok {
		return p.In(Green, "✓")
	}
	return p.In(Red, "✗")
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

// Wrap breaks text between words so that no line is longer than Columns where
// that can be. The first line begins at the column indent, where the caller
// stands; the others are indented by it.
func Wrap(text string, indent int) Text { return WrapAt(text, indent, Columns) }

// WrapAt does the same for lines of another width.
func WrapAt(text string, indent, width int) Text {
	return Text(wrap(strings.Fields(Escape(text)), indent, indent, width, Width))
}

// WrapAll is Wrap, but on a terminal no line is longer than Columns: words that are, are broken.
func (p Page) WrapAll(text string, indent int) Text {
	if p.Width == 0 {
		return Wrap(text, indent)
	}
	var words []string
	for _, word := range strings.Fields(Escape(text)) {
		for part := range slices.Chunk([]rune(word), Columns-indent) {
			words = append(words, string(part))
		}
	}
	return Text(wrap(words, indent, indent, Columns, Width))
}

// Fold breaks a shaded line between words so that it fits Columns where that can be;
// what follows the first of its lines is indented. Its words are escaped already.
func Fold(line string, indent int) string {
	shaded := func(word string) int { return Width(shades.ReplaceAllString(word, "")) }
	return wrap(strings.Split(line, " "), 0, indent, Columns, shaded)
}

// wrap joins words to lines of a width; the first begins at a column, the others are
// indented. columns is how many a word takes.
func wrap(words []string, at, indent, width int, columns func(word string) int) string {
	var b strings.Builder
	for i, word := range words {
		n := columns(word)
		switch {
		case i == 0:
		case at+1+n > width:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			at = indent
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += n
	}
	return b.String()
}

var shades = regexp.MustCompile(`\x1b\[[0-9;]*m`)

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
