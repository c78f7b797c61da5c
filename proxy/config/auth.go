package config

import (
	"net/url"
	"strings"
)

// How a route says who it is, and which way it goes.

func basicAuth(dst **BasicAuth) field {
	var b BasicAuth
	return table(basicAuthKeys(&b), func(*decoder, string, *value) { *dst = &b })
}

func oauth2(dst **OAuth2) field {
	var o OAuth2
	return table(oauth2Keys(&o), func(*decoder, string, *value) { *dst = &o })
}

// tokenURL is the URL where a route gets its tokens.
var tokenURL = secret(func(text string) string {
	_, problem := parseURL(text)
	return strings.Replace(problem, "basic_auth = { username = …, password = … }", "client_id and client_secret", 1)
})

// scope is one of RFC 6749: several are several strings.
var scope = text("a scope, printable ASCII without spaces, quotes and \\", func(text string) (string, bool) {
	return text, text != "" && !strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == '\\' })
})

// tokenParams is a table of further parameters of a request for a token.
func tokenParams(dst *map[string]Secret) field {
	*dst = nil
	return field{keys: schema{}, read: func(d *decoder, key string, v *value) {
		if v.kind != kindTable {
			d.fault(v.at, `%s: expected a table such as { audience = "…" }, not %s`, key, v.kind)
			return
		}
		kept := map[string]Secret{}
		for _, e := range v.sorted() {
			switch e.name {
			case "client_id", "client_secret", "scope":
				d.fault(e.key, "%s: %s is made of the keys of oauth2 itself: leave it out", key, e.name)
			default:
				kept[e.name], _ = secret(nil)(d, key+"."+e.name, e)
				d.warnDollar(e)
			}
		}
		*dst = kept
	}}
}

// NoProxy is the Proxy of a route that goes through none.
const NoProxy = "none"

// proxyFlaw is what is wrong with a proxy.
func proxyFlaw(text string) string {
	if text == NoProxy {
		return ""
	}
	u, err := url.Parse(text)
	if err == nil && u.User != nil && u.Host != "" {
		without := *u
		without.User = nil
		text = without.String()
	}
	if err == nil {
		switch u.Scheme {
		case "socks5", "socks5h":
			text = "http" + strings.TrimPrefix(text, u.Scheme)
			fallthrough
		case "http", "https":
			if _, problem := parseURL(text); problem == "" && strings.Trim(u.Path, "/") == "" && u.RawQuery == "" {
				return ""
			}
		}
	}
	return `expected "none", or the URL of a proxy, http://, https:// or socks5://, without a path: http://proxy.example.com:3128`
}
