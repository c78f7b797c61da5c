package transform

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

func parsed(t testing.TB, s string) *Document {
	t.Helper()
	doc, err := Parse([]byte(s))
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return doc
}

// evaluate runs the plan alone: ok means that it came to its end.
func (p *Program) evaluate(doc *Document, vars Vars) (results []string, ok bool) {
	ok = p.plan != nil && p.direct(doc, vars, func(d *direct, x *expr, in value) bool {
		d.out.buf = d.out.buf[:0]
		d.write(x, in)
		results = append(results, string(d.out.buf))
		return true
	})
	return results, ok
}

// checkDirect compares a program on a document with the machine on its value. It
// reports whether the direct evaluation came to its end.
func checkDirect(t testing.TB, src, input string) bool {
	t.Helper()
	p, err := Compile(src)
	if err != nil {
		return false
	}
	doc := parsed(t, input)
	_, ok := p.evaluate(doc, sampleVars)
	got, gotErr := p.Shape(nil, doc, sampleVars)
	want, wantErr := p.Shape(nil, doc.Value(), sampleVars)
	match, matchErr := p.Match(nil, doc, sampleVars)
	wantMatch, wantMatchErr := p.Match(nil, doc.Value(), sampleVars)
	for _, err := range []error{gotErr, wantErr, matchErr, wantMatchErr} {
		if err != nil && strings.Contains(err.Error(), "ran for more than") {
			return ok // on a machine so slow, or with the race detector, the two cannot be compared
		}
	}
	if text, wantText := bytes.Join(got, []byte("\n")), bytes.Join(want, []byte("\n")); !bytes.Equal(text, wantText) ||
		len(got) != len(want) || fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
		t.Errorf("%s | %s = %s, %v; the machine has %s, %v", input, src, text, gotErr, wantText, wantErr)
	}
	if match != wantMatch || fmt.Sprint(matchErr) != fmt.Sprint(wantMatchErr) {
		t.Errorf("%s | %s matches: %v, %v; the machine has %v, %v", input, src, match, matchErr, wantMatch, wantMatchErr)
	}
	return ok
}

func TestDirect(t *testing.T) {
	for _, src := range directSources {
		if !checkDirect(t, src, sample) {
			t.Errorf("%s is not evaluated directly", src)
		}
	}
}

var directSources = []string{
	`.`, sampleWhere, sampleShape, `.account`, `.events[0]`, `.events[-1]`, `.["source"]`, `.account["name"]`, `.nothing.at.all`,
	`{source, id: $signal_id, $route, "at": $received_at, "x y": .confidence}`,
	`.confidence >= 0.8 and (.account.domain | endswith(".edu") | not)`,
	`"*\(.account.name)* scored \(.confidence * 100 | round)% \(.events)"`,
	`{text: "New lead: \(.account.name // "unknown")", blocks: [{type: "section", text: {type: "mrkdwn", text: "*\(.source)*"}}]}`,
	`if .confidence > 0.9 then "hot" elif .confidence > 0.5 then "warm" else "cold" end`,
	`if .nothing then 1 end`, `.events[]`, `.events[] | {event: .}`, `.source, .account`, `empty`, `select(.confidence > 0.95)`,
	`select(.source == "posthog") | {a: .account.name}`, `[.events[] | select(startswith("api")) | ascii_upcase]`,
	`.events | join(", ")`, `.events | map("<\(.)>") | join("")`, `[.account.name, .nothing, 1.50, true] | join("-")`,
	`.events | any(. == "api_key_created")`, `.events | all(length > 3)`, `any(.events[]; test("^api"))`, `([true, false] | any), ([true] | all)`,
	`.signal_type | IN("a", "product_qualified_lead")`, `.account.domain | test("ACME\\.(com|org)$"; "i")`,
	`.enrichment.company_size as $n | {n: $n, m: "\($n)!"}`, `.account | has("name"), has("x")`, `-.confidence, -1, -(1 + 2), -0`,
	`1 + 2 * 3 - 4 / 2 % 5, 7 / 2, 6 / 3, -7 % 3, 1.5 + 1, 0.1 + 0.2, 1e3, 3 * 1.0`, `null + 1, 1 + null, "a" + "b"`,
	`.events | length, first, last, (.[1] | length)`, `.source | ascii_upcase, ltrimstr("post"), rtrimstr("hog"), trim, contains("hog"), type`,
	`"12", "1.50" | tonumber`, `.confidence | tostring, tojson, floor, ceil, trunc, fabs`,
	`true, false, null, not`, `.account | tojson`, `"é\u007f\n\"" , {"é\u007f\n": "\(.source)é\u0000\u007f"}`, `[], {}, [[1]], [{}, [.source]]`,
	`.x // .y // "none"`, `(.a and .b), (.source or .b), (.source and .account)`, `.source < .signal_type, null < false, "a" > 1, .account != null`,
	`try .source catch "no"`, `.source?`, `.events | map(select(. != "x")) | length`, `[.events[], .source] | length`,
}

