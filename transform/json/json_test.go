package json

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"math"
	"math/big"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/itchyny/gojq"
)

const sample = `{
  "signal_type": "product_qualified_lead",
  "confidence": 0.92,
  "source": "posthog",
  "hypothesis_id": "hyp_8g2k",
  "account": { "name": "Acme Corp", "domain": "acme.com" },
  "events": ["visited_pricing_page", "invited_team_member", "api_key_created"],
  "enrichment": { "company_size": "50-200", "industry": "SaaS" },
  "detected_at": "2026-04-29T14:31:08Z"
}`

func TestDecode(t *testing.T) {
	for in, want := range map[string]any{
		`null`:                        nil,
		" \t\r\n true ":               true,
		`9007199254740993`:            stdjson.Number("9007199254740993"),
		`1.10`:                        stdjson.Number("1.10"),
		`-0`:                          stdjson.Number("-0"),
		`1E+400`:                      stdjson.Number("1E+400"),
		`0.1000000000000000055`:       stdjson.Number("0.1000000000000000055"),
		`""`:                          "",
		`"\u2028 😀 \ud83d\ude00"`:     "\u2028 😀 😀",
		`"\u0000\b\f\n\r\t\/\\\""`:    "\x00\b\f\n\r\t/\\\"",
		`"\ud83d"`:                    "\uFFFD",
		`"\ud83dx\ude00\ud83d\n"`:     "\uFFFDx\uFFFD\uFFFD\n",
		`"\ud83d\ud83d\ude00"`:        "\uFFFD😀",
		`[]`:                          []any{},
		`[1,[],{}]`:                   []any{stdjson.Number("1"), []any{}, map[string]any{}},
		`{"a":1,"a":2,"b":{"a":"c"}}`: map[string]any{"a": stdjson.Number("2"), "b": map[string]any{"a": "c"}},
		"\"\x7f\"":                    "\x7f",
	} {
		text := []byte(in)
		got, err := Decode(text)
		clear(text) // the value shares no memory with it
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Decode(%s) = %#v, %v, want %#v", in, got, err, want)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		in     string
		offset int
		msg    string
	}{
		{``, 0, "found the end"},
		{`  `, 2, "found the end"},
		{`{} {}`, 3, `expected nothing more, found '{'`},
		{`{"a":1,}`, 7, `'}' looking for beginning of object key`},
		{`{"a"}`, 4, `'}' after object key`},
		{`{1:2}`, 1, `'1' looking for beginning of object key`},
		{`[1,]`, 3, `']' looking for beginning of value`},
		{`[1 2]`, 3, `'2' after array element`},
		{`[1}`, 2, `'}' after array element`},
		{`{"a" 1}`, 5, "after object key"},
		{`{"a":1`, 6, "found the end"},
		{`{"a":é}`, 5, "'é'"},
		{`]`, 0, "beginning of value"},
		{`01`, 1, `expected nothing more, found '1'`},
		{`[01]`, 2, `'1' after array element`},
		{`-`, 1, "found the end"},
		{`-x`, 1, "in numeric literal"},
		{`1.`, 2, "found the end"},
		{`1e+`, 3, "found the end"},
		{`+1`, 0, "looking for beginning of value"},
		{`NaN`, 0, "looking for beginning of value"},
		{`nul`, 3, "found the end"},
		{`trux`, 3, "in literal true"},
		{`"abc`, 4, "found the end"},
		{`"\`, 2, "found the end"},
		{`"\x"`, 2, "in string escape code"},
		{`"\u12g4"`, 5, "hexadecimal"},
		{`"\ud800\u12`, 11, "found the end"},
		{"\"a\nb\"", 2, "in string"},
		{"\"a\xffb\"", 2, "not UTF-8: found the byte 0xff"},
		{"[1]\xff", 3, "not UTF-8: found the byte 0xff"},
		{"é\xff", 0, "not JSON"},
		{"[\xed\xa0\x80]", 1, "not UTF-8: found the byte 0xed"},
		{"\xef\xbb\xbf1", 0, "byte order mark"},
		{strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1), MaxDepth, "nested more than 1000 deep"},
		{strings.Repeat(`{"[":`, MaxDepth+1) + "1" + strings.Repeat("}", MaxDepth+1), 5 * MaxDepth, "nested more than 1000 deep"},
		{strings.Repeat("[", 1e6) + strings.Repeat("]", 1e6), MaxDepth, "nested more than 1000 deep"},
	} {
		v, err := Decode([]byte(c.in))
		var bad *Error
		if !errors.As(err, &bad) || v != nil || bad.Offset != c.offset || bad.Index != -1 || !strings.Contains(err.Error(), c.msg) {
			t.Errorf("Decode(%.40q) = %v, %v, want offset %d, %q", c.in, v, err, c.offset, c.msg)
		}
		if kind, err := Check([]byte(c.in)); !errors.As(err, &bad) || kind != "" || bad.Offset != c.offset {
			t.Errorf("Check(%.40q) = %s, %v, want offset %d", c.in, kind, err, c.offset)
		}
	}
	for _, deep := range []string{
		strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth),
		"[" + strings.Repeat(`[],{"[[[[\"[":0},`, 2*MaxDepth) + "0]",
	} {
		if _, err := Decode([]byte(deep)); err != nil {
			t.Errorf("Decode(%.40q): %v", deep, err)
		}
		if _, err := Check([]byte(deep)); err != nil {
			t.Errorf("Check(%.40q): %v", deep, err)
		}
	}
}

