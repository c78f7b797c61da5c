package config

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"signalpost/transform"
)

// What shapes a request beside its body.

// params is a table of names that expressions can write, and secret values.
func params(dst *map[string]Secret) field {
	return field{keys: schema{}, read: func(d *decoder, key string, v *value) {
		if v.kind != kindTable {
			d.fault(v.at, `%s: expected a table such as { api_key = { env = "API_KEY" } }, not %s`, key, v.kind)
			return
		}
		kept, spelt := map[string]Secret{}, map[string]string{}
		for _, e := range v.sorted() {
			plain := strings.ReplaceAll(e.name, "_", "")
			switch other := spelt[plain]; {
			case !paramName.MatchString(e.name):
				d.fault(e.key, "%s: %s is no name that an expression can write as $params.NAME: 1 to 64 letters, digits and _, the first a letter", key, quote(e.name))
			case other != "":
				d.fault(e.key, "%s: %s and %s are one but for _: rename one", key, quote(other), quote(e.name))
			default:
				kept[e.name], _ = secret(writable)(d, key+"."+e.name, e)
				d.warnDollar(e)
			}
			spelt[plain] = e.name
		}
		*dst = kept
	}}
}

// writable returns what is wrong with a param: most bodies are UTF-8.
func writable(text string) string {
	if !utf8.ValidString(text) {
		return "is no UTF-8, and could not stand in JSON"
	}
	return ""
}

var paramName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,63}$`)

// checkShape reports what cannot be made of the keys that shape the request.
func (r *Route) checkShape(d *decoder, t *value) {
	if r.Format != "json" && r.Transform == nil {
		d.fault(d.own(t.keys["format"].at, t.keys["name"].at), "format: %s needs a transform that makes %s: without one the signal is sent as it came, in JSON",
			quote(r.Format), map[string]string{"form": "an object", "text": "a string", "ndjson": "an array"}[r.Format])
	}
	for key, p := range map[string]*transform.Program{"transform": r.Transform, "path": r.Path, "query": r.Query} {
		if p == nil {
			continue
		}
		for name, offset := range p.Params() {
			if _, ok := r.Params[name]; ok {
				continue
			}
			hint := ": add it to params = { … }"
			if meant := Nearest(name, slices.Sorted(maps.Keys(r.Params))); meant != "" {
				hint = ", did you mean " + quote(meant) + "?"
			}
			d.fault(d.own(t.keys[key].offset(offset), t.keys["name"].at), "%s: $params.%s is not set%s", key, name, hint)
		}
	}
}
