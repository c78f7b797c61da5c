package deliver

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"signalpost/proxy/config"
	"signalpost/queue"
)

const (
	clientID     = "the client?"
	clientSecret = "cl!ent/s3cret"
)

// An idp is a token endpoint, which answers as the test says and notes what it was asked.
type idp struct {
	url   string
	asked atomic.Int64
	last  atomic.Pointer[http.Request] // with its form parsed
}

func newIDP(t testing.TB, answer http.HandlerFunc) *idp {
	t.Helper()
	p := new(idp)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asks(r)
		answer(w, r)
	}))
	server.Config.ErrorLog = quiet
	server.Start()
	t.Cleanup(server.Close)
	p.url = server.URL + "/t0ken-path"
	return p
}

func (p *idp) asks(r *http.Request) {
	r.ParseForm()
	p.last.Store(r)
	p.asked.Add(1)
}

// issues answers a token that names how many there were.
func (p *idp) issues(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain") // as many say
	fmt.Fprintf(w, `{"access_token":"acc&ss-%d","token_type":"bearer","expires_in":3600}`, p.asked.Load())
}

func withOAuth2(r *config.Route, tokenURL string) *config.Route {
	r.OAuth2 = &config.OAuth2{
		TokenURL: config.NewSecret(tokenURL), Target: "http://idp.test", ClientID: config.NewSecret(clientID), ClientSecret: config.NewSecret(clientSecret),
		Scopes: []string{"a", "b"}, Params: map[string]config.Secret{"audience": config.NewSecret("the-audience")},
	}
	return r
}

// leaks fails if a text holds what is secret about the tokens of withOAuth2.
func leaks(t *testing.T, texts ...any) {
	t.Helper()
	for _, secret := range []string{clientSecret, url.QueryEscape(clientSecret), "acc&ss-", "t0ken-path", "the-audience",
		base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(clientID) + ":" + url.QueryEscape(clientSecret)))} {
		if text := fmt.Sprintf("%+v %#v", texts, texts); strings.Contains(text, secret) {
			t.Errorf("%q is in %s", secret, text)
		}
	}
}

// A token is asked for once, however many attempts want one, and goes with each of
// them; over every way of sending, and echoed by none.
func TestOAuth2(t *testing.T) {
	noLeak(t)
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			p := new(idp)
			server, r := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/t0ken-path" { // reached in the same way
					p.asks(r)
					p.issues(w, r)
					return
				}
				if r.Header.Get("Authorization") != "Bearer acc&ss-1" {
					w.WriteHeader(http.StatusBadRequest)
				}
				fmt.Fprintf(w, "%s %q", r.Header.Get("Authorization"), url.QueryEscape(r.Header.Get("Authorization")))
			})
			p.url = server.URL + "/t0ken-path"
			e := testEndpoint(t, signed(t, withOAuth2(r, p.url), "a-secret"))
			w.change(e)
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					o := e.try(t)
					if o.Verdict != queue.Delivered || !strings.Contains(o.Response, "[secret]") {
						t.Errorf("%+v", o)
					}
					checkTruth(t, o, true)
					leaks(t, o)
				})
			}
			wg.Wait()
			asked := p.last.Load()
			id, secret, _ := asked.BasicAuth()
			if n := p.asked.Load(); n != 1 || id != url.QueryEscape(clientID) || secret != url.QueryEscape(clientSecret) || asked.Header.Get("User-Agent") != testAgent || asked.Method != "POST" ||
				asked.Form.Encode() != "audience=the-audience&grant_type=client_credentials&scope=a+b" {
				t.Errorf("asked %d times: %s %v %v", n, asked.Method, asked.Header, asked.Form)
			}
			if !strings.Contains(e.Template(), `"Authorization":"Bearer [secret]"`) {
				t.Errorf("shown as %s", e.Template())
			}
			leaks(t, e, e.tokens, e.Template())
		})
	}
}

