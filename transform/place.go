package transform

import (
	"strings"
	"unicode/utf8"

	"github.com/itchyny/gojq"
)

// parseError finds the place of a fault gojq's parser found.
func parseError(src string, err error) *CompileError {
	pe, ok := err.(*gojq.ParseError)
	if !ok {
		return &CompileError{1, 1, "", clip(err.Error(), maxMessage)}
	}
	msg := pe.Error()
	if pe.Token == "" && strings.Contains(msg, "EOF") {
		msg = "unexpected end of the expression"
	}
	return faultAt(src, max(pe.Offset-len(pe.Token), 0), clip(pe.Token, 64), clip(msg, maxMessage))
}

// faultAt makes an error of a byte offset in src.
func faultAt(src string, offset int, token, msg string) *CompileError {
	before := src[:min(offset, len(src))]
	line := before[strings.LastIndexByte(before, '\n')+1:]
	return &CompileError{strings.Count(before, "\n") + 1, utf8.RuneCountInString(line) + 1, token, msg}
}

// find is the offset of the first place in src where name stands for itself: a
// whole word, not a key, not in a comment nor in the text of a string. Without
// one it is the first place of these letters.
func find(src, name string) int {
	if name == "" {
		return 0
	}
	word := func(i int) bool {
		if !strings.HasPrefix(src[i:], name) {
			return false
		}
		if i > 0 {
			if c := src[i-1]; c == '.' || c == '$' || c == '@' || isWord(c) {
				return false
			}
		}
		end := i + len(name)
		if end < len(src) && isWord(src[end]) {
			return false
		}
		return !strings.HasSuffix(strings.TrimRight(src[:i], " \t\r\n"), "def")
	}
	// A stack of the parentheses open in each interpolation of a string.
	var open []int
	inString := false
	for i := 0; i < len(src); i++ {
		switch c := src[i]; {
		case inString && c == '\\':
			if i++; i < len(src) && src[i] == '(' {
				open, inString = append(open, 0), false
			}
		case c == '"':
			inString = !inString
		case inString:
		case c == '#':
			for i < len(src) && src[i] != '\n' {
				i++
			}
		case c == '(' && len(open) > 0:
			open[len(open)-1]++
		case c == ')' && len(open) > 0:
			if open[len(open)-1] == 0 {
				open, inString = open[:len(open)-1], true
			} else {
				open[len(open)-1]--
			}
		case word(i):
			return i
		}
	}
	return max(strings.Index(src, name), 0)
}

func isWord(c byte) bool {
	return c == '_' || c == ':' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
