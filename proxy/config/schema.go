package config

import (
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"time"

	"signalpost/proxy/units"
	"signalpost/queue"
)

// The schema: every key a config can have, where it goes and how it is read.
// What holds between several keys is in route.go.

// sectionLine matches the header of a section, alone on its line.
var sectionLine = regexp.MustCompile(`(?m)^[ \t]*(\[(server|queue|log|defaults)\]|\[\[route\]\])[ \t]*(#.*)?\r?$`)

const (
	day = units.Day
	mib = 1 << 20
	gib = 1 << 30
	tib = 1 << 40
)

// DefaultListen is where a sidecar listens whose config does not say where.
const DefaultListen = "127.0.0.1:8787"

func defaultConfig() Config {
	return Config{
		Server: Server{Listen: DefaultListen, MaxBody: 1 * mib},
		Queue: Queue{Path: "data", MaxSize: 10 * gib, MinFree: 256 * mib,
			MaxAge: 7 * day, Retention: 72 * time.Hour, DedupWindow: 24 * time.Hour},
		Log: Log{Level: slog.LevelInfo, Format: "auto"},
	}
}

func defaultRoute() Route {
	return Route{
		Signatures:  []string{"beton", "standard"},
		Timeout:     15 * time.Second,
		Retry:       queue.Schedule{Attempts: 10, First: 5 * time.Second, Window: 24 * time.Hour, Jitter: 0.1},
		GiveUpOn:    []int{410},
		Concurrency: 8,
	}
}

// sections are the tables that are not lists.
func sections(c *Config) schema {
	return schema{
		"server": table(serverKeys(&c.Server)),
		"queue":  table(queueKeys(&c.Queue)),
		"log":    table(logKeys(&c.Log)),
	}
}

func serverKeys(s *Server) schema {
	return schema{
		"listen":   listen(&s.Listen),
		"max_body": size(&s.MaxBody, 1, 256*mib),
		"token":    secret(&s.Token, sendable),
		"hosts":    list(&s.Hosts, hostName),
	}
}

func queueKeys(q *Queue) schema {
	return schema{
		"path":         path(&q.Path),
		"max_size":     size(&q.MaxSize, 1, 1024*tib),
		"min_free":     size(&q.MinFree, 0, 1024*tib),
		"max_age":      duration(&q.MaxAge, time.Millisecond, 3650*day),
		"retention":    duration(&q.Retention, time.Millisecond, 3650*day),
		"dedup_window": duration(&q.DedupWindow, time.Millisecond, 3650*day),
	}
}

var (
	levels  = []string{"debug", "info", "warn", "error"}
	formats = []string{"auto", "json", "text"}
)

func logKeys(l *Log) schema {
	return schema{
		"level":  choice(&l.Level, levels, []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}),
		"format": choice(&l.Format, formats, formats),
	}
}

// identityKeys are the keys of a route that [defaults] cannot have.
func identityKeys(r *Route) schema {
	return schema{
		"name": pattern(&r.Name, routeName, "1 to 63 of a-z, 0-9, _ and -, the first a letter or digit"),
		"url":  endpoint(r),
	}
}

// routeKeys are the other keys of a route, which [defaults] has too.
func routeKeys(r *Route) schema {
	return schema{
		"signal_types":           list(&r.SignalTypes, glob),
		"where":                  expression(&r.Where, &r.WhereSource),
		"transform":              expression(&r.Transform, &r.TransformSource),
		"secret":                 oneSecret(&r.Secrets),
		"secrets":                secrets(&r.Secrets),
		"signatures":             list(&r.Signatures, preset),
		"headers":                headers(&r.Headers),
		"basic_auth":             basicAuth(&r.BasicAuth),
		"bearer_token":           secret(&r.BearerToken, sendable),
		"timeout":                duration(&r.Timeout, time.Millisecond, 24*time.Hour),
		"retry":                  retry(&r.Retry),
		"give_up_on":             statuses(&r.GiveUpOn),
		"concurrency":            integer(&r.Concurrency, 1, 1000),
		"rate":                   rate(&r.Rate, &r.RateText),
		"paused":                 boolean(&r.Paused),
		"tls":                    tlsFiles(&r.TLS),
		"block_private_networks": boolean(&r.BlockPrivateNetworks),
		"allow_http":             boolean(&r.AllowHTTP),
	}
}

func retryKeys(r *queue.Schedule) schema {
	return schema{
		"attempts": integer(&r.Attempts, 1, 1000),
		"first":    duration(&r.First, time.Millisecond, 365*day),
		"window":   duration(&r.Window, time.Millisecond, 365*day),
		"jitter":   fraction(&r.Jitter),
	}
}

func basicAuthKeys(b *BasicAuth) schema {
	return schema{
		"username": username(&b.Username),
		"password": secret(&b.Password, printable),
	}
}

func tlsKeys(t *TLS) schema {
	return schema{
		"ca_file":   path(&t.CAFile),
		"cert_file": path(&t.CertFile),
		"key_file":  path(&t.KeyFile),
	}
}

// mergedTables are the tables of a route that take from [defaults] the keys
// they do not have themselves; all other values are taken whole.
var mergedTables = []string{"headers", "retry", "tls", "basic_auth"}

// alternatives are keys of which a route has one. Its own choice stands, also
// against the other one in [defaults].
var alternatives = [][2]string{{"secret", "secrets"}, {"basic_auth", "bearer_token"}}

// A home is a table by the name errors call it.
type home struct {
	name string
	keys []string
}

// homes are the tables of the schema, to tell where a misplaced key belongs.
func homes() []home {
	keys := func(s schema) []string { return slices.Sorted(maps.Keys(s)) }
	return []home{
		{"[server]", keys(serverKeys(new(Server)))},
		{"[queue]", keys(queueKeys(new(Queue)))},
		{"[log]", keys(logKeys(new(Log)))},
		{"[[route]]", keys(identityKeys(new(Route)))},
		{"[[route]] or [defaults]", keys(routeKeys(new(Route)))},
		{"retry = { … }", keys(retryKeys(new(queue.Schedule)))},
		{"basic_auth = { … }", keys(basicAuthKeys(new(BasicAuth)))},
		{"tls = { … }", keys(tlsKeys(new(TLS)))},
	}
}
