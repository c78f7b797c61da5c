package deliver

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"signalpost/proxy/config"
	"signalpost/proxy/sign"
	"signalpost/queue"
)

// maxPlain is the largest body that h1 sends itself.
const maxPlain = 64 << 10

// overHTTP makes net/http send all requests of the endpoint.
func overHTTP(e *Endpoint) { e.request.TransferEncoding = []string{"identity"} } // which changes nothing that is sent

// TestAnswers is what can be answered, and whether the connection serves again.
// net/http, which sends what a link does not send itself, judges alike.
func TestAnswers(t *testing.T) {
	noLeak(t)
	const ok = "HTTP/1.1 200 OK\r\n"
	for name, tc := range map[string]struct {
		answer string
		closes bool // then
		status int  // 0: 200
		error  string
		logged string
		reused bool
	}{
		"length":                {answer: ok + "Content-Length: 2\r\n\r\nok", logged: "ok", reused: true},
		"length of 0":           {answer: ok + "Content-Length: 0\r\n\r\n", reused: true},
		"length twice":          {answer: ok + "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", logged: "ok", reused: true},
		"lengths that differ":   {answer: ok + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nok", status: -1, error: "malformed answer"},
		"lengths in one line":   {answer: ok + "Content-Length: 2, 3\r\n\r\nok", status: -1, error: "malformed answer"},
		"negative length":       {answer: ok + "Content-Length: -2\r\n\r\nok", status: -1, error: "malformed answer"},
		"signed length":         {answer: ok + "Content-Length: +2\r\n\r\nok", status: -1, error: "malformed answer"},
		"chunks":                {answer: ok + "Transfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", logged: "ok", reused: true},
		"no chunk":              {answer: ok + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", reused: true},
		"chunks with trailer":   {answer: ok + "Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n2;a=b\r\nok\r\n0\r\nX: y\r\nZ: z\r\n\r\n", logged: "ok", reused: true},
		"chunks with length":    {answer: ok + "Transfer-Encoding: chunked\r\nContent-Length: 99\r\n\r\n2\r\nok\r\n0\r\n\r\n", logged: "ok", reused: true},
		"chunked twice":         {answer: ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", status: -1, error: "malformed answer"},
		"chunks in HTTP/1.0":    {answer: "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", closes: true, logged: "2\r\nok\r\n0\r\n\r\n"},
		"more than the length":  {answer: ok + "Content-Length: 2\r\n\r\nok, and so on", logged: "ok"},
		"less than the length":  {answer: ok + "Content-Length: 9\r\n\r\nok", closes: true, logged: "ok"},
		"more than the chunks":  {answer: ok + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n0\r\n\r\n", logged: "ok"},
		"two answers":           {answer: ok + "Content-Length: 2\r\n\r\nok" + "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", logged: "ok"},
		"until the end":         {answer: ok + "\r\nok", closes: true, logged: "ok"},
		"ends after the length": {answer: ok + "Content-Length: 2\r\n\r\nok", closes: true, logged: "ok"},
		"says it ends":          {answer: ok + "Connection: close\r\nContent-Length: 2\r\n\r\nok", logged: "ok"},
		"says so among others":  {answer: ok + "connection: x, Close\r\ncontent-length: 2\r\n\r\nok", logged: "ok"},
		"HTTP/1.0":              {answer: "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", logged: "ok"},
		"HTTP/1.0 that stays":   {answer: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", logged: "ok", reused: true},
		"HTTP/2.0":              {answer: "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok", logged: "ok", reused: true},
		"HTTP/1":                {answer: "HTTP/1 200 OK\r\nContent-Length: 2\r\n\r\nok", status: -1, error: "malformed answer"},
		"line feeds alone":      {answer: "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", logged: "ok", reused: true},
		"folded header":         {answer: ok + "X: a\r\n b\r\nContent-Length: 2\r\n\r\nok", logged: "ok", reused: true},
		"folded first header":   {answer: ok + " X: a\r\nContent-Length: 2\r\n\r\nok", status: -1, error: "malformed answer"},
		"space before colon":    {answer: ok + "X : y\r\nContent-Length: 2\r\n\r\nok", logged: "ok", reused: true},
		"204":                   {answer: "HTTP/1.1 204 No Content\r\n\r\n", status: 204, reused: true},
		"204 with a length":     {answer: "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", status: 204, reused: true},
		"204 with a body":       {answer: "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", status: 204},
		"304":                   {answer: "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", status: 304, error: "answered 304 Not Modified", reused: true},
		"410":                   {answer: "HTTP/1.1 410 Gone\r\nContent-Length: 2\r\n\r\nno", status: 410, error: "answered 410 Gone, which is in give_up_on", logged: "no", reused: true},
		"503 with a pause":      {answer: "HTTP/1.1 503 No\r\nretry-after: 7\r\nContent-Length: 0\r\n\r\n", status: 503, error: "answered 503 Service Unavailable"},
		"interim answers":       {answer: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + ok + "Content-Length: 2\r\n\r\nok", logged: "ok", reused: true},
		"interim answer alone":  {answer: "HTTP/1.1 100 Continue\r\n\r\n", closes: true, status: -1, error: "connection closed in the middle of the answer"},
		"protocol switched":     {answer: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", status: 101, error: "answered 101 Switching Protocols"},
		"body of 64 KiB":        {answer: ok + "Content-Length: 65536\r\n\r\n" + strings.Repeat("x", 64<<10), logged: strings.Repeat("x", 1024), reused: true},
		"body over 64 KiB":      {answer: ok + "Content-Length: 65537\r\n\r\n" + strings.Repeat("x", 64<<10+1), logged: strings.Repeat("x", 1024)},
		"head of 64 KiB":        {answer: ok + "Content-Length: 0\r\n" + fill(64<<10-len(ok)-len("Content-Length: 0\r\n\r\n")) + "\r\n", reused: true},
		"head over 64 KiB":      {answer: ok + "Content-Length: 0\r\n" + fill(64<<10-len(ok)-len("Content-Length: 0\r\n\r\n")+1) + "\r\n", status: -1, error: "malformed answer: more than 64 KiB of headers"},
		"two heads over 64 KiB": {answer: "HTTP/1.1 103 Early Hints\r\n" + fill(40<<10) + "\r\n" + ok + "Content-Length: 0\r\n" + fill(40<<10) + "\r\n", status: -1, error: "malformed answer: more than 64 KiB of headers"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conns := make(chan int, 4)
			address := wire(t, func(n int, c net.Conn, r *bufio.Reader) {
				for readRequest(r) {
					conns <- n
					if io.WriteString(c, tc.answer); tc.closes {
						return
					}
				}
			})
			e := testEndpoint(t, testRoute(t, "http://"+address+"/x"))
			first, second := e.try(t), e.try(t)
			if tc.status == 0 {
				tc.status = 200
			}
			if first.Status != max(tc.status, 0) || first.Response != tc.logged || !strings.HasPrefix(first.Error, tc.error) || (tc.error == "") != (first.Error == "") {
				t.Errorf("%+v, want status %d, error %q, response %.99q", first, tc.status, tc.error, tc.logged)
			}
			if a, b := <-conns, <-conns; (a == b) != tc.reused {
				t.Errorf("connections %d and %d, want the second request on the first connection: %t", a, b, tc.reused)
			}
			other := testEndpoint(t, testRoute(t, "http://"+address+"/x"))
			overHTTP(other)
			third := other.try(t)
			second.Duration, third.Duration = first.Duration, first.Duration
			if first.Class != second.Class || first.Class != third.Class || first.Peer != third.Peer || verdictOf(second) != verdictOf(first) || verdictOf(third) != verdictOf(first) {
				t.Errorf("%+v, then\n%+v; over net/http\n%+v", first, second, third)
			}
		})
	}
}

// fill is header lines of n bytes.
func fill(n int) string {
	const line = "X-Filler: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n"
	s := strings.Repeat(line, n/len(line)-1)
	return s + "X: " + strings.Repeat("x", n-len(s)-5) + "\r\n"
}

// Both ways send the same, and what is shown to people.
func TestBothWaysSendTheSame(t *testing.T) {
	noLeak(t)
	base, requests, bodies := receives(t, func(http.ResponseWriter, *http.Request) {})
	r := testRoute(t, base+"/a%2Fb/ü?c=d&e")
	r.Signatures = []string{"beton", "github", "standard", "stripe", "slack"}
	signed(t, r, "a-secret")
	r.BearerToken = config.NewSecret("t0ken")
	r.Headers = map[string]config.Secret{"X-Team": config.NewSecret(" grö\twth "), "idempotency-key": config.NewSecret("mine")}
	own, other := testEndpoint(t, r), testEndpoint(t, r)
	overHTTP(other)
	for _, body := range []string{"", "{}", strings.Repeat("x", maxPlain), strings.Repeat("x", maxPlain+1)} {
		d := testDelivery()
		d.Body = []byte(body)
		for _, e := range []*Endpoint{own, other} {
			if o, err := e.Attempt(context.Background(), d, 3); err != nil || o.Verdict != queue.Delivered {
				t.Fatal(o, err)
			}
		}
		all := requests()
		a, b := all[len(all)-2], all[len(all)-1]
		// Seconds may pass between them.
		varies := append([]string{"Webhook-Timestamp"}, sign.Headers([]string{"standard", "stripe", "slack"})...)
		for _, name := range varies {
			if len(a.Header[name]) != 1 || len(b.Header[name]) != 1 {
				t.Errorf("%s: %q, over net/http %q", name, a.Header[name], b.Header[name])
			}
		}
		_, _, shown := described(t, own, d, 3, time.Now())
		if !slices.Equal(slices.Sorted(maps.Keys(shown)), slices.DeleteFunc(slices.Sorted(maps.Keys(a.Header)), func(n string) bool { return n == "Content-Length" })) {
			t.Errorf("sent %v, shown %v", a.Header, shown)
		}
		for _, r := range []*http.Request{a, b} {
			for _, name := range varies {
				delete(r.Header, name)
			}
		}
		if !maps.EqualFunc(a.Header, b.Header, slices.Equal) || a.Host != b.Host || a.RequestURI != b.RequestURI || a.Method != b.Method ||
			a.ContentLength != b.ContentLength || a.TransferEncoding != nil {
			t.Errorf("%s %s %s %v\nover net/http\n%s %s %s %v", a.Method, a.Host, a.RequestURI, a.Header, b.Method, b.Host, b.RequestURI, b.Header)
		}
		if got := bodies(); got[len(got)-1] != body || got[len(got)-2] != body {
			t.Error("another body arrived")
		}
	}
}

// A receiver may answer, and end, before it has read the request.
func TestAnswersWithoutReading(t *testing.T) {
	noLeak(t)
	for _, body := range []int{1, maxPlain, 8 << 20} {
		address := wire(t, func(_ int, c net.Conn, r *bufio.Reader) {
			r.Peek(1)
			io.WriteString(c, "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
			c.(*net.TCPConn).CloseWrite()
			<-t.Context().Done()
		})
		e := testEndpoint(t, testRoute(t, "http://"+address+"/x"))
		d := testDelivery()
		d.Body = bytes.Repeat([]byte("x"), body)
		if o, err := e.Attempt(context.Background(), d, 1); err != nil || o.Status != 413 || o.Response != "no" {
			t.Errorf("body of %d bytes: %+v, %v", body, o, err)
		}
	}
}
