package queue

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonContains is whether the JSON has the text, as it is written or as it reads.
func jsonContains(body, text []byte) bool {
	return bytes.Contains(body, text) || bytes.IndexByte(body, '\\') >= 0 && bytes.Contains(unescape(body), text)
}

// unescape replaces the escapes of JSON by what they mean.
func unescape(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for {
		i := bytes.IndexByte(b, '\\')
		if i < 0 || i+1 == len(b) {
			return append(out, b...)
		}
		out = append(out, b[:i]...)
		c := b[i+1]
		switch unit, ok := codeUnit(b[i:]); {
		case ok:
			if low, ok := codeUnit(b[i+6:]); ok && utf16.IsSurrogate(unit) {
				unit, i = utf16.DecodeRune(unit, low), i+6
			}
			out, i = utf8.AppendRune(out, unit), i+4
		case strings.IndexByte("bfnrt", c) >= 0:
			out = append(out, "\b\f\n\r\t"[strings.IndexByte("bfnrt", c)])
		default:
			out = append(out, c)
		}
		b = b[i+2:]
	}
}

// codeUnit is that of the \uXXXX which b begins with.
func codeUnit(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	return rune(n), err == nil
}

// Glob reports whether s is what the pattern describes: * is any run of bytes,
// ? any one byte, all else itself.
func Glob(pattern, s string) bool {
	// Where to go on from when a byte does not fit: the last * seen takes one more.
	star, rest := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, rest = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			rest++
			p, i = star+1, rest
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
