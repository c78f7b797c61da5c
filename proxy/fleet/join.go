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
		Name: f.Name, Replicas: f.Replicas, Remember: max(cfg.Queue.DedupWindow, time.Second), Folder: cfg.Queue.Path,
	}
	for _, s := range f.Servers {
		o.Servers = append(o.Servers, s.Reveal())
	}
	return o
}

const (
	streams = 4

	// ownerTTL is how long a ledger stays with an owner that does not renew its key.
	ownerTTL = 10 * time.Second
	// markerTTL is how long watchers can still learn that a key has expired.
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
			if now := time.Now(); err != nil {
				n.cut.Store(&now)
				n.log.Warn("fleet: the connection to NATS is lost, and is made again", slog.Any("err", err))
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) {
			n.fault.Store(nil)
			n.cut.Store(nil)
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
	if most := n.nc.MaxPayload(); most < 2*pieceBytes {
		return fmt.Errorf("fleet: server %s takes no message of more than %d bytes: set max_payload to 1MB or more in its config", n.nc.ConnectedServerName(), most)
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

// wanted are the streams of a fleet: those of its ledgers, then, as NATS lays them out,
// the buckets of owners and of idempotency keys and the object store of snapshots.
func (o *Options) wanted() (all []jetstream.StreamConfig) {
	add := func(c jetstream.StreamConfig) {
		c.Replicas, c.MaxMsgs, c.MaxBytes, c.MaxMsgSize = o.Replicas, -1, -1, -1
		all = append(all, c)
	}
	for i := range streams {
		add(jetstream.StreamConfig{
			Name: o.stream(i), Subjects: []string{o.subjects(i)}, Description: "ledgers of Signalpost",
			DenyDelete: true, AllowMsgTTL: true, Duplicates: 2 * time.Minute,
		})
	}
	bucket := func(name, what string, ttl, markers time.Duration) {
		add(jetstream.StreamConfig{
			Name: "KV_" + name, Subjects: []string{"$KV." + name + ".>"}, Description: what, MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew,
			MaxAge: ttl, Duplicates: min(ttl, 2*time.Minute), AllowMsgTTL: markers > 0, SubjectDeleteMarkerTTL: markers,
			AllowRollup: true, DenyDelete: true, AllowDirect: true,
		})
	}
	bucket(o.bucket("OWNERS"), "who owns which ledger", o.ttl, markerTTL)
	bucket(o.bucket("KEYS"), "idempotency keys, and the ledgers that have their answers", o.Remember, 0)
	views := o.bucket("VIEWS")
	add(jetstream.StreamConfig{
		Name: "OBJ_" + views, Subjects: []string{"$O." + views + ".C.>", "$O." + views + ".M.>"}, Description: "snapshots of ledgers",
		Discard: jetstream.DiscardNew, AllowRollup: true, AllowDirect: true,
	})
	return all
}

// setUp makes the streams that are missing, and refuses those made otherwise.
func (n *Node) setUp() error {
	for _, want := range n.o.wanted() {
		s, err := patiently(n, func(ctx context.Context) (jetstream.Stream, error) {
			s, err := n.js.Stream(ctx, want.Name)
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				return n.js.CreateStream(ctx, want)
			}
			return s, err
		})
		var api *jetstream.APIError
		switch {
		case errors.As(err, &api) && api.ErrorCode == subjectsOverlap:
			return fmt.Errorf("fleet: stream %s: another stream of NATS takes %s: name another fleet in fleet.name: %w", want.Name, strings.Join(want.Subjects, " and "), err)
		case api != nil && (api.ErrorCode == notClustered || api.ErrorCode == noPeers):
			return fmt.Errorf("fleet: stream %s: NATS has not the servers for %d replicas: start more of them, or lower fleet.replicas: %w", want.Name, n.o.Replicas, err)
		case err != nil:
			return fmt.Errorf("fleet: stream %s: %w", want.Name, n.explain(err))
		}
		is := s.CachedInfo().Config
		if want.Name == "KV_"+n.o.bucket("KEYS") {
			want.MaxAge = is.MaxAge // see remember
		}
		if what := differs(&want, &is); what != "" {
			return fmt.Errorf("fleet: stream %s: %s: fix it with nats stream edit, or name another fleet in fleet.name", want.Name, what)
		}
	}
	if err := n.find(true); err != nil {
		return err
	}
	return n.explainAny(n.remember(n.o.Remember))
}

const (
	noPeers         = 10005
	subjectsOverlap = 10065
	notClustered    = 10074
)

// remember has NATS keep idempotency keys for so long, at least: others may want them for longer.
func (n *Node) remember(d time.Duration) error {
	ctx, cancel := n.soon()
	defer cancel()
	s, err := n.js.Stream(ctx, "KV_"+n.o.bucket("KEYS"))
	if err != nil {
		return err
	}
	c := s.CachedInfo().Config
	if c.MaxAge == 0 || c.MaxAge >= d {
		return nil
	}
	c.MaxAge = d
	_, err = n.js.UpdateStream(ctx, c)
	return err
}

// patiently tries for as long as a cluster takes to find a leader.
func patiently[T any](n *Node, f func(context.Context) (T, error)) (x T, err error) {
	for end := time.Now().Add(connectFor); ; time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(n.ctx, answerFor)
		x, err = f(ctx)
		cancel()
		var api *jetstream.APIError
		final := errors.As(err, &api) && (api.Code != 503 && api.Code != 500 && api.ErrorCode != noPeers || api.ErrorCode == notClustered) || errors.Is(err, jetstream.ErrBucketNotFound)
		if err == nil || final || time.Now().After(end) || n.ctx.Err() != nil {
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
		{"subjects", fmt.Sprint(is.Subjects), fmt.Sprint(want.Subjects)}, {"allow_direct", is.AllowDirect, want.AllowDirect},
		{"allow_msg_ttl", is.AllowMsgTTL, want.AllowMsgTTL}, {"max_age", is.MaxAge, want.MaxAge}, {"max_msgs", is.MaxMsgs, want.MaxMsgs},
		{"subject_delete_marker_ttl", is.SubjectDeleteMarkerTTL, want.SubjectDeleteMarkerTTL}, {"max_bytes", is.MaxBytes, want.MaxBytes},
		{"max_msgs_per_subject", max(is.MaxMsgsPerSubject, 0), want.MaxMsgsPerSubject}, {"max_msg_size", max(is.MaxMsgSize, -1), want.MaxMsgSize},
		{"no_ack", is.NoAck, want.NoAck}, {"persist_mode", is.PersistMode, want.PersistMode}, {"deny_purge", is.DenyPurge, want.DenyPurge}, {"sealed", is.Sealed, false},
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
	fault := n.fault.Load()
	switch silent := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout); {
	case err == nil:
		return errors.New("no answer")
	case errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrNoStreamResponse):
		return fmt.Errorf("no stream of JetStream answers: it has no leader, was deleted, or JetStream is off: %w", err)
	case errors.Is(err, nats.ErrReconnectBufExceeded) || silent && n.nc != nil && !n.nc.IsConnected():
		return fmt.Errorf("not connected to NATS: %w", err)
	case silent && fault != nil && strings.Contains(strings.ToLower(*fault), "permissions"):
		return fmt.Errorf("no answer from NATS, which says: %s: give the login the permissions that the documentation lists: %w", *fault, err)
	case silent && fault != nil:
		return fmt.Errorf("no answer from NATS, which says: %s: %w", *fault, err)
	case silent:
		return fmt.Errorf("no answer from NATS: no quorum, or no permission: %w", err)
	}
	return err
}

// Passing is whether an error is one of NATS that may pass in a moment.
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
