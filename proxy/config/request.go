package config

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"signalpost/transform"
)

// What shapes a request beside its body, how it says who sends it, and which way it goes.

// paramFits reports a name that no expression can write, or that is another but for _.
func paramFits(d *decoder, key string, _, e *value, before map[string]Secret) bool {
	if !paramName.MatchString(e.name) {
		d.fault(e.key, "%s: %s is no name that an expression can write as $params.NAME: 1 to 64 letters, digits and _, the first a letter", key, quote(e.name))
		return false
	}
	for other := range before {
		if strings.ReplaceAll(other, "_", "") == strings.ReplaceAll(e.name, "_", "") {
			d.fault(e.key, "%s: %s and %s are one but for _: rename one", key, quote(other), quote(e.name))
			return false
		}
	}
	return true
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
			d.fault(d.own(t.keys[key].offset(offset), t.keys["name"].at), "%s: $params.%s is not set%s",
				key, name, meant(name, slices.Sorted(maps.Keys(r.Params)), ": add it to params = { … }"))
		}
	}
}

// tokenURL is the URL where a route gets its tokens.
var tokenURL = secret(func(text string) string {
	_, problem := parseURL(text)
	return strings.Replace(problem, "basic_auth = { username = …, password = … }", "client_id and client_secret", 1)
})

// scope is one of RFC 6749: several are several strings.
var scope = word("a scope, printable ASCII without spaces, quotes and \\", func(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == '\\' })
})

// tokenParamFits reports a parameter of a request for a token that other keys make.
func tokenParamFits(d *decoder, key string, _, e *value, _ map[string]Secret) bool {
	made := slices.Contains([]string{"client_id", "client_secret", "scope"}, e.name)
	if made {
		d.fault(e.key, "%s: %s is made of the keys of oauth2 itself: leave it out", key, e.name)
	}
	return !made
}

// NoProxy is the Proxy of a route that goes through none.
const NoProxy = "none"

// proxyFlaw is what is wrong with a proxy.
func proxyFlaw(text string) string {
	if text == NoProxy {
		return ""
	}
	u, err := url.Parse(text)
	if err == nil && slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) && strings.Trim(u.Path, "/") == "" && u.RawQuery == "" {
		origin := url.URL{Scheme: "https", Host: u.Host, Fragment: u.Fragment} // without credentials, which a proxy may have
		if _, problem := parseURL(origin.String()); problem == "" {
			return ""
		}
	}
	return `expected "none", or the URL of a proxy, http://, https:// or socks5://, without a path: http://proxy.example.com:3128`
}
