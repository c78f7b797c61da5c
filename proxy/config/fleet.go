package config

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Fleet is the [fleet] table.
type Fleet struct {
	Servers     []Secret // URLs of NATS
	Credentials Secret   // the content of a credentials file; zero: none
	User        string
	Password    Secret
	Token       Secret
	TLS         TLS
	Name        string // prefix of streams, buckets and subjects
	Replicas    int
}

// Equal reports whether both join the same fleet in the same way.
func (f *Fleet) Equal(o *Fleet) bool {
	if f == nil || o == nil {
		return f == o
	}
	chain := func(a, b tls.Certificate) bool { return slices.EqualFunc(a.Certificate, b.Certificate, bytes.Equal) }
	same := func(a, b *tls.Config) bool { // the files may be others by now
		return a == b || a != nil && b != nil && a.RootCAs.Equal(b.RootCAs) && slices.EqualFunc(a.Certificates, b.Certificates, chain)
	}
	return slices.EqualFunc(f.Servers, o.Servers, Secret.Equal) && f.Credentials.Equal(o.Credentials) && f.User == o.User &&
		f.Password.Equal(o.Password) && f.Token.Equal(o.Token) && same(f.TLS.Config, o.TLS.Config) && f.Name == o.Name && f.Replicas == o.Replicas
}

var fleetName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

func fleetKeys(f *Fleet) schema {
	return schema{
		"servers":     required("it names the NATS servers", into(&f.Servers, nil, list("secret values", secret(natsURL)))),
		"credentials": into(&f.Credentials, Secret{}, credentials),
		"user":        into(&f.User, "", word("a user name", func(text string) bool { return text != "" })),
		"password":    into(&f.Password, Secret{}, secret(nil)),
		"token":       into(&f.Token, Secret{}, secret(sendable)),
		"tls":         table(tlsKeys(&f.TLS), f.TLS.load),
		"name":        into(&f.Name, "signalpost", word("1 to 32 of A-Z, a-z, 0-9, _ and -", fleetName.MatchString)),
		"replicas":    into(&f.Replicas, 3, whole("1, 3 or 5", func(n int) bool { return n == 1 || n == 3 || n == 5 })),
	}
}

// natsURL returns what is wrong with the URL of a NATS server.
func natsURL(text string) string {
	u, err := url.Parse(text)
	if err != nil || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || strings.ContainsAny(text, ",?#") {
		return natsForm
	}
	if n, err := strconv.Atoi(cmp.Or(u.Port(), "4222")); err != nil || n < 1 || n > 65535 {
		return natsForm
	}
	return ""
}

const natsForm = "expected the URL of one NATS server, nats:// or tls:// with host and port"

// credentials is the content of a NATS credentials file, which is of several lines.
func credentials(d *decoder, key string, v *value) (Secret, bool) {
	var text string
	if v.kind != kindTable || len(v.keys) != 1 {
		d.fault(v.at, `%s: expected { file = "path" } or { env = "NAME" }, which holds a NATS credentials file`, key)
		return Secret{}, false
	}
	if bad := d.read(v, schema{"env": into(&text, "", fromEnv), "file": into(&text, "", fromFile)}, key+"."); len(bad) > 0 {
		return Secret{}, false
	}
	if d.rehearsed && text == "" {
		return NewSecret("placeholder"), true
	}
	if !strings.Contains(text, "BEGIN NATS USER JWT") || !strings.Contains(text, "BEGIN USER NKEY SEED") {
		d.fault(v.at, "%s: is no NATS credentials file, which has a user JWT and a seed", key)
		return Secret{}, false
	}
	return NewSecret(text), true
}

// check reports servers and logins that do not go together, and a fleet that others can read.
func (f *Fleet) check(d *decoder, v *value) {
	if len(f.Servers) == 0 {
		d.fault(v.keys["servers"].at, "servers: expected at least one NATS server")
	}
	logins := countLogins(d, v)
	open, clear := "", ""
	webs := 0
	for _, s := range f.Servers {
		if strings.HasPrefix(s.Reveal(), "ws") {
			webs++
		}
		u, err := url.Parse(s.Reveal())
		if err != nil || isLoopback(u.Hostname()) {
			continue
		}
		if f.TLS.Config == nil && u.Scheme != "tls" && u.Scheme != "wss" {
			clear = "without TLS"
		}
		if logins == 0 && u.User == nil && (f.TLS.Config == nil || len(f.TLS.Config.Certificates) == 0) {
			open = "without credentials"
		}
	}
	if webs > 0 && webs < len(f.Servers) {
		d.fault(v.keys["servers"].at, "servers: ws:// and wss:// do not go together with nats:// and tls://")
	}
	if what := strings.Trim(clear+" and "+open, " and"); what != "" {
		d.warn(v.keys["servers"].at, "servers: %s anyone on the way, or who reaches NATS, can read all signals and do all that server.token guards: set tls and credentials", what)
	}
}

// countLogins reports logins that do not go together.
func countLogins(d *decoder, v *value) (logins int) {
	for _, key := range []string{"credentials", "user", "token"} {
		if v.keys[key] == nil {
			continue
		}
		if logins++; logins > 1 {
			d.fault(v.keys[key].key, "%s: there is another login beside it: one of credentials, user and password, and token", key)
		}
	}
	if user, password := v.keys["user"], v.keys["password"]; (user == nil) != (password == nil) {
		for key, e := range map[string]*value{"user": user, "password": password} {
			if e != nil {
				d.fault(e.key, "%s: user and password go together", key)
			}
		}
	}
	return logins
}
