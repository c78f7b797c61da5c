package config

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"signalpost/proxy/sign"
	"signalpost/proxy/units"
)

// What is checked between the keys of a route, and values that take more than a line to read.

// merge returns a route's table with what it takes from [defaults]: the keys
// that it lacks, and of the tables both have the keys that its own lacks.
func merge(own, defaults *value, keys schema) *value {
	merged := *own
	merged.keys = map[string]*value{}
	maps.Copy(merged.keys, own.keys)
	merged.broken = own.broken || defaults.broken
	for _, e := range defaults.keys {
		chosen := func(name string) bool { // also instead of e
			return strings.EqualFold(name, e.name) || keys["url"].read != nil && slices.ContainsFunc(alternatives, func(names []string) bool {
				return slices.Contains(names, name) && slices.Contains(names, e.name)
			})
		}
		if mine := own.keys[e.name]; mine != nil && keys[e.name].keys != nil && mine.kind == kindTable && e.kind == kindTable {
			merged.keys[e.name] = merge(mine, e, keys[e.name].keys)
		} else if !slices.ContainsFunc(slices.Collect(maps.Keys(own.keys)), chosen) {
			merged.keys[e.name] = e
		}
	}
	return &merged
}

// readDefaults reads [defaults] by itself, whether or not a route takes its keys, and
// removes unknown keys from it.
func readDefaults(d *decoder, key string, v *value) {
	keys := routeKeys(new(Route))
	maps.DeleteFunc(keys, func(_ string, f field) bool { return f.required != "" })
	d.partial = true
	table(keys, nil).read(d, key, v)
	d.checkAlternatives(v)
	d.partial = false
	maps.DeleteFunc(v.keys, func(name string, _ *value) bool { return keys[name].read == nil })
}

// checkAlternatives reports both of two keys in one table.
func (d *decoder) checkAlternatives(t *value) {
	for _, names := range alternatives {
		for i, one := range names {
			for _, other := range names[:i] {
				if a, b := t.keys[other], t.keys[one]; a != nil && b != nil {
					d.fault(max(a.key, b.key), "%s and %s cannot both be set: leave one out", other, one)
				}
			}
		}
	}
}

// readRoute reads a route whose table has been merged with [defaults].
func (d *decoder) readRoute(t, defaults *value) Route {
	var r Route
	keys := routeKeys(&r)
	t = merge(t, defaults, keys)
	if name := t.keys["name"]; name != nil && name.kind == kindString && nameForm.MatchString(name.text) {
		d.route = name.text
	}
	bad := d.read(t, keys, "")
	d.checkAlternatives(t)
	if other := d.named[r.Name]; other != nil {
		d.fault(t.keys["name"].at, "name: there is another route %s on line %d: each has its own name", quote(r.Name), other.line)
	} else if r.Name != "" {
		d.named[r.Name] = t.keys["name"]
	}
	if t.broken {
		return r
	}
	// From here on a key is looked at only if its own value is sound.
	sound := func(keys ...string) bool {
		return !slices.ContainsFunc(keys, func(key string) bool { return bad[key] })
	}
	if sound("url", "allow_http", "block_private_networks", "tls", "proxy") {
		r.checkURL(d, t)
	}
	if r.OAuth2 != nil && sound("oauth2", "allow_http", "block_private_networks", "proxy") {
		u, _ := parseURL(r.OAuth2.TokenURL.Reveal())
		r.OAuth2.Target = r.checkTarget(d, t, "oauth2.token_url", t.keys["oauth2"].keys["token_url"].at, u)
	}
	if sound("headers", "signatures", "signature", "basic_auth", "bearer_token", "oauth2") {
		r.checkHeaders(d, t)
	}
	if sound("secret", "secrets", "signatures", "signature", "signing_key") {
		r.makeSigner(d, t)
	}
	if sound("name", "format", "transform", "path", "query", "params") {
		r.checkShape(d, t)
	}
	if r.Concurrency > 100 {
		d.warn(t.keys["concurrency"].at, "concurrency: %d attempts at once are many for one endpoint", r.Concurrency)
	}
	if len(d.faults) == 0 {
		r.Settings = d.settings(t, keys)
	}
	return r
}

