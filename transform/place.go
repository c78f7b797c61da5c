package transform

import (
	"strings"
	"unicode/utf8"

	"github.com/itchyny/gojq"

	"signalpost/transform/budget"
)

// parseError finds the place of a fault gojq's parser found.
func parseError(src string, err error) *CompileError {
	pe, ok := err.(*gojq.ParseError)
	if !ok {
		return &CompileError{0, 1, 1, "", budget.Clip(err.Error(), budget.MaxMessage)}
	}
	msg := pe.Error()
	if pe.Token == "" && strings.Contains(msg, "EOF") {
		msg = "unexpected end of the expression"
	}
	return faultAt(src, max(pe.Offset-len(pe.Token), 0), budget.Clip(pe.Token, 64), budget.Clip(msg, budget.MaxMessage))
}

// faultAt makes an error of a byte offset in src.
func faultAt(src string, offset int, token, msg string) *CompileError {
	before := src[:min(offset, len(src))]
	line := before[strings.LastIndexByte(before, '\n')+1:]
	return &CompileError{len(before), strings.Count(before, "\n") + 1, utf8.RuneCountInString(line) + 1, token, msg}
}

// find is the offset of the first place in src where name stands for itself: a
// whole word, not a key, not in a comment nor in the text of a string. Without
// one it is the first place of these letters.
func find(src, name string) int {
	at, ok := scan(src, func(i int) bool {
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
	})
	if name == "" || !ok {
		return max(strings.Index(src, name), 0)
	}
	return at
}

// findString is the offset of the first string in src that says s, or 0.
func findString(src, s string) int {
	at, _ := scan(src, func(i int) bool {
		if src[i] != '"' {
			return false
		}
		for end := i + 1; end < len(src); end++ {
			switch src[end] {
			case '\\':
				end++
			case '"':
				q, err := gojq.Parse(src[i : end+1])
				return err == nil && q.Term != nil && q.Term.Str != nil && q.Term.Str.Queries == nil && q.Term.Str.Str == s
			}
		}
		return false
	})
	return at
}

// findOperator is the offset of the first operator op in src, or 0.
func findOperator(src, op string) int {
	at, _ := scan(src, func(i int) bool {
		const parts = "=!<>|+-*/%?"
		end := i + len(op)
		return strings.HasPrefix(src[i:], op) && (i == 0 || !strings.Contains(parts, src[i-1:i])) &&
			(end == len(src) || !strings.Contains(parts, src[end:end+1]))
	})
	return at
}

// scan is the first offset for which is is true, of those that are not in a comment
// nor in the text of a string; a string's opening quote counts.
func scan(src string, is func(i int) bool) (at int, ok bool) {
	// A stack of the parentheses open in each interpolation of a string.
	var open []int
	inString := false
	for i := 0; i < len(src); i++ {
		switch c := src[i]; {
		case inString && c == '\\':
			if i++; i < len(src) && src[i] == '(' {
				open, inString = append(open, 0), false
			}
		case inString && c == '"':
			inString = false
		case inString:
		case c == '#':
			for i < len(src) && src[i] != '\n' {
				i++
			}
		case is(i):
			return i, true
		case c == '"':
			inString = true
		case c == '(' && len(open) > 0:
			open[len(open)-1]++
		case c == ')' && len(open) > 0:
			if open[len(open)-1] == 0 {
				open, inString = open[:len(open)-1], true
			} else {
				open[len(open)-1]--
			}
		}
	}
	return 0, false
}

func isWord(c byte) bool {
	return c == '_' || c == ':' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
