package builtins

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/itchyny/gojq"

	"signalpost/transform/budget"
)

// The bounds of a regular expression. Matching takes time in proportion to the
// length of the text times the size of the program, and memory for the groups of
// each of its threads.
const (
	maxPattern      = 4 << 10 // bytes
	maxInstructions = 20_000  // of its program, about
	maxThreads      = 8 << 20 // bytes of the groups of all threads
	instructionSize = 200     // bytes of both programs
	maxCompiled     = 8 << 20 // bytes of the patterns that are kept
)

// A pattern is a compiled regular expression.
type pattern struct {
	*regexp.Regexp
	global bool           // flag g
	probe  *regexp.Regexp // one character, then the regular expression
	size   int            // of the program, about
	step   int            // nanoseconds that one character of a text takes, at least
}

// patterns are kept for the whole process, and all dropped once they take more than
// maxCompiled.
var patterns = struct {
	mu    sync.Mutex
	byKey map[[2]string]*pattern // by text and flags
	bytes int
}{byKey: make(map[[2]string]*pattern)}

func (p *pattern) bytes() int { return 2 * (1000 + p.size*instructionSize) }

// ParseRegexp checks a regular expression and its flags. It returns a text that means the
// same to package regexp, and its syntax tree.
func ParseRegexp(re, flags string) (text string, parsed *syntax.Regexp, err error) {
	if strings.ContainsFunc(flags, func(r rune) bool { return r != 'g' && r != 'i' && r != 'm' }) {
		return "", nil, fmt.Errorf("unsupported regular expression flag: %q; there are g, i and m", budget.Clip(flags, 64))
	}
	if len(re) > maxPattern {
		return "", nil, fmt.Errorf("a regular expression of %d bytes is too long: it can have %d", len(re), maxPattern)
	}
	text = re
	if strings.Contains(flags, "i") {
		text = "(?i)" + text
	}
	if strings.Contains(flags, "m") { // . is any character, a new line as well
		text = "(?s)" + text
	}
	parsed, err = syntax.Parse(text, syntax.Perl)
	if err != nil {
		return "", nil, fmt.Errorf("invalid regular expression %q: %w", budget.Clip(re, 200), err)
	}
	if size := instructions(parsed); size > maxInstructions || size*(parsed.MaxCap()+1)*16 > maxThreads {
		return "", nil, errors.New("the regular expression is too large: its repetitions and groups come to too much")
	}
	return text, parsed, nil
}