// settings are a route's Settings.
func (d *decoder) settings(t *value, keys schema) map[string]any {
	all := map[string]any{}
	for name, f := range keys {
		if slices.Contains([]string{"name", "url", "signal_types", "where", "transform", "timeout", "retry", "give_up_on", "concurrency", "rate"}, name) {
			continue // it has a place of its own
		}
		if e := t.keys[name]; e != nil {
			all[name], _ = d.plain(name, e)
			continue
		}
		switch def := f.def.(type) {
		case bool:
			all[name] = def
		case string:
			if def != "" {
				all[name] = def
			}
		case []string:
			if def != nil {
				all[name] = def
			}
		}
	}
	return all
}

// endpoint is the URL of a route.
var endpoint = secret(func(text string) string {
	_, problem := parseURL(text)
	return problem
})

// urlHost matches host names of any script.
var urlHost = regexp.MustCompile(`^[\pL\pM\p{Nd}_.-]+$`) // a count would make it megabytes

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
	_, noAddress := netip.ParseAddr(u.Hostname())
	port, badPort := strconv.ParseUint(u.Port(), 10, 16)
	target := quote(u.Scheme + "://" + u.Host)
	switch {
	case noAddress != nil && (len(u.Hostname()) > 253 || !urlHost.MatchString(u.Hostname())):
		return nil, expected + ", and this one has no host name or IP address"
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, expected + ", not " + target
	case u.User != nil:
		return nil, "the URL for " + target + " holds credentials: set basic_auth = { username = …, password = … } instead"
	case strings.Contains(text, "#"):
		return nil, "the URL for " + target + " has a fragment (#…), which is never sent: leave it out, or write # as %23"
	case (u.Port() != "" || strings.HasSuffix(u.Host, ":")) && (badPort != nil || port == 0):
		return nil, "the URL for " + target + " has a port that is not 1 to 65535"
	}
	return u, ""
}

func (r *Route) checkURL(d *decoder, t *value) {
	u, _ := parseURL(r.URL.Reveal())
	if u == nil {
		return // there is none
	}
	r.Target = r.checkTarget(d, t, "url", t.keys["url"].at, u)
	if u.Scheme == "http" && r.TLS.Config != nil && (r.OAuth2 == nil || strings.HasPrefix(r.OAuth2.TokenURL.Reveal(), "http:")) {
		d.warn(t.keys["tls"].at, "tls: has no effect, since the url is http")
	}
}

// checkTarget reports what is wrong with sending to u, which stands at a place,
// and returns its scheme and host.
func (r *Route) checkTarget(d *decoder, t *value, key string, place int, u *url.URL) (target string) {
	target = u.Scheme + "://" + u.Host
	if u.Scheme == "http" && !r.AllowHTTP && !isLoopback(u.Hostname()) {
		what := "signals"
		if key != "url" {
			what = "credentials"
		}
		d.fault(place, "%s: %s would send %s readable by anyone on the way: use https, or set allow_http = true", key, quote(target), what)
	}
	if !r.BlockPrivateNetworks {
		return target
	}
	block := t.keys["block_private_networks"]
	at := block.at
	switch via, err := d.proxy(&http.Request{URL: u}); {
	case r.Proxy.Reveal() == NoProxy:
	case !r.Proxy.IsZero():
		d.fault(d.own(t.keys["proxy"].key, block.key), `block_private_networks cannot be kept behind a proxy, which connects in our stead: leave one out, or set proxy = "none"`)
	case via != nil || err != nil:
		d.fault(at, "block_private_networks cannot be kept behind a proxy, and the environment (HTTPS_PROXY, HTTP_PROXY) names one for %s: "+
			`add the host to NO_PROXY, set proxy = "none", or unset one of the two`, quote(target))
	}
	if addr, err := netip.ParseAddr(u.Hostname()); isLoopback(u.Hostname()) || err == nil && (addr.IsPrivate() || !addr.IsGlobalUnicast()) {
		d.warn(at, "block_private_networks: no attempt will reach %s, which is not a public address", quote(target))
	}
	return target
}

// Headers that a delivery has already, or that are about the connection.
var (
	ownHeaders = []string{
		"Host", "Traceparent", "Tracestate",
		"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade",
	}
	ownHeaderPrefixes = []string{"Content-", "Webhook-", "X-Beton-"}
)

