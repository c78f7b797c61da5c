package builtins

import (
	stdjson "encoding/json"
	"strings"
	"time"

	"signalpost/transform/budget"
	"signalpost/transform/json"
)

// made accounts for what was made just now, and hands it on.
func (f *Frame) made(v any) any {
	switch w := v.(type) {
	case string:
		if len(w) > maxText {
			return f.tooLong()
		}
	case []any, map[string]any, stdjson.Number:
	default:
		return v
	}
	return f.unless(f.Made(v), v)
}

// concat joins strings. It sees the whole length before it builds anything.
func concat(f *Frame, _ any, args []any) any {
	n := 0
	for _, a := range args {
		n += len(a.(string))
	}
	if n > maxText {
		return f.tooLong()
	}
	var b strings.Builder
	b.Grow(n)
	for _, a := range args {
		b.WriteString(a.(string))
	}
	return f.made(b.String())
}

// json is v as JSON.
func (f *Frame) json(v any) any {
	b, err := json.Encode(v, maxText)
	if err != nil {
		return f.Fail(budget.Memory, "the expression would make a string of more than %d MiB, or nested more than %d deep",
			maxText>>20, maxNesting)
	}
	if !f.Spend(time.Duration(len(b))) {
		return f.Err()
	}
	return f.made(string(b))
}

// text is v as tostring has it: a string is itself.
func (f *Frame) text(v any) any {
	if s, ok := v.(string); ok {
		return s
	}
	return f.json(v)
}