// What is beyond the bounds of the direct evaluation is the machine's.
func TestDirectBounds(t *testing.T) {
	many := `{"k":"v"` + strings.Repeat(`,"\u0061":1,"b":[2]`, 15_000) + `}`
	long := `{"k":"` + strings.Repeat("x", directText) + `","l":[` + strings.Repeat("1,", 30_000) + `1]}`
	for _, c := range []struct{ input, src string }{
		{many, `.k`}, {many, `.`}, {many, `{b}`}, {long, `.k`}, {long, `.`}, {long, `.k + "y"`}, {long, `"\(.k)"`}, {long, `{a: .k}`},
		{long, `.l | length`}, {long, `.l | all`}, {long, `.l[29999]`}, {long, `.l[-1]`}, {long, `.l | join("")`}, {long, `[.l[] | . + 1]`},
		{long, `.l | map("") | join(",")`}, {long, `.k | test("y")`}, {sample, strings.Repeat("., ", 100) + "."},
		{sample, strings.Repeat(`[`, 400) + strings.Repeat(`]`, 400)}, {strings.Repeat(`[`, MaxDepth) + strings.Repeat(`]`, MaxDepth), `., [.]`},
		{`{"n":1e400,"m":` + strings.Repeat("9", 5000) + `}`, `.n, .m, [.m], .n == .n`}, {`{"a":1,"a":2}`, `length, .a, .`},
	} {
		checkDirect(t, c.src, c.input)
	}
	if _, ok := compiled(t, `.l | all`).evaluate(parsed(t, long), sampleVars); ok {
		t.Error("the direct evaluation of 30,000 elements came to its end")
	}
}

