package config

import (
	"crypto/tls"
	"log/slog"
	"time"

	"signalpost/proxy/sign"
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
	Log    Log
	Routes []Route // at least one, in the order of the file
	// Held has the absolute path of every file whose change calls for a reload
	// (the config file, and those that secrets and certificates name), and the
	// files.Digest of what Load read in it.
	Held     map[string]string
	Warnings Faults // what is legal and probably not meant: one for each cause
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

// A Route is one [[route]] table, with [defaults] merged in.
type Route struct {
	Name   string
	URL    Secret // absolute, https or http, without credentials or fragment
	Target string // the URL's scheme://host, for people

	SignalTypes     []string           // globs of * and ?; empty: every type
	Where           *transform.Program // nil: every signal
	Transform       *transform.Program // nil: the bytes as they came
	WhereSource     string
	TransformSource string

	Secrets    []Secret     // the first is the one receivers verify today
	Signatures []string     // presets
	Signer     *sign.Signer // nil when there is no secret or no preset

	Headers     map[string]Secret // by canonical name
	BasicAuth   *BasicAuth        // nil: none
	BearerToken Secret            // zero: none; never beside BasicAuth

	Timeout     time.Duration  // of one attempt
	Retry       queue.Schedule // with a factor of at least 1
	GiveUpOn    []int
	Concurrency int
	Rate        float64 // attempts a second; 0: no limit
	Paused      bool

	TLS                  TLS
	BlockPrivateNetworks bool
	AllowHTTP            bool
}

// BasicAuth is what the Authorization header says under HTTP Basic.
type BasicAuth struct {
	Username string
	Password Secret
}

// TLS is a route's side of TLS.
type TLS struct {
	CAFile, CertFile, KeyFile string // absolute; "": none
	// Config holds what was loaded from the files; nil when there are none. It
	// is shared: clone it before changing it.
	Config *tls.Config `json:"-"`
}
