package transform

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"
	"unicode/utf8"
)

// The bounds of a regular expression. Matching takes time in proportion to the
// length of the text times the size of the program.
const (
	maxPattern      = 4 << 10 // bytes
	maxInstructions = 20_000  // of its program, about
	instructionSize = 150     // bytes
	maxRegexps      = 64      // kept compiled, a program
	smallMatch      = 500_000 // ns of a match that is not interruptible
	slowReading     = 40      // ns to match one more character, at least
)

// A regexpCache keeps the regular expressions of a program compiled. One that
// computes them may have any number: only the first are kept.
type regexpCache struct {
	mu    sync.Mutex
	byKey map[[2]string]*pattern
}

// A pattern is a compiled regular expression.
type pattern struct {
	first *regexp.Regexp // finds the first match of a text
	next  *regexp.Regexp // finds the match behind the first character, which it looks at only
	names []string       // of the groups, from 1
	size  int            // of the program, about
}

func (r *run) pattern(re, flags string) (*pattern, error) {
	key := [2]string{re, flags}
	c := r.regexps
	c.mu.Lock()
	p := c.byKey[key]
	c.mu.Unlock()
	if p != nil {
		return p, nil
	}
	if len(re) > maxPattern {
		return nil, fmt.Errorf("a regular expression of %d bytes is too long: it can have %d", len(re), maxPattern)
	}
	for _, c := range flags {
		if !strings.ContainsRune("gim", c) {
			return nil, fmt.Errorf("unknown flag %q of a regular expression: there are g, i and m", clip(flags, 64))
		}
	}
	if strings.Contains(flags, "i") {
		re = "(?i)" + re
	}
	if strings.Contains(flags, "m") { // . is any character, a new line as well
		re = "(?s)" + re
	}
	r.spend(10_000 + 200*len(re))
	r.charge(200 * len(re))
	parsed, err := syntax.Parse(re, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("not a regular expression: %s", clip(err.Error(), 200))
	}
	size := instructions(parsed)
	if size > maxInstructions {
		return nil, errors.New("the regular expression is too large: its repetitions come to too much")
	}
	r.charge(2 * size * instructionSize)
	r.spend(2 * size * 200)
	p = &pattern{size: size}
	if p.first, err = regexp.Compile(re); err == nil {
		p.next, err = regexp.Compile(`\A(?s:.)(?s:.*?)(` + re + `)`)
	}
	if err != nil {
		return nil, fmt.Errorf("not a regular expression: %s", clip(err.Error(), 200))
	}
	p.names = p.first.SubexpNames()[1:]
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.byKey) < maxRegexps && size < 1000 {
		if c.byKey == nil {
			c.byKey = make(map[[2]string]*pattern)
		}
		c.byKey[key] = p
	}
	return p, nil
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

// find is the first match at or behind offset at, as
// [regexp.Regexp.FindStringSubmatchIndex] has it.
func (p *pattern) find(r *run, s string, at int) []int {
	re, from := p.first, 0
	if at > 0 {
		_, size := utf8.DecodeLastRuneInString(s[:at])
		re, from = p.next, at-size
	}
	text := s[from:]
	var loc []int
	if cost := p.size * len(text) * 5; cost < smallMatch {
		r.spend(200 + 20*len(text))
		loc = re.FindStringSubmatchIndex(text)
	} else {
		loc = re.FindReaderSubmatchIndex(&reader{r: r, s: text, cost: slowReading + p.size})
	}
	if loc == nil {
		return nil
	}
	if at > 0 {
		loc = loc[2:]
		for i := range loc {
			if loc[i] >= 0 {
				loc[i] += from
			}
		}
	}
	return loc
}

// A reader hands out a text so that matching it can be ended.
type reader struct {
	r    *run
	s    string
	i    int
	cost int
}

func (t *reader) ReadRune() (rune, int, error) {
	t.r.spend(t.cost)
	if t.i == len(t.s) {
		return 0, 0, io.EOF
	}
	c, size := utf8.DecodeRuneInString(t.s[t.i:])
	t.i += size
	return c, size, nil
}

