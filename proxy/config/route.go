package config

import (
	"crypto/tls"
	"crypto/x509"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/net/http/httpguts"

	"signalpost/proxy/sign"
	"signalpost/proxy/units"
	"signalpost/queue"
)

// What holds between the keys of a route, and what takes more than a line to read.

// merge returns a route's table with what it takes from [defaults]: the keys
// that it lacks, and of the tables both have the keys that its own lacks.
func merge(own, defaults *value, keys schema) *value {
	merged := *own
	merged.keys = maps.Clone(own.keys)
	merged.broken = own.broken || defaults.broken
	for _, e := range defaults.keys {
		same := func(name string) bool { return strings.EqualFold(name, e.name) } // as for headers
		chosen := keys != nil && slices.ContainsFunc(alternatives, func(names []string) bool {
			return slices.Contains(names, e.name) && slices.ContainsFunc(names, func(name string) bool { return own.keys[name] != nil })
		})
		mine := own.keys[e.name]
		switch {
		case mine != nil && keys[e.name].keys != nil && mine.kind == kindTable && e.kind == kindTable:
			merged.keys[e.name] = merge(mine, e, nil)
		case !chosen && !slices.ContainsFunc(slices.Collect(maps.Keys(own.keys)), same):
			merged.keys[e.name] = e
		}
	}
	return &merged
}

// checkAlternatives reports both of two keys in one table.
func (d *decoder) checkAlternatives(t *value) {
	for _, names := range alternatives {
		a, b := t.keys[names[0]], t.keys[names[1]]
		if a != nil && b != nil {
			d.fault(max(a.key, b.key), "%s and %s cannot both be set: leave one out", names[0], names[1])
		}
	}
}

// readRoute reads a route whose table has been merged with [defaults].
func (d *decoder) readRoute(t, defaults *value) Route {
	var r Route
	keys := routeKeys(&r)
	t = merge(t, defaults, keys)
	d.route = ""
	if name := t.keys["name"]; name != nil && name.kind == kindString && nameForm.MatchString(name.text) {
		d.route = name.text
	}
	maps.Copy(keys, identityKeys(&r))
	bad := d.read(t, keys, "")
	d.checkAlternatives(t)
	if t.broken {
		return r
	}
	for _, key := range []string{"name", "url"} {
		if t.keys[key] == nil {
			d.fault(t.at, "%s is missing: each [[route]] has a name and a url", key)
		}
	}
	// From here on a key is looked at only if its own value is sound.
	sound := func(keys ...string) bool {
		return !slices.ContainsFunc(keys, func(key string) bool { return bad[key] })
	}
	if !r.URL.IsZero() && sound("allow_http", "block_private_networks", "tls") {
		d.checkURL(&r, t)
	}
	if sound("headers", "signatures", "basic_auth", "bearer_token") {
		d.checkHeaders(&r, t)
	}
	if sound("secret", "secrets", "signatures") {
		d.makeSigner(&r, t)
	}
	if r.Concurrency > 100 {
		d.warn(t.keys["concurrency"].at, "concurrency: %d attempts at once are many for one endpoint", r.Concurrency)
	}
	return r
}

// endpoint is the URL of a route.
func endpoint(r *Route) field {
	return field{read: func(d *decoder, key string, v *value) {
		var u *url.URL
		text, ok := d.secret(key, v, func(text string) (problem string) {
			u, problem = parseURL(text)
			return problem
		})
		if ok {
			r.URL, r.Target = NewSecret(text), u.Scheme+"://"+u.Host
		}
	}}
}

