package deliver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"signalpost/proxy/config"
	"signalpost/queue"
)

const (
	maxTokenAnswer = 64 << 10         // bytes of the token endpoint's answer that are read
	renewBefore    = 30 * time.Second // a token expires it is renewed, or a tenth of its life if that is less
)

// tokens fetches the access tokens of a route, over connections like the route's own.
// One attempt fetches a token within its own timeout, and the others wait for it within
// theirs.
type tokens struct {
	*tokenCache
	endpoint  *Endpoint // whose request goes to the token endpoint, and is never sent
	config    *config.OAuth2
	userAgent string
}

// A tokenCache is the part of tokens that a reload keeps.
type tokenCache struct {
	current  atomic.Pointer[token] // nil: none
	fetching chan struct{}         // has one value while a token is fetched
	// Guarded by fetching.
	styles []oauth2.AuthStyle // the one that the token endpoint took, or those to try
	failed time.Time          // when there was no token last
	why    *tokenFailure
}

// A token holds its value, alone and as a header's, in closures: nothing prints it.
type token struct {
	authorization, access func() string
	made, renew           time.Time // renew is zero if it does not expire
}

func (t *token) fresh() bool { return t != nil && (t.renew.IsZero() || time.Now().Before(t.renew)) }

// A tokenFailure is why there is no token, in words that hold no secret.
type tokenFailure struct {
	text  string
	fault bool           // the token endpoint is to blame
	resp  *http.Response // for its Retry-After; nil if there was none
}

func (f *tokenFailure) Error() string { return f.text }

// newTokens sets e.tokens, for a route with oauth2.
func (e *Endpoint) newTokens(userAgent string, n network) error {
	o := e.route.OAuth2
	u, err := url.Parse(o.TokenURL.Reveal())
	if err != nil || u.Host == "" {
		return errors.New("oauth2.token_url is not an absolute URL") // the error would show it
	}
	at := &Endpoint{route: e.route, mask: e.mask}
	if at.request.URL, err = sentURL(u); err != nil {
		return err
	}
	if err := at.connectTo(e.route, n); err != nil {
		return err
	}
	until := func(ctx context.Context) time.Time { return attemptOf(ctx).start.Add(e.route.Timeout) }
	e.transport.Until, at.transport.Until = until, until
	at.transport.BodyTimeout = e.route.Timeout
	at.transport.Dial = nil // answers are looked at when they have been closed
	styles := map[string][]oauth2.AuthStyle{
		"basic": {oauth2.AuthStyleInHeader}, "body": {oauth2.AuthStyleInParams}, "": {oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams},
	}[o.Auth]
	e.tokens = &tokens{&tokenCache{fetching: make(chan struct{}, 1), styles: styles}, at, o, userAgent}
	return nil
}

// Inherit takes over the tokens of the route's endpoint under the config before, if they
// are fetched in the same way. It is called before the first attempt.
func (e *Endpoint) Inherit(old *Endpoint) {
	if e.tokens == nil || old.tokens == nil {
		return
	}
	a, b := e.tokens.config, old.tokens.config
	if a.TokenURL.Equal(b.TokenURL) && a.ClientID.Equal(b.ClientID) && a.ClientSecret.Equal(b.ClientSecret) &&
		slices.Equal(a.Scopes, b.Scopes) && maps.EqualFunc(a.Params, b.Params, config.Secret.Equal) && a.Auth == b.Auth {
		e.tokens.tokenCache = old.tokens.tokenCache
	}
}

// authorized is Attempt for a route with oauth2. A 401 of the receiver has the
// request made once more, if the token is older than the attempt.
func (e *Endpoint) authorized(ctx context.Context, d queue.Delivery, number int) (queue.Outcome, error) {
	start := time.Now()
	for again := false; ; again = true {
		t, err := e.tokens.get(ctx, start)
		if why, ok := errors.AsType[*tokenFailure](err); ok {
			o := queue.Outcome{Verdict: queue.Retry, Class: queue.ClassAuth, Error: why.text, Fault: why.fault, Duration: time.Since(start)}
			if why.fault && why.resp != nil {
				o.Hold = min(retryAfter(why.resp.Header, time.Now()), e.route.Retry.Window)
			}
			e.schedule(&o, d.Step, why.resp)
			return o, nil
		}
		if err != nil {
			return queue.Outcome{}, err
		}
		o, err := e.once(ctx, d, number, start, t)
		if err != nil || o.Status != http.StatusUnauthorized || again || !t.made.Before(start) {
			return o, err
		}
		e.tokens.current.CompareAndSwap(t, nil)
	}
}

