package proxy_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// What clients put on a connection, byte by byte, and the statuses that come
// back. Whatever is accepted is one delivery, and nothing else is.
func TestRawRequests(t *testing.T) {
	s := start(t, held, nil)
	const signal = `{"signal_type":"a"}`
	request := func(body string, headers ...string) string {
		return "POST /signals HTTP/1.1\r\nHost: localhost\r\n" + strings.Join(headers, "\r\n") + "\r\n\r\n" + body
	}
	const typed, chunked, gzipped = "Content-Type: application/json", "Transfer-Encoding: chunked", "Content-Encoding: gzip"
	length := func(body string) string { return fmt.Sprint("Content-Length: ", len(body)) }
	sized := func(body string, headers ...string) string {
		return request(body, append(headers, typed, length(body))...)
	}
	pieces := func(parts ...string) string {
		var b strings.Builder
		for _, p := range parts {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(p), p)
		}
		return b.String() + "0\r\n\r\n"
	}
	good := sized(signal)
	packed := zipped(signal)
	full := signal + strings.Repeat(" ", 1<<20-len(signal))
	tests := []struct {
		name string
		sent string
		want []int
	}{
		{"two at once", good + good, []int{202, 202}},
		{"others between", good + "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n" + good, []int{202, 200, 202}},
		{"a line end between", good + "\r\n" + good, []int{202, 202}},
		{"fifty", strings.Repeat(good, 50), slices.Repeat([]int{202}, 50)},
		{"after one that is no JSON", sized("{") + good, []int{400, 202}},
		{"after one of another type", request(signal, "Content-Type: text/plain", length(signal)) + good, []int{415, 202}},
		{"after one for no route", strings.Replace(good, "/signals", "/signals?route=nope", 1) + good, []int{404, 202}},
		{"after one that is too large", sized(full+" ") + good, []int{413}},
		{"the last of a connection", sized(signal, "Connection: close") + good, []int{202}},
		{"half a request", good[:len(good)-5], []int{400}},

		{"in chunks", request(pieces(signal), typed, chunked) + good, []int{202, 202}},
		{"in chunks of a byte", request(pieces(strings.Split(signal, "")...), typed, chunked), []int{202}},
		{"chunks with extensions, leading zeros and a trailer", request("013;a=b\r\n"+signal+"\r\n000\r\nX: y\r\n\r\n", typed, chunked), []int{202}},
		{"a key in the trailer", request("13\r\n"+signal+"\r\n0\r\nIdempotency-Key: k\r\n\r\n", typed, chunked), []int{202}},
		{"chunks without an end", request("13\r\n"+signal+"\r\n", typed, chunked), []int{400}},
		{"chunks that are none", request("zz\r\n", typed, chunked) + good, []int{400}},
		{"chunks with bare line feeds", request("13\n"+signal+"\n0\n\n", typed, chunked), []int{400}},
		{"chunks twice", request(pieces(signal), typed, chunked, chunked), []int{501}},
		{"chunks of gzip by Transfer-Encoding", request(pieces(packed), typed, "Transfer-Encoding: gzip, chunked"), []int{501}},

		{"gzip in two members", sized(zipped(signal[:7])+zipped(signal[7:]), gzipped), []int{202}},
		{"gzip in chunks", request(pieces(packed[:9], packed[9:]), typed, chunked, "Content-Encoding: GZIP"), []int{202}},
		{"gzip, and something behind", sized(packed+"behind", gzipped) + good, []int{400, 202}},
		{"gzip of gzip", sized(zipped(packed), gzipped), []int{400}},
		{"gzip of nothing", sized(zipped(""), gzipped), []int{400}},
		{"gzip of the most there may be", sized(zipped(full), gzipped), []int{202}},
		{"gzip of a byte more", sized(zipped(full+" "), gzipped), []int{413}},
		{"no encoding", sized(signal, "Content-Encoding: identity"), []int{202}},

		{"no length", request(signal, typed), []int{400, 400}},
		{"the same length twice", request(signal, typed, length(signal), length(signal)), []int{202}},
		{"a length with a sign", request(signal, typed, "Content-Length: +19"), []int{400}},
		{"the most there may be", sized(full), []int{202}},
		{"waits for leave", request(signal, typed, length(signal), "Expect: 100-continue"), []int{100, 202}},
		{"waits for leave it does not get", request("", typed, "Content-Length: 5000000", "Expect: 100-continue"), []int{413}},
		{"expects something else", sized(signal, "Expect: miracles"), []int{417}},

		{"a whole URL", strings.Replace(good, "/signals", "http://localhost/signals", 1), []int{202}},
		{"a whole URL of another", strings.Replace(good, "/signals", "http://evil.example/signals", 1), []int{403}},
		{"an escaped path", strings.Replace(good, "/signals", "/%73ignals?", 1), []int{202}},
		{"another path", strings.Replace(good, "/signals", "//signals", 1), []int{404}},
		{"a small method", strings.Replace(good, "POST", "post", 1), []int{405}},
		{"HTTP/2 that was not agreed on", strings.Replace(good, "HTTP/1.1", "HTTP/2.0", 1), []int{505}},
		{"a space before a colon", sized(signal, "X : y"), []int{400}},
	}
	for i := range packed[:len(packed)-1] {
		tests = append(tests, struct {
			name string
			sent string
			want []int
		}{fmt.Sprint("gzip cut at ", i), sized(packed[:i], gzipped), []int{400}})
	}
	accepted := 0
	for _, test := range tests {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(latest())
		go func() {
			io.Copy(c, strings.NewReader(test.sent)) // fails when it is refused before all of it is there
			c.(*net.TCPConn).CloseWrite()
		}()
		all, _ := io.ReadAll(c) // to the end of the connection, which may be a reset
		c.Close()
		var got []int
		for in := bufio.NewReader(bytes.NewReader(all)); ; {
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				break
			}
			io.Copy(io.Discard, resp.Body)
			if got = append(got, resp.StatusCode); resp.StatusCode == 202 {
				accepted++
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
	if n := s.count(); n != accepted || accepted == 0 {
		t.Errorf("%d deliveries of %d signals", n, accepted)
	}
}
