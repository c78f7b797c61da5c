package transform

import (
	"fmt"
	"strings"
	"testing"
)

func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		src    string
		filter bool
		want   string // the places and parts of the texts; none if it is empty
	}{
		{`test("(?<=a).")`, false, "1:6 invalid regular expression"},
		{`.a | test("a"; "x")`, false, `1:16 unsupported regular expression flag`},
		{`.a | test(.b; "gx")`, false, `1:15 unsupported regular expression flag`},
		{`test("(")`, false, "1:6 missing closing"},
		{"# test(\"(\")\n\"x\" | gsub(\"[\"; \"(\"; \"g\")", false, "2:12 missing closing ]"},
		{`"\(test("("))", sub("é"; "(")`, false, "1:9 missing closing"},
		{`scan("*"), splits("+"), split("?"; null), capture("\\"), match("a**"), gsub("x{2001}"; "")`, false,
			"1:6 missing argument 1:19 missing argument 1:31 missing argument 1:51 trailing backslash 1:64 invalid nested 1:77 invalid repeat"},
		{`capture("` + strings.Repeat("()", 1900) + `(?:.?.?.?.?.?){500}zz")`, false, "1:9 too large"},
		{`def test(f): f; test("(")`, false, ""},
		{`test("a"), test("a"; "gim"), test("a"; null), test(.re), split("("), sub("\\."; "(")`, false, ""},
		{`{plan: "pro"}`, false, ""},
		{`.plan = "pro"`, false, ""},
		{`.plan = "pro"`, true, "1:7 assigns with ="},
		{`.plan == "free" or (.plan |= "=")`, true, "1:27 assigns with |="},
		{`select(.plan = "pro")`, true, "1:14 assigns with ="},
		{`if .plan = "pro" then true else false end`, true, "1:10 assigns with ="},
		{`if .a then .plan = "pro" else false end`, true, "1:18 assigns with ="},
		{`.tags | any(.[]; . |= "a")`, true, "1:20 assigns with |="},
		{`.a += 1 | .b`, true, ""}, {`select(.plan == "pro")`, true, ""}, {`if .a then .b end`, true, ""},
		{`(.plan |= ascii_downcase) | .plan == "pro"`, true, ""},
		{`true`, true, "1:1 the same for every signal"},
		{`"pro"`, true, "1:1 the same"},
		{`.a | "pro"`, true, "1:1 the same"},
		{`1 == 2`, true, "1:1 the same"},
		{`"a" and (null)`, true, "1:1 the same"},
		{`[.a]`, true, "1:1 the same"},
		{`{a}`, true, "1:1 the same"},
		{`true or .a`, true, "1:1 the same"}, {`.a | (. or "b")`, true, "1:1 the same"}, {`false and .a`, true, "1:1 the same"}, {`empty`, true, "1:1 the same"},
		{`.a = 1 | not`, true, "1:1 the same"}, {`def f: .a = 1; f`, true, "1:1 the same"},
		{`1 as $x | $x > 2`, true, "1:1 the same"}, {`[1, 2] | length == 2`, true, "1:1 the same"}, {`"a".b`, true, "1:1 the same"},
		{`if .a then "b" else 1 end`, true, "1:1 the same"}, {`select(true)`, true, "1:1 the same"}, {`select(.a) | not`, true, ""},
		{`.a, true`, true, ""}, {`empty, .a`, true, ""}, {`.a // false`, true, ""}, {`def f: f; f`, true, ""}, {`def empty: .a; empty`, true, ""}, {`.a or false`, true, ""},
		{`test(["(", "g"])`, false, "1:7 missing closing"}, {`test(["a", "x"])`, false, "1:12 unsupported"}, {`.a | test("a" + "(")`, false, "1:1 missing closing"},
		{`test(("a") + "b" + "["; "g")`, false, "1:1 missing closing"}, {`test(["a", "g"]), test([.a, "g"]), test("(" + .a)`, false, ""},
		{`.a`, true, ""}, {`.a and true`, true, ""}, {`any`, true, ""}, {`-.a`, true, ""}, {`[.a] == []`, true, ""},
		{`first(.a = 1)`, true, "1:10 assigns with ="}, {`limit(1; .a |= 1)`, true, "assigns with |="}, {`try (.a = 1) catch false`, true, "assigns with ="},
		{`label $f | .a = 1`, true, "assigns with ="}, {`.a | map(.b = 1)`, true, "assigns with ="}, {`setpath(["a"]; 1)`, true, "1:1 the same"},
		{`.a // true`, true, "1:1 the same"}, {`.events | length`, true, "1:1 the same"}, {`.a | tostring | not`, true, "1:1 the same"},
		{`.events | length > 2`, true, ""}, {`def length: .ok; length`, true, ""}, {`def map(f): f; map(.a)`, true, ""}, {`.a // .b`, true, ""},
		{`$route == "crm"`, true, ""}, {`.confidence >= 0.8`, true, ""},
	} {
		p, err := Compile(c.src)
		if err != nil {
			t.Errorf("%s: %v", c.src, err)
			continue
		}
		got := ""
		for _, w := range p.Warnings(c.filter) {
			got += fmt.Sprintf("%d:%d %s\n", w.Line, w.Column, w.Msg)
		}
		rest := got
		for part := range strings.FieldsSeq(c.want) {
			_, after, ok := strings.Cut(rest, part)
			if !ok {
				t.Errorf("%s:\ngot  %swant %s", c.src, got, c.want)
				break
			}
			rest = after
		}
		if c.want == "" && got != "" {
			t.Errorf("%s: got %s", c.src, got)
		}
	}
}

// A function of jq that gojq lacks is no typo.
func TestMissing(t *testing.T) {
	for src, want := range map[string]string{
		`.a | keys_unsorted`: "write keys", `toarray`: `if type == "array"`, `ascii`: "implode", `@base32d`: "@base64d",
		`@base32 "\(.a)"`: "@base64", `leaf_paths`: "paths(scalars)", `dateadd("seconds"; 60)`: "write +",
	} {
		if _, err := Compile(src); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "not defined") {
			t.Errorf("%s: %v, want %q", src, err, want)
		}
	}
}