// get returns a token for an attempt that began then. The error is a *tokenFailure,
// or there is no verdict: ctx has ended, or queue.ErrShortage.
func (ts *tokens) get(ctx context.Context, start time.Time) (*token, error) {
	if t := ts.current.Load(); t.fresh() {
		return t, nil
	}
	late := time.NewTimer(time.Until(start.Add(ts.endpoint.route.Timeout)))
	defer late.Stop()
	select {
	case ts.fetching <- struct{}{}:
		defer func() { <-ts.fetching }()
	case <-late.C:
		return nil, ts.failure(fmt.Sprintf("timeout: no token within %s", ts.endpoint.route.Timeout), true, nil)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if t := ts.current.Load(); t.fresh() { // that another got
		return t, nil
	}
	if ts.failed.After(start) {
		return nil, ts.why
	}
	t, err := ts.fetch(ctx, start)
	if err == nil {
		ts.current.Store(t)
		return t, nil
	}
	if why, ok := errors.AsType[*tokenFailure](err); ok {
		ts.failed, ts.why = time.Now(), why
	}
	return nil, err
}

// fetch asks for a token, with each of the styles until one is not answered 401.
func (ts *tokens) fetch(ctx context.Context, start time.Time) (t *token, err error) {
	for _, style := range ts.styles {
		if t, err = ts.ask(ctx, start, style); err == nil {
			ts.styles = []oauth2.AuthStyle{style}
			return t, nil
		}
		if why, ok := errors.AsType[*tokenFailure](err); !ok || why.resp == nil || why.resp.StatusCode != http.StatusUnauthorized {
			break
		}
	}
	return nil, err
}

// ask makes one request for a token.
func (ts *tokens) ask(ctx context.Context, start time.Time, style oauth2.AuthStyle) (*token, error) {
	a := ts.endpoint.newAttempt(context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: asking{ts}}))
	a.start = start
	c := clientcredentials.Config{
		ClientID:       ts.config.ClientID.Reveal(),
		ClientSecret:   ts.config.ClientSecret.Reveal(),
		TokenURL:       ts.endpoint.request.URL.String(),
		Scopes:         ts.config.Scopes,
		AuthStyle:      style,
		EndpointParams: url.Values{},
	}
	for name, value := range ts.config.Params {
		c.EndpointParams.Set(name, value.Reveal())
	}
	asked := time.Now()
	t, err := c.Token(a.call.Context())
	if err == nil {
		return ts.made(t, asked)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if lack := shortage(err); lack != nil {
		return nil, lack
	}
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		status := refused.Response.StatusCode
		text := "answered " + statusName(status)
		for _, more := range []string{refused.ErrorCode, refused.ErrorDescription} {
			if more != "" {
				text += ": " + more
			}
		}
		return nil, ts.failure(text, status >= 500 || status < 200 || status == http.StatusTooManyRequests, refused.Response)
	}
	if unreached, ok := errors.AsType[*url.Error](err); ok {
		ts.endpoint.explain(a, unreached)
		return nil, ts.failure(a.outcome.Error, true, nil)
	}
	return nil, ts.failure("answered what is no token", true, nil) // the error may show a part of it
}

// made is a token as it was answered to a request at a time.
func (ts *tokens) made(t *oauth2.Token, asked time.Time) (*token, error) {
	text := t.Type() + " " + t.AccessToken
	if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }) {
		return nil, ts.failure("answered a token that no header can hold", true, nil)
	}
	made := &token{authorization: func() string { return text }, access: func() string { return t.AccessToken }, made: time.Now()}
	if !t.Expiry.IsZero() {
		life := t.Expiry.Sub(made.made)
		made.renew = asked.Add(life - min(life/10, renewBefore))
	}
	return made, nil
}

func (ts *tokens) failure(text string, fault bool, resp *http.Response) *tokenFailure {
	return &tokenFailure{ts.endpoint.fit("token endpoint " + ts.config.Target + ": " + text), fault, resp}
}

// asking sends requests for tokens.
type asking struct{ *tokens }

// RoundTrip implements http.RoundTripper. It takes the Location out of a redirect,
// as signing does.
func (s asking) RoundTrip(req *http.Request) (*http.Response, error) {
	req.URL = s.endpoint.request.URL
	req.Header.Set("User-Agent", s.userAgent)
	req.Header.Set("Accept", "application/json")
	resp, err := s.endpoint.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	delete(resp.Header, "Location")
	body := bufio.NewReader(io.LimitReader(resp.Body, maxTokenAnswer))
	if b, err := body.Peek(1); err == nil && b[0] == '{' {
		resp.Header.Set("Content-Type", "application/json") // whatever it is called: as text it would be read as a form
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{body, resp.Body}
	return resp, nil
}
