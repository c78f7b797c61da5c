package transform

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/itchyny/gojq"
)

// concat joins strings.
func (r *run) concat(args []any) any {
	n := 0
	for _, a := range args {
		n += len(a.(string))
	}
	r.newText(n)
	var b strings.Builder
	b.Grow(n)
	for _, a := range args {
		b.WriteString(a.(string))
	}
	return b.String()
}

// newText accounts for a string of n bytes.
func (r *run) newText(n int) {
	if n > maxText {
		r.abort(KindMemory, "the expression would make a string of more than %d MiB", maxText>>20)
	}
	r.charge(n + 16)
}

// json is v as JSON.
func (r *run) json(v any) any {
	e := encoder{r: r, limit: maxText}
	if e.encode(v, 0); e.full {
		r.abort(KindMemory, "the expression would make a string of more than %d MiB, or nested more than %d deep",
			maxText>>20, maxNesting)
	}
	r.charge(3 * len(e.buf))
	return string(e.buf)
}

// text is v as tostring has it: a string is itself.
func (r *run) text(v any) any {
	if s, ok := v.(string); ok {
		return s
	}
	return r.json(v)
}

func fromjson(r *run, v any, _ []any) any {
	s, ok := v.(string)
	if !ok {
		return notApplicable("fromjson", v)
	}
	// [{"":0},…] takes fifty times its length, and that is the most.
	r.charge(min(8*len(s), maxCall))
	r.spend(20 * len(s))
	objects := strings.Count(s, "{")
	r.charge(min(mapBytes(1)*objects+16*len(s), 2*maxCall))
	d, err := parse(s)
	if err != nil {
		return fmt.Errorf("fromjson cannot be applied to %s: %w", gojq.Preview(v), err)
	}
	return d.Value()
}

func explode(r *run, v any, _ []any) any {
	s, ok := v.(string)
	if !ok {
		return notApplicable("explode", v)
	}
	n := utf8.RuneCountInString(s)
	r.charge(24 * n)
	r.spend(20 * n)
	vs := make([]any, 0, n)
	for _, c := range s {
		vs = append(vs, int(c))
	}
	return vs
}

func implode(r *run, v any, _ []any) any {
	vs, ok := v.([]any)
	if !ok {
		return notApplicable("implode", v)
	}
	r.newText(4 * len(vs))
	r.spend(20 * len(vs))
	var b strings.Builder
	b.Grow(len(vs))
	for _, w := range vs {
		r.checkDigits(w)
		c, ok := gojq.ToInt(w)
		if !ok {
			return notApplicable("implode", v)
		}
		if c < 0 || c > utf8.MaxRune {
			c = utf8.RuneError
		}
		b.WriteRune(rune(c))
	}
	return b.String()
}

func (r *run) split(v, sep any) any {
	s, ok := v.(string)
	if !ok {
		return notApplicable("split", v)
	}
	t, ok := sep.(string)
	if !ok {
		return &typeError{"a string cannot be split at:", []any{sep}}
	}
	if s == "" {
		return []any{}
	}
	r.spend(len(s))
	n := strings.Count(s, t) + 1
	r.charge(48 * n)
	r.spend(40 * n)
	vs := make([]any, 0, n)
	if t == "" {
		for len(s) > 0 {
			_, size := utf8.DecodeRuneInString(s)
			vs = append(vs, s[:size])
			s = s[size:]
		}
		return vs
	}
	for part := range strings.SplitSeq(s, t) {
		vs = append(vs, part)
	}
	return vs
}

func (r *run) join(v, sep any) any {
	vs, ok := r.values(v)
	if !ok {
		return notApplicable("join", v)
	}
	sepText, ok := sep.(string)
	if !ok && sep != nil && len(vs) > 1 {
		return &typeError{"cannot join with:", []any{sep}}
	}
	n := 0
	r.charge(16 * len(vs))
	texts := make([]string, len(vs))
	for i, w := range vs {
		switch w := w.(type) {
		case nil:
		case string:
			texts[i] = w
		case []any, map[string]any:
			return &typeError{"cannot join:", []any{w}}
		default:
			texts[i] = r.json(w).(string)
		}
		n += len(texts[i]) + len(sepText)
		r.spend(10)
	}
	r.newText(n)
	return strings.Join(texts, sepText)
}
