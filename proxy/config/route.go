package config

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"signalpost/proxy/sign"
	"signalpost/proxy/units"
	"signalpost/queue"
)

// What holds between the keys of a route.

// merge returns a route's table with what it takes from [defaults].
func merge(route, defaults *value) *value {
	merged := *route
	merged.entries = slices.Clone(route.entries)
	merged.broken = route.broken || defaults.broken
	for _, e := range defaults.entries {
		own := route.entry(e.name)
		switch {
		case own == nil && !hasAlternative(route, e.name):
			merged.entries = append(merged.entries, e)
		case own != nil && slices.Contains(mergedTables, e.name) && own.val.kind == kindTable && e.val.kind == kindTable:
			both := *own.val
			both.entries = slices.Clone(both.entries)
			both.broken = own.val.broken || e.val.broken
			for _, sub := range e.val.entries {
				same := func(o *entry) bool { return o.name == sub.name }
				if e.name == "headers" {
					same = func(o *entry) bool { return strings.EqualFold(o.name, sub.name) }
				}
				if !slices.ContainsFunc(own.val.entries, same) {
					both.entries = append(both.entries, sub)
				}
			}
			i := slices.Index(merged.entries, own)
			merged.entries[i] = &entry{own.name, own.at, &both}
		}
	}
	return &merged
}

// hasAlternative reports whether a route has made the choice that the key of
// [defaults] is about.
func hasAlternative(route *value, key string) bool {
	for _, pair := range alternatives {
		if i := slices.Index(pair[:], key); i >= 0 && route.entry(pair[1-i]) != nil {
			return true
		}
	}
	return false
}

// checkAlternatives reports both of two keys in one table.
func (d *decoder) checkAlternatives(t *value) {
	for _, pair := range alternatives {
		a, b := t.entry(pair[0]), t.entry(pair[1])
		if a != nil && b != nil {
			d.fault(max(a.at, b.at), "%s and %s cannot both be set: leave one out", pair[0], pair[1])
		}
	}
}

// readRoute reads a route whose table has been merged with [defaults].
func (d *decoder) readRoute(t *value) Route {
	r := defaultRoute()
	d.route = ""
	if name := t.get("name"); name != nil && name.kind == kindString && routeName.MatchString(name.text) {
		d.route = name.text
	}
	keys := routeKeys(&r)
	for key, f := range identityKeys(&r) {
		keys[key] = f
	}
	bad := d.read(t, keys, "")
	d.checkAlternatives(t)
	if t.broken {
		return r
	}
	for _, key := range []string{"name", "url"} {
		if t.get(key) == nil {
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
		d.warn(t.get("concurrency").at, "concurrency: %d attempts at once are many for one endpoint", r.Concurrency)
	}
	return r
}

// endpoint is the URL of a route.
func endpoint(r *Route) field {
	return func(d *decoder, key string, v *value) {
		text, ok := d.secret(key, v, func(text string) string {
			_, problem := parseURL(text)
			return problem
		})
		if !ok {
			return
		}
		u, _ := parseURL(text)
		r.URL = NewSecret(text)
		r.Target = u.Scheme + "://" + u.Host
	}
}

// parseURL returns a URL that can be POSTed to, or what is wrong with the text
// in words that show its scheme and host at most.
func parseURL(text string) (u *url.URL, problem string) {
	const expected = "expected an absolute URL, https://HOST/PATH"
	if strings.ContainsFunc(text, func(c rune) bool { return c == ' ' || unicode.IsControl(c) }) {
		return nil, expected + ", and this one holds a space or a control character (a line end?)"
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
	at := t.get("url").at
	if u.Scheme == "http" && !r.AllowHTTP && !isLoopback(u.Hostname()) {
		d.fault(at, "url: %s would send signals readable by anyone on the way: use https, or set allow_http = true", quote(r.Target))
	}
	if u.Scheme == "http" && r.TLS.Config != nil {
		d.warn(t.get("tls").at, "tls: has no effect, since the url is http")
	}
	if !r.BlockPrivateNetworks {
		return
	}
	at = t.get("block_private_networks").at
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
	return func(d *decoder, key string, v *value) {
		if v.kind != kindTable {
			d.fault(v.at, `%s: expected a table such as { X-Team = "growth" }, not %s`, key, v.kind)
			return
		}
		kept := map[string]Secret{}
		keys := routeKeys(new(Route))
		for _, e := range v.entries {
			if !isToken(e.name) {
				d.fault(e.at, "%s: %s is no name of a header: letters, digits and - only", key, quote(e.name))
				continue
			}
			name := http.CanonicalHeaderKey(e.name)
			if slices.Contains(ownHeaders, name) || slices.ContainsFunc(ownHeaderPrefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
				d.fault(e.at, "%s: %s is set by signalpost or belongs to the connection: leave it out", key, quote(e.name))
				continue
			}
			if _, twice := kept[name]; twice {
				d.fault(e.at, "%s: %s is there twice (upper and lower case are the same)", key, quote(e.name))
				continue
			}
			if _, isKey := keys[e.name]; v.form == formHeader && isKey {
				d.warn(e.at, "%s: %s is sent as a header here; a key of the route stands before [route.headers]", key, quote(e.name))
			}
			if text, ok := d.secret(key+"."+e.name, e.val, headerValue); ok {
				kept[name] = NewSecret(text)
			}
		}
		*dst = kept
	}
}

// isToken reports whether text is a token of HTTP (RFC 9110, 5.6.2).
func isToken(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", c))
	})
}

