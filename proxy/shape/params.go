package shape

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"signalpost/transform/json"
)

// Params are the placeholders of one signal on one route, which share a random part that
// no signal can know before it is sent. "" is without it, for tries, which are never
// sent.
type Params string

// NewParams makes the placeholders of a signal.
func NewParams() Params { return Params(rand.Text()) }

// mark is what each placeholder begins with.
func (p Params) mark() string { return "param" + string(p) }

// placeholder stands for the param of that name, in letters and digits, which no
// escaping changes. It holds the length of the name, so that its end is known.
func (p Params) placeholder(name string) string {
	name = Plain(name)
	return fmt.Sprintf("%s%02d%s", p.mark(), len(name), name)
}

// Plain is the name of a param as placeholders have it: letters and digits alone. No two
// params of a route have the same.
func Plain(name string) string { return strings.ReplaceAll(name, "_", "") }

// Bind is the value of $params for the names.
func (p Params) Bind(names []string) map[string]any {
	bound := make(map[string]any, len(names))
	for _, name := range names {
		bound[name] = p.placeholder(name)
	}
	return bound
}

// Values gives the value of a param, which is secret, by the plain form of its name.
type Values func(plain string) (value string, ok bool)

// maxAdded is how many bytes the values make a text longer at most: an expression can
// write a name very often.
const maxAdded = 1 << 20

// fill returns text with each value in its place, escaped.
func (p Params) fill(text []byte, values Values, escape func(string) string) (filled []byte, err error) {
	mark, most := []byte(p.mark()), len(text)+maxAdded
	for p != "" {
		at := bytes.Index(text, mark)
		if at < 0 {
			break
		}
		filled, text = append(filled, text[:at]...), text[at+len(mark):]
		name, ok := nameIn(text)
		if !ok { // an expression has cut it
			filled = append(filled, mark...)
			continue
		}
		value, ok := values(name)
		if !ok {
			return nil, fmt.Errorf("the route has no params.%s any more, which this delivery was made with: add it, or retry with reshape", name)
		}
		filled, text = append(filled, escape(value)...), text[2+len(name):]
		if len(filled) > most {
			return nil, fmt.Errorf("the values of params make it more than %d MiB longer: name them less often", maxAdded>>20)
		}
	}
	if filled == nil {
		return text, nil
	}
	return append(filled, text...), nil
}

// nameIn reads the name in a placeholder, behind its mark.
func nameIn(text []byte) (string, bool) {
	if len(text) < 2 {
		return "", false
	}
	n, err := strconv.ParseUint(string(text[:2]), 10, 8)
	if err != nil || n == 0 || len(text) < 2+int(n) {
		return "", false
	}
	return string(text[2 : 2+n]), true
}

// Fill puts the values of params into what was made of a signal, each escaped once for
// where it stands. The error names a param there is no value of, or says that the
// path is none any more.
func (s Shape) Fill(body []byte, values Values) (Shape, []byte, error) {
	if s.Params == "" {
		return s, body, nil
	}
	escape := escapeJSON
	switch s.Format {
	case "form":
		escape = url.QueryEscape
	case "text":
		escape = func(s string) string { return s }
	}
	body, err1 := s.Params.fill(body, values, escape)
	path, err2 := s.Params.fill([]byte(s.Path), values, url.PathEscape)
	query, err3 := s.Params.fill([]byte(s.Query), values, escapeQuery)
	if err := cmp.Or(err1, err2, err3); err != nil {
		return s, nil, err
	}
	if string(path) != s.Path && checkPath(string(path)) != nil { // whose error would show the value
		return s, nil, errors.New("a value of params makes the path one that leads elsewhere, or none at all")
	}
	s.Path, s.Query = string(path), string(query)
	return s, body, nil
}

// Normalized returns s and its body with the placeholders of a try, so that both are the
// same when they are made again of the same signal.
func (s Shape) Normalized(body []byte) (Shape, []byte) {
	if s.Params == "" {
		return s, body
	}
	settled := strings.NewReplacer(s.Params.mark(), Params("").mark())
	return Shape{Path: settled.Replace(s.Path), Query: settled.Replace(s.Query), Format: s.Format, Type: s.Type}, []byte(settled.Replace(string(body)))
}

// escapeJSON escapes for within a JSON string.
func escapeJSON(s string) string {
	b, _ := json.Encode(s, 6*len(s)+2) // the most there is
	return string(b[1 : len(b)-1])
}