func TestCheck(t *testing.T) {
	for in, want := range map[string]string{
		`{"a":[]}`: "an object", ` []`: "an array", `"a" `: "a string", `-0`: "a number", `12`: "a number", `true`: "a boolean", `false`: "a boolean", `null`: "null",
	} {
		if got, err := Check([]byte(in)); got != want || err != nil {
			t.Errorf("Check(%s) = %q, %v, want %q", in, got, err, want)
		}
	}
}

// Offsets are those of the whole body, and the index is that of the element they are in.
func TestSignalsOffsets(t *testing.T) {
	for _, test := range []struct {
		body  string
		lines bool
		want  string
		index int
	}{
		{`{"a":}`, false, "offset 5", -1},
		{"{}\n{\"a\":}", true, "offset 8", 1},
		{"{}\n \n {\"a\":}\n", true, "offset 11", 1},
		{"[{},{\"a\":}]", false, "offset 9", 1},
		{"[{},{}", false, "found the end at offset 6", 2},
		{"[{},{}] {}", false, "found '{' at offset 8", -1},
		{"[{},\xff", false, "not UTF-8: found the byte 0xff at offset 4", 1},
		{"{}\n{\"\xff\":1}", true, "not UTF-8: found the byte 0xff at offset 5", 1},
		{"{}\n\xff", true, "not UTF-8: found the byte 0xff at offset 3", 1},
		{"{}\n{", true, "found the end at offset 4", 1},
		{"{}\n{\n", true, "at offset 4", 1},
		{"{} {}", true, "found '{' at offset 3", 0},
		{"é\xff", false, "offset 0", -1},
	} {
		_, _, err := Signals("", []byte(test.body), test.lines, nil)
		var bad *Error
		if !errors.As(err, &bad) || !strings.HasSuffix(err.Error(), test.want) || bad.Index != test.index {
			t.Errorf("%q: %#v, want %s, index %d", test.body, bad, test.want, test.index)
		}
	}
}

// Whether all is JSON is judged before what it is.
func TestSignalsOrder(t *testing.T) {
	for body, want := range map[string]Error{
		`[1,{"signal_type":"a"},{}]`: {-1, 0, "a signal is a JSON object; found a number"},
		`[{"signal_type":"a"},{},1]`: {-1, 1, `the signal has no signal_type; add "signal_type": "name"`},
		`[1,{},nul]`:                 {9, 2, "not JSON: invalid character ']' in literal null (expecting 'l')"},
		`{"signal_type":null}`:       {-1, -1, "signal_type must be a string; found null"},
		`[]`:                         {-1, -1, "the batch is empty; send at least one signal"},
	} {
		signals, _, err := Signals("", []byte(body), false, all)
		var bad *Error
		if !errors.As(err, &bad) || *bad != want || signals != nil {
			t.Errorf("%s: %v, %#v, want %#v", body, signals, bad, want)
		}
	}
}