// checkHeaders reports headers that other keys of the route set too.
func (d *decoder) checkHeaders(r *Route, t *value) {
	table := t.get("headers")
	if table == nil {
		return
	}
	signed := sign.Headers(r.Signatures)
	for _, e := range table.entries {
		name := http.CanonicalHeaderKey(e.name)
		if s := t.get("signatures"); slices.Contains(signed, name) && s != nil {
			d.fault(d.own(e.at, s.at), "headers: %s is set by the presets in signatures: leave one of them out", quote(e.name))
		}
		if name != "Authorization" {
			continue
		}
		for _, key := range []string{"basic_auth", "bearer_token"} {
			if auth := t.entry(key); auth != nil {
				d.fault(d.own(e.at, auth.at), "headers: %s is set by %s: leave one of them out", quote(e.name), key)
			}
		}
	}
}

// makeSigner makes the route's signer from its secrets and presets.
func (d *decoder) makeSigner(r *Route, t *value) {
	var values []*value
	if v := t.get("secret"); v != nil {
		values = []*value{v}
	} else if v := t.get("secrets"); v != nil {
		values = v.list
	}
	if len(values) != len(r.Secrets) { // both keys: reported
		return
	}
	nameAt := t.at
	if name := t.get("name"); name != nil {
		nameAt = name.at
	}
	if len(values) == 0 {
		d.warn(nameAt, "no secret: receivers cannot tell these deliveries from anyone else's; set secret")
		return
	}
	if len(r.Signatures) == 0 {
		d.warn(t.get("signatures").at, "signatures is empty: nothing is signed, though the route has a secret")
		return
	}
	var texts []string
	for i, s := range r.Secrets {
		texts = append(texts, s.Reveal())
		// One by one, to place the fault.
		if _, err := sign.New(r.Signatures, texts[i:]); err != nil {
			d.fault(values[i].at, "%v", err)
			continue
		}
		for _, w := range sign.Warnings(r.Signatures, texts[i:]) {
			d.warn(values[i].at, "%s", w)
		}
	}
	r.Signer, _ = sign.New(r.Signatures, texts)
}

// basicAuth needs both of its keys, wherever they come from.
func basicAuth(dst **BasicAuth) field {
	return func(d *decoder, key string, v *value) {
		var b BasicAuth
		if !d.inline(key, v, basicAuthKeys(&b)) || d.partial {
			return
		}
		for _, k := range []string{"username", "password"} {
			if v.get(k) == nil {
				d.fault(v.at, "%s: %s is missing", key, k)
			}
		}
		*dst = &b
	}
}

// retry needs gaps that do not shrink.
func retry(dst *queue.Schedule) field {
	return func(d *decoder, key string, v *value) {
		if !d.inline(key, v, retryKeys(dst)) || d.partial {
			return
		}
		if gaps := dst.Attempts - 1; gaps >= 2 && dst.First > dst.Window/time.Duration(gaps) {
			ats := []int{}
			for _, k := range []string{"window", "first", "attempts"} {
				if e := v.get(k); e != nil {
					ats = append(ats, e.at)
				}
			}
			d.fault(d.own(ats...), "%s: %d gaps of at least %s do not fit into a window of %s: gaps grow, never shrink; raise window, or lower attempts or first",
				key, gaps, units.FormatDuration(dst.First), units.FormatDuration(dst.Window))
		}
	}
}

// inline reads a table within a route, and reports whether it is whole and had
// no fault.
func (d *decoder) inline(key string, v *value, s schema) bool {
	if v.kind != kindTable {
		d.fault(v.at, "%s: expected a table, { … }, not %s", key, v.kind)
		return false
	}
	return len(d.read(v, s, key+".")) == 0 && !v.broken
}

// tlsFiles loads what the files hold.
func tlsFiles(dst *TLS) field {
	return func(d *decoder, key string, v *value) {
		var t TLS
		if !d.inline(key, v, tlsKeys(&t)) || d.partial {
			return
		}
		before := len(d.faults)
		c := &tls.Config{MinVersion: tls.VersionTLS12}
		read := func(k string) []byte {
			data, err := d.contentOf(v.get(k).text, MaxFile)
			if err != nil {
				d.fault(v.get(k).at, "%s.%s: the file %s cannot be read: %s", key, k, quote(v.get(k).text), readProblem(err))
			}
			return data
		}
		if t.CAFile != "" {
			data := read("ca_file")
			pool, err := x509.SystemCertPool()
			if err != nil {
				pool = x509.NewCertPool()
			}
			if len(d.faults) == before && !pool.AppendCertsFromPEM(data) {
				d.fault(v.get("ca_file").at, "%s.ca_file: %s holds no certificate in PEM form", key, quote(v.get("ca_file").text))
			}
			c.RootCAs = pool
		}
		switch cert, k := v.get("cert_file"), v.get("key_file"); {
		case cert != nil && k == nil:
			d.fault(cert.at, "%s: cert_file needs key_file, the key of that certificate", key)
		case cert == nil && k != nil:
			d.fault(k.at, "%s: key_file needs cert_file, the certificate of that key", key)
		case cert != nil:
			unread := len(d.faults)
			certPEM, keyPEM := read("cert_file"), read("key_file")
			if len(d.faults) > unread {
				break
			}
			pair, err := tls.X509KeyPair(certPEM, keyPEM)
			if err != nil {
				d.fault(d.own(cert.at, k.at), "%s: cert_file and key_file are no certificate and its key: %v", key, err)
			}
			c.Certificates = []tls.Certificate{pair}
		}
		if len(d.faults) > before {
			return
		}
		if len(v.entries) > 0 {
			t.Config = c
		}
		*dst = t
	}
}
