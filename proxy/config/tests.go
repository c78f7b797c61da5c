package config

import (
	"bytes"
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"signalpost/proxy/files"
	"signalpost/transform/json"
)

// maxTests is the most bytes of a file of tests, which may hold whole signals.
const maxTests = 16 << 20

// A Test is one [[test]] table: a signal, and what routes are to make of it.
type Test struct {
	Name    string
	Place   Place
	Type    string
	Signal  []byte // a JSON object
	Expect  []Expectation
	Partial bool // members that are not expected are fine
}

// An Expectation is what one route is to make of a test's signal: bodies, or an error.
type Expectation struct {
	Route  string
	Place  Place
	Bodies []any  // as transform/json decodes them; none: no delivery
	Error  string // a part of the text of the expression's error; "": there is to be none
}

// A Place is where something is in a file.
type Place struct {
	File   string `json:"file"`
	Line   int    `json:"line"`   // from 1
	Column int    `json:"column"` // from 1, in characters
}

// String is FILE:LINE:COLUMN.
func (p Place) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// LoadTests reads the tests in the file at path, of the routes of a config. It
// returns at least one, or an error of type Faults.
func LoadTests(ctx context.Context, path string, c *Config) ([]Test, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	data, err := files.ReadOnce(ctx, absolute(path), maxTests)
	if err != nil {
		msg := "cannot be read: " + files.Problem(err)
		if errors.Is(err, fs.ErrNotExist) {
			msg = "there is no such file: signalpost help rehearsal shows how one is written, test --record prints a test to begin with"
		}
		return nil, Faults{{File: path, what: "tests", Msg: msg}}
	}
	tests, faults := parseTests(path, data, c)
	if len(faults) > 0 {
		for i := range faults {
			faults[i].what = "tests"
		}
		return nil, faults
	}
	return tests, nil
}

func parseTests(path string, data []byte, c *Config) (tests []Test, faults Faults) {
	d := newDecoder(path, data, inputs{})
	d.homes = func() map[string]string { return nil }
	syntax := len(d.faults) > 0
	d.read(d.root, schema{"test": {read: func(d *decoder, key string, v *value) {
		for _, t := range v.list {
			if t.kind == kindTable {
				tests = append(tests, d.test(t, c))
			}
		}
		if v.kind != kindList || slices.ContainsFunc(v.list, func(t *value) bool { return t.kind != kindTable }) {
			d.fault(v.at, "test: expected [[test]] tables")
		}
	}}}, "")
	if d.root.keys["test"] == nil && !syntax {
		d.fault(0, "there is no test: add a [[test]] with a name, a signal and what routes make of it")
	}
	if len(d.faults) == 0 {
		d.checkWhole()
	}
	return tests, d.faults.placed(d.data)
}

// test reads one [[test]].
func (d *decoder) test(t *value, c *Config) (test Test) {
	test.Place = d.place(t)
	before := len(d.faults)
	expect := func(one func(e *Expectation, key string, v *value)) field {
		return field{keys: schema{}, jq: true, read: func(d *decoder, key string, v *value) {
			if v.kind != kindTable {
				d.fault(v.at, "%s: expected a table of routes, not %s", key, v.kind)
			}
			for _, e := range v.sorted() {
				x := Expectation{Route: e.name, Place: d.place(e)}
				d.routeOf(e, c)
				if slices.ContainsFunc(test.Expect, func(other Expectation) bool { return other.Route == e.name }) {
					d.fault(e.key, "%s: something is expected of route %s already", key, quote(e.name))
				}
				one(&x, key+"."+e.name, e)
				test.Expect = append(test.Expect, x)
			}
		}}
	}
	kind := "" // of a signal that names none
	signal := func(text func(key string, v *value) []byte) field {
		return field{jq: true, read: func(d *decoder, key string, v *value) {
			if body := text(key, v); body != nil {
				test.Signal, test.Type = body, d.signalType(key, v, body, kind)
			}
		}}
	}
	keys := schema{
		"name":        required("each [[test]] has one", into(&test.Name, "", word("some text", func(s string) bool { return strings.TrimSpace(s) != "" }))),
		"partial":     into(&test.Partial, false, boolean),
		"type":        into(&kind, "", word("a signal_type", json.IsType)),
		"signal":      signal(d.encoded),
		"signal_json": signal(d.written),
		"expect":      expect(func(e *Expectation, key string, v *value) { e.Bodies = d.bodies(key, v) }),
		"expect_json": expect(func(e *Expectation, key string, v *value) { e.Bodies = d.bodiesJSON(key, v) }),
		"expect_error": expect(func(e *Expectation, key string, v *value) {
			e.Error = v.text
			d.expect(v.kind == kindString && v.text != "", key, v, "a part of the error's text")
		}),
	}
	if v := t.keys["type"]; v != nil {
		kind = v.text
	}
	d.read(t, keys, "")
	a, b := t.keys["signal"], t.keys["signal_json"]
	switch {
	case t.broken || len(d.faults) > before:
	case a != nil && b != nil:
		d.fault(max(a.key, b.key), "signal and signal_json cannot both be set: leave one out")
	case a == nil && b == nil:
		d.fault(t.at, "signal is missing: a table, or as JSON in signal_json")
	case len(test.Expect) == 0:
		d.fault(t.at, `nothing is expected: add expect = { ROUTE = … }, where "none" is no delivery`)
	}
	return test
}

