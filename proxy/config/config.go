package config

import (
	"crypto/tls"
	"log/slog"
	"maps"
	"slices"
	"time"

	"signalpost/proxy/sign"
	"signalpost/proxy/units"
	"signalpost/queue"
	"signalpost/transform"
)

// A Config is a file that has been read, checked and found complete: defaults
// are filled in, secrets read, expressions compiled. It is never changed.
type Config struct {
	Path   string // as given to Load
	Hash   string // of the file's bytes: 12 hex digits; a changed secret or certificate file does not change it
	Server Server
	Queue  Queue
	Fleet  *Fleet // nil: one machine
	Log    Log
	Alerts *Alerts // nil: none
	Routes []Route // at least one, in the order of the file
	// Files has the absolute path of every file whose change calls for a reload
	// (the config file, and those that secrets and certificates name), and the
	// files.Digest of what Load read in it.
	Files    map[string]string
	Warnings Faults // what is legal and probably not meant: one for each cause
	// Missing are the environment variables and files, in words, that placeholders
	// replace: of LoadRehearsal alone.
	Missing []string
}

// Server is the [server] table.
type Server struct {
	Listen  string   // HOST:PORT, or unix: and an absolute path
	MaxBody int64    // bytes of one request, unpacked
	Token   Secret   // zero: none; never so unless Listen is loopback or a socket
	Hosts   []string // further Host names to accept, lower case
}

// Queue is the [queue] table.
type Queue struct {
	Path string // absolute
	queue.Limits
}

// Log is the [log] table.
type Log struct {
	Level  slog.Level
	Format string // auto, json or text
}

// Alerts is the [alerts] table.
type Alerts struct {
	Route string        // where they go: one of the config's
	On    []string      // the kinds of alerts
	Every time.Duration // the shortest time between two of a kind and route
}

// A Route is one [[route]] table, with [defaults] merged in.
type Route struct {
	Name   string
	URL    Secret // absolute, https or http, without credentials or fragment
	Target string // the URL's scheme://host, for people

	SignalTypes []string           // globs of * and ?; empty: every type
	Where       *transform.Program // nil: every signal
	Transform   *transform.Program // nil: the bytes as they came
	Path        *transform.Program // nil: the URL's alone
	Query       *transform.Program // nil: the URL's alone
	OrderBy     *transform.Program // nil: no order
	Success     *transform.Program // of the JSON of a 2xx answer; nil: the status decides

	Method      string            // POST, PUT or PATCH
	Format      string            // of bodies: json, form, text or ndjson
	ContentType string            // "": the format's own
	Compression string            // of bodies: gzip or none
	Params      map[string]Secret // $params, by name

	Secrets    []Secret     // the first is the one receivers verify today
	SigningKey Secret       // of the preset ed25519; zero: none
	Signatures []string     // presets
	Forms      []*sign.Form // signatures of one's own form
	Signer     *sign.Signer // nil when there is nothing to sign with or by

	Headers     map[string]Secret // by name as written; no two are one but for upper and lower case
	BasicAuth   *BasicAuth        // nil: none
	BearerToken Secret            // zero: none; never beside BasicAuth
	OAuth2      *OAuth2           // nil: none; never beside one of these

	Timeout     time.Duration  // of one attempt
	Retry       queue.Schedule // with a factor of at least 1
	GiveUpOn    []Status
	Concurrency int
	Rate        float64 // attempts a second; 0: no limit
	Paused      bool

	TLS                  TLS
	Proxy                Secret // a URL, or none; zero: the environment's
	BlockPrivateNetworks bool
	AllowHTTP            bool

	// Settings are the keys that GET /status does not show elsewhere, as written or by
	// default, for people: secret values are "[secret]".
	Settings map[string]any
}

// BasicAuth is what the Authorization header says under HTTP Basic.
type BasicAuth struct {
	Username string
	Password Secret
}

// OAuth2 is how a route gets the access tokens that it sends: by client
// credentials (RFC 6749, section 4.4).
type OAuth2 struct {
	TokenURL               Secret // as the route's URL
	Target                 string // the TokenURL's scheme://host, for people
	ClientID, ClientSecret Secret
	Scopes                 []string
	Params                 map[string]Secret // of the request for a token
	Auth                   string            // basic or body: where the client's credentials go; "": basic, then body after a 401
}

