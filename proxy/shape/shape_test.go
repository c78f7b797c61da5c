package shape

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"
)

func TestPath(t *testing.T) {
	for doc, fault := range map[string]string{
		`"/"`: "", `"/a/b.c/d;e=f@g:h,i!j$k&l'm(n)o*p+q~r_s-t/"`: "", `"/%2F%3F%23%c3%a9%25"`: "", `"/..a/b../.c/..."`: "", `"/%252e%252e/"`: "",
		`"/%2F%2Fa"`: "", `"/a:b@c/http:"`: "",
		`""`: `"" does not begin with "/"`, `"a/b"`: "does not begin", `"https://evil.example/"`: "does not begin", `"@evil.example/"`: "does not begin",
		`"//evil.example/a"`: `holds "//"`, `"/a//b"`: `holds "//"`, `"/a//"`: `holds "//"`,
		`"/a?b=c"`: `"/a?b=c" holds "?", which a path cannot: encode`, `"/a#b"`: `holds "#"`, `"/a\\b"`: `holds "\\"`, `"/a b"`: `holds " "`,
		`"/caf\u00e9"`: `holds "é"`, `"/a%"`: `holds "%"`, `"/a%2"`: `holds "%"`, `"/a%zz"`: `holds "%"`, `"/[a]"`: `holds "["`, `"/a\"b"`: `holds "\""`,
		`"/{a}|^<>"`: `holds "{"`, "\"/`\"": "holds \"`\"",
		`"/a\r\nHost: x"`: `holds "\r"`, `"/a\u0000"`: `holds "\x00"`, `"/a\u007f"`: `holds "\x7f"`, `"/a\ufffd"`: `holds "`,
		`"/%00"`: "control character", `"/a%0d%0aHost:x"`: "control character", `"/%7F"`: "control character", `"/%C2%85"`: "control character",
		`"/a%5Cb"`: `holds a \`, `"/a%5c..%5cb"`: `holds a \`,
		`"/."`: ". or ..", `"/.."`: ". or ..", `"/../admin"`: ". or ..", `"/a/./b"`: ". or ..", `"/a/.."`: ". or ..", `"/%2e%2E/admin"`: ". or ..", `"/.%2e"`: ". or ..",
		`"/a%2F..%2Fb"`: ". or ..", `"/a%2F%2e"`: ". or ..",
		`null`: "it is null, not a string", `7`: "it is a number", `["/a"]`: "it is an array", `{}`: "it is an object", `true`: "it is a boolean",
	} {
		path, err := Path([]byte(doc))
		if fault == "" && err != nil || fault != "" && (err == nil || !strings.Contains(err.Error(), fault)) {
			t.Errorf("%s: %q, %v; want %q", doc, path, err, fault)
		}
	}
}

// Whatever a path holds, the request goes to the origin and under the path of the URL.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"/", "/a/b", "//x", "/%2e%2e/a", "/a?b", "/%2F..%2F", "/\\", "/a;b=c", "/%C2%85", "/é", "/a@b:c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		doc, _ := json.Marshal(s)
		path, err := Path(doc)
		if err != nil {
			if len(err.Error()) > 2000 {
				t.Errorf("%q: an error of %d bytes", s, len(err.Error()))
			}
			return
		}
		u, err := url.Parse("https://host.example/base" + path)
		if err != nil || u.Host != "host.example" || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery {
			t.Fatalf("%q is %v, %v", path, u, err)
		}
		if clean := u.JoinPath(); !strings.HasPrefix(clean.Path+"/", "/base/") {
			t.Fatalf("%q leads to %s", path, clean)
		}
		if strings.ContainsFunc(u.Path, unicode.IsControl) || strings.ContainsAny(u.Path, `\`) || !strings.HasSuffix(u.EscapedPath(), path) {
			t.Fatalf("%q is decoded as %q, sent as %q", path, u.Path, u.EscapedPath())
		}
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader("POST " + u.RequestURI() + " HTTP/1.1\r\nHost: host.example\r\n\r\n")))
		if err != nil || req.URL.Path != u.Path {
			t.Fatalf("%q arrives as %v, %v", path, req, err)
		}
	})
}

func TestQueryAndBody(t *testing.T) {
	for _, test := range []struct{ format, doc, want, fault string }{
		{"query", `{"a":"b c+d","e":1.50,"f":true,"tag":["x","é","",12345678901234567890],"z":""}`, "a=b%20c%2Bd&e=1.50&f=true&tag=x&tag=%C3%A9&tag=&tag=12345678901234567890&z=", ""},
		{"query", `{"a&b=c#":"&=#%/?"}`, "a%26b%3Dc%23=%26%3D%23%25%2F%3F", ""},
		{"query", `{}`, "", ""},
		{"query", `{"a":[],"":"x","b":[""]}`, "=x&b=", ""},
		{"query", `{"a":null}`, "", `"a" is null, not a string`},
		{"query", `{"a":["x",null]}`, "", `"a" is null`},
		{"query", `{"a":{"b":1}}`, "", `"a" is an object`},
		{"query", `{"a":[["b"]]}`, "", `"a" is an array in an array`},
		{"query", `{"a":[{}]}`, "", `"a" is an object`},
		{"query", `["a"]`, "", "it is an array, not an object"},
		{"query", `null`, "", "it is null, not an object"},
		{"query", `"a=b"`, "", "it is a string, not an object"},
		{"form", `{"Body":"Hi there & bye","From":"+15005550006","n":[1,2]}`, "Body=Hi+there+%26+bye&From=%2B15005550006&n=1&n=2", ""},
		{"form", `{}`, "", ""},
		{"form", `{"a":[]}`, "", ""},
		{"form", `3`, "", "it is a number, not an object"},
		{"text", `"a\n\u0000é"`, "a\n\x00é", ""},
		{"text", `""`, "", ""},
		{"text", `{}`, "", "it is an object, not a string"},
		{"ndjson", `[{"index":{"_id":"1"}},{"a":"x\n[y]"},[1,2],null,"s",1.50]`, "{\"index\":{\"_id\":\"1\"}}\n{\"a\":\"x\n[y]\"}\n[1,2]\nnull\n\"s\"\n1.50\n", ""},
		{"ndjson", `[]`, "", ""},
		{"ndjson", `{"a":1}`, "", "it is an object, not an array"},
		{"json", `[null]`, "[null]", ""},
	} {
		doc := strings.ReplaceAll(test.doc, "x\n", `x\n`)
		var got []byte
		var err error
		if test.format == "query" {
			var text string
			text, err = Query([]byte(doc))
			got = []byte(text)
		} else {
			if got, err = Body(test.format, []byte(doc)); got == nil && err == nil {
				t.Errorf("%s of %s: no body, which would be the signal's", test.format, doc)
			}
		}
		want := strings.ReplaceAll(test.want, "x\n", `x\n`)
		if test.fault == "" && (err != nil || string(got) != want) || test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault)) {
			t.Errorf("%s of %s: %q, %v; want %q, %q", test.format, doc, got, err, want, test.fault)
		}
	}
}

// What is in an object is what who reads the query, or the form, finds.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{`{"a":"b"}`, `{"a b":["&",1,true,false],"é":"+"}`, `{"":""}`, `{"a":null}`, `{"a":1e5}`, `[1]`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var v any
		d := json.NewDecoder(strings.NewReader(s))
		d.UseNumber()
		if d.Decode(&v) != nil {
			return
		}
		doc, _ := json.Marshal(v)
		want, object := url.Values{}, false
		if m, ok := v.(map[string]any); ok {
			object = true
			for name, v := range m {
				list, isList := v.([]any)
				if !isList {
					list = []any{v}
				}
				for _, v := range list {
					switch v.(type) {
					case string, json.Number, bool:
						want.Add(name, fmt.Sprint(v))
					default:
						object = false
					}
				}
			}
		}
		query, err := Query(doc)
		form, err2 := Body("form", doc)
		if (err == nil) != object || (err2 == nil) != object {
			t.Fatalf("%s: %v, %v", doc, err, err2)
		}
		for _, text := range []string{query, string(form)} {
			if got, err := url.ParseQuery(text); object && (err != nil || fmt.Sprint(got) != fmt.Sprint(want)) {
				t.Fatalf("%s is %q, which says %v, %v; want %v", doc, text, got, err, want)
			}
		}
		if strings.ContainsAny(query, "+ #") || strings.Trim(query, queryChars) != "" {
			t.Fatalf("%s is %q, which is no query", doc, query)
		}
	})
}

const queryChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=:@/?%"

// values gives those of a map, whose names are plain.
func values(m map[string]string) Values {
	return func(name string) (string, bool) { v, ok := m[name]; return v, ok }
}

func TestFill(t *testing.T) {
	p := NewParams()
	if other := NewParams(); other == p || strings.ContainsFunc(string(p), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) || len(p) < 20 {
		t.Fatalf("%q, %q", p, other)
	}
	bound := p.Bind([]string{"a", "a_b"})
	a, ab := bound["a"].(string), bound["a_b"].(string)
	known := values(map[string]string{"a": `"\/+&= é` + "<'", "ab": "b/..?#%"})
	forged := strings.Replace(a, string(p), string(NewParams()), 1)
	for _, test := range []struct {
		shape Shape
		body  string
		want  Shape
		filed string
	}{
		{Shape{}, `{"k":"` + a + `b"}`, Shape{}, `{"k":"\"\\/+&= é<'b"}`},
		{Shape{Format: "ndjson"}, `["` + ab + a + `"]` + "\n", Shape{}, `["b/..?#%\"\\/+&= é<'"]` + "\n"},
		{Shape{Format: "form"}, "k=x" + a + "&" + ab + "=1", Shape{}, "k=x%22%5C%2F%2B%26%3D+%C3%A9%3C%27&b%2F..%3F%23%25=1"},
		{Shape{Format: "text"}, "k=" + ab + a, Shape{}, `k=b/..?#%"\/+&= é` + "<'"},
		{Shape{Path: "/x/" + ab + "/" + a}, "{}", Shape{Path: "/x/b%2F..%3F%23%25/%22%5C%2F+&=%20%C3%A9%3C%27"}, "{}"},
		{Shape{Query: "k=" + a + "&l=" + ab}, "{}", Shape{Query: "k=%22%5C%2F%2B%26%3D%20%C3%A9%3C%27&l=b%2F..%3F%23%25"}, "{}"},
		// An expression has cut them, or a signal holds what looks like one.
		{Shape{}, `"` + a[:len(a)-3] + `"`, Shape{}, `"` + a[:len(a)-3] + `"`},
		{Shape{}, `"` + forged + `param01a` + `"`, Shape{}, `"` + forged + `param01a` + `"`},
	} {
		s := test.shape
		s.Params = p
		got, body, err := s.Fill([]byte(test.body), known)
		if strings.HasPrefix(test.shape.Path, "/x/") { // \ cannot be in a path
			if err == nil || strings.Contains(err.Error(), "..") || !strings.Contains(err.Error(), "a value of params") {
				t.Errorf("path of %+v: %+v, %v", test.shape, got, err)
			}
			continue
		}
		if err != nil || string(body) != test.filed || got.Path != test.want.Path || got.Query != test.want.Query {
			t.Errorf("%+v, %s: %+v, %s, %v; want %+v, %s", test.shape, test.body, got, body, err, test.want, test.filed)
		}
	}
	if got, _, err := (Shape{Path: "/" + a + "/" + ab, Params: p}).Fill(nil, values(map[string]string{"a": "é/x y", "ab": "?#"})); err != nil || got.Path != "/%C3%A9%2Fx%20y/%3F%23" {
		t.Errorf("path: %+v, %v", got, err)
	}
	for _, path := range []string{"/" + a, "/x" + a + "y"} {
		if got, _, err := (Shape{Path: path, Params: p}).Fill(nil, values(map[string]string{"a": "/../s3cret"})); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %+v, %v", path, got, err)
		}
	}
	if _, _, err := (Shape{Params: p}).Fill([]byte(a), values(nil)); err == nil || !strings.Contains(err.Error(), "no params.a any more") {
		t.Errorf("a param that has gone: %v", err)
	}
	often, long := []byte(strings.Repeat(a, 1000)), strings.Repeat("v", 1<<11)
	for _, n := range []int{500, 1000} {
		body, want := often[:n*len(a)], n*len(long)
		if _, body, err := (Shape{Params: p}).Fill(body, values(map[string]string{"a": long})); n == 500 && (err != nil || len(body) != want) || n > 500 && (err == nil || !strings.Contains(err.Error(), "more than 1 MiB longer")) {
			t.Errorf("%d times %d bytes: %d, %v", n, len(long), len(body), err)
		}
	}
	if _, body, err := (Shape{}).Fill([]byte(a), values(nil)); err != nil || string(body) != a {
		t.Errorf("none at all: %s, %v", body, err)
	}
}