// Signals takes what encoding/json and Decode take, each signal is the bytes
// they see, and nothing else is refused as not JSON.
func FuzzSignals(f *testing.F) {
	for _, body := range []string{
		`{"signal_type":"a"}`, ` {"signal_type" : "a b", "x":[1,-0.5e+9,true,false,null,{"signal_type":2}]} `, `[{"signal_type":"a"} ,{"signal_type":"b"}]`,
		"{\"signal_type\":\"a\"}\n\n{\"signal_type\":\"b\"}\r\n", `{"signal\u005ftype":"\ud83d\ude00\ud800\n\/"}`, `[]`, `null`, `"\"`, `01`, `-`, `1.`, `1e`, `tru`, "\ufeff{}", "{\"\xff\":1}",
		`[1,]`, `{"a":1,}`, `[[[[`, `{"signal_type":"a","signal_type":"b"}`, "\"\u007f\x00\"", `[{"signal_type":"a"}`,
	} {
		f.Add([]byte(body), false)
		f.Add([]byte(body), true)
	}
	f.Fuzz(func(t *testing.T, body []byte, lines bool) {
		before := bytes.Clone(body)
		signals, batch, err := Signals("", body, lines, all)
		if !bytes.Equal(before, body) {
			t.Fatal("Signals changed the body")
		}
		var raw []stdjson.RawMessage
		whole := utf8.Valid(body)
		switch {
		case lines:
			for line := range bytes.Lines(body) {
				if line = bytes.Trim(line, " \t\r\n"); len(line) > 0 {
					whole = whole && stdjson.Valid(line)
					raw = append(raw, line)
				}
			}
		case bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("[")):
			whole = whole && stdjson.Unmarshal(body, &raw) == nil
		default:
			whole = whole && stdjson.Valid(body)
			raw = []stdjson.RawMessage{body}
		}
		if batch != (lines || bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("["))) {
			t.Errorf("batch is %t", batch)
		}
		var bad *Error
		if err != nil && !errors.As(err, &bad) {
			t.Fatalf("%T: %v", err, err)
		}
		deep := err != nil && strings.Contains(err.Error(), "nested more than")
		if refused := err != nil && bad.Offset >= 0; refused == whole && !deep {
			t.Fatalf("whole is %t, but: %v", whole, err)
		}
		if err != nil {
			if bad.Offset > len(body) || bad.Index >= 0 && !batch {
				t.Fatalf("%#v", bad)
			}
			return
		}
		if len(signals) != len(raw) || len(raw) == 0 {
			t.Fatalf("%d signals, want %d", len(signals), len(raw))
		}
		for i, s := range signals {
			if !bytes.Equal(s.Raw, raw[i]) {
				t.Fatalf("signal %d is %q, want %q", i, s.Raw, raw[i])
			}
			v, err := Decode(s.Raw)
			if err != nil {
				t.Fatalf("signal %d cannot be decoded: %v", i, err)
			}
			if got := v.(map[string]any)["signal_type"]; got != s.Type {
				t.Fatalf("signal_type %q, decoded %q", s.Type, got)
			}
			if !IsType(s.Type) {
				t.Fatalf("signal_type %q", s.Type)
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{sample, `[1,2.5e-3,"\ud800\u0041",null,true,{"a":{},"a":[]}]`, `"\\`, `{"":0}`, "\xff", `1 2`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := Decode(b)
		if _, checked := Check(b); (err == nil) != (checked == nil) {
			t.Fatalf("Decode: %v, Check: %v", err, checked)
		}
		if err != nil {
			var bad *Error
			if !errors.As(err, &bad) || bad.Offset < 0 || bad.Offset > len(b) {
				t.Fatalf("%T: %v", err, err)
			}
			if strings.Contains(bad.msg, "UTF-8") || strings.Contains(bad.msg, "nested more") {
				return
			}
		}
		if stdjson.Valid(b) != (err == nil) {
			t.Fatalf("Decode: %v, but encoding/json says valid is %v", err, stdjson.Valid(b))
		}
		if err != nil {
			return
		}
		d := stdjson.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		var want any
		if err := d.Decode(&want); err != nil || !reflect.DeepEqual(v, want) {
			t.Fatalf("Decode = %#v, encoding/json has %#v, %v", v, want, err)
		}
		out, err := Encode(v, 10*len(b)+10)
		if err != nil {
			t.Fatalf("Encode of %q: %v", b, err)
		}
		if again, err := Decode(out); err != nil || !reflect.DeepEqual(again, v) {
			t.Fatalf("round trip of %q gave %q, %v", b, out, err)
		}
	})
}

func TestEncode(t *testing.T) {
	huge := new(big.Int).Exp(big.NewInt(10), big.NewInt(30), nil)
	for _, c := range []struct {
		v    any
		want string
	}{
		{nil, `null`}, {true, `true`}, {-7, `-7`}, {1e21, `1e+21`}, {1e-7, `1e-7`}, {math.NaN(), `null`}, {92.0, `92`}, {math.Copysign(0, -1), `-0`}, {-1e-6, `-0.000001`}, {9.99999e-7, `9.99999e-7`}, {123456789.25e12, `123456789250000000000`}, {math.Inf(1), `1.7976931348623157e+308`},
		{huge, "1" + strings.Repeat("0", 30)}, {stdjson.Number("1.10"), `1.10`}, {"<\x7f\n\u2028\x01", "\"<\\u007f\\n\u2028\\u0001\""},
		{map[string]any{"b": []any{}, "a": map[string]any{}, "": nil}, `{"":null,"a":{},"b":[]}`}, {[]any{1, "x", []any{nil}}, `[1,"x",[null]]`},
	} {
		if got, err := Encode(c.v, len(c.want)); string(got) != c.want || err != nil {
			t.Errorf("Encode(%v) = %s, %v, want %s", c.v, got, err, c.want)
		}
		if got, err := Encode(c.v, len(c.want)-1); got != nil || err != ErrTooLarge {
			t.Errorf("Encode(%v) with a byte too few = %s, %v", c.v, got, err)
		}
		if stock, _ := gojq.Marshal(c.v); string(stock) != c.want {
			t.Errorf("gojq has %s, not %s", stock, c.want)
		}
	}
	// A value that holds itself many times over.
	var twice any = "x"
	for range 100 {
		twice = []any{twice, map[string]any{"": twice}}
	}
	deep := any(nil)
	for range maxNesting + 1 {
		deep = []any{deep}
	}
	for _, v := range []any{twice, deep} {
		if _, err := Encode(v, 1<<20); err != ErrTooLarge {
			t.Errorf("%v", err)
		}
	}
	if _, err := Encode(deep.([]any)[0], 1<<20); err != nil {
		t.Errorf("nested as deeply as may be: %v", err)
	}
}

func BenchmarkSignals(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Signals("", []byte(sample), false, all); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode([]byte(sample)); err != nil {
			b.Fatal(err)
		}
	}
}

