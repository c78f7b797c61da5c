// Package client is the API of a running sidecar from Go, for the commands.
package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"signalpost/proxy/api"
	"signalpost/queue"
)

// A Client talks to one sidecar. It is safe for concurrent use.
type Client struct {
	http  *http.Client
	base  *url.URL // scheme and host, and a path when the sidecar stands behind a proxy
	shown string   // the server, for errors: no credentials
	// A closure, because no formatting verb looks into one.
	authorize func(*http.Request)
}

// New returns a client of the sidecar at server: http://HOST:PORT, https://…,
// HOST:PORT, or unix:PATH. An empty token is not sent.
func New(server, token string) (*Client, error) {
	c := &Client{shown: server, authorize: func(*http.Request) {}}
	if token != "" {
		c.authorize = func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	transport := &http.Transport{
		DialContext:       dialer.DialContext,
		IdleConnTimeout:   30 * time.Second,
		ForceAttemptHTTP2: true,
	}
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
		c.base = &url.URL{Scheme: "http", Host: "localhost"}
		return c, nil
	}
	if !strings.Contains(server, "://") {
		server = "http://" + server
	}
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("server must be http://HOST:PORT, https://HOST:PORT or unix:PATH")
	}
	if u.User != nil {
		return nil, errors.New("server must not hold credentials; put the token in SIGNALPOST_TOKEN")
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	c.base, c.shown = u, u.String()
	return c, nil
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
	if host == "" {
		host = "127.0.0.1"
	} else if addr, err := netip.ParseAddr(host); err == nil && addr.IsUnspecified() {
		host = "127.0.0.1"
		if addr.Is6() {
			host = "::1"
		}
	}
	return New("http://"+net.JoinHostPort(host, port), token)
}

// Server is where the client's sidecar is, for people.
func (c *Client) Server() string { return c.shown }

// Send posts a body to POST /signals: one signal, a JSON array of them, or,
// if lines, one on each line. route, unless empty, is the only one it is offered
// to. It returns the signals and the answer as it came.
func (c *Client) Send(ctx context.Context, body []byte, lines bool, route string) ([]api.Accepted, []byte, error) {
	contentType := "application/json"
	if lines {
		contentType = "application/x-ndjson"
	}
	query := url.Values{}
	if route != "" {
		query.Set("route", route)
	}
	var raw json.RawMessage
	if err := c.call(ctx, http.MethodPost, "/signals", query, contentType, body, &raw); err != nil {
		return nil, nil, err
	}
	var answer struct {
		api.Accepted
		api.AcceptedBatch
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, nil, fmt.Errorf("%s: the answer cannot be read: %w", c.shown, err)
	}
	if answer.Signals == nil {
		answer.Signals = []api.Accepted{answer.Accepted}
	}
	return answer.Signals, raw, nil
}

// Log returns a page of the delivery log; the filter is the parameters of GET /log.
func (c *Client) Log(ctx context.Context, filter url.Values) (api.LogPage, error) {
	var page api.LogPage
	err := c.call(ctx, http.MethodGet, "/log", filter, "", nil, &page)
	return page, err
}

