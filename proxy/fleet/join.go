package fleet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"signalpost/proxy/config"
)

// Options are what a sidecar joins a fleet with.
type Options struct {
	Servers  []string // secret
	Creds    []byte   // content of a credentials file; empty: none
	User     string
	Password string
	Token    string
	TLS      *tls.Config // nil: as the servers' URLs say
	Name     string      // prefix of streams, buckets and subjects
	Replicas int
	Remember time.Duration // idempotency keys, for so long
	Folder   string        // of the views; what is kept in it outlives a restart, and need not
	Log      *slog.Logger
	Answer   func(context.Context, *Call) *Answer // answers calls of other nodes; nil: nobody does
	Appended func(time.Duration)                  // unless nil, is told how long each batch took to be acknowledged

	ttl time.Duration // in place of ownerTTL. Tests set it
}

// Of are the options that a config with [fleet] says.
func Of(cfg *config.Config) Options {
	f := cfg.Fleet
	o := Options{
		Creds: []byte(f.Credentials.Reveal()), User: f.User, Password: f.Password.Reveal(), Token: f.Token.Reveal(), TLS: f.TLS.Config,
		Name: f.Name, Replicas: f.Replicas, Remember: cfg.Queue.DedupWindow, Folder: cfg.Queue.Path,
	}
	for _, s := range f.Servers {
		o.Servers = append(o.Servers, s.Reveal())
	}
	return o
}

const (
	streams = 4

	// ownerTTL is how long a ledger stays its owner's that is not heard of.
	ownerTTL = 10 * time.Second
	// markerTTL is how long it is told that a key has gone.
	markerTTL = time.Minute

	connectFor = 10 * time.Second
	answerFor  = 5 * time.Second // for what is no append
)

func (o *Options) stream(i int) string       { return o.Name + "_LOG_" + strconv.Itoa(i) }
func (o *Options) subjects(i int) string     { return o.Name + ".log." + strconv.Itoa(i) + ".*" }
func (o *Options) bucket(kind string) string { return o.Name + "_" + kind }

// connect connects to one of the servers, and keeps connected.
func (n *Node) connect() (err error) {
	o := &n.o
	options := []nats.Option{
		nats.Name("signalpost " + n.ID.String()), nats.MaxReconnects(-1), nats.ReconnectWait(200 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 100*time.Millisecond), nats.ReconnectBufSize(-1), nats.Timeout(2 * time.Second),
		nats.PingInterval(500 * time.Millisecond), nats.MaxPingsOutstanding(4), nats.IgnoreAuthErrorAbort(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			text := err.Error()
			if was := n.fault.Swap(&text); was == nil || *was != text {
				n.log.Warn("fleet: NATS reports an error", slog.Any("err", err))
			}
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				n.log.Warn("fleet: the connection to NATS is lost, and is made again", slog.Any("err", err))
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) {
			n.fault.Store(nil)
			n.log.Info("fleet: connected to NATS again", slog.String("server", c.ConnectedServerName()))
		}),
	}
	if len(o.Creds) > 0 {
		options = append(options, nats.UserCredentialBytes(o.Creds))
	}
	if o.User != "" {
		options = append(options, nats.UserInfo(o.User, o.Password))
	}
	if o.Token != "" {
		options = append(options, nats.Token(o.Token))
	}
	if o.TLS != nil {
		options = append(options, nats.Secure(o.TLS))
	}
	for end := time.Now().Add(connectFor); ; time.Sleep(200 * time.Millisecond) {
		n.nc, err = nats.Connect(strings.Join(o.Servers, ","), options...)
		if err == nil {
			break
		}
		if errors.Is(err, nats.ErrAuthorization) {
			return fmt.Errorf("fleet: NATS refuses the login: fix credentials, user and password, or token in [fleet]: %w", err)
		}
		if time.Now().After(end) || n.ctx.Err() != nil {
			return fmt.Errorf("fleet: none of the %d servers of [fleet] can be reached: start NATS, or fix fleet.servers: %w", len(o.Servers), err)
		}
	}
	if !modern(n.nc.ConnectedServerVersion()) {
		return fmt.Errorf("fleet: server %s runs nats-server %s: a fleet needs 2.15 or newer", n.nc.ConnectedServerName(), n.nc.ConnectedServerVersion())
	}
	n.js, err = jetstream.New(n.nc, jetstream.WithDefaultTimeout(answerFor))
	return err
}

var versionForm = regexp.MustCompile(`^v?(\d+)\.(\d+)\.`)