func (d *decoder) place(v *value) Place {
	line := d.data[bytes.LastIndexByte(d.data[:v.key], '\n')+1 : v.key]
	return Place{d.file, v.line, utf8.RuneCount(line) + 1}
}

// routeOf reports a key that is the name of no route.
func (d *decoder) routeOf(e *value, c *Config) {
	var names []string
	for i := range c.Routes {
		names = append(names, c.Routes[i].Name)
	}
	if slices.Contains(names, e.name) {
		return
	}
	d.fault(e.key, "there is no route %s%s", quote(e.name), meant(e.name, names, "; the config has "+oneOf(names)))
}

// signalType is the type of a test's signal, kind if it names none; "" if it is none.
func (d *decoder) signalType(key string, v *value, body []byte, kind string) string {
	signals, batch, err := json.Signals(kind, body, false, nil)
	if err != nil || batch {
		d.jsonFault(key, v, err, "one signal is tested, and this is a batch")
		return ""
	}
	return signals[0].Type
}

// written is the JSON in a string; nil if it is none.
func (d *decoder) written(key string, v *value) []byte {
	if !d.expect(v.kind == kindString, key, v, "a JSON object in a string") {
		return nil
	}
	return []byte(v.text)
}

// jsonFault reports what is wrong with JSON in a string, or in what v stands for.
func (d *decoder) jsonFault(key string, v *value, err error, otherwise string) {
	at, msg := v.at, otherwise
	if wrong, ok := errors.AsType[*json.Error](err); ok {
		msg = wrong.Error()
		if wrong.Offset >= 0 && v.kind == kindString {
			at = v.offset(min(wrong.Offset, max(len(v.text)-1, 0)))
		}
	}
	d.fault(at, "%s: %s", key, msg)
}

// encoded is a table as JSON; nil if it is none, or cannot be said in JSON.
func (d *decoder) encoded(key string, v *value) []byte {
	if !d.expect(v.kind == kindTable, key, v, "a table, or JSON in signal_json") {
		return nil
	}
	x, ok := d.plain(key, v)
	if !ok {
		return nil
	}
	body, err := json.Encode(x, math.MaxInt)
	if err != nil {
		d.fault(v.at, "%s: %v", key, err)
	}
	return body
}

// bodies are what a route is to make: a list, "none", or one body.
func (d *decoder) bodies(key string, v *value) []any {
	x, _ := d.plain(key, v)
	if list, ok := x.([]any); ok {
		return list
	}
	if x == "none" {
		return nil
	}
	return []any{x}
}

func (d *decoder) bodiesJSON(key string, v *value) []any {
	const list = "the list of the bodies as JSON, in a string"
	if !d.expect(v.kind == kindString, key, v, list) {
		return nil
	}
	x, err := json.Decode([]byte(v.text))
	bodies, ok := x.([]any)
	if !ok {
		d.jsonFault(key, v, err, "expected "+list)
	}
	return bodies
}

// plain is a value of TOML as transform/json decodes the same in JSON. A date or
// time is a string, and a secret value what any shows. It reports what JSON cannot say.
func (d *decoder) plain(key string, v *value) (x any, ok bool) {
	if v.hidden {
		return redacted, true
	}
	switch v.kind {
	case kindTable:
		table, all := make(map[string]any, len(v.keys)), true
		for _, e := range v.sorted() {
			if table[e.name], ok = d.plain(key+"."+e.name, e); !ok {
				all = false
			}
		}
		return table, all
	case kindList:
		list, all := make([]any, len(v.list)), true
		for i, e := range v.list {
			if list[i], ok = d.plain(fmt.Sprintf("%s[%d]", key, i), e); !ok {
				all = false
			}
		}
		return list, all
	case kindBoolean:
		return v.text == "true", true
	case kindInteger:
		n, err := strconv.ParseInt(v.text, 0, 64)
		if err != nil {
			d.fault(v.at, "%s: the integers of TOML have 64 bits: say it in JSON instead", key)
		}
		return stdjson.Number(strconv.FormatInt(n, 10)), err == nil
	case kindFloat:
		digits := strings.TrimPrefix(strings.ReplaceAll(v.text, "_", ""), "+")
		if strings.HasSuffix(digits, "inf") || strings.HasSuffix(digits, "nan") {
			d.fault(v.at, "%s: JSON has no %s", key, digits)
			return nil, false
		}
		return stdjson.Number(digits), true
	}
	return v.text, true
}
