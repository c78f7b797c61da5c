package json

import (
	stdjson "encoding/json"
	"errors"

	"github.com/itchyny/gojq"
)

// maxNesting is how deeply a value that is encoded may be nested. A goroutine whose
// stack overflows ends the process.
const maxNesting = 10_000

// ErrTooLarge is the error of a value that has more JSON than it may have, or is
// nested too deeply to be followed.
var ErrTooLarge = errors.New("the value is too large, or nested more than 10000 deep")

// Encode writes a value as jq does: members sorted by name, no white space, digits
// of [stdjson.Number] as they are, NaN as null, infinities as the largest numbers.
// An error is [ErrTooLarge]: it has more than limit bytes.
func Encode(v any, limit int) ([]byte, error) {
	// Measured first, from below: a value can hold another many times, and so
	// have more JSON than there is memory.
	if measure(v, limit, 0) < 0 {
		return nil, ErrTooLarge
	}
	text, err := gojq.Marshal(v)
	if err == nil && len(text) > limit {
		err = ErrTooLarge
	}
	if err != nil {
		return nil, err
	}
	return text, nil
}

// measure is what v, if escaped nowhere, leaves of so many bytes; it is negative if it
// needs more, or is nested too deeply.
func measure(v any, left, depth int) int {
	if depth > maxNesting {
		return -1
	}
	switch v := v.(type) {
	case string:
		return left - len(v) - 2
	case stdjson.Number:
		return left - len(v)
	case []any:
		left -= 2 + max(len(v)-1, 0)
		for i := 0; i < len(v) && left >= 0; i++ {
			left = measure(v[i], left, depth+1)
		}
		return left
	case map[string]any:
		left -= 2 + max(len(v)-1, 0)
		for name, w := range v {
			if left -= len(name) + 3; left < 0 {
				break
			}
			left = measure(w, left, depth+1)
		}
		return left
	}
	return left - 1 // at least: of a number of many digits, too
}