// A 401 drops a token older than the attempt, and the request is made once more
// within it; a second 401 is the verdict, and so is one with a new token.
func TestOAuth2Refused(t *testing.T) {
	noLeak(t)
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			var p *idp
			p = newIDP(t, func(w http.ResponseWriter, r *http.Request) { p.issues(w, r) })
			var good atomic.Value
			good.Store("Bearer acc&ss-1")
			came := make(chan came401, 4)
			_, r := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				came <- came401{r.Header, string(body)}
				if r.Header.Get("Authorization") != good.Load() {
					w.WriteHeader(http.StatusUnauthorized)
				}
			})
			r.GiveUpOn = []config.Status{401}
			e := testEndpoint(t, signed(t, withOAuth2(r, p.url), "a-secret"))
			w.change(e)
			if o := e.try(t); o.Verdict != queue.Delivered {
				t.Fatalf("%+v", o)
			}
			<-came
			good.Store("Bearer acc&ss-2")
			if o := e.try(t); o.Verdict != queue.Delivered || o.Status != 200 || o.Error != "" || p.asked.Load() != 2 {
				t.Errorf("%+v after %d tokens", o, p.asked.Load())
			}
			first, second := <-came, <-came
			for _, name := range []string{"Webhook-Id", "Webhook-Timestamp", "X-Beton-Attempt", "Webhook-Signature"} {
				if a, b := first.Header.Get(name), second.Header.Get(name); a != b || a == "" {
					t.Errorf("%s is %q, then %q", name, a, b)
				}
			}
			if first.body != sampleBody || second.body != sampleBody {
				t.Errorf("bodies %q and %q", first.body, second.body)
			}
			good.Store("none")
			if o := e.try(t); o.Status != 401 || o.Class != queue.Class4xx || o.Verdict != queue.Dead || p.asked.Load() != 3 || len(came) != 2 {
				t.Errorf("%+v after %d tokens and %d requests", o, p.asked.Load(), len(came))
			}
			<-came
			<-came
			e.tokens.current.Store(nil)
			if o := e.try(t); o.Status != 401 || p.asked.Load() != 4 || len(came) != 1 {
				t.Errorf("with a new token: %+v after %d tokens and %d requests", o, p.asked.Load(), len(came))
			}
		})
	}
}

type came401 struct {
	http.Header
	body string
}

