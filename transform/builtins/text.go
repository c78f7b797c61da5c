package builtins

import (
	stdjson "encoding/json"

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

// json is v as JSON.
func (f *Frame) json(v any) any {
	b, err := json.Encode(v, maxText)
	if err != nil {
		return f.Fail(budget.Memory, "the expression would make a string of more than %d MiB, or nested more than %d deep",
			maxText>>20, maxNesting)
	}
	if err := f.spend(len(b), 0, 0); err != nil {
		return err
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
