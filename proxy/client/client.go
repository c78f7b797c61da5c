// Package client is the API of a running sidecar from Go: for the commands, and for
// apps that would rather call Go than HTTP. What it takes and returns is
// proxy/api's. An error is an *api.Problem where the sidecar says what is wrong.
package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"signalpost/proxy/api"
	"signalpost/proxy/config"
	"signalpost/proxy/system"
	"signalpost/queue"
)

// A Client talks to one sidecar. It is safe for concurrent use.
type Client struct {
	http  *http.Client
	base  string // scheme and host, and a path when the sidecar stands behind a proxy
	shown string // the server, for errors: no credentials
	// How long a sidecar may say nothing before it is taken to hang. One that is
	// followed says every 5 s that it lives.
	patience time.Duration
	// A closure, because no formatting verb looks into one.
	authorize func(*http.Request)

	// Missing, unless nil, is called with the sidecars and ledgers of a fleet of which
	// an answer has nothing, since they did not answer. It is set before the first call.
	Missing func([]string)
}

// New returns a client of the sidecar at server: http://HOST:PORT, https://…,
// HOST:PORT, or unix:PATH. An empty token is not sent.
func New(server, token string) (*Client, error) {
	c := &Client{shown: server, patience: 15 * time.Second, authorize: func(*http.Request) {}}
	if token != "" {
		c.authorize = func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	transport := &http.Transport{DialContext: dialer.DialContext, IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true}
	c.http = &http.Client{
		Transport: transport,
		// A sidecar redirects nobody, and the token is for nobody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if path, ok := strings.CutPrefix(server, "unix:"); ok {
		if path = strings.TrimPrefix(path, "//"); path == "" {
			return nil, errors.New("server unix: needs a path behind it, as in unix:/run/signalpost.sock")
		}
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		}
		c.base = "http://localhost"
		return c, nil
	}
	if !strings.Contains(server, "://") {
		server = "http://" + server
	}
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("server must be http://HOST:PORT, https://HOST:PORT or unix:PATH")
	}
	if u.User != nil {
		return nil, errors.New("server must not hold credentials; put the token in SIGNALPOST_TOKEN")
	}
	c.base = strings.TrimSuffix(u.String(), "/")
	c.shown = c.base
	return c, nil
}

// FromConfig returns a client of the sidecar that runs with this config file.
// It reads [server] alone: the sidecar can be asked what is wrong while the file
// is broken elsewhere, and by a shell that lacks the secrets of the routes. A
// token it cannot read is taken to be fallback.
func FromConfig(ctx context.Context, path, fallback string) (*Client, error) {
	server, err := config.LoadServer(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("%w; or name the sidecar with --server", err)
	}
	return FromListen(server.Listen, cmp.Or(server.Token.Reveal(), fallback))
}

// FromListen returns a client of the sidecar that listens as server.listen of
// a config says. Where it listens on all addresses it is reached by loopback.
func FromListen(listen, token string) (*Client, error) {
	if strings.HasPrefix(listen, "unix:") {
		return New(listen, token)
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, fmt.Errorf("server.listen %q: expected HOST:PORT or unix:PATH", listen)
	}
	switch addr, err := netip.ParseAddr(host); {
	case host == "", err == nil && addr == netip.IPv4Unspecified():
		host = "127.0.0.1"
	case err == nil && addr.IsUnspecified():
		host = "::1"
	}
	return New("http://"+net.JoinHostPort(host, port), token)
}

// Server is where the client's sidecar is, for people.
func (c *Client) Server() string { return c.shown }

// Signals are what Send posts.
type Signals struct {
	Body  []byte // one signal, a JSON array of them, or, if Lines, one on each line
	Lines bool
	Route string // the only one they are offered to; "" for all
	// Key, unless empty, is an idempotency key: one for these signals and no others,
	// such as the id of the row that they come from. It lets Send try again.
	Key string
}

// Send posts signals to POST /signals. It returns them as they were accepted, and
// the answer as it came. If they have a Key it tries again until ctx ends while no
// sidecar answers, or one that takes no signals now (503): however often they were
// posted within queue.dedup_window, they are accepted once. It returns any other
// refusal at once, and the last error when ctx ends.
func (c *Client) Send(ctx context.Context, s Signals) ([]api.Accepted, json.RawMessage, error) {
	header := http.Header{"Content-Type": {"application/json"}}
	if s.Lines {
		header.Set("Content-Type", "application/x-ndjson")
	}
	if s.Key != "" {
		header.Set("Idempotency-Key", s.Key)
	}
	path := "/signals"
	if s.Route != "" {
		path += "?route=" + url.QueryEscape(s.Route)
	}
	var raw json.RawMessage
	var answer struct {
		api.Accepted
		api.AcceptedBatch
	}
	for pause := leastPause; ; pause = min(2*pause, mostPause) {
		err := c.call(ctx, http.MethodPost, path, header, s.Body, &raw)
		if err == nil {
			break
		}
		problem, answered := errors.AsType[*api.Problem](err)
		if s.Key == "" || ctx.Err() != nil || errors.Is(err, os.ErrPermission) || answered && problem.Status != http.StatusServiceUnavailable {
			return nil, nil, err
		}
		if answered {
			pause = max(pause, min(problem.RetryAfter(), mostPause))
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, nil, err
		}
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, nil, fmt.Errorf("%s: the answer cannot be read: %w", c.shown, err)
	}
	if answer.Signals == nil {
		answer.Signals = []api.Accepted{answer.Accepted}
	}
	return answer.Signals, raw, nil
}

