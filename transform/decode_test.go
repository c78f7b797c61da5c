package transform

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestDecode(t *testing.T) {
	for in, want := range map[string]any{
		`null`:                        nil,
		" \t\r\n true ":               true,
		`9007199254740993`:            json.Number("9007199254740993"),
		`1.10`:                        json.Number("1.10"),
		`-0`:                          json.Number("-0"),
		`1E+400`:                      json.Number("1E+400"),
		`0.1000000000000000055`:       json.Number("0.1000000000000000055"),
		`""`:                          "",
		`"\u2028 😀 \ud83d\ude00"`:     "\u2028 😀 😀",
		`"\u0000\b\f\n\r\t\/\\\""`:    "\x00\b\f\n\r\t/\\\"",
		`"\ud83d"`:                    "\uFFFD",
		`"\ud83dx\ude00\ud83d\n"`:     "\uFFFDx\uFFFD\uFFFD\n",
		`"\ud83d\ud83d\ude00"`:        "\uFFFD😀",
		`[]`:                          []any{},
		`[1,[],{}]`:                   []any{json.Number("1"), []any{}, map[string]any{}},
		`{"a":1,"a":2,"b":{"a":"c"}}`: map[string]any{"a": json.Number("2"), "b": map[string]any{"a": "c"}},
		"\"\x7f\"":                    "\x7f",
	} {
		got, err := Decode([]byte(in))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Decode(%s) = %#v, %v, want %#v", in, got, err, want)
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	for _, c := range []struct {
		in     string
		offset int64
		msg    string
	}{
		{``, 0, "the end of the text where a value was expected"},
		{`  `, 2, "the end of the text"},
		{`{} {}`, 3, `'{' after the end of the value`},
		{`{"a":1,}`, 7, "where a key was expected"},
		{`[1,]`, 3, `']' where a value was expected`},
		{`[1 2]`, 3, `'2' where , or ] was expected`},
		{`{"a" 1}`, 5, "where : was expected"},
		{`{"a":1`, 6, "where , or } was expected"},
		{`01`, 1, `'1' after the end`},
		{`-`, 1, "where a digit was expected"},
		{`1.`, 2, "where a digit was expected"},
		{`1e+`, 3, "where a digit was expected"},
		{`+1`, 0, "where a value was expected"},
		{`NaN`, 0, "where a value was expected"},
		{`nul`, 3, "inside null"},
		{`trux`, 3, "inside true"},
		{`"abc`, 4, "inside a string"},
		{`"\x"`, 2, "after a backslash"},
		{`"\u12g4"`, 5, "hexadecimal"},
		{"\"a\nb\"", 2, "control character"},
		{"\"a\xffb\"", 2, "byte 0xff is not UTF-8"},
		{"\xef\xbb\xbf1", 0, "where a value was expected"},
		{strings.Repeat("[", MaxDepth+1), MaxDepth, "nested more than 1000 deep"},
		{strings.Repeat(`{"a":`, MaxDepth+1), 5 * MaxDepth, "nested more than 1000 deep"},
	} {
		v, err := Decode([]byte(c.in))
		var se *SyntaxError
		if !errors.As(err, &se) || v != nil || se.Offset != c.offset || !strings.Contains(se.Msg, c.msg) {
			t.Errorf("Decode(%.40q) = %v, %v, want offset %d, %q", c.in, v, err, c.offset, c.msg)
		}
	}
	deep := strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth)
	if _, err := Decode([]byte(deep)); err != nil {
		t.Errorf("Decode at %d deep: %v", MaxDepth, err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{sample, `[1,2.5e-3,"\ud800\u0041",null,true,{"a":{},"a":[]}]`, `"\\`, `{"":0}`, "\xff", `1 2`} {
		f.Add([]byte(s))
	}
	identity := compiled(f, ".")
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := Decode(b)
		if err != nil {
			var se *SyntaxError
			if !errors.As(err, &se) || se.Offset < 0 || se.Offset > int64(len(b)) {
				t.Fatalf("%T: %v", err, err)
			}
			if strings.Contains(se.Msg, "UTF-8") || strings.Contains(se.Msg, "nested more") {
				return
			}
		}
		if json.Valid(b) != (err == nil) {
			t.Fatalf("Decode: %v, but encoding/json says valid is %v", err, json.Valid(b))
		}
		if err != nil {
			return
		}
		if want := decoded(t, string(b)); !reflect.DeepEqual(v, want) {
			t.Fatalf("Decode = %#v, encoding/json has %#v", v, want)
		}
		out, err := identity.Shape(nil, v, Vars{})
		if kindOf(err) == string(KindOutput) {
			return
		}
		if err != nil || len(out) != 1 {
			t.Fatalf(". of %q: %q, %v", b, out, err)
		}
		if again, err := Decode(out[0]); err != nil || !reflect.DeepEqual(again, v) {
			t.Fatalf("round trip of %q gave %q, %v", b, out[0], err)
		}
	})
}