// match is _match($re; $flags; $test): whether there is a match, or all matches
// (with flag g) or the first.
func match(r *run, v any, args []any) any {
	s, ok := v.(string)
	if !ok {
		return &typeError{"a regular expression is matched against a string, not against", []any{v}}
	}
	re, ok := args[0].(string)
	if !ok {
		return &typeError{"a regular expression is a string, not", []any{args[0]}}
	}
	flags, ok := args[1].(string)
	if !ok && args[1] != nil {
		return &typeError{"the flags of a regular expression are a string, not", []any{args[1]}}
	}
	test := args[2] == true
	p, err := r.pattern(re, flags)
	if err != nil {
		return err
	}
	if test {
		return p.find(r, s, 0) != nil
	}
	all := strings.Contains(flags, "g")
	matches := []any{}
	chars := counter{s: s}
	for at := 0; at <= len(s); {
		loc := p.find(r, s, at)
		if loc == nil {
			break
		}
		r.charge(2*mapBytes(4) + len(p.names)*(2*mapBytes(4)))
		groups := make([]any, len(p.names))
		offset, length := chars.span(r, loc[0], loc[1])
		for i, name := range p.names {
			group := map[string]any{"name": nil, "offset": -1, "length": 0, "string": nil}
			if name != "" {
				group["name"] = name
			}
			if from, to := loc[2*i+2], loc[2*i+3]; from >= 0 {
				r.spend((to - loc[0]) / 4)
				group["offset"] = offset + utf8.RuneCountInString(s[loc[0]:from])
				group["length"] = utf8.RuneCountInString(s[from:to])
				group["string"] = s[from:to]
			}
			groups[i] = group
		}
		matches = append(matches, map[string]any{
			"offset": offset, "length": length, "string": s[loc[0]:loc[1]], "captures": groups,
		})
		if !all {
			break
		}
		if at = loc[1]; loc[0] == loc[1] {
			_, size := utf8.DecodeRuneInString(s[at:])
			at += max(size, 1)
		}
	}
	return matches
}

// A counter turns offsets in bytes, each no less than the one before, into
// offsets in characters.
type counter struct {
	s            string
	bytes, chars int
}

func (c *counter) span(r *run, from, to int) (offset, length int) {
	r.spend((to - c.bytes) / 4)
	c.chars += utf8.RuneCountInString(c.s[c.bytes:from])
	c.bytes = from
	return c.chars, utf8.RuneCountInString(c.s[from:to])
}

// A cutter walks over a text along matches, which count characters.
type cutter struct {
	s    string
	at   int // bytes
	char int
}

// to is the text from here to a place in characters, where the cutter is then.
func (c *cutter) to(char int) string {
	start := c.at
	for c.char < char && c.at < len(c.s) {
		_, size := utf8.DecodeRuneInString(c.s[c.at:])
		c.at += size
		c.char++
	}
	return c.s[start:c.at]
}

// cut is the text between matches.
func cut(r *run, v, matches any) any {
	c := cutter{s: v.(string)}
	parts := []any{}
	r.spend(10 * len(c.s))
	for _, m := range matches.([]any) {
		m := m.(map[string]any)
		r.charge(48)
		parts = append(parts, c.to(m["offset"].(int)))
		c.to(m["offset"].(int) + m["length"].(int))
	}
	return append(parts, c.s[c.at:])
}

// substitute puts texts in the place of matches. Each match has a list of them:
// result i is made of the i-th of each.
func substitute(r *run, v, matches, texts any) any {
	s := v.(string)
	lists := texts.([]any)
	var size []int // of each result
	c := cutter{s: s}
	gaps := make([]string, len(lists))
	r.charge(16 * len(lists))
	r.spend(10 * len(s))
	for i, m := range matches.([]any) {
		m := m.(map[string]any)
		gaps[i] = c.to(m["offset"].(int))
		c.to(m["offset"].(int) + m["length"].(int))
		for j, t := range lists[i].([]any) {
			text, ok := t.(string)
			if !ok {
				return &typeError{"a match can be replaced by a string, not by", []any{t}}
			}
			r.spend(10)
			if j == len(size) {
				r.charge(40)
				size = append(size, 0)
			}
			size[j] += len(gaps[i]) + len(text)
		}
	}
	rest := s[c.at:]
	if len(size) == 0 {
		return []any{s}
	}
	results := make([]any, len(size))
	for j, n := range size {
		r.newText(n + len(rest))
		r.spend(20 * len(lists))
		var b strings.Builder
		b.Grow(n + len(rest))
		for i, list := range lists {
			if list := list.([]any); j < len(list) {
				b.WriteString(gaps[i])
				b.WriteString(list[j].(string))
			}
		}
		b.WriteString(rest)
		results[j] = b.String()
	}
	return results
}