// Where the client's credentials go: basic, and in the body after a 401, which is
// remembered; or as auth says, alone.
func TestOAuth2Auth(t *testing.T) {
	for _, test := range []struct {
		auth, takes string
		asked       int64 // for two tokens
		ok          bool
	}{
		{"", "basic", 2, true}, {"", "body", 3, true}, {"", "none", 4, false},
		{"basic", "basic", 2, true}, {"basic", "body", 2, false},
		{"body", "basic", 2, false}, {"body", "body", 2, true},
	} {
		t.Run(test.auth+" "+test.takes, func(t *testing.T) {
			var p *idp
			p = newIDP(t, func(w http.ResponseWriter, r *http.Request) {
				_, _, basic := r.BasicAuth()
				body := r.Form.Get("client_id") == clientID && r.Form.Get("client_secret") == clientSecret
				if basic == body || basic != (test.takes == "basic") || body != (test.takes == "body") {
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				p.issues(w, r)
			})
			r := withOAuth2(testRoute(t, "http://"+leastReceiver(t)+"/x"), p.url)
			r.OAuth2.Auth = test.auth
			e := testEndpoint(t, r)
			for range 2 {
				if o := e.try(t); (o.Verdict == queue.Delivered) != test.ok {
					t.Errorf("%+v", o)
				}
				e.tokens.current.Store(nil)
			}
			if n := p.asked.Load(); n != test.asked {
				t.Errorf("asked %d times, want %d", n, test.asked)
			}
		})
	}
}

// Without a token nothing is sent, and why is said.
func TestOAuth2Fails(t *testing.T) {
	noLeak(t)
	status := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Retry-After", "7")
			w.Header().Set("Location", "https://other.example.com/acc&ss-9")
			w.WriteHeader(code)
			io.WriteString(w, body)
		}
	}
	id, secret := url.QueryEscape(clientID), url.QueryEscape(clientSecret)
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		url    string
		fault  bool
		error  string
		hold   time.Duration
	}{
		"500":             {status(500, "{}"), "", true, "answered 500 Internal Server Error", 7 * time.Second},
		"503":             {status(503, "acc&ss-1"), "", true, "answered 503 Service Unavailable", 7 * time.Second},
		"429":             {status(429, ""), "", true, "answered 429 Too Many Requests", 7 * time.Second},
		"400":             {status(400, `{"error":"invalid_scope","error_description":"no `+clientSecret+` nor `+base64.StdEncoding.EncodeToString([]byte(id+":"+secret))+"\u202e"+`"}`), "", false, "answered 400 Bad Request: invalid_scope: no [secret] nor [secret]", 0},
		"401":             {status(401, `{"error":"invalid_client"}`), "", false, "answered 401 Unauthorized: invalid_client", 0},
		"404":             {status(404, "<html>"), "", false, "answered 404 Not Found", 0},
		"redirect":        {status(307, ""), "", false, "answered 307 Temporary Redirect", 0},
		"error with 200":  {status(200, `{"error":"slow_down"}`), "", false, "answered 200 OK: slow_down", 0},
		"no JSON":         {status(200, "acc&ss-1"), "", true, "answered what is no token", 0},
		"no token":        {status(200, `{"access":"acc&ss-1"}`), "", true, "answered what is no token", 0},
		"no header":       {status(200, `{"access_token":"acc&ss-\n1"}`), "", true, "answered a token that no header can hold", 0},
		"too long":        {status(200, `{"access_token":"`+strings.Repeat("x", 70<<10)+`"}`), "", true, "answered what is no token", 0},
		"nobody":          {nil, "http://" + nobody + "/t0ken-path", true, "connection refused (" + nobody + ")", 0},
		"cut":             {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "", true, "connection closed before an answer", 0},
		"no such host":    {nil, "http://idp.invalid/t0ken-path", true, "", 0},
		"TLS to no TLS":   {status(200, ""), "https", true, "does not speak TLS on this port", 0},
		"blocked address": {status(200, ""), "block", true, "is not public and the route has block_private_networks", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base, requests, _ := receives(t, func(http.ResponseWriter, *http.Request) {})
			r := testRoute(t, base+"/x")
			if test.answer != nil {
				at := newIDP(t, test.answer).url
				switch test.url {
				case "https":
					at = strings.Replace(at, "http", "https", 1)
				case "block":
					r.BlockPrivateNetworks = true
				}
				test.url = at
			}
			e := testEndpoint(t, withOAuth2(r, test.url))
			o := e.try(t)
			if o.Verdict != queue.Retry || o.Class != queue.ClassAuth || o.Status != 0 || o.Fault != test.fault || o.Hold != test.hold || o.Gap == 0 || o.Duration == 0 || o.Response != "" ||
				!strings.HasPrefix(o.Error, "token endpoint http://idp.test: ") || !strings.Contains(o.Error, test.error) || len(requests()) > 0 {
				t.Errorf("%+v, want %q", o, test.error)
			}
			checkTruth(t, o, false)
			leaks(t, o)
			d := testDelivery()
			d.Step = 10
			if o, err := e.Attempt(t.Context(), d, 10); err != nil || o.Verdict != queue.Dead || o.Reason != queue.Exhausted {
				t.Errorf("the last: %+v, %v", o, err)
			}
		})
	}
}

