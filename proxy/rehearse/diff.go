package rehearse

import (
	"cmp"
	stdjson "encoding/json"
	"maps"
	"math"
	"slices"

	"signalpost/proxy/table"
	"signalpost/transform"
	"signalpost/transform/json"
)

// A missing stands for a value that is not there.
type missing struct{}

// diff calls found for each place where two values differ, as transform/json
// decodes them, in order: with its path, as jq writes it, and what is there, of
// which one may be missing. If partial, members that want lacks are no difference.
func diff(path string, want, got any, partial bool, found func(path string, want, got any)) {
	switch w := want.(type) {
	case map[string]any:
		if g, ok := got.(map[string]any); ok {
			names := maps.Clone(w)
			if !partial {
				maps.Copy(names, g)
			}
			for _, name := range slices.Sorted(maps.Keys(names)) {
				diff(transform.Step(path, name), at(w, name), at(g, name), partial, found)
			}
			return
		}
	case []any:
		if g, ok := got.([]any); ok {
			for i := range max(len(w), len(g)) {
				x, y := any(missing{}), any(missing{})
				if i < len(w) {
					x = w[i]
				}
				if i < len(g) {
					y = g[i]
				}
				diff(transform.Step(path, i), x, y, partial, found)
			}
			return
		}
	case stdjson.Number:
		if g, ok := got.(stdjson.Number); ok && decimal(w) == decimal(g) {
			return
		}
	default:
		if want == got {
			return
		}
	}
	found(cmp.Or(path, "."), want, got)
}

func at(object map[string]any, name string) any {
	if v, ok := object[name]; ok {
		return v
	}
	return missing{}
}

// decimal writes a number so that equal ones are written alike.
func decimal(n stdjson.Number) string {
	text, err := table.PlainNumber(string(n))
	if err != nil {
		return string(n)
	}
	return text
}

// encode is a value as JSON, of which there is none if it is missing.
func encode(v any) stdjson.RawMessage {
	if _, none := v.(missing); none {
		return nil
	}
	text, _ := json.Encode(v, math.MaxInt) // it fails for a bound alone
	return text
}
