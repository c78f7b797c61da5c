package transform

import (
	"fmt"
	"strings"
	"testing"

	"github.com/itchyny/gojq"

	"signalpost/transform/json"
)

func paths(src string) []Path {
	q, err := gojq.Parse(src)
	if err != nil {
		return nil
	}
	return analyze(q).paths
}

func TestPaths(t *testing.T) {
	for src, want := range map[string]string{
		`.confidence >= 0.8`:                         ".confidence",
		`.account.name == "x" and .n > 1`:            ".account.name .n",
		`.account | .name`:                           ".account.name",
		`(.account | .name) // .other`:               ".account.name .other",
		`.events | length > 2`:                       ".events",
		`any(.events[]; . == "x")`:                   ".events",
		`.events | any(.type == "x")`:                ".events",
		`.events[0] == 1 or .events[-1].a == 2`:      ".events[0] .events[-1].a",
		`.["odd name"].x == 1`:                       `.["odd name"].x`,
		`.a["b-c"] | .d`:                             `.a["b-c"].d`,
		`."a b" == 1`:                                `.["a b"]`,
		`.a[.b]`:                                     ".a .b",
		`.a[2:4] == []`:                              ".a",
		`.a as $x | $x.b == .c`:                      ".a.b .c",
		`. as {a: $x} | $x == 1`:                     ".a",
		`has("a") and (.b | has("c"))`:               ".a .b.c",
		`if .a then .b else .c end`:                  ".a .b .c",
		`try .a.b catch .c`:                          ".a.b",
		`select(.a > 1) | .b`:                        ".a .b",
		`{a, b: .c, (.k): 1, "x\(.y)": 2} | .a`:      ".a .c .k .y",
		`[.a, .b] | index(1)`:                        ".a .b",
		`reduce .a[] as $i (.b; . + $i.c)`:           ".a .b",
		`def f: .x; .a | f > 1`:                      ".a.x",
		`def f: f; f`:                                "",
		`def f(g): g; f(.a)`:                         ".a",
		`.name | test("^a"; "i")`:                    ".name",
		`.. == 1`:                                    ".",
		`tojson | test("x")`:                         ".",
		`$signal_type == "x"`:                        "",
		`.tags - ["x"] != []`:                        ".tags",
		`-.n > 1`:                                    ".n",
		`"\(.a)-\(.b)" == "x-y"`:                     ".a .b",
		`first(.a, .b)`:                              ".a .b",
		`.a?.b == 1`:                                 ".a.b",
		`true`:                                       "",
		`.a |`:                                       "",
		`@base64 "\(.a)" == "x"`:                     ".a",
		`.a.b.c, .a.b.c`:                             ".a.b.c",
		`label $f | .a`:                              ".a",
		`foreach .a[] as $x (0; .z + $x; .)`:         ".a",
		`.a as [$x] | .b`:                            ".b",
		`.account.domain | endswith(".com", ".org")`: ".account.domain",
		`[.events[] | select(.type == "x")] == []`:   ".events",
		`.a | map(.b) | length`:                      ".a",
	} {
		var got []string
		for _, p := range paths(src) {
			got = append(got, p.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s reads %q, want %q", src, got, want)
		}
	}
}

// What an expression names without end is not followed without end: an expression of a
// few KiB would take seconds.
func TestPathBounds(t *testing.T) {
	if got := paths(strings.Repeat(".a", 3*maxPath)); len(got) != 1 || len(got[0]) != maxPath {
		t.Errorf("of a long path there are %d, the first of %d steps", len(got), len(got[0]))
	}
	if got := paths(strings.Repeat("[", 3*maxPath) + ".a" + strings.Repeat("]", 3*maxPath)); len(got) != 1 || got[0].String() != ".a" {
		t.Errorf("of a nested one there are %v", got)
	}
	var many strings.Builder
	for i := range 3 * maxPaths {
		fmt.Fprintf(&many, "a%d, ", i)
	}
	q, err := gojq.Parse("{" + many.String() + "z}")
	if err != nil {
		t.Fatal(err)
	}
	a := analyze(q)
	if len(a.paths) != maxPaths || len(a.members) != 3*maxPaths+1 || a.whole {
		t.Errorf("%d paths are shown of %d members, all %v", len(a.paths), len(a.members), a.whole)
	}
}

func TestPathOf(t *testing.T) {
	doc, err := json.Decode([]byte(`{"a":{"b":[1,{"c":12345678901234567890.10}]},"n":null}`))
	if err != nil {
		t.Fatal(err)
	}
	for src, want := range map[string]string{
		".a.b[1].c": "12345678901234567890.10", ".a.b[-2]": "1", ".n": "null", ".a": "-", ".x": "", ".a.b[2]": "", ".a.x": "", ".n.x": "", ".a[0]": "",
	} {
		text, ok, whole := paths(src)[0].Of(doc, 32)
		switch got := string(text); {
		case want == "-":
			if !ok || whole {
				t.Errorf("%s is %s, whole", src, got)
			}
		case got != want || ok != (want != "") || !whole:
			t.Errorf("%s is %q, %v, %v, want %q", src, got, ok, whole, want)
		}
	}
}

// Whatever the expression, looking for its paths comes to an end.
func FuzzPaths(f *testing.F) {
	for _, src := range []string{`def f: f, f; f`, `.a.b[0] | select(.c) | any(.d; .e)`, `def f(g): f(g | .a); f(.b)`, `. as [$a, {b: $c}] | $a[$c:]`, `reduce .[] as $x (0; . + $x)`} {
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src string) {
		for _, p := range paths(src) {
			if again := paths(p.String()); len(again) != 1 || again[0].String() != p.String() {
				t.Errorf("%s reads %s, which reads %v", src, p, again)
			}
		}
	})
}