// checkHeaderName reports a name of a header that a route may not set, and returns
// whether it may.
func (d *decoder) checkHeaderName(key, name string, at int) bool {
	canonical := http.CanonicalHeaderKey(name)
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		d.fault(at, "%s: %s is no name of a header: letters, digits and - only", key, quote(name))
	case slices.Contains(ownHeaders, canonical), slices.ContainsFunc(ownHeaderPrefixes, func(p string) bool { return strings.HasPrefix(canonical, p) }):
		d.fault(at, "%s: %s is set by signalpost or belongs to the connection: leave it out", key, quote(name))
	default:
		return true
	}
	return false
}

// headerFits reports a header that a route cannot have, or has already.
func headerFits(d *decoder, key string, t, e *value, before map[string]Secret) bool {
	if !d.checkHeaderName(key, e.name, e.key) {
		return false
	}
	for other := range before {
		if strings.EqualFold(other, e.name) {
			d.fault(e.key, "%s: %s is there twice (upper and lower case are the same)", key, quote(e.name))
			return false
		}
	}
	if t.origin == headed && routeKeys(new(Route))[e.name].read != nil {
		d.warn(e.key, "%s: %s is sent as a header here; a key of the route stands before [route.headers]", key, quote(e.name))
	}
	return true
}

// checkHeaders reports headers of the route that other keys of it set too.
func (r *Route) checkHeaders(d *decoder, t *value) {
	signed, forms := sign.Headers(r.Signatures), map[string]*value{}
	check := func(key, name string, at int) {
		canonical := http.CanonicalHeaderKey(name)
		if s := t.keys["signatures"]; s != nil && slices.Contains(signed, canonical) {
			d.fault(d.own(at, s.at), "%s: %s is set by the presets in signatures: leave one of them out", key, quote(name))
		}
		for _, other := range []string{"basic_auth", "bearer_token", "oauth2"} {
			if auth := t.keys[other]; auth != nil && canonical == "Authorization" {
				d.fault(d.own(at, auth.key), "%s: %s is set by %s: leave one of them out", key, quote(name), other)
			}
		}
		if form := forms[canonical]; form != nil {
			d.fault(d.own(at, form.at), "%s: %s is set by a signature, too: leave one of them out", key, quote(name))
		}
	}
	for _, f := range cmp.Or(t.keys["signature"], new(value)).list {
		header := f.keys["header"]
		check("signature.header", header.text, header.at)
		forms[http.CanonicalHeaderKey(header.text)] = header
	}
	for _, e := range cmp.Or(t.keys["headers"], new(value)).sorted() {
		check("headers", e.name, e.key)
	}
}

// checkGaps reports a schedule whose gaps would shrink.
func (r *Route) checkGaps(d *decoder, key string, v *value) {
	s, gaps := r.Retry, r.Retry.Attempts-1
	if gaps < 2 || s.First <= s.Window/time.Duration(gaps) {
		return
	}
	var ats []int
	for _, k := range []string{"window", "first", "attempts"} {
		if e := v.keys[k]; e != nil {
			ats = append(ats, e.at)
		}
	}
	d.fault(d.own(ats...), "%s: %d gaps of at least %s do not fit into a window of %s: gaps grow, never shrink; raise window, or lower attempts or first",
		key, gaps, units.FormatDuration(s.First), units.FormatDuration(s.Window))
}

// load loads the files.
func (t *TLS) load(d *decoder, key string, v *value) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	ca, cert, k := v.keys["ca_file"], v.keys["cert_file"], v.keys["key_file"]
	if ca != nil {
		var err error
		if config.RootCAs, err = x509.SystemCertPool(); err != nil {
			config.RootCAs = x509.NewCertPool()
		}
		if data, ok := d.contentOf(key+".ca_file", ca); ok && !config.RootCAs.AppendCertsFromPEM(data) {
			d.fault(ca.at, "%s.ca_file: %s holds no certificate in PEM form", key, quote(ca.text))
		}
	}
	switch {
	case cert != nil && k == nil:
		d.fault(cert.at, "%s: cert_file needs key_file, the key of that certificate", key)
	case cert == nil && k != nil:
		d.fault(k.at, "%s: key_file needs cert_file, the certificate of that key", key)
	case cert != nil:
		certPEM, ok1 := d.contentOf(key+".cert_file", cert)
		keyPEM, ok2 := d.contentOf(key+".key_file", k)
		pair, err := tls.X509KeyPair(certPEM, keyPEM)
		if err != nil && ok1 && ok2 {
			d.fault(d.own(cert.at, k.at), "%s: cert_file and key_file are no certificate and its key: %v", key, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if len(v.keys) > 0 {
		t.Config = config
	}
}