// modern is whether a version of nats-server is 2.15 or newer.
func modern(version string) bool {
	m := versionForm.FindStringSubmatch(version)
	if m == nil {
		return false
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	return major > 2 || major == 2 && minor >= 15
}

// setUp makes the streams and buckets that are missing, and refuses those made otherwise.
func (n *Node) setUp() error {
	for i := range streams {
		want := jetstream.StreamConfig{
			Name: n.o.stream(i), Subjects: []string{n.o.subjects(i)}, Description: "ledgers of Signalpost",
			Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Replicas: n.o.Replicas,
			DenyDelete: true, AllowMsgTTL: true, Duplicates: 2 * time.Minute, MaxMsgSize: -1, MaxMsgs: -1, MaxBytes: -1,
		}
		s, err := patiently(n, func(ctx context.Context) (jetstream.Stream, error) {
			s, err := n.js.Stream(ctx, want.Name)
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				s, err = n.js.CreateStream(ctx, want)
			}
			return s, err
		})
		if err != nil {
			return fmt.Errorf("fleet: stream %s: %w", want.Name, n.explain(err))
		}
		if what := differs(&want, &s.CachedInfo().Config); what != "" {
			return fmt.Errorf("fleet: stream %s: %s: fix it with nats stream edit, or name another fleet in fleet.name", want.Name, what)
		}
		n.streams = append(n.streams, s)
	}
	owners, err := patiently(n, func(ctx context.Context) (jetstream.KeyValue, error) {
		kv, err := n.js.KeyValue(ctx, n.o.bucket("OWNERS"))
		if errors.Is(err, jetstream.ErrBucketNotFound) {
			kv, err = n.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
				Bucket: n.o.bucket("OWNERS"), Description: "who owns which ledger", TTL: n.o.ttl, LimitMarkerTTL: markerTTL, Replicas: n.o.Replicas,
			})
		}
		return kv, err
	})
	if err != nil {
		return fmt.Errorf("fleet: bucket %s: %w", n.o.bucket("OWNERS"), n.explain(err))
	}
	views, err := patiently(n, func(ctx context.Context) (jetstream.ObjectStore, error) {
		o, err := n.js.ObjectStore(ctx, n.o.bucket("VIEWS"))
		if errors.Is(err, jetstream.ErrBucketNotFound) {
			o, err = n.js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: n.o.bucket("VIEWS"), Description: "snapshots of ledgers", Replicas: n.o.Replicas})
		}
		return o, err
	})
	if err != nil {
		return fmt.Errorf("fleet: object store %s: %w", n.o.bucket("VIEWS"), n.explain(err))
	}
	keys, err := patiently(n, func(ctx context.Context) (jetstream.KeyValue, error) {
		want := jetstream.KeyValueConfig{Bucket: n.o.bucket("KEYS"), Description: "idempotency keys, and the ledgers that have their answers", TTL: n.o.Remember, Replicas: n.o.Replicas}
		kv, err := n.js.KeyValue(ctx, want.Bucket)
		if errors.Is(err, jetstream.ErrBucketNotFound) {
			return n.js.CreateKeyValue(ctx, want)
		}
		if err != nil {
			return nil, err
		}
		if status, err := kv.Status(ctx); err != nil || status.TTL() >= want.TTL {
			return kv, err
		}
		return n.js.UpdateKeyValue(ctx, want) // others may remember them for longer
	})
	if err != nil {
		return fmt.Errorf("fleet: bucket %s: %w", n.o.bucket("KEYS"), n.explain(err))
	}
	n.owners, n.views, n.keys = owners, views, keys
	return nil
}

// patiently tries for as long as a cluster takes to find a leader.
func patiently[T any](n *Node, f func(context.Context) (T, error)) (x T, err error) {
	for end := time.Now().Add(connectFor); ; time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(n.ctx, answerFor)
		x, err = f(ctx)
		cancel()
		var api *jetstream.APIError
		if err == nil || errors.As(err, &api) && api.Code != 503 && api.Code != 500 || time.Now().After(end) || n.ctx.Err() != nil {
			return x, err
		}
	}
}

// differs says how a stream is not as it has to be, or "".
func differs(want, is *jetstream.StreamConfig) string {
	for _, c := range []struct {
		what   string
		is, to any
	}{
		{"storage", is.Storage, want.Storage}, {"retention", is.Retention, want.Retention}, {"replicas", is.Replicas, want.Replicas},
		{"subjects", fmt.Sprint(is.Subjects), fmt.Sprint(want.Subjects)}, {"allow_direct", is.AllowDirect, false},
		{"allow_msg_ttl", is.AllowMsgTTL, true}, {"max_age", is.MaxAge, time.Duration(0)}, {"max_msgs", is.MaxMsgs, int64(-1)},
		{"max_bytes", is.MaxBytes, int64(-1)}, {"max_msgs_per_subject", max(is.MaxMsgsPerSubject, 0), int64(0)},
		{"no_ack", is.NoAck, false}, {"persist_mode", is.PersistMode, want.PersistMode},
	} {
		if c.is != c.to {
			return fmt.Sprintf("its %s is %v, and has to be %v", c.what, c.is, c.to)
		}
	}
	return ""
}

// soon is a context for one question.
func (n *Node) soon() (context.Context, context.CancelFunc) {
	return context.WithTimeout(n.ctx, answerFor)
}

// explain says what may be the matter where NATS does not answer.
func (n *Node) explain(err error) error {
	if err == nil {
		return errors.New("no answer")
	}
	fault := n.fault.Load()
	switch silent := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout); {
	case errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse):
		return fmt.Errorf("no stream of JetStream answers: it has no leader, or was deleted: %w", err)
	case silent && fault != nil:
		return fmt.Errorf("no answer from NATS, which says: %s: %w", *fault, err)
	case silent && n.nc != nil && !n.nc.IsConnected():
		return fmt.Errorf("not connected to NATS: %w", err)
	case silent:
		return fmt.Errorf("no answer from NATS: no quorum, or no permission: %w", err)
	}
	return err
}

// Passing is whether an error is NATS's, of which it may be rid in a moment.
func Passing(err error) bool {
	for _, e := range []error{
		nats.ErrReconnectBufExceeded, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected, nats.ErrConnectionReconnecting,
		jetstream.ErrNoStreamResponse, jetstream.ErrNoHeartbeat, context.DeadlineExceeded,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	var api *jetstream.APIError
	return errors.As(err, &api) && api.Code >= 500
}

type fault = atomic.Pointer[string]
