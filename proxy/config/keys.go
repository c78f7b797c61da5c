package config

import (
	"log/slog"
	"time"

	"signalpost/proxy/sign"
	"signalpost/proxy/units"
	"signalpost/queue"
)

// Every key of a config: its name, where it goes, its default, and how it is
// read. A key is one line here; a new kind of value is a parser in values.go;
// what holds between keys of a route is in route.go.

const (
	day = units.Day
	mib = 1 << 20
	gib = 1 << 30
	tib = 1 << 40
)

// DefaultListen is where a sidecar listens whose config does not say where.
const DefaultListen = "127.0.0.1:8787"

func serverKeys(s *Server) schema {
	return schema{
		"listen":   one(&s.Listen, DefaultListen, listen),
		"max_body": one(&s.MaxBody, 1*mib, size(1, 256*mib)),
		"token":    one(&s.Token, Secret{}, secret(sendable)),
		"hosts":    list(&s.Hosts, nil, "strings", hostName),
	}
}

func queueKeys(q *Queue) schema {
	return schema{
		"path":         one(&q.Path, "data", path),
		"max_size":     one(&q.MaxSize, 10*gib, size(1, 1024*tib)),
		"min_free":     one(&q.MinFree, 256*mib, size(0, 1024*tib)),
		"max_age":      one(&q.MaxAge, 7*day, duration(time.Millisecond, 3650*day)),
		"retention":    one(&q.Retention, 72*time.Hour, duration(time.Millisecond, 3650*day)),
		"dedup_window": one(&q.DedupWindow, 24*time.Hour, duration(time.Millisecond, 3650*day)),
	}
}

var (
	levels  = []string{"debug", "info", "warn", "error"}
	formats = []string{"auto", "json", "text"}
)

func logKeys(l *Log) schema {
	return schema{
		"level":  one(&l.Level, slog.LevelInfo, choice(levels, slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError)),
		"format": one(&l.Format, "auto", choice(formats, formats...)),
	}
}

// identityKeys are the keys of a route that [defaults] cannot have.
func identityKeys(r *Route) schema {
	return schema{
		"name": one(&r.Name, "", routeName),
		"url":  endpoint(r),
	}
}

// routeKeys are the other keys of a route, which [defaults] has too.
func routeKeys(r *Route) schema {
	return schema{
		"signal_types":           list(&r.SignalTypes, nil, "strings", glob),
		"where":                  program(&r.Where, &r.WhereSource, true),
		"transform":              program(&r.Transform, &r.TransformSource, false),
		"secret":                 one(&r.Secrets, nil, alone(secret(nil))),
		"secrets":                list(&r.Secrets, nil, "secret values", secret(nil)),
		"signatures":             list(&r.Signatures, []string{"beton", "standard"}, "strings", choice(sign.Presets(), sign.Presets()...)),
		"headers":                headers(&r.Headers),
		"basic_auth":             basicAuth(&r.BasicAuth),
		"bearer_token":           one(&r.BearerToken, Secret{}, secret(sendable)),
		"timeout":                one(&r.Timeout, 15*time.Second, duration(time.Millisecond, day)),
		"retry":                  nested(retryKeys(&r.Retry), gapsGrow(&r.Retry)),
		"give_up_on":             list(&r.GiveUpOn, []int{410}, "HTTP statuses such as [410]", status),
		"concurrency":            one(&r.Concurrency, 8, integer(1, 1000)),
		"rate":                   one(&r.Rate, 0, rate),
		"paused":                 one(&r.Paused, false, boolean),
		"tls":                    nested(tlsKeys(&r.TLS), loadTLS(&r.TLS)),
		"block_private_networks": one(&r.BlockPrivateNetworks, false, boolean),
		"allow_http":             one(&r.AllowHTTP, false, boolean),
	}
}

func retryKeys(s *queue.Schedule) schema {
	return schema{
		"attempts": one(&s.Attempts, 10, integer(1, 1000)),
		"first":    one(&s.First, 5*time.Second, duration(time.Millisecond, 365*day)),
		"window":   one(&s.Window, 24*time.Hour, duration(time.Millisecond, 365*day)),
		"jitter":   one(&s.Jitter, 0.1, fraction),
	}
}

func basicAuthKeys(b *BasicAuth) schema {
	return schema{
		"username": one(&b.Username, "", username),
		"password": one(&b.Password, Secret{}, secret(nil)),
	}
}

func tlsKeys(t *TLS) schema {
	return schema{
		"ca_file":   one(&t.CAFile, "", path),
		"cert_file": one(&t.CertFile, "", path),
		"key_file":  one(&t.KeyFile, "", path),
	}
}

// alternatives are keys of which a route has one. Its own choice stands, also
// against the other one in [defaults].
var alternatives = [][]string{{"secret", "secrets"}, {"basic_auth", "bearer_token"}}

// homes names the table that each key belongs in.
func homes() map[string]string {
	names := map[string]string{}
	add := func(home string, keys schema) {
		for key, f := range keys {
			names[key] = home
			for sub := range f.keys {
				names[sub] = key + " = { … }"
			}
		}
	}
	add("[server]", serverKeys(new(Server)))
	add("[queue]", queueKeys(new(Queue)))
	add("[log]", logKeys(new(Log)))
	add("[[route]]", identityKeys(new(Route)))
	add("[[route]] or [defaults]", routeKeys(new(Route)))
	return names
}
