package term

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Escape makes text safe for a terminal: what is not a letter, mark, number,
// punctuation, symbol or space is written \x1b, \u202e and the like, and so are
// bytes that are not UTF-8. Text that is escaped already stays as it is.
func Escape(text string) string {
	var b strings.Builder
	for i, r := range text {
		_, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1: // not UTF-8
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}

// EscapeJSON makes JSON text safe for a terminal without changing what it says.
// JSON itself has the C0 controls escaped in strings; this does the rest.
func EscapeJSON(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r < 0x7f || strconv.IsPrint(r) {
			b.WriteRune(r) // U+FFFD for what is not UTF-8
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}