// An attempt waits for a token no longer than its timeout, whoever asks for it, and
// not at all once it is to end. Who waited for one that was not to be had asks no more.
func TestOAuth2Waits(t *testing.T) {
	noLeak(t)
	hangs := make(chan struct{})
	arrived := make(chan struct{}, 9)
	p := newIDP(t, func(w http.ResponseWriter, r *http.Request) { arrived <- struct{}{}; <-hangs })
	defer close(hangs)
	r := withOAuth2(testRoute(t, "http://"+leastReceiver(t)+"/x"), p.url)
	r.Timeout = 100 * time.Millisecond
	e := testEndpoint(t, r)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			o := e.try(t)
			if o.Class != queue.ClassAuth || !o.Fault || !strings.Contains(o.Error, "token endpoint http://idp.test: timeout: ") || !strings.Contains(o.Error, "within 100ms") {
				t.Errorf("%+v", o)
			}
		})
	}
	wg.Wait()
	if n := p.asked.Load(); n > 2 { // a second if one begins when the first has ended
		t.Errorf("asked %d times", n)
	}
	for len(arrived) > 0 {
		<-arrived
	}
	r.Timeout = time.Hour
	e = testEndpoint(t, r)
	long := time.Now().Add(-2 * time.Hour)
	for range 9 { // whether or not it is at once that another does not ask
		if _, err := e.tokens.get(t.Context(), long); err == nil || !strings.Contains(err.Error(), "timeout: ") {
			t.Errorf("after its time: %v", err)
		}
	}
	any, err := e.tokens.made(&oauth2.Token{AccessToken: "any"}, long)
	if err != nil {
		t.Fatal(err)
	}
	if o, err := e.once(t.Context(), testDelivery(), 1, long, any); err != nil || o.Class != queue.ClassTimeout {
		t.Errorf("after its time: %+v, %v", o, err)
	}
	e.tokens.failed, e.tokens.why = time.Now(), &tokenFailure{text: "of another"}
	if _, err := e.tokens.get(t.Context(), e.tokens.failed.Add(-time.Minute)); err != e.tokens.why {
		t.Errorf("what another was told: %v", err)
	}
	for len(arrived) > 0 {
		<-arrived
	}
	ctx, stop := context.WithCancel(t.Context())
	for range 2 { // who asks, and who waits
		wg.Go(func() {
			if o, err := e.Attempt(ctx, testDelivery(), 1); !errors.Is(err, context.Canceled) {
				t.Errorf("%+v, %v", o, err)
			}
		})
	}
	<-arrived
	stop()
	wg.Wait()
}

// A token is renewed before it expires; one without an end is not.
func TestOAuth2Renews(t *testing.T) {
	ts := &tokens{config: new(config.OAuth2)}
	for life, early := range map[time.Duration]time.Duration{time.Hour: 30 * time.Second, time.Minute: 6 * time.Second, time.Second: 100 * time.Millisecond, -time.Second: -100 * time.Millisecond} {
		asked := time.Now()
		got, err := ts.made(&oauth2.Token{AccessToken: "x", Expiry: asked.Add(life)}, asked)
		// What it took to get it is not taken for a part of its life.
		if most := asked.Add(life - early); err != nil || got.renew.After(most) || most.Sub(got.renew) > time.Since(asked) {
			t.Errorf("%s: %+v, %v", life, got, err)
		}
	}
	if got, err := ts.made(&oauth2.Token{AccessToken: "x"}, time.Now()); err != nil || !got.fresh() || !got.renew.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}
	var p *idp
	p = newIDP(t, func(w http.ResponseWriter, r *http.Request) { p.issues(w, r) })
	e := testEndpoint(t, withOAuth2(testRoute(t, "http://"+leastReceiver(t)+"/x"), p.url))
	for i := range 3 {
		if o := e.try(t); o.Verdict != queue.Delivered || p.asked.Load() != int64(i+1) {
			t.Errorf("%+v after %d tokens", o, p.asked.Load())
		}
		e.tokens.current.Load().renew = time.Now()
	}
}

