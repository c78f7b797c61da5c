package front

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"signalpost/proxy/api"
	"signalpost/proxy/config"
)

// The guard protects every endpoint but /healthz and /readyz. Every page in a browser
// on the machine can reach a loopback port, so a request must name a host that no
// foreign DNS can give (against rebinding) and, if a browser sent it, come from our
// own page.

// guard refuses a request that is not for us (403), that a browser makes for
// another origin (403), or that lacks the token (401), in this order.
func guard(r *http.Request, c *config.Server) *api.Problem {
	if !ourHost(r, c.Hosts) {
		return api.Refuse(http.StatusForbidden, "Host %q is not accepted: use a loopback name or an IP address, or add the name to server.hosts", api.Clip(r.Host))
	}
	if crossOrigin(r) && !(ownPage(r.URL.Path) && navigates(r)) {
		return api.Refuse(http.StatusForbidden, "a browser made this request for another origin; only the dashboard's own page may use this API from a browser")
	}
	if !c.Token.IsZero() && !ownPage(r.URL.Path) && !hasToken(r, c.Token) {
		return api.Refuse(http.StatusUnauthorized, "the token is missing or wrong: send it as Authorization: Bearer TOKEN, or as the password of HTTP Basic").
			With("WWW-Authenticate", `Bearer realm="signalpost"`)
	}
	return nil
}

// ownPage reports whether the path is of the dashboard's page or assets. They hold no
// data: they need no token, and another page may link to them.
func ownPage(path string) bool {
	return path == "/" || strings.HasPrefix(path, "/assets/")
}

// ourHost reports whether only a request for this sidecar has this Host.
func ourHost(r *http.Request, hosts []string) bool {
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && a.Network() == "unix" {
		return true // no browser reaches a Unix socket
	}
	if r.Host == "" {
		return true // a script's or a probe's, over HTTP/1.0: every browser sends one
	}
	host := hostname(r.Host)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host != "" && slices.ContainsFunc(hosts, func(h string) bool { return host == hostname(h) })
}

// hostname is a Host header's value without port, brackets and the root's dot,
// in lower case.
func hostname(host string) string {
	if _, err := netip.ParseAddr(host); err != nil {
		host = (&url.URL{Host: host}).Hostname()
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

var sameOrigin = http.NewCrossOriginProtection()

// crossOrigin reports whether a browser made the request for another origin. Reading is
// refused like writing: a page has no reason to ask for what it may not read.
func crossOrigin(r *http.Request) bool {
	if r.Header["Sec-Fetch-Site"] == nil && r.Header["Origin"] == nil {
		return false // no browser, or an old one, which sends Origin with every POST
	}
	asPost := *r
	asPost.Method = http.MethodPost // the check passes every GET
	return sameOrigin.Check(&asPost) != nil
}

// navigates reports whether the request is a click on a link that opens a page of its
// own, which the page with the link can neither read nor frame.
func navigates(r *http.Request) bool {
	return r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

// hasToken compares in a time that does not depend on what was sent.
func hasToken(r *http.Request, token config.Secret) bool {
	scheme, sent, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		return token.Equal(config.NewSecret(strings.TrimSpace(sent)))
	case strings.EqualFold(scheme, "Basic"):
		_, password, _ := r.BasicAuth()
		return token.Equal(config.NewSecret(password))
	}
	return false
}