// One document is shared by programs of both kinds: the race detector watches.
func TestDirectConcurrentUse(t *testing.T) {
	doc := parsed(t, sample)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				for _, src := range []string{sampleShape, `.`, `.events | sort`, `.account.domain | test("com$")`, `.events[] | "\(.)"`} {
					if _, err := compiled(t, src).Shape(nil, doc, sampleVars); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
}

// Cases of stock.txt: what is taken is as the machine has it.
func TestDirectStock(t *testing.T) {
	planned, taken, all := 0, 0, 0
	for _, c := range readCases(t, "stock.txt") {
		input, src, _ := strings.Cut(c, " => ")
		// One line has several expressions, most of which would be taken alone.
		for _, src := range append(topCommas(src), src) {
			p, err := Compile(src)
			if err != nil {
				continue
			}
			all++
			if p.plan != nil {
				planned++
			}
			if checkDirect(t, src, input) {
				taken++
			}
		}
	}
	t.Logf("of %d expressions %d have a plan, which %d times came to its end", all, planned, taken)
}

// topCommas splits an expression at its outermost commas, roughly.
func topCommas(src string) (parts []string) {
	depth, start, inString := 0, 0, false
	for i, c := range src {
		switch {
		case c == '"':
			inString = !inString
		case strings.ContainsRune("([{", c):
			depth++
		case strings.ContainsRune(")]}", c):
			depth--
		case c == ',' && depth == 0 && !inString:
			parts = append(parts, src[start:i])
			start = i + 1
		}
	}
	return append(parts, src[start:])
}

// A maker makes expressions and documents of the kinds that have plans, and of
// some that have none.
type maker struct{ *rand.Rand }

func (m maker) pick(choices string) string {
	words := strings.Fields(choices)
	return words[m.IntN(len(words))]
}

func (m maker) expression(depth int) string {
	if depth <= 0 {
		return m.pick(`. .a .b .c .n .s .l .o .z .l[0] .l[-1] .o.a .o.b .a.b ."é" .["x\ty"] .l[1].a 0 1 -1 2.5 1e3 0.1 100 -0 -0.0
			9007199254740993 4611686018427387904 1e308 null true false "" "x" "é\n\u007f" $signal_id $route $x empty .l[] .o[] .[] length
			[] {} tostring tojson not type tonumber round floor ceil trunc fabs trim ascii_upcase ascii_downcase first last any all values
			@text @json .n? .l[]? {a} {$route} {"s"} "\(.)" "<\(.n)\(.s)>"`)
	}
	x := func() string { return m.expression(depth - 1 - m.IntN(2)) }
	switch m.IntN(24) {
	case 0, 1, 2:
		return fmt.Sprintf("%s | %s", x(), x())
	case 3, 4, 5:
		return fmt.Sprintf("(%s) %s (%s)", x(), m.pick(`+ - * / % == != < <= > >= and or //`), x())
	case 6, 7:
		return fmt.Sprintf(`{%s: (%s), "k\t": (%s), %s: 1}`, m.pick(`a b "é" "\"" z`), x(), x(), m.pick(`a q`))
	case 8, 9:
		return fmt.Sprintf("[%s]", x())
	case 10, 11:
		return fmt.Sprintf(`"a\(%s)é\u007f\(%s)"`, x(), x())
	case 12:
		return fmt.Sprintf("if %s then %s elif %s then %s else %s end", x(), x(), x(), x(), x())
	case 13:
		return fmt.Sprintf("if %s then %s end", x(), x())
	case 14:
		return fmt.Sprintf("(%s), (%s)", x(), x())
	case 15:
		return fmt.Sprintf("%s(%s)", m.pick(`select map any all IN startswith endswith contains ltrimstr rtrimstr has`), x())
	case 16:
		return fmt.Sprintf("%s(%s; %s)", m.pick(`any all`), x(), x())
	case 17:
		return m.pick(`join(",") join("") has("a") has("é") test("^a|é") test("X";"i") IN("x",1,null) contains("x")`)
	case 18:
		return fmt.Sprintf("(%s) as $x | %s", x(), x())
	case 19:
		return fmt.Sprintf("try (%s)", x())
	case 20:
		return fmt.Sprintf("-(%s)", x())
	case 21:
		return fmt.Sprintf("(%s)%s", x(), m.pick(`.a .n [0] [-2] [] ["s"] ? .l[]`))
	default:
		return fmt.Sprintf("%s | %s", m.pick(`.l .o .s .n .a`), x())
	}
}

func (m maker) document(depth int) string {
	kinds := 8
	if depth <= 0 {
		kinds = 6
	}
	switch m.IntN(kinds) {
	case 0, 1:
		return m.pick(`0 1 -1 2 10 0.92 1.50 -0 -0.0 1e2 1E+2 1e400 -1e-400 9007199254740993 9223372036854775807 12345678901234567890 0.1000000000000000055
			999999999999999999 1000000000000000000 4611686018427387904 1e21 1e-7 123456789012345678901234567890123456789`)
	case 2, 3:
		return m.pick(`"" "x" "a,b" "é" "\u00e9" "\ud83d\ude00" "\ud83d" "\u0000\n" "ABC" "12" "-1.5" "1e5" "0x1" "\u007f" "a\"b\\" "😀<&>"`)
	case 4, 5:
		return m.pick(`null true false [] {}`)
	case 6:
		var parts []string
		for range m.IntN(4) {
			parts = append(parts, m.document(depth-1))
		}
		return "[" + strings.Join(parts, " ,") + "]"
	default:
		var parts []string
		for range m.IntN(7) {
			parts = append(parts, m.pick(`"a" "b" "c" "\u0061" "n" "s" "l" "o" "é" "\u00e9" "x\ty" "z"`)+": "+m.document(depth-1))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
}

// FuzzDirect compares made expressions on made documents: the seed is all that
// is made of.
func FuzzDirect(f *testing.F) {
	for i := range uint64(500) {
		f.Add(i)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		m := maker{rand.New(rand.NewPCG(seed, 0))}
		for range 20 {
			src := m.expression(m.IntN(5))
			if !strings.Contains(src, " as $x") {
				src = strings.ReplaceAll(src, "$x", "$route")
			}
			src = "null as $x | " + src
			input := fmt.Sprintf(`{"a": %s, "l": [%s, %s], "s": "aXé", "n": %s, "o": %s, "extra": %s}`,
				m.document(2), m.document(2), m.document(1), m.pick(`1 0.92 92 -3 1.10`), m.document(2), m.document(4))
			checkDirect(t, src, input)
		}
	})
}