func TestStored(t *testing.T) {
	for _, s := range []Shape{{}, {Path: "/a"}, {Query: "a=b&c"}, {Format: "form", Type: `a/b; c="d"`, Params: NewParams()}} {
		got, err := Parse(s.String())
		if err != nil || got != s || (s.String() == "") != (s == Shape{}) {
			t.Errorf("%+v is %q, read as %+v, %v", s, s.String(), got, err)
		}
	}
	if s := (Shape{Query: "a=b&c"}).String(); s != `{"query":"a=b&c"}` {
		t.Errorf("stored as %s", s)
	}
	if _, err := Parse("{"); err == nil {
		t.Error("half a shape is read")
	}
}

// Placeholders, wherever they stand among whatever a signal holds, become what they
// stand for, and nothing else does.
func FuzzFill(f *testing.F) {
	f.Add("a", "param", `v"\`, 0)
	f.Add("", "02ab", "é/?", 1)
	f.Add("paramX", "", "\x00\n", 2)
	f.Add("1", "1", "a=b&c+d", 3)
	p := Params("QWERTYUIOPASDFGHJKLZXCVBNM")
	formats := []string{"json", "form", "text", "ndjson"}
	f.Fuzz(func(t *testing.T, before, after, value string, n int) {
		format := formats[uint(n)%uint(len(formats))]
		before, after, value = strings.ToValidUTF8(before, ""), strings.ToValidUTF8(after, ""), strings.ToValidUTF8(value, "")
		if strings.Contains(before+after, string(p)) { // nobody can know it
			return
		}
		text := func(v string) []byte {
			var in any
			switch s := before + v + after; format {
			case "form":
				in = map[string]any{"k": s}
			case "ndjson":
				in = []any{s, 1}
			default:
				in = s
			}
			doc, _ := json.Marshal(in)
			body, err := Body(format, doc)
			if err != nil {
				t.Fatal(err)
			}
			return body
		}
		placeholder := p.Bind([]string{"a_b", "a"})["a_b"].(string)
		shape := Shape{Format: format, Params: p, Query: "q=" + url.QueryEscape(before) + placeholder}
		got, body, err := shape.Fill(text(placeholder), values(map[string]string{"ab": value, "a": "wrong"}))
		if err != nil {
			t.Fatal(err)
		}
		same := bytes.Equal(body, text(value))
		if format == "json" || format == "ndjson" { // escaped one way or another
			same = slices.Equal(decoded(t, body), decoded(t, text(value)))
		}
		if q, err := url.ParseQuery(got.Query); !same || err != nil || q.Get("q") != before+value {
			t.Fatalf("%q in %q, %q as %s: %q, query %q", value, before, after, format, body, got.Query)
		}
	})
}

// decoded are the JSON texts that follow one another.
func decoded(t *testing.T, text []byte) (all []any) {
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		var v any
		if d.Decode(&v) != nil {
			return all
		}
		all = append(all, v)
	}
}