// TLS is a route's side of TLS.
type TLS struct {
	CAFile, CertFile, KeyFile string // absolute; "": none
	// Config holds what was loaded from the files; nil when there are none. It
	// is shared: clone it before changing it.
	Config *tls.Config `json:"-"`
}

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

// rootKeys are the tables of a config.
func rootKeys(c *Config) schema {
	return schema{
		"server":   table(serverKeys(&c.Server), c.Server.checkListen),
		"queue":    table(queueKeys(&c.Queue), nil),
		"fleet":    optional(&c.Fleet, fleetKeys, (*Fleet).check),
		"log":      table(logKeys(&c.Log), nil),
		"alerts":   optional(&c.Alerts, alertKeys, nil),
		"defaults": {read: readDefaults},
		"route":    {read: func(*decoder, string, *value) {}, keys: routeKeys(new(Route))}, // when all else is read
	}
}

func serverKeys(s *Server) schema {
	return schema{
		"listen":   into(&s.Listen, DefaultListen, listen),
		"max_body": into(&s.MaxBody, 1*mib, size(1, 256*mib)),
		"token":    into(&s.Token, Secret{}, secret(sendable)),
		"hosts":    into(&s.Hosts, nil, list("strings", hostName)),
	}
}

func queueKeys(q *Queue) schema {
	const longest = 3650 * day
	return schema{
		"path":         into(&q.Path, "data", path),
		"max_size":     into(&q.MaxSize, 10*gib, size(1, 1024*tib)),
		"min_free":     into(&q.MinFree, 256*mib, size(0, 1024*tib)),
		"max_age":      into(&q.MaxAge, 7*day, duration(time.Millisecond, longest)),
		"retention":    into(&q.Retention, 72*time.Hour, duration(time.Millisecond, longest)),
		"dedup_window": into(&q.DedupWindow, 24*time.Hour, duration(time.Millisecond, longest)),
	}
}

func logKeys(l *Log) schema {
	return schema{
		"level":  into(&l.Level, slog.LevelInfo, choice([]string{"debug", "info", "warn", "error"}, slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError)),
		"format": into(&l.Format, "auto", name("auto", "json", "text")),
	}
}

func alertKeys(a *Alerts) schema {
	kinds := []string{"failing", "recovered", "dead", "config_rejected", "store_low"}
	return schema{
		"route": required("it names the route that alerts go to", into(&a.Route, "", routeName)),
		"on":    into(&a.On, kinds, list("strings", name(kinds...))),
		"every": into(&a.Every, 15*time.Minute, duration(time.Millisecond, 30*day)),
	}
}

