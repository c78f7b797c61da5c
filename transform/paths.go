package transform

import (
	"cmp"
	"math"
	"regexp"

	"signalpost/transform/json"
)

// A Path leads to a value in a signal: names of members and indices of elements.
type Path []any

// String writes a path as jq does.
func (p Path) String() string {
	text := ""
	for _, step := range p {
		text = Step(text, step)
	}
	return cmp.Or(text, ".")
}

var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Step writes one more step of a path, a name or an index, behind the text of the others,
// which is empty if there are none.
func Step(path string, step any) string {
	if name, ok := step.(string); ok && plainName.MatchString(name) {
		return path + "." + name
	}
	text, _ := json.Encode(step, math.MaxInt)
	return cmp.Or(path, ".") + "[" + string(text) + "]"
}

// Of is what a path leads to in a value that package json decoded, as JSON of at most
// most bytes; ok is false if there is nothing, and whole if that was too much.
func (p Path) Of(v any, most int) (text []byte, ok, whole bool) {
	for _, step := range p {
		var found bool
		switch step := step.(type) {
		case string:
			var members map[string]any
			if members, found = v.(map[string]any); found {
				v, found = members[step]
			}
		case int:
			var elements []any
			if elements, found = v.([]any); found {
				if step < 0 {
					step += len(elements)
				}
				if found = step >= 0 && step < len(elements); found {
					v = elements[step]
				}
			}
		}
		if !found {
			return nil, false, true
		}
	}
	text, err := json.Encode(v, most)
	return text, true, err == nil
}

// Paths are those of its input that an expression reads, as far as that can be told
// without running it, in the order in which it names them. Of what is read of the
// elements of an array, or by a computed name, it has the way to there. Nil has none.
func (p *Program) Paths() []Path {
	if p == nil {
		return nil
	}
	return p.checked.paths
}