// parseURL returns a URL that can be POSTed to, or what is wrong with the text
// in words that show its scheme and host at most.
func parseURL(text string) (u *url.URL, problem string) {
	const expected = "expected an absolute URL, https://HOST/PATH"
	if where, _, _ := strings.Cut(text, "?"); strings.Contains(where, " ") { // in the query it is encoded
		return nil, expected + ", and this one holds a space"
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme == "" {
		return nil, expected
	}
	host, target := u.Hostname(), u.Scheme+"://"+u.Host
	switch {
	case !isHost(host):
		return nil, expected + ", and this one has no host name or IP address"
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, expected + ", not " + quote(target)
	case u.User != nil:
		return nil, "the URL for " + quote(target) + " holds credentials: set basic_auth = { username = …, password = … } instead"
	case strings.Contains(text, "#"):
		return nil, "the URL for " + quote(target) + " has a fragment (#…), which is never sent: leave it out, or write # as %23"
	}
	if strings.HasSuffix(u.Host, ":") || u.Port() != "" {
		if n, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || n == 0 {
			return nil, "the URL for " + quote(target) + " has a port that is not 1 to 65535"
		}
	}
	return u, ""
}

// isHost reports whether text can be a host name, of any script, or an address.
func isHost(text string) bool {
	if strings.Contains(text, ":") {
		_, err := netip.ParseAddr(text)
		return err == nil
	}
	return text != "" && len(text) <= 253 && !strings.ContainsFunc(text, func(c rune) bool {
		return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !unicode.IsMark(c) && !strings.ContainsRune("-_.", c)
	})
}

func (d *decoder) checkURL(r *Route, t *value) {
	u, _ := parseURL(r.URL.Reveal())
	at := t.keys["url"].at
	if u.Scheme == "http" && !r.AllowHTTP && !isLoopback(u.Hostname()) {
		d.fault(at, "url: %s would send signals readable by anyone on the way: use https, or set allow_http = true", quote(r.Target))
	}
	if u.Scheme == "http" && r.TLS.Config != nil {
		d.warn(t.keys["tls"].at, "tls: has no effect, since the url is http")
	}
	if !r.BlockPrivateNetworks {
		return
	}
	at = t.keys["block_private_networks"].at
	if proxy, err := d.proxy(&http.Request{URL: u}); proxy != nil || err != nil {
		d.fault(at, "block_private_networks cannot be kept behind a proxy, and the environment (HTTPS_PROXY, HTTP_PROXY) names one for %s: "+
			"add the host to NO_PROXY, or unset one of the two", quote(r.Target))
	}
	if addr, err := netip.ParseAddr(u.Hostname()); isLoopback(u.Hostname()) || err == nil && (addr.IsPrivate() || !addr.IsGlobalUnicast()) {
		d.warn(at, "block_private_networks: no attempt will reach %s, which is not a public address", quote(r.Target))
	}
}

// Headers that a delivery has already, or that are about the connection.
var (
	ownHeaders = []string{
		"Host", "User-Agent", "Traceparent",
		"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade",
	}
	ownHeaderPrefixes = []string{"Content-", "Webhook-", "X-Beton-"}
)

// headers is a table of header names and secret values.
func headers(dst *map[string]Secret) field {
	return field{keys: schema{}, read: func(d *decoder, key string, v *value) {
		if v.kind != kindTable {
			d.fault(v.at, `%s: expected a table such as { X-Team = "growth" }, not %s`, key, v.kind)
			return
		}
		kept := map[string]Secret{}
		for _, e := range v.sorted() {
			name, problem := http.CanonicalHeaderKey(e.name), ""
			_, twice := kept[name]
			switch {
			case !httpguts.ValidHeaderFieldName(e.name):
				problem = "is no name of a header: letters, digits and - only"
			case slices.Contains(ownHeaders, name), slices.ContainsFunc(ownHeaderPrefixes, func(p string) bool { return strings.HasPrefix(name, p) }):
				problem = "is set by signalpost or belongs to the connection: leave it out"
			case twice:
				problem = "is there twice (upper and lower case are the same)"
			}
			if problem != "" {
				d.fault(e.key, "%s: %s %s", key, quote(e.name), problem)
				continue
			}
			if _, isKey := routeKeys(new(Route))[e.name]; v.origin == headed && isKey {
				d.warn(e.key, "%s: %s is sent as a header here; a key of the route stands before [route.headers]", key, quote(e.name))
			}
			if text, ok := d.secret(key+"."+e.name, e, nil); ok {
				kept[name] = NewSecret(text)
			}
			d.warnDollar(e)
		}
		*dst = kept
	}}
}

// checkHeaders reports headers that other keys of the route set too.
func (d *decoder) checkHeaders(r *Route, t *value) {
	table := t.keys["headers"]
	if table == nil {
		return
	}
	signed := sign.Headers(r.Signatures)
	for _, e := range table.sorted() {
		name := http.CanonicalHeaderKey(e.name)
		if s := t.keys["signatures"]; slices.Contains(signed, name) && s != nil {
			d.fault(d.own(e.key, s.at), "headers: %s is set by the presets in signatures: leave one of them out", quote(e.name))
		}
		if name != "Authorization" {
			continue
		}
		for _, key := range []string{"basic_auth", "bearer_token"} {
			if auth := t.keys[key]; auth != nil {
				d.fault(d.own(e.key, auth.key), "headers: %s is set by %s: leave one of them out", quote(e.name), key)
			}
		}
	}
}

// basicAuth needs both of its keys, wherever they come from.
func basicAuth(dst **BasicAuth) field {
	var b BasicAuth
	return nested(basicAuthKeys(&b), func(d *decoder, key string, v *value) {
		for _, k := range []string{"username", "password"} {
			if v.keys[k] == nil {
				d.fault(v.at, "%s: %s is missing", key, k)
			}
		}
		*dst = &b
	})
}

// gapsGrow reports a schedule whose gaps would shrink.
func gapsGrow(s *queue.Schedule) func(d *decoder, key string, v *value) {
	return func(d *decoder, key string, v *value) {
		gaps := s.Attempts - 1
		if gaps < 2 || s.First <= s.Window/time.Duration(gaps) {
			return
		}
		ats := []int{}
		for _, k := range []string{"window", "first", "attempts"} {
			if e := v.keys[k]; e != nil {
				ats = append(ats, e.at)
			}
		}
		d.fault(d.own(ats...), "%s: %d gaps of at least %s do not fit into a window of %s: gaps grow, never shrink; raise window, or lower attempts or first",
			key, gaps, units.FormatDuration(s.First), units.FormatDuration(s.Window))
	}
}

// loadTLS loads what the files hold.
func loadTLS(t *TLS) func(d *decoder, key string, v *value) {
	return func(d *decoder, key string, v *value) {
		config := &tls.Config{MinVersion: tls.VersionTLS12}
		ca, cert, k := v.keys["ca_file"], v.keys["cert_file"], v.keys["key_file"]
		if ca != nil {
			pool, err := x509.SystemCertPool()
			if err != nil {
				pool = x509.NewCertPool()
			}
			if data, ok := d.contentOf(key+".ca_file", ca); ok && !pool.AppendCertsFromPEM(data) {
				d.fault(ca.at, "%s.ca_file: %s holds no certificate in PEM form", key, quote(ca.text))
			}
			config.RootCAs = pool
		}
		switch {
		case cert != nil && k == nil:
			d.fault(cert.at, "%s: cert_file needs key_file, the key of that certificate", key)
		case cert == nil && k != nil:
			d.fault(k.at, "%s: key_file needs cert_file, the certificate of that key", key)
		case cert != nil:
			certPEM, ok1 := d.contentOf(key+".cert_file", cert)
			keyPEM, ok2 := d.contentOf(key+".key_file", k)
			if !ok1 || !ok2 {
				break
			}
			pair, err := tls.X509KeyPair(certPEM, keyPEM)
			if err != nil {
				d.fault(d.own(cert.at, k.at), "%s: cert_file and key_file are no certificate and its key: %v", key, err)
			}
			config.Certificates = []tls.Certificate{pair}
		}
		if len(v.keys) > 0 {
			t.Config = config
		}
	}
}
