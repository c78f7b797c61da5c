package rehearse

import (
	"bytes"
	stdjson "encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/term"
	"signalpost/queue"
	"signalpost/transform/json"
)

// Record is a [[test]] of what a route made of a signal: made are its deliveries
// of that, in the order of their ids. What $signal_id and $received_at were is
// written as it is in tests.
func Record(of string, made []api.Delivery) (string, error) {
	first := &made[0]
	route := first.Route
	fixed := strings.NewReplacer(first.Signal.String(), "sig_"+testID.String(),
		first.Signal.Time().UTC().Format(time.RFC3339), testID.Timestamp().UTC().Format(time.RFC3339))
	var b strings.Builder
	fmt.Fprintf(&b, "[[test]]\nname = %s\n", quoteTOML(of+" for "+route))
	doc, err := json.Decode([]byte(fixed.Replace(string(first.SignalBody))))
	if err != nil {
		return "", fmt.Errorf("the signal of %s cannot be read: %w", of, err)
	}
	members, _ := doc.(map[string]any)
	if _, named := members["signal_type"]; !named {
		fmt.Fprintf(&b, "type = %s\n", quoteTOML(first.Type))
	}
	table := ""
	if lines, ok := membersTOML(members); ok {
		table = "\n[test.signal]\n" + strings.Join(append(lines, ""), "\n")
	} else {
		fmt.Fprintf(&b, "signal_json = %s\n", jsonTOML(doc))
	}
	bodies := []any{}
	for _, d := range made {
		if why := failure(&d); why != "" {
			fmt.Fprintf(&b, "expect_error = { %s = %s }\n", keyTOML(route), quoteTOML(fixed.Replace(why)))
			return b.String() + table + "\n", nil
		}
		body, err := json.Decode(placeholder.ReplaceAll([]byte(fixed.Replace(string(d.Body))), []byte("param")))
		if err != nil {
			return "", fmt.Errorf("the body of %s cannot be read: %w", d.ID, err)
		}
		bodies = append(bodies, body)
	}
	expected := any(bodies)
	if _, list := bodies[0].([]any); len(bodies) == 1 && !list && bodies[0] != "none" {
		expected = bodies[0]
	}
	if value, ok := valueTOML(expected); ok {
		fmt.Fprintf(&b, "expect = { %s = %s }\n", keyTOML(route), value)
	} else {
		fmt.Fprintf(&b, "expect_json = { %s = %s }\n", keyTOML(route), jsonTOML(bodies))
	}
	return b.String() + table + "\n", nil
}

// failure is the error of the expression that made no body; "" if there is one.
func failure(d *api.Delivery) string {
	for _, e := range d.Log {
		if e.Reason == queue.Transform && string(d.Body) == "null" {
			return e.Error
		}
	}
	return ""
}

// placeholder matches the beginning and the random part of those of params, which
// have none in tests.
var placeholder = regexp.MustCompile(`param[A-Z2-7]{26}`)

// membersTOML are the members of an object, by name; false if TOML cannot say one.
func membersTOML(object map[string]any) (all []string, ok bool) {
	for _, name := range slices.Sorted(maps.Keys(object)) {
		value, ok := valueTOML(object[name])
		if !ok {
			return nil, false
		}
		all = append(all, keyTOML(name)+" = "+value)
	}
	return all, true
}

// valueTOML is a value on one line; false if TOML cannot say it.
func valueTOML(v any) (string, bool) {
	switch v := v.(type) {
	case nil:
		return "", false
	case stdjson.Number:
		_, tooLong := strconv.ParseInt(string(v), 10, 64)
		if strings.ContainsAny(string(v), ".eE") {
			_, tooLong = strconv.ParseFloat(string(v), 64)
		}
		return string(v), tooLong == nil
	case []any:
		var elements []string
		for _, element := range v {
			text, ok := valueTOML(element)
			if !ok {
				return "", false
			}
			elements = append(elements, text)
		}
		return "[" + strings.Join(elements, ", ") + "]", true
	case map[string]any:
		members, ok := membersTOML(v)
		return "{ " + strings.Join(members, ", ") + " }", ok
	case string:
		return quoteTOML(v), true
	}
	return string(encode(v)), true // a boolean
}

var bareKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func keyTOML(name string) string {
	if bareKey.MatchString(name) {
		return name
	}
	return quoteTOML(name)
}

// quoteTOML is text in double quotes: as JSON writes it, which TOML reads alike, but
// for what a terminal cannot show.
func quoteTOML(text string) string {
	var b strings.Builder
	for _, r := range string(encode(text)) {
		switch {
		case r < 0x7f || strconv.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return b.String()
}

// jsonTOML is a string that holds a value as JSON.
func jsonTOML(v any) string {
	var b bytes.Buffer
	stdjson.Indent(&b, encode(v), "", "  ") // it is JSON
	text := term.EscapeJSON(b.String())
	if strings.Contains(text, "'''") {
		return quoteTOML(text)
	}
	return "'''\n" + text + "'''"
}
