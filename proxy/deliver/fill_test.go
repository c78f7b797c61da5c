package deliver

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"signalpost/proxy/config"
	"signalpost/proxy/shape"
	"signalpost/proxy/sign"
	"signalpost/queue"
)

// came is a request as a receiver has it.
type came struct {
	*http.Request
	body string
}

// What a signal decides of a request, and what the route does, arrives over every
// way, signed as it is sent before it is compressed; and the next delivery has nothing
// of it.
func TestFill(t *testing.T) {
	const value = `s3cret"/&+ é` // of a param
	params := shape.NewParams()
	holder := params.Bind([]string{"api_key"})["api_key"].(string)
	for _, test := range []struct {
		name, url string
		shape     shape.Shape
		body      string
		sent      string // its body; "": as it is
		uri       string
		kind      string // Content-Type
		path      string // as it is shown
		gzip      bool
	}{
		{"path", "/base?k=v", shape.Shape{Path: "/a%2Fb/c:d@e;f=1"}, "{}", "", "/base/a%2Fb/c:d@e;f=1?k=v", "application/json", "/[secret]/a%2Fb/c:d@e;f=1?[secret]", false},
		{"path after a slash", "/base/", shape.Shape{Path: "/a/"}, "{}", "", "/base/a/", "application/json", "/[secret]/a/", true},
		{"path alone", "", shape.Shape{Path: "/a", Query: "b=c&b=%20d"}, "{}", "", "/a?b=c&b=%20d", "application/json", "/a?b=c&b=%20d", false},
		{"query", "/b%2Fa/ü/?k=v", shape.Shape{Query: "b=c"}, "{}", "", "/b%2Fa/%C3%BC/?k=v&b=c", "application/json", "/[secret]?[secret]&b=c", false},
		{"query alone", "/", shape.Shape{Query: "b=c"}, "{}", "", "/?b=c", "application/json", "/?b=c", false},
		{"form", "/x", shape.Shape{Format: "form", Type: "application/x-www-form-urlencoded", Params: params}, "a=" + holder + "&b=1", "a=s3cret%22%2F%26%2B+%C3%A9&b=1", "/x", "application/x-www-form-urlencoded", "", true},
		{"text", "/x", shape.Shape{Format: "text", Type: "text/csv", Params: params}, "a," + holder, "a," + value, "/x", "text/csv", "", false},
		{"params", "/x", shape.Shape{Path: "/p/" + holder, Query: "k=" + holder, Params: params}, `{"k":"` + holder + `!"}`, `{"k":"s3cret\"/&+ é!"}`,
			"/x/p/s3cret%22%2F&+%20%C3%A9?k=s3cret%22%2F%26%2B%20%C3%A9", "application/json", "/[secret]/p/" + holder + "?k=" + holder, true},
		{"nothing", "/x", shape.Shape{}, "{}", "", "/x", "application/json", "", true},
	} {
		for _, w := range ways {
			t.Run(test.name+"/"+w.name, func(t *testing.T) {
				requests := make(chan came, 2)
				_, r := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
					body, _ := io.ReadAll(r.Body)
					requests <- came{r, string(body)}
					fmt.Fprint(w, "echo ", string(body), r.RequestURI)
				})
				r.URL = config.NewSecret(strings.TrimSuffix(r.URL.Reveal(), "/x") + test.url)
				r.Method, r.Params = "PUT", map[string]config.Secret{"api_key": config.NewSecret(value), "other": config.NewSecret("0ther")}
				if test.gzip {
					r.Compression = "gzip"
				}
				e := testEndpoint(t, signed(t, r, "a-secret"))
				w.change(e)
				d := testDelivery()
				d.Body, d.Shape = []byte(test.body), test.shape.String()
				o, err := e.Attempt(t.Context(), d, 1)
				if err != nil || o.Verdict != queue.Delivered {
					t.Fatal(o, err)
				}
				got := <-requests
				if test.gzip {
					got.body = gunzip(t, got)
				}
				want := test.sent
				if want == "" {
					want = test.body
				}
				if got.Method != "PUT" || got.RequestURI != test.uri || got.body != want || got.Header.Get("Content-Type") != test.kind {
					t.Errorf("got %s %s %s %q, want %s %s %q", got.Method, got.RequestURI, got.Header.Get("Content-Type"), got.body, test.uri, test.kind, want)
				}
				if err := sign.Verify("standard", []string{"a-secret"}, got.Header, []byte(want), time.Now(), time.Minute); err != nil {
					t.Error(err)
				}
				shown := Describe(o.Request, &d, 1, o.Started)
				if shown.Method != "PUT" || shown.Path != test.path || shown.Headers["Content-Type"] != test.kind ||
					(shown.Headers["Content-Encoding"] == "gzip") != test.gzip {
					t.Errorf("shown %+v, want %s", shown, test.path)
				}
				if text := fmt.Sprintf("%+v %+v", o, shown); strings.Contains(text, "s3cret") {
					t.Errorf("a value is in %s", text)
				}
				for _, d := range []queue.Delivery{d, testDelivery()} { // over the same connection
					if _, err := e.Attempt(t.Context(), d, 1); err != nil {
						t.Fatal(err)
					}
				}
				if again := <-requests; again.RequestURI != test.uri {
					t.Errorf("the same again is %s", again.RequestURI)
				}
				next := <-requests
				if test.gzip {
					next.body = gunzip(t, next)
				}
				if next.Header.Get("Content-Type") != "application/json" || next.body != sampleBody || strings.Contains(next.RequestURI, "s3cret") ||
					next.RequestURI != e.request.URL.RequestURI() {
					t.Errorf("the next is %s %v %q", next.RequestURI, next.Header, next.body)
				}
			})
		}
	}
}