// Between two tries of a Send, unless the sidecar asks for longer.
const (
	leastPause = 100 * time.Millisecond
	mostPause  = 10 * time.Second
)

// Follow calls yield with the last entries of the delivery log, oldest first, then with each as it
// comes. It ends when ctx ends (nil), with an error of yield, or when the sidecar ends
// the log or hangs, or the connection breaks, which is an error: more would have come.
func (c *Client) Follow(ctx context.Context, filter url.Values, yield func(queue.Entry) error) error {
	query := url.Values{"follow": {"true"}}
	maps.Copy(query, filter)
	log, err := c.stream(ctx, "/log?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	defer log.Close()
	d := json.NewDecoder(log)
	const again = "ask signalpost status how it fares, and follow again when it runs"
	for {
		var e queue.Entry
		switch err := d.Decode(&e); {
		case err != nil && ctx.Err() != nil:
			return nil
		case err == io.EOF:
			return fmt.Errorf("%s: the sidecar ended the log: it stopped, or lost its store; %s", c.shown, again)
		case err != nil:
			return fmt.Errorf("the log: %w; %s", err, again)
		}
		if err := yield(e); err != nil {
			return err
		}
	}
}

// Signals returns all stored signals that a filter of GET /signals selects, oldest
// first, each an api.StoredSignal as JSON on a line. It must be closed.
func (c *Client) Signals(ctx context.Context, filter url.Values) (io.ReadCloser, error) {
	return c.stream(ctx, "/signals?"+filter.Encode(), http.Header{"Accept": {"application/x-ndjson"}})
}

// A stream is an answer that comes in pieces. The server has the client's patience for each.
type stream struct {
	c     *Client
	body  io.ReadCloser
	ctx   context.Context
	end   context.CancelCauseFunc
	alarm *time.Timer
}

// stream asks for an answer that comes in pieces. It must be closed.
func (c *Client) stream(ctx context.Context, path string, header http.Header) (io.ReadCloser, error) {
	ctx, end := context.WithCancelCause(ctx)
	alarm := time.AfterFunc(c.patience, func() { end(context.DeadlineExceeded) })
	resp, err := c.do(ctx, http.MethodGet, path, header, nil)
	alarm.Stop()
	if err != nil {
		end(nil)
		return nil, err
	}
	return &stream{c, resp.Body, ctx, end, alarm}, nil
}

func (s *stream) Read(b []byte) (int, error) {
	s.alarm.Reset(s.c.patience)
	n, err := s.body.Read(b)
	s.alarm.Stop()
	if err != nil && err != io.EOF {
		err = fmt.Errorf("the answer broke off: %w", s.c.unreachable(cmp.Or(context.Cause(s.ctx), err)))
	}
	return n, err
}

func (s *stream) Close() error {
	s.end(nil)
	return s.body.Close()
}

// Get asks for path, which is escaped already and may hold a query, and reads
// the JSON of the answer unless answer is nil.
func (c *Client) Get(ctx context.Context, path string, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	return c.call(ctx, http.MethodGet, path, nil, nil, answer)
}

// Post does the same with a request that has body as JSON, or none if it is nil.
func (c *Client) Post(ctx context.Context, path string, body, answer any) error {
	if body == nil {
		return c.call(ctx, http.MethodPost, path, nil, nil, answer)
	}
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodPost, path, http.Header{"Content-Type": {"application/json"}}, b, answer)
}

func (c *Client) call(ctx context.Context, method, path string, header http.Header, body []byte, answer any) error {
	resp, err := c.do(ctx, method, path, header, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("%s: the answer to %s %s cannot be read: %w", c.shown, method, path, err)
	}
	if p, ok := answer.(interface{ Lacks() *[]string }); ok && c.Missing != nil && len(*p.Lacks()) > 0 {
		c.Missing(*p.Lacks())
	}
	return nil
}

// do makes a request. An answer that is not 2xx is an *api.Problem. path is
// escaped already, and holds the query.
func (c *Client) do(ctx context.Context, method, path string, header http.Header, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	maps.Copy(r.Header, header)
	c.authorize(r)
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, c.unreachable(cmp.Or(context.Cause(ctx), err))
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusUnauthorized {
		return nil, api.Refuse(resp.StatusCode, "%s asks for a token, and it is missing or wrong: set SIGNALPOST_TOKEN, or name the config with --config", c.shown)
	}
	problem := new(api.Problem)
	err = json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(problem)
	if err != nil || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
		return nil, api.Refuse(resp.StatusCode, "%s answered %d %s: is it a Signalpost?", c.shown, resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	problem.Status = resp.StatusCode
	return nil, problem.With("Retry-After", resp.Header.Get("Retry-After"))
}

// unreachable says what an error below HTTP means.
func (c *Client) unreachable(err error) error {
	if inner := (*url.Error)(nil); errors.As(err, &inner) {
		err = inner.Err // the rest repeats the URL
	}
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the sidecar at %s says nothing: it hangs, or its machine does", c.shown)
	case system.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("no sidecar answers at %s: is it running? Start it with signalpost run, or name another with --server or --config", c.shown)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s: %w: only the sidecar's own user may connect", c.shown, err)
	}
	return fmt.Errorf("%s: %w", c.shown, err)
}