// instructions estimates the size of a program, repetitions written out.
func instructions(re *syntax.Regexp) int {
	n := 2
	if re.Op == syntax.OpLiteral || re.Op == syntax.OpCharClass {
		n += len(re.Rune)
	}
	for _, sub := range re.Sub {
		n += instructions(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return min(n, 1<<30/1000)
}

func (f *Frame) pattern(re, flags string) (*pattern, error) {
	key := [2]string{re, flags}
	patterns.mu.Lock()
	p := patterns.byKey[key]
	patterns.mu.Unlock()
	if p != nil {
		return p, nil
	}
	n := min(len(re), maxPattern)
	if err := f.spend(10_000+200*n, 200*n, 0); err != nil {
		return nil, err
	}
	text, parsed, err := ParseRegexp(re, flags)
	if err != nil {
		return nil, err
	}
	p = &pattern{size: instructions(parsed), global: strings.Contains(flags, "g")}
	p.step = 10 + p.size*(8+parsed.MaxCap())/8
	if err := f.spend(400*p.size, 0, p.bytes()); err != nil {
		return nil, err
	}
	if p.Regexp, err = regexp.Compile(text); err == nil {
		p.probe, err = regexp.Compile(`\A(?s:.)(?:` + text + `)`)
	}
	if err != nil {
		return nil, fmt.Errorf("invalid regular expression %q: %w", budget.Clip(re, 200), err)
	}
	patterns.mu.Lock()
	defer patterns.mu.Unlock()
	if patterns.bytes += p.bytes(); patterns.bytes > maxCompiled {
		clear(patterns.byKey)
		patterns.bytes = p.bytes()
	}
	patterns.byKey[key] = p
	return p, nil
}

// all are the matches of a text, as gojq finds them: where one ends, an empty
// one can follow, which package regexp does not report. Without flag g it is the
// first match at most.
func (p *pattern) all(f *Frame, s string) (matches [][]int, err error) {
	// A match may look at all of the text, and so may the next. So they are looked
	// for a few at first, and more only if there is time for more of the same.
	const fewer = 4
	estimate := p.step * len(s)
	many := 1
	if p.global {
		many = 8
	}
	for {
		if err := f.spend(estimate, 0, 16*many*(p.NumSubexp()+3)); err != nil {
			return nil, err
		}
		before := f.Own()
		matches = p.FindAllStringSubmatchIndex(s, many)
		if !p.global || len(matches) < many {
			break
		}
		many *= fewer
		estimate = fewer * int(f.Own()-before)
	}
	if !p.global {
		return matches, nil
	}
	found := matches
	matches = make([][]int, 0, len(found))
	for i, m := range found {
		matches = append(matches, m)
		if m[0] == m[1] || i+1 < len(found) && found[i+1][0] == m[1] {
			continue
		}
		if err := f.spend(20_000, 0, 0); err != nil { // it looks at the clock
			return nil, err
		}
		if empty := p.emptyAt(s, m[1]); empty != nil {
			matches = append(matches, empty)
		}
	}
	return matches, nil
}

// emptyAt is the empty match at an offset behind the first character, if there
// is one.
func (p *pattern) emptyAt(s string, offset int) []int {
	_, size := utf8.DecodeLastRuneInString(s[:offset])
	m := p.probe.FindStringSubmatchIndex(s[offset-size:])
	if m == nil || m[1] != size {
		return nil
	}
	for i := range m {
		if m[i] >= 0 {
			m[i] += offset - size
		}
	}
	m[0] = offset
	return m
}

// search checks the input and arguments of the function name, and returns the regular
// expression and the text to search.
func (f *Frame) search(name string, v any, args []any) (p *pattern, s string, err error) {
	s, ok1 := v.(string)
	re, ok2 := args[0].(string)
	flags, ok3 := args[1].(string)
	if !ok1 || !ok2 || !ok3 && args[1] != nil {
		return nil, "", fmt.Errorf("%s(%s; %s) cannot be applied to: %s", name, gojq.Preview(args[0]), gojq.Preview(args[1]), preview(v))
	}
	p, err = f.pattern(re, flags)
	return p, s, err
}

// test is _test($re; $flags).
func test(f *Frame, v any, args []any) any {
	p, s, err := f.search("test", v, args)
	if err == nil {
		err = f.spend(p.step*len(s), 0, 0)
	}
	if err != nil {
		return err
	}
	return p.MatchString(s)
}

// match is _match($re; $flags): all matches with flag g, else the first.
func match(f *Frame, v any, args []any) any {
	p, s, err := f.search("match", v, args)
	if err != nil {
		return err
	}
	found, err := p.all(f, s)
	if err == nil {
		err = f.spend(500*len(found), len(found)*(1+p.NumSubexp())*budget.Object(4), 0)
	}
	if err != nil {
		return err
	}
	matches := make([]any, len(found))
	chars, at := 0, 0
	for i, m := range found {
		chars += utf8.RuneCountInString(s[at:m[0]])
		at = m[0]
		matches[i] = p.describe(s, m, chars)
	}
	return matches
}

// cut is _cut($re; $flags): the texts before, between and behind the matches.
func cut(f *Frame, v any, args []any) any {
	p, s, err := f.search("match", v, args)
	if err != nil {
		return err
	}
	found, err := p.all(f, s)
	if err = cmp.Or(err, f.spend(0, 48*len(found), 0)); err != nil {
		return err
	}
	gaps, at := make([]any, 0, len(found)+1), 0
	for _, m := range found {
		gaps, at = append(gaps, s[at:m[0]]), m[1]
	}
	return append(gaps, s[at:])
}

// describe is a match as an expression sees it, whose offset is in characters.
func (p *pattern) describe(s string, m []int, offset int) any {
	groups := make([]any, p.NumSubexp())
	for i := range groups {
		group := map[string]any{"name": nil, "offset": -1, "length": 0, "string": nil}
		if name := p.SubexpNames()[i+1]; name != "" {
			group["name"] = name
		}
		if from, to := m[2*i+2], m[2*i+3]; from >= 0 {
			group["offset"] = offset + utf8.RuneCountInString(s[m[0]:from])
			group["length"] = utf8.RuneCountInString(s[from:to])
			group["string"] = s[from:to]
		}
		groups[i] = group
	}
	return map[string]any{
		"offset": offset, "length": utf8.RuneCountInString(s[m[0]:m[1]]), "string": s[m[0]:m[1]], "captures": groups,
	}
}

func preview(v any) string {
	if v == nil {
		return "null"
	}
	return gojq.TypeOf(v) + " (" + gojq.Preview(v) + ")"
}

// substitute is _substitute($gaps; $texts), which has a list of texts for each match
// between two gaps: result i is made of the i-th of each, as far as it has so many.
func substitute(f *Frame, v any, args []any) any {
	gaps, lists := args[0].([]any), args[1].([]any)
	var parts [][]string // of each result
	size := 0
	for i, list := range lists {
		gap := gaps[i].(string)
		for j, text := range list.([]any) {
			s, ok := text.(string)
			if !ok && text != nil { // nothing takes the place of the match
				return fmt.Errorf("cannot add: %s and %s", preview(gap), preview(text))
			}
			if j == len(parts) {
				parts = append(parts, nil)
			}
			parts[j] = append(parts[j], gap, s)
			size += len(gap) + len(s)
			if !f.Charge(40) {
				return f.Err()
			}
		}
	}
	rest := gaps[len(lists)].(string)
	if len(parts) == 0 {
		return []any{v}
	}
	if size+len(parts)*len(rest) > maxText {
		return f.tooLong()
	}
	results := make([]any, len(parts))
	for j := range parts {
		results[j] = f.made(strings.Join(append(parts[j], rest), ""))
	}
	return f.unless(f.Err() == nil, results)
}
