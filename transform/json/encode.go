package json

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/itchyny/gojq"
)

// maxNesting is how deeply a value that is encoded may be nested. A goroutine whose
// stack overflows ends the process.
const maxNesting = 10_000

// ErrTooLarge is the error of a value that has more JSON than it may have, or is
// nested too deeply to be followed.
var ErrTooLarge = errors.New("the value is too large, or nested more than 10000 deep")

// An encoder writes one text.
type encoder struct {
	text  []byte
	limit int
	names []string // of the objects that are open
}

var encoders = sync.Pool{New: func() any { return new(encoder) }}

// Encode writes a value as jq does: members sorted by name, no white space, digits
// of [stdjson.Number] as they are, NaN as null, infinities as the largest numbers.
// An error is [ErrTooLarge]: it has more than limit bytes.
func Encode(v any, limit int) ([]byte, error) {
	e := encoders.Get().(*encoder)
	e.limit = limit
	defer func() {
		e.text, e.names = kept(e.text, 64<<10), kept(e.names, maxScratch)
		encoders.Put(e)
	}()
	if !e.value(v, 0) || len(e.text) > limit {
		return nil, ErrTooLarge
	}
	return bytes.Clone(e.text), nil
}

// value writes a value; it gives up on one that is too large, for it can hold another
// many times, and so have more JSON than there is memory.
func (e *encoder) value(v any, depth int) bool {
	if len(e.text) > e.limit || depth > maxNesting {
		return false
	}
	switch v := v.(type) {
	case nil:
		e.text = append(e.text, "null"...)
	case bool:
		e.text = strconv.AppendBool(e.text, v)
	case string:
		e.string(v)
	case stdjson.Number:
		e.text = append(e.text, v...)
	case int:
		e.text = strconv.AppendInt(e.text, int64(v), 10)
	case float64:
		if x := math.Abs(v); x == 0 || x >= 1e-6 && x < 1e21 {
			e.text = strconv.AppendFloat(e.text, v, 'f', -1, 64)
		} else {
			e.stock(v)
		}
	case []any:
		e.text = append(e.text, '[')
		for i, w := range v {
			if i > 0 {
				e.text = append(e.text, ',')
			}
			if !e.value(w, depth+1) {
				return false
			}
		}
		e.text = append(e.text, ']')
	case map[string]any:
		return e.object(v, depth)
	default:
		e.stock(v)
	}
	return true
}

func (e *encoder) object(v map[string]any, depth int) bool {
	from := len(e.names)
	for name := range v {
		e.names = append(e.names, name)
	}
	names := e.names[from:]
	slices.Sort(names)
	e.text = append(e.text, '{')
	for i, name := range names {
		if i > 0 {
			e.text = append(e.text, ',')
		}
		e.string(name)
		e.text = append(e.text, ':')
		if !e.value(v[name], depth+1) {
			return false
		}
	}
	e.text = append(e.text, '}')
	e.names = e.names[:from]
	return true
}

func (e *encoder) string(s string) {
	escaped := func(c rune) bool { return c < ' ' || c == '"' || c == '\\' || c == 0x7f }
	if len(s) <= e.limit && utf8.ValidString(s) && strings.IndexFunc(s, escaped) < 0 {
		e.text = append(append(append(e.text, '"'), s...), '"')
	} else {
		e.stock(s)
	}
}

// stock writes what gojq writes.
func (e *encoder) stock(v any) {
	text, _ := gojq.Marshal(v) // its errors are those of a writer
	e.text = append(e.text, text...)
}
