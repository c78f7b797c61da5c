// Package shape makes the parts of a request that depend on a signal, beside a JSON body:
// the path and the query, bodies of other formats, and the placeholders of params, whose
// values are put in when the request is made. It stores them as a text.
//
// It does no I/O, and sees values of params in [Shape.Fill] alone.
package shape

import (
	"bytes"
	"cmp"
	stdjson "encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"signalpost/transform/json"
)

// A Shape is what a delivery's signal decided of its request beside the body. The zero
// Shape is a JSON body sent to the route's URL as it is.
type Shape struct {
	Path   string `json:"path,omitempty"`   // appended to that of the URL
	Query  string `json:"query,omitempty"`  // added to that of the URL
	Format string `json:"format,omitempty"` // of the body; "": json
	Type   string `json:"type,omitempty"`   // the Content-Type; "": application/json
	Params Params `json:"params,omitempty"`
}

// Parse reads what String has written.
func Parse(text string) (s Shape, err error) {
	if text != "" {
		err = stdjson.Unmarshal([]byte(text), &s)
	}
	return s, err
}

// String is the Shape to be stored: "" for the zero one.
func (s Shape) String() string {
	if s == (Shape{}) {
		return ""
	}
	var b strings.Builder
	e := stdjson.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.Encode(s) // strings alone
	return strings.TrimSuffix(b.String(), "\n")
}

// formats are those of bodies, but json: the Content-Type, and what is made of the JSON
// that a transform yields.
var formats = map[string]struct {
	contentType string
	from        func(doc []byte) ([]byte, error)
}{
	"form":   {"application/x-www-form-urlencoded", func(doc []byte) ([]byte, error) { return pairs(doc, url.QueryEscape) }},
	"text":   {"text/plain; charset=utf-8", text},
	"ndjson": {"application/x-ndjson", lines},
}

// Body makes a body of a format of the JSON that a transform yields.
func Body(format string, doc []byte) (body []byte, err error) {
	if f, ok := formats[format]; ok {
		return f.from(doc)
	}
	return doc, nil
}

// ContentType is that of a format; "" for json, which is what is sent without a Shape.
func ContentType(format string) string { return formats[format].contentType }

// Query makes a query of JSON: an object of strings, numbers, booleans, or arrays of
// them.
func Query(doc []byte) (string, error) {
	b, err := pairs(doc, escapeQuery)
	return string(b), err
}

// escapeQuery escapes for a query, in which a space is %20, and not + as some read it.
func escapeQuery(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// pairs makes key=value&key=value of an object, in its order. An array is a pair for
// each element. The JSON is valid.
func pairs(doc []byte, escape func(string) string) ([]byte, error) {
	if doc[0] != '{' {
		return nil, not(doc, "an object")
	}
	d := stdjson.NewDecoder(bytes.NewReader(doc))
	out := []byte{} // of an empty object, too: nil is a body that is the signal
	for d.Token(); d.More(); {
		key, err := d.Token()
		var value stdjson.RawMessage
		if err := cmp.Or(err, d.Decode(&value)); err != nil {
			return nil, err
		}
		values := []stdjson.RawMessage{value}
		if value[0] == '[' {
			err = stdjson.Unmarshal(value, &values)
		}
		for _, v := range values {
			said := string(v) // a number's or boolean's
			switch v[0] {
			case '"':
				err = stdjson.Unmarshal(v, &said)
			case 'n', '[', '{':
				is := map[byte]string{'n': "null", '[': "an array in an array", '{': "an object"}[v[0]]
				err = fmt.Errorf("%q is %s, not a string, a number, a boolean or an array of these", clip(key.(string)), is)
			}
			if err != nil {
				return nil, err
			}
			if len(out) > 0 {
				out = append(out, '&')
			}
			out = append(append(append(out, escape(key.(string))...), '='), escape(said)...)
		}
	}
	return out, nil
}

// text makes the text of a string.
func text(doc []byte) ([]byte, error) {
	if doc[0] != '"' {
		return nil, not(doc, "a string")
	}
	var s string
	err := stdjson.Unmarshal(doc, &s)
	return []byte(s), err
}

// lines makes a line of each element of an array. The JSON has no white space outside
// of strings.
func lines(doc []byte) ([]byte, error) {
	if doc[0] != '[' {
		return nil, not(doc, "an array")
	}
	d := stdjson.NewDecoder(bytes.NewReader(doc))
	out := make([]byte, 0, len(doc))
	for d.Token(); d.More(); {
		var element stdjson.RawMessage
		if err := d.Decode(&element); err != nil {
			return nil, err
		}
		out = append(append(out, element...), '\n')
	}
	return out, nil
}

// Path reads a path of JSON: a string that begins with "/", of characters that RFC 3986
// allows in a path, in which nothing is hidden that leads elsewhere.
func Path(doc []byte) (string, error) {
	b, err := text(doc)
	if err != nil {
		return "", err
	}
	return string(b), checkPath(string(b))
}

// pathChars is the beginning of a path that RFC 3986 allows.
var pathChars = regexp.MustCompile(`^(?:[-._~!$&'()*+,;=:@/0-9A-Za-z]|%[0-9A-Fa-f]{2})*`)

func checkPath(path string) error {
	if !strings.HasPrefix(path, "/") {
		return fmt.Errorf(`%q does not begin with "/"`, clip(path))
	}
	if rest := path[len(pathChars.FindString(path)):]; rest != "" {
		return fmt.Errorf("%q holds %q, which a path cannot: encode what comes from a signal with @uri", clip(path), string([]rune(rest)[:1]))
	}
	if strings.Contains(path, "//") {
		return fmt.Errorf(`%q holds "//": a part of it is empty`, clip(path))
	}
	decoded, err := url.PathUnescape(path)
	switch {
	case err != nil:
		return err
	case strings.ContainsFunc(decoded, unicode.IsControl):
		return fmt.Errorf("%q holds a control character", clip(path))
	case strings.Contains(decoded, `\`):
		return fmt.Errorf(`%q holds a \`, clip(path))
	case slices.ContainsFunc(strings.Split(decoded, "/"), func(part string) bool { return part == "." || part == ".." }):
		return fmt.Errorf("%q has a part that is . or .., which leads elsewhere", clip(path))
	}
	return nil
}

// not returns an error: a JSON text is not of the kind that it has to be.
func not(doc []byte, kind string) error {
	is, err := json.Check(doc)
	return cmp.Or(err, fmt.Errorf("it is %s, not %s", is, kind))
}

// clip shortens what a fault shows.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
