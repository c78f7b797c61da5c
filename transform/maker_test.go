package transform

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"signalpost/transform/builtins"
)

// A stepsContext ends after so many instructions of gojq's.
type stepsContext struct {
	context.Context
	left int
}

var errSteps = errors.New("too many steps")

var ended = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (c *stepsContext) Done() <-chan struct{} {
	if c.left--; c.left < 0 {
		return ended
	}
	return nil
}

func (c *stepsContext) Err() error { return errSteps }

// A maker makes programs and values.
type maker struct {
	*rand.Rand
	vars   []string
	labels []string
}

func (m *maker) pick(choices ...string) string { return choices[m.IntN(len(choices))] }

func (m *maker) word(choices string) string { return m.pick(strings.Fields(choices)...) }

// functions are all that an expression may call, but for what differs from one
// run to the next, or is bounded otherwise here.
var functions = func() (sigs []string) {
	add := func(sig string) {
		if !strings.HasPrefix(sig, "_") && !slices.Contains([]string{"now/0", "localtime/0", "strflocaltime/1", "jn/2", "yn/2"}, sig) {
			sigs = append(sigs, sig)
		}
	}
	for sig := range builtins.Stocks {
		add(sig)
	}
	for sig := range builtins.Functions {
		add(sig)
	}
	for sig := range prelude() {
		add(sig)
	}
	add("path/1")
	slices.Sort(sigs)
	return sigs
}()

// anyError is what was raised, unless that may be the text of an error.
const anyError = `(if type == "string" and length > 12 then "failed" else . end)`

// program is an expression, or several, whose errors are among their results.
func (m *maker) program() string {
	if m.IntN(4) == 0 {
		return m.expression(1 + m.IntN(5))
	}
	var parts []string
	for range 8 {
		parts = append(parts, "(try ("+m.expression(m.IntN(4))+`) catch "failed")`)
	}
	return strings.Join(parts, ", ")
}

// scalar is a literal.
func (m *maker) scalar() string {
	return m.pick(`null`, `true`, `false`, `0`, `1`, `2`, `-1`, `3`, `1.5`, `-0.5`, `1e3`, `nan`, `infinite`, `1e1000`, `100000000000000000000`,
		`9007199254740993`, `""`, `"a"`, `"b"`, `"ab"`, `"aXb"`, `"a,b"`, `" é😀 "`, `"1"`, `"-1.5"`, `"2026-04-29T14:31:08Z"`, `"%Y-%m-%dT%H:%M:%SZ"`,
		`"[1,{\"a\":2}]"`, `"(?<x>a)|b"`, `"[a-z]*"`, `"."`, `""`, `"g"`, `"gi"`, `"^"`, `"(?<v>a)?b"`, `[]`, `{}`, `[1]`, `["a","b"]`, `[[1,2],[3]]`,
		`[0,[[[1]]]]`, `{"a":1}`, `{"a":{"b":[1,2]},"c":null}`, `["a",0]`, `[["a"],["b",1]]`, `{"start":1,"end":null}`, `[1425599621,2]`,
		`[[0],1]`, `{"key":"k","value":1}`, `[{"name":"a","value":1}]`)
}

func (m *maker) path() string {
	if m.IntN(12) == 0 {
		return m.pick("..", "first", "last", "empty", "getpath(["+m.word(`"a" 0 -1`)+"])", "recurse", "paths", ".[[1]]", "map_values(.)")
	}
	p := m.pick(".", ".a", ".b", ".c", ".[0]", ".[1]", ".[-1]", ".[]", ".[1:]", ".[:-1]", `."a"`, `.["b"]`, ".a.b", ".a[0]", ".[][]", ".[1.5]", ".[:1.2]", ".[-0.5:]")
	for m.IntN(3) == 0 {
		switch m.IntN(5) {
		case 0:
			p = "(" + p + m.pick(" | ", ", ") + m.path() + ")"
		default:
			p += m.suffix()
		}
	}
	return p
}

func (m *maker) suffix() string {
	if m.IntN(6) == 0 {
		return m.pick("["+m.expression(0)+"]", "["+m.expression(0)+":]?")
	}
	return m.pick("?", "??", "[]", "[]?", "[0]", "[1:]", ".a", ".b?", "[.a]", "[.[0]]?", "[]?.a", `["a"]`, `."\(1)"`)
}

func (m *maker) pattern() string {
	name := m.word("$x $y $z")
	m.vars = append(m.vars, name)
	return m.pick(name, name, "["+name+"]", "[[$w], "+name+"]", "{a: "+name+"}", "{"+name+"}", `{"b": [`+name+`]}`, "{("+m.scalar()+"): "+name+"}", "{$w: "+name+"}")
}

// bound makes f while more variables are bound.
func (m *maker) bound(f func() string) string {
	n := len(m.vars)
	defer func() { m.vars = m.vars[:n] }()
	return f()
}