// routeKeys are the keys of a route. All but those that are required may be in [defaults].
func routeKeys(r *Route) schema {
	const both = "each [[route]] has a name and a url"
	return schema{
		"name":                   required(both, into(&r.Name, "", routeName)),
		"url":                    required(both, into(&r.URL, Secret{}, endpoint)),
		"signal_types":           into(&r.SignalTypes, nil, list("strings", glob)),
		"where":                  expression(&r.Where, transform.Compile, true),
		"transform":              expression(&r.Transform, transform.CompileShape, false),
		"order_by":               expression(&r.OrderBy, transform.Compile, false),
		"success":                expression(&r.Success, transform.Compile, true),
		"method":                 into(&r.Method, "POST", name("POST", "PUT", "PATCH")),
		"path":                   expression(&r.Path, transform.CompileShape, false),
		"query":                  expression(&r.Query, transform.CompileShape, false),
		"format":                 into(&r.Format, "json", name("json", "form", "text", "ndjson")),
		"content_type":           into(&r.ContentType, "", contentType),
		"compression":            into(&r.Compression, "none", name("gzip", "none")),
		"params":                 secretTable(&r.Params, `{ api_key = { env = "API_KEY" } }`, writable, paramFits),
		"secret":                 into(&r.Secrets, nil, single(secret(sharedSecret))),
		"secrets":                into(&r.Secrets, nil, list("secret values", secret(sharedSecret))),
		"signing_key":            into(&r.SigningKey, Secret{}, secret(privateKey)),
		"signature":              forms(&r.Forms),
		"signatures":             into(&r.Signatures, []string{"beton", "standard"}, list("strings", name(sign.Presets()...))),
		"headers":                secretTable(&r.Headers, `{ X-Team = "growth" }`, nil, headerFits),
		"basic_auth":             optional(&r.BasicAuth, basicAuthKeys, nil),
		"bearer_token":           into(&r.BearerToken, Secret{}, secret(sendable)),
		"oauth2":                 optional(&r.OAuth2, oauth2Keys, nil),
		"timeout":                into(&r.Timeout, 15*time.Second, duration(time.Millisecond, day)),
		"retry":                  table(retryKeys(&r.Retry), r.checkGaps),
		"give_up_on":             into(&r.GiveUpOn, []Status{410}, list("HTTP statuses such as [410]", status)),
		"concurrency":            into(&r.Concurrency, 8, integer(1, 1000)),
		"rate":                   into(&r.Rate, 0, rate),
		"paused":                 into(&r.Paused, false, boolean),
		"tls":                    table(tlsKeys(&r.TLS), r.TLS.load),
		"proxy":                  into(&r.Proxy, Secret{}, secret(proxyFlaw)),
		"block_private_networks": into(&r.BlockPrivateNetworks, false, boolean),
		"allow_http":             into(&r.AllowHTTP, false, boolean),
	}
}

func retryKeys(s *queue.Schedule) schema {
	return schema{
		"attempts": into(&s.Attempts, 10, integer(1, 1000)),
		"first":    into(&s.First, 5*time.Second, duration(time.Millisecond, 365*day)),
		"window":   into(&s.Window, 24*time.Hour, duration(time.Millisecond, 365*day)),
		"jitter":   into(&s.Jitter, 0.1, fraction),
	}
}

func basicAuthKeys(b *BasicAuth) schema {
	const both = "it takes a username and a password"
	return schema{
		"username": required(both, into(&b.Username, "", username)),
		"password": required(both, into(&b.Password, Secret{}, secretValue(nil, true))),
	}
}

func oauth2Keys(o *OAuth2) schema {
	const all = "it takes a token_url, a client_id and a client_secret"
	return schema{
		"token_url":     required(all, into(&o.TokenURL, Secret{}, tokenURL)),
		"client_id":     required(all, into(&o.ClientID, Secret{}, secret(nil))),
		"client_secret": required(all, into(&o.ClientSecret, Secret{}, secret(nil))),
		"scopes":        into(&o.Scopes, nil, list("strings", scope)),
		"params":        secretTable(&o.Params, `{ audience = "…" }`, nil, tokenParamFits),
		"auth":          into(&o.Auth, "", name("basic", "body")),
	}
}

func tlsKeys(t *TLS) schema {
	return schema{
		"ca_file":   into(&t.CAFile, "", path),
		"cert_file": into(&t.CertFile, "", path),
		"key_file":  into(&t.KeyFile, "", path),
	}
}

// alternatives are keys of which a route has one. Its own choice stands, also
// against the other one in [defaults].
var alternatives = [][]string{{"secret", "secrets"}, {"basic_auth", "bearer_token", "oauth2"}}

// homes names the table that each key belongs to.
func homes() map[string]string {
	names, root := map[string]string{}, rootKeys(new(Config))
	for _, table := range slices.Sorted(maps.Keys(root)) {
		for key, f := range root[table].keys {
			names[key] = "[" + table + "]"
			if table == "route" {
				names[key] = map[bool]string{true: "[[route]]", false: "[[route]] or [defaults]"}[f.required != ""]
			}
			for sub := range f.keys {
				if root[table].keys[sub].read != nil {
					continue // a key of the table itself, too
				}
				names[sub] = key + " = { … }"
				if key == "signature" {
					names[sub] = "[[route.signature]]"
				}
			}
		}
	}
	return names
}