// The tokens of the config before are good as long as the table oauth2 is the same.
func TestOAuth2Inherits(t *testing.T) {
	var p *idp
	p = newIDP(t, func(w http.ResponseWriter, r *http.Request) { p.issues(w, r) })
	route := func() *config.Route { return withOAuth2(testRoute(t, "http://"+leastReceiver(t)+"/x"), p.url) }
	for name, test := range map[string]struct {
		change func(*config.Route)
		asked  int64
	}{
		"nothing":  {func(*config.Route) {}, 0},
		"timeout":  {func(r *config.Route) { r.Timeout = time.Minute }, 0},
		"url":      {func(r *config.Route) { r.OAuth2.TokenURL = config.NewSecret(p.url + "?x") }, 1},
		"id":       {func(r *config.Route) { r.OAuth2.ClientID = config.NewSecret("other") }, 1},
		"secret":   {func(r *config.Route) { r.OAuth2.ClientSecret = config.NewSecret("other") }, 1},
		"scopes":   {func(r *config.Route) { r.OAuth2.Scopes = []string{"a"} }, 1},
		"params":   {func(r *config.Route) { r.OAuth2.Params = nil }, 1},
		"auth":     {func(r *config.Route) { r.OAuth2.Auth = "body" }, 1},
		"none now": {func(r *config.Route) { r.OAuth2 = nil }, 0},
	} {
		old := testEndpoint(t, route())
		old.try(t)
		r := route()
		test.change(r)
		e := testEndpoint(t, r)
		e.Inherit(old)
		before := p.asked.Load()
		if o := e.try(t); o.Verdict != queue.Delivered || p.asked.Load()-before != test.asked {
			t.Errorf("%s: %+v after %d tokens", name, o, p.asked.Load()-before)
		}
	}
}

// A proxy of the route's own is for its tokens, too.
func TestRouteProxy(t *testing.T) {
	noLeak(t)
	address, served := testProxy(t, 0, "me:pr0xy-pass")
	var p *idp
	p = newIDP(t, func(w http.ResponseWriter, r *http.Request) { p.issues(w, r) })
	base, _, _ := receives(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "pr0xy-pass") })
	r := withOAuth2(testRoute(t, base+"/x"), p.url)
	r.Proxy = config.NewSecret("http://me:pr0xy-pass@" + address)
	environment := func(n *network) { n.proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: "environment.invalid:1"}) }
	if o := endpointVia(t, r, environment).try(t); o.Verdict != queue.Delivered || served() != 2 || o.Response != "[secret]" {
		t.Errorf("%+v, %d requests at the proxy", o, served())
	}
	r.Proxy = config.NewSecret(config.NoProxy)
	if o := endpointVia(t, r, environment).try(t); o.Verdict != queue.Delivered || served() != 2 {
		t.Errorf("%+v, %d requests at the proxy", o, served())
	}
}

// socks5 as net/http has it: the proxy resolves the name.
func TestRouteProxySocks(t *testing.T) {
	noLeak(t)
	base, _, _ := receives(t, func(http.ResponseWriter, *http.Request) {})
	asked := make(chan string, 4)
	var refuse atomic.Int32
	address := wire(t, func(_ int, c net.Conn, r *bufio.Reader) {
		part := func(n int) []byte {
			b := make([]byte, n)
			io.ReadFull(r, b)
			return b
		}
		part(int(part(2)[1])) // version, methods
		c.Write([]byte{5, 0}) // no credentials
		if head := part(4); head[3] == 3 {
			asked <- string(part(int(part(1)[0])))
		} else {
			asked <- net.IP(part(4)).String()
		}
		part(2)
		c.Write([]byte{5, byte(refuse.Load()), 0, 1, 0, 0, 0, 0, 0, 0})
		if refuse.Load() != 0 {
			return
		}
		far, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
		if err != nil {
			return
		}
		go func() { io.Copy(far, r); far.Close() }()
		io.Copy(c, far)
	})
	r := testRoute(t, "http://crm.example.test/x")
	r.Proxy = config.NewSecret("socks5://" + address)
	if o := testEndpoint(t, r).try(t); o.Verdict != queue.Delivered || <-asked != "crm.example.test" {
		t.Errorf("%+v", o)
	}
	refuse.Store(5)
	wantFailure(t, testEndpoint(t, r).try(t), "proxy socks5://"+address+": ", "connection refused")
}