func (m *maker) expression(depth int) string {
	if depth <= 0 {
		switch m.IntN(8) {
		case 0, 1, 2:
			return m.path()
		case 3:
			if len(m.vars) > 0 {
				return m.pick(m.vars...)
			}
			return m.word("$signal_id $route")
		case 4:
			sig := functions[m.IntN(len(functions))]
			if name, ok := strings.CutSuffix(sig, "/0"); ok {
				return name
			}
			return "."
		case 5:
			if len(m.labels) > 0 {
				return "break " + m.pick(m.labels...)
			}
		}
		return m.scalar()
	}
	x := func() string { return "(" + m.expression(depth-1-m.IntN(2)) + ")" }
	switch m.IntN(24) {
	case 0, 1, 2:
		return x() + " | " + x()
	case 3, 4:
		return x() + " " + m.word("+ - * / % == != < <= > >= and or //") + " " + x()
	case 5, 6, 7, 8, 9:
		return m.call(depth)
	case 10:
		return x() + ", " + x()
	case 11, 12:
		return m.pick(m.path(), m.path(), x()) + " " + m.word("= |= += -= *= /= %= //=") + " " + x()
	case 13:
		return x() + m.suffix()
	case 14:
		return m.pick("try "+x(), "try "+x()+" catch 7", "try "+x()+" catch ("+anyError+" | "+x()+")", "try error("+x()+") catch "+anyError, x()+"?")
	case 15:
		return m.bound(func() string { return x() + " as " + m.pattern() + " | " + x() })
	case 16:
		return m.bound(func() string {
			// What is bound by one alternative is null in the other.
			return x() + " as [$x, $y] ?// {a: $x, b: $y} ?// $x | [$x, $y]"
		})
	case 17:
		return m.bound(func() string {
			source := m.pick("limit(3; "+x()+")", ".[]?", "range(3)")
			start := x()
			return "reduce " + source + " as " + m.pattern() + " (" + start + "; " + x() + ")"
		})
	case 18:
		return m.bound(func() string {
			source := m.pick("limit(3; "+x()+")", ".[]?", "range(3)")
			start := x()
			return "foreach " + source + " as " + m.pattern() + " (" + start + "; " + x() + m.pick("", "; "+x()) + ")"
		})
	case 19:
		label := m.word("$l $m")
		m.labels = append(m.labels, label)
		defer func() { m.labels = m.labels[:len(m.labels)-1] }()
		return "label " + label + " | " + x()
	case 20:
		return m.pick("if "+x()+" then "+x()+" end", "if "+x()+" then "+x()+" elif "+x()+" then "+x()+" else "+x()+" end", "-"+x(), "+"+x(), "["+x()+"]", "[.[]? | "+x()+"]")
	case 21:
		return fmt.Sprintf(`{a: %s, %s: %s, "c\(%s)": 1, (%s): 2}`, x(), m.word(`b "d" "e\(1)" @text "f" a`), x(), m.expression(0), m.pick(x(), `"k"`, "keys[]?"))
	case 22:
		return m.pick("", "@text ", "@json ", "@html ", "@uri ", "@csv ", "@tsv ", "@sh ", "@base64 ", "@base64d ") + fmt.Sprintf(`"x\(%s)y\(%s)"`, m.expression(depth-1), m.expression(0))
	default:
		return m.define(depth)
	}
}

func (m *maker) call(depth int) string {
	sig := functions[m.IntN(len(functions))]
	name, arity, _ := strings.Cut(sig, "/")
	if arity == "0" || arity == "" {
		return m.pick(m.path()+" | "+name, m.scalar()+" | "+name, m.expression(depth-1)+" | "+name)
	}
	var args []string
	for range arity[0] - '0' {
		args = append(args, m.pick(m.scalar(), m.path(), m.expression(depth-1)))
	}
	call := name + "(" + strings.Join(args, "; ") + ")"
	switch name {
	case "repeat", "while", "until", "recurse", "range", "combinations", "limit":
		return "[limit(5; " + call + ")]" // which may be without end
	}
	return m.pick(call, call, m.scalar()+" | "+call, m.path()+" | "+call)
}

func (m *maker) define(depth int) string {
	return m.bound(func() string {
		body := m.expression(depth - 1)
		switch m.IntN(4) {
		case 0:
			return "def f: " + body + "; f, [f]"
		case 1:
			return "def f(g): g | " + body + "; f(" + m.expression(depth-1) + ")"
		case 2:
			return "def f($n): if $n > 0 then [$n, f($n - 1)] else " + body + " end; f(3)"
		}
		return "def " + m.word("map(f) length add select(f) not") + ": " + body + "; " + m.expression(depth-1)
	})
}

func (m *maker) value(depth int) string {
	kinds := 8
	if depth <= 0 {
		kinds = 6
	}
	var parts []string
	switch m.IntN(kinds) {
	case 0, 1:
		return m.word(`0 1 -1 2 10 0.92 1.50 -0 -0.0 1e2 1E+2 1e400 -1e-400 9007199254740993 12345678901234567890 1425599621 0.1000000000000000055`)
	case 2, 3:
		return m.pick(`""`, `"x"`, `"a,b"`, `"é"`, `"\u0000\n"`, `"ABab"`, `"12"`, `"2026-04-29T14:31:08Z"`, `"\u007f"`, `"a\"b\\"`, `"😀<&>"`, `"YWI="`, `"a%20b"`, `"[1]"`)
	case 4, 5:
		return m.word(`null true false [] {}`)
	case 6:
		for range m.IntN(5) {
			parts = append(parts, m.value(depth-1))
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	for _, key := range []string{"a", "b", "c", "é"} {
		if m.IntN(2) == 0 {
			parts = append(parts, fmt.Sprintf("%q: %s", key, m.value(depth-1)))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