func gunzip(t *testing.T, c came) string {
	t.Helper()
	if c.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("headers %v", c.Header)
	}
	z, err := gzip.NewReader(strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// A request that cannot be made is an attempt that failed, for no fault of the
// receiver, which sees nothing of it.
func TestFillFails(t *testing.T) {
	params := shape.NewParams()
	holder := params.Bind([]string{"api_key"})["api_key"].(string)
	for name, test := range map[string]struct {
		shape, error string
		param        string
	}{
		"params have gone":        {shape.Shape{Params: params, Query: "a=" + holder}.String(), "not sent: the route has no params.apikey any more, which this delivery was made with: add it, or retry with reshape", "other"},
		"a param has gone":        {shape.Shape{Params: params}.String(), "not sent: the route has no params.apikey any more, which this delivery was made with: add it, or retry with reshape", "other"},
		"a path that leads away":  {shape.Shape{Params: params, Path: "/a" + holder}.String(), "not sent: a value of params makes the path one that leads elsewhere, or none at all", "api_key"},
		"one of a newer version?": {"{", "not sent: unexpected end of JSON input", "api_key"},
	} {
		t.Run(name, func(t *testing.T) {
			base, requests, _ := receives(t, func(http.ResponseWriter, *http.Request) {})
			r := testRoute(t, base+"/x")
			r.Params = map[string]config.Secret{test.param: config.NewSecret("/../s3cret")}
			e := testEndpoint(t, signed(t, r, "a-secret"))
			d := testDelivery()
			d.Body, d.Shape = []byte(`"`+holder+`"`), test.shape
			o, err := e.Attempt(t.Context(), d, 1)
			if err != nil || o.Verdict != queue.Retry || o.Class != queue.ClassLocal || o.Fault || o.Error != test.error || o.Gap <= 0 {
				t.Errorf("%+v, %v", o, err)
			}
			checkTruth(t, o, false)
			if o, err := e.Attempt(t.Context(), testDelivery(), 1); err != nil || o.Verdict != queue.Delivered || len(requests()) != 1 {
				t.Errorf("the next: %+v, %v, %d requests", o, err, len(requests()))
			}
		})
	}
}

// Headers arrive over HTTP/1.1 as the config spells them, a User-Agent in place of ours.
func TestHeadersAsSpelt(t *testing.T) {
	heads := make(chan string, 1)
	address := wire(t, func(_ int, c net.Conn, r *bufio.Reader) {
		var head strings.Builder
		for {
			line, err := r.ReadString('\n')
			if head.WriteString(line); err != nil || line == "\r\n" {
				break
			}
		}
		io.CopyN(io.Discard, r, int64(len(sampleBody)))
		heads <- head.String()
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	})
	for _, change := range []func(*Endpoint){func(*Endpoint) {}, overHTTP} {
		for _, agent := range []string{"user-agent", "User-Agent", ""} {
			r := testRoute(t, "http://"+address+"/x")
			r.Headers = map[string]config.Secret{"SOAPAction": config.NewSecret("a"), "X-API-KEY": config.NewSecret("b"), "x-lower": config.NewSecret("c")}
			want := []string{"SOAPAction: a\r\n", "X-API-KEY: b\r\n", "x-lower: c\r\n"}
			if agent == "" {
				want = append(want, "User-Agent: "+testAgent+"\r\n")
			} else {
				r.Headers[agent] = config.NewSecret("mine")
				want = append(want, agent+": mine\r\n")
			}
			e := testEndpoint(t, r)
			change(e)
			if o, err := e.Attempt(t.Context(), testDelivery(), 1); err != nil || o.Verdict != queue.Delivered {
				t.Fatal(o, err)
			}
			head := <-heads
			for _, line := range want {
				if strings.Count(head, "\r\n"+line) != 1 {
					t.Errorf("%q is not in %q", line, head)
				}
			}
			if n := strings.Count(strings.ToLower(head), "\nuser-agent:"); n != 1 {
				t.Errorf("%d user agents in %q", n, head)
			}
		}
	}
}

// A body of some size is what compression is for; it is sent again whole when a
// connection that served before ends.
func TestCompressedAgain(t *testing.T) {
	big := bytes.Repeat([]byte(sampleBody), 10_000)
	for _, w := range ways[:2] {
		t.Run(w.name, func(t *testing.T) {
			var bodies []string
			_, r := w.serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				bodies = append(bodies, gunzip(t, came{r, string(body)}))
				if r.ContentLength != int64(len(body)) || len(body) > len(big)/10 {
					t.Errorf("%d bytes, length %d", len(body), r.ContentLength)
				}
				if len(bodies) == 2 { // as if it had ended in between
					c, _, _ := w.(http.Hijacker).Hijack()
					c.Close()
				}
			})
			r.Compression = "gzip"
			e := testEndpoint(t, signed(t, r, "a-secret"))
			w.change(e)
			d := testDelivery()
			d.Body = big
			for range 2 {
				if o, err := e.Attempt(t.Context(), d, 1); err != nil || o.Verdict != queue.Delivered {
					t.Fatal(o, err)
				}
			}
			if len(bodies) != 3 || bodies[0] != string(big) || bodies[2] != string(big) {
				t.Errorf("%d requests", len(bodies))
			}
		})
	}
}
