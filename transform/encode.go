package transform

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"unicode/utf8"
)

// maxNesting bounds how deeply values made by an expression are followed. A
// goroutine whose stack overflows ends the process.
const maxNesting = 10_000

// An encoder writes JSON as jq does: keys sorted, no white space, nothing
// escaped for HTML, numbers of the signal digit by digit, NaN as null, and
// infinities as the largest numbers there are.
type encoder struct {
	r     *run
	buf   []byte
	limit int  // of len(buf)
	full  bool // the limit, or maxNesting, was met: buf is of no use
	keys  []string
}

func (e *encoder) encode(v any, depth int) {
	if e.full {
		return
	}
	switch v := v.(type) {
	case nil:
		e.buf = append(e.buf, "null"...)
	case bool:
		e.buf = strconv.AppendBool(e.buf, v)
	case int:
		e.buf = strconv.AppendInt(e.buf, int64(v), 10)
	case float64:
		e.float(v)
	case *big.Int:
		e.buf = v.Append(e.buf, 10)
	case json.Number:
		if e.room(len(v)) {
			e.buf = append(e.buf, v...)
		}
	case string:
		e.str(v)
	case []any:
		if depth == maxNesting {
			e.full = true
			return
		}
		e.buf = append(e.buf, '[')
		for i, w := range v {
			if i > 0 {
				e.buf = append(e.buf, ',')
			}
			if e.encode(w, depth+1); e.full {
				return
			}
		}
		e.buf = append(e.buf, ']')
	case map[string]any:
		if depth == maxNesting {
			e.full = true
			return
		}
		e.object(v, depth)
	default:
		panic(fmt.Sprintf("a value of type %T has no JSON", v))
	}
	e.room(0)
	e.r.spend(20)
}

func (e *encoder) object(v map[string]any, depth int) {
	// The shortest member, "":0 and a comma, takes five bytes.
	if !e.room(5 * len(v)) {
		return
	}
	base := len(e.keys)
	for k := range v {
		e.keys = append(e.keys, k)
	}
	end := len(e.keys)
	e.r.spend(sortCost(len(v)))
	slices.Sort(e.keys[base:])
	e.buf = append(e.buf, '{')
	for i := base; i < end; i++ {
		if i > base {
			e.buf = append(e.buf, ',')
		}
		e.str(e.keys[i])
		e.buf = append(e.buf, ':')
		if e.encode(v[e.keys[i]], depth+1); e.full {
			return
		}
	}
	e.keys = e.keys[:base]
	e.buf = append(e.buf, '}')
}

// room reports whether n more bytes keep the limit.
func (e *encoder) room(n int) bool {
	if len(e.buf)+n > e.limit {
		e.full = true
	}
	return !e.full
}

func (e *encoder) float(f float64) {
	if math.IsNaN(f) {
		e.buf = append(e.buf, "null"...)
		return
	}
	f = min(max(f, -math.MaxFloat64), math.MaxFloat64)
	format := byte('f')
	if x := math.Abs(f); x != 0 && x < 1e-6 || x >= 1e21 {
		format = 'e'
	}
	start := len(e.buf)
	e.buf = strconv.AppendFloat(e.buf, f, format, -1, 64)
	// 1e-07 is written 1e-7.
	if n := len(e.buf); format == 'e' && n-start >= 4 && e.buf[n-4] == 'e' && e.buf[n-2] == '0' {
		e.buf[n-2] = e.buf[n-1]
		e.buf = e.buf[:n-1]
	}
}

// raw writes what is JSON, or a part of it, already.
func (e *encoder) raw(s string) {
	if e.room(len(s)) {
		e.buf = append(e.buf, s...)
	}
}

func (e *encoder) str(s string) {
	if e.room(len(s) + 2) {
		e.buf = append(e.buf, '"')
		e.content(s)
		e.buf = append(e.buf, '"')
	}
}

// content writes what stands between the quotes of a string.
func (e *encoder) content(s string) {
	if !e.room(len(s)) {
		return
	}
	e.r.spend(len(s))
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if ' ' <= c && c <= '~' && c != '"' && c != '\\' {
			i++
			continue
		}
		n := 1
		if c >= utf8.RuneSelf {
			var r rune
			if r, n = utf8.DecodeRuneInString(s[i:]); r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
		}
		e.buf = append(e.buf, s[start:i]...)
		switch {
		case c == '"' || c == '\\':
			e.buf = append(e.buf, '\\', c)
		case c == '\b':
			e.buf = append(e.buf, `\b`...)
		case c == '\f':
			e.buf = append(e.buf, `\f`...)
		case c == '\n':
			e.buf = append(e.buf, `\n`...)
		case c == '\r':
			e.buf = append(e.buf, `\r`...)
		case c == '\t':
			e.buf = append(e.buf, `\t`...)
		case c >= utf8.RuneSelf:
			e.buf = append(e.buf, "\uFFFD"...)
		default:
			const hex = "0123456789abcdef"
			e.buf = append(e.buf, `\u00`...)
			e.buf = append(e.buf, hex[c>>4], hex[c&15])
		}
		i += n
		start = i
		if !e.room(len(s) - i) {
			return
		}
	}
	e.buf = append(e.buf, s[start:]...)
}