// No text decodes to more than its Footprint, and that of what is mostly text is small.
func TestFootprint(t *testing.T) {
	live := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for _, part := range []string{
		`{"":0},`, `{"":{}},`, `{"":[0]},`, `[0],`, `[[]],`, `{},`, `[],`, `0,`, `"",`, `"a",`, `10,`, `null,`, `"\u0000\u0000",`, `"\n",`,
		`{"0":0,"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0},`, `{"0":0,"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"9":0,"a":0,"b":0,"c":0,"d":0,"e":0,"f":0},`,
		strings.Repeat(`{"":`, 900) + "0" + strings.Repeat("}", 900) + ",", strings.Repeat(`[`, 900) + strings.Repeat("]", 900) + ",",
		`"` + strings.Repeat("x", 1e5) + `",`, `"` + strings.Repeat("\\n", 4e4) + `",`, sample + ",",
	} {
		text := []byte("[" + strings.Repeat(part, 2e5/len(part)) + "0]")
		before := live()
		v, err := Decode(text)
		took := live() - before
		runtime.KeepAlive(v)
		if bound := Footprint(text); err != nil || took > bound {
			t.Errorf("%.20s decodes to %d bytes, more than %d, %v", part, took, bound, err)
		} else {
			t.Logf("%.20s decodes to %d%% of %d bytes", part, 100*took/bound, bound)
		}
	}
	if n := Footprint([]byte(sample)); n > 4<<10 {
		t.Errorf("%d bytes for the sample", n)
	}
}