// Follow calls yield with the last entries of the delivery log, oldest first, then with each as it
// comes. It ends when ctx ends (nil), with an error of yield, or when the
// sidecar ends the log or the connection breaks, which is an error: more would have come.
func (c *Client) Follow(ctx context.Context, filter url.Values, yield func(queue.Entry) error) error {
	query := url.Values{}
	for k, v := range filter {
		query[k] = v
	}
	query.Set("follow", "true")
	resp, err := c.do(ctx, http.MethodGet, "/log", query, "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	d := json.NewDecoder(bufio.NewReader(resp.Body))
	const again = "ask signalpost status how it fares, and follow again when it runs"
	for {
		var e queue.Entry
		switch err := d.Decode(&e); {
		case err != nil && ctx.Err() != nil:
			return nil
		case err == io.EOF:
			return fmt.Errorf("%s: the sidecar ended the log: it stopped, or lost its store; %s", c.shown, again)
		case err != nil:
			return fmt.Errorf("%s: the log broke off: %w; %s", c.shown, err, again)
		}
		if err := yield(e); err != nil {
			return err
		}
	}
}

// Status returns how the sidecar fares.
func (c *Client) Status(ctx context.Context) (api.Status, error) {
	var s api.Status
	err := c.call(ctx, http.MethodGet, "/status", nil, "", nil, &s)
	return s, err
}

// Retry sends one delivery again, with a body made anew if reshape, and returns it as it is then.
func (c *Client) Retry(ctx context.Context, id string, reshape bool) (queue.Info, error) {
	var info queue.Info
	err := c.post(ctx, "/deliveries/"+url.PathEscape(id)+"/retry", api.RetryOne{Reshape: reshape}, &info)
	return info, err
}

// RetryAll sends again all that match and returns how many; with DryRun it only counts them.
func (c *Client) RetryAll(ctx context.Context, s api.Selection) (int, error) {
	return c.matched(ctx, "/retry", s)
}

// Discard gives one delivery up and returns it as it is then.
func (c *Client) Discard(ctx context.Context, id string) (queue.Info, error) {
	var info queue.Info
	err := c.post(ctx, "/deliveries/"+url.PathEscape(id)+"/discard", struct{}{}, &info)
	return info, err
}

// DiscardAll gives up all that match and returns how many; with DryRun it only counts them.
func (c *Client) DiscardAll(ctx context.Context, s api.Selection) (int, error) {
	return c.matched(ctx, "/discard", s)
}

func (c *Client) matched(ctx context.Context, path string, s api.Selection) (int, error) {
	var answer api.Matched
	err := c.post(ctx, path, s, &answer)
	return answer.Matched, err
}

// Pause holds a route; Resume lets it go on. Both return the route as it is then.
func (c *Client) Pause(ctx context.Context, route string) (api.RouteStatus, error) {
	return c.route(ctx, route, "pause")
}

// Resume clears what Pause did. What the config pauses stays paused, and is an error.
func (c *Client) Resume(ctx context.Context, route string) (api.RouteStatus, error) {
	return c.route(ctx, route, "resume")
}

func (c *Client) route(ctx context.Context, route, do string) (api.RouteStatus, error) {
	var s api.RouteStatus
	err := c.call(ctx, http.MethodPost, "/routes/"+url.PathEscape(route)+"/"+do, nil, "", nil, &s)
	return s, err
}

// Ready is nil if the sidecar accepts signals; else the error says why not.
func (c *Client) Ready(ctx context.Context) error {
	resp, err := c.do(ctx, http.MethodGet, "/readyz", nil, "", nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func (c *Client) post(ctx context.Context, path string, body, answer any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodPost, path, nil, "application/json", b, answer)
}

// call makes a request and reads its JSON answer.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, contentType string, body []byte, answer any) error {
	resp, err := c.do(ctx, method, path, query, contentType, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("%s: the answer to %s %s cannot be read: %w", c.shown, method, path, err)
	}
	return nil
}

// do makes a request. An answer that is not 2xx is an error: an *api.Problem if the
// sidecar says what is wrong. path is escaped already.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, contentType string, body []byte) (*http.Response, error) {
	target := c.base.String() + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	c.authorize(r)
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	refused := api.Refuse(resp.StatusCode, "%s answered %d %s: is it a Signalpost?", c.shown, resp.StatusCode, http.StatusText(resp.StatusCode))
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		var said api.Problem
		if json.Unmarshal(text, &said) == nil {
			refused.Detail, refused.Index = said.Detail, said.Index
		}
	}
	if refused.Status == http.StatusUnauthorized {
		refused.Detail = c.shown + " asks for a token, and it is missing or wrong: set SIGNALPOST_TOKEN, or name the config with --config"
	}
	return nil, refused
}

// unreachable says what an error below HTTP means.
func (c *Client) unreachable(err error) error {
	var inner *url.Error
	if errors.As(err, &inner) {
		err = inner.Err // the rest repeats the URL
	}
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("no sidecar answers at %s: is it running? Start it with signalpost run, or name another with --server or --config", c.shown)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s: %w: only the sidecar's own user may connect", c.shown, err)
	default:
		return fmt.Errorf("%s: %w", c.shown, err)
	}
}
