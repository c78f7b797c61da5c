package proxy

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"strconv"
	"sync"
	"testing"
)

// The benchmarks of this file work over sockets, with 64 connections, the
// signal of the contract, a where and a transform of six fields. Beside the
// sidecar stands what bare net/http takes for the same, in the same run: only
// the ratio of two figures means something on a machine that others use too.

const (
	benchConns = 64
	benchRound = 4096 // signals

	benchRoute = `
[[route]]
name = "crm"
url = "http://%s/hooks/beton"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
signatures = ["beton"]
where = ".confidence >= 0.8"
transform = '{ company: .account.name, domain: .account.domain, score: (.confidence * 100 | round), events: (.events | length), source, at: .detected_at }'
concurrency = 64
`
)

// BenchmarkAccept is POST /signals, from the request to the 202 after the
// fsync: 4096 signals a round. Nobody listens where they go.
func BenchmarkAccept(b *testing.B) {
	b.Run("nethttp", func(b *testing.B) {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusAccepted)
		}))
		defer s.Close()
		benchRounds(b, newLoad(b, s.Listener.Addr().String()), nil)
	})
	b.Run("signalpost", func(b *testing.B) {
		r := run(b, fmt.Sprintf(benchRoute, "127.0.0.1:1"))
		benchRounds(b, newLoad(b, r.addr), nil)
	})
}

// BenchmarkThrough is the whole way of a signal, from the request to the
// answer of its receiver: 4096 signals a round.
func BenchmarkThrough(b *testing.B) {
	b.Run("nethttp", func(b *testing.B) {
		to := newSink(b)
		bodies := make(chan []byte, benchRound)
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: benchConns}}
		var posting sync.WaitGroup
		for range benchConns {
			posting.Go(func() {
				for body := range bodies {
					mac := hmac.New(sha256.New, []byte("secret"))
					mac.Write(body)
					req, _ := http.NewRequest("POST", "http://"+to.addr+"/hooks/beton", bytes.NewReader(body))
					req.Header.Set("Content-Type", "application/json")
					req.Header.Set("X-Beton-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
					resp, err := client.Do(req)
					if err != nil {
						b.Error(err)
						continue
					}
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			})
		}
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			bodies <- body
			w.WriteHeader(http.StatusAccepted)
		}))
		benchRounds(b, newLoad(b, s.Listener.Addr().String()), to)
		s.Close()
		close(bodies)
		posting.Wait()
		client.CloseIdleConnections()
	})
	b.Run("signalpost", func(b *testing.B) {
		to := newSink(b)
		r := run(b, fmt.Sprintf(benchRoute, to.addr))
		benchRounds(b, newLoad(b, r.addr), to)
		r.stop()
	})
}

// benchRounds sends a round of signals after the other. A round ends when all
// have been answered and, unless to is nil, have arrived there.
func benchRounds(b *testing.B, l *load, to *sink) {
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		l.send(benchRound)
		for range benchRound {
			if to != nil {
				<-to.arrived
			}
		}
		n += benchRound
	}
	l.close()
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "signals/s")
}

const documented = `{
  "signal_type": "product_qualified_lead",
  "confidence": 0.92,
  "source": "posthog",
  "hypothesis_id": "hyp_8g2k",
  "account": { "name": "Acme Corp", "domain": "acme.com" },
  "events": ["visited_pricing_page", "invited_team_member", "api_key_created"],
  "enrichment": { "company_size": "50-200", "industry": "SaaS" },
  "detected_at": "2026-04-29T14:31:08Z"
}`

// A load is connections that send the documented signal.
type load struct {
	work chan struct{}
	sent sync.WaitGroup
	ends sync.WaitGroup
}

func newLoad(b *testing.B, addr string) *load {
	request := fmt.Appendf(nil, "POST /signals HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", addr, len(documented), documented)
	l := &load{work: make(chan struct{}, benchRound)}
	for range benchConns {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		l.ends.Go(func() {
			defer c.Close()
			r := bufio.NewReader(c)
			for range l.work {
				if _, err := c.Write(request); err != nil {
					b.Error(err)
				} else if line, err := readMessage(r); err != nil || !bytes.Contains(line, []byte(" 202 ")) {
					b.Errorf("answered %q, %v", line, err)
				}
				l.sent.Done()
			}
		})
	}
	return l
}

func (l *load) send(n int) {
	l.sent.Add(n)
	for range n {
		l.work <- struct{}{}
	}
	l.sent.Wait()
}

func (l *load) close() {
	close(l.work)
	l.ends.Wait()
}

// A sink is a receiver that says 200 to everything, as cheaply as can be.
type sink struct {
	addr    string
	arrived chan struct{}
}

func newSink(b *testing.B) *sink {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := &sink{addr: l.Addr().String(), arrived: make(chan struct{}, benchRound)}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for {
					if _, err := readMessage(r); err != nil {
						return
					}
					if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); err != nil {
						return
					}
					s.arrived <- struct{}{}
				}
			})
		}
	})
	b.Cleanup(func() { l.Close(); serving.Wait() })
	return s
}

// readMessage reads one HTTP/1.1 message with a Content-Length or no body, and
// returns its first line.
func readMessage(r *bufio.Reader) (first []byte, err error) {
	length := 0
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return first, err
		}
		if first == nil {
			first = bytes.Clone(line)
		}
		if line = textproto.TrimBytes(line); len(line) == 0 {
			_, err := r.Discard(length)
			return first, err
		}
		if name, value, _ := bytes.Cut(line, []byte(": ")); bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return first, err
			}
		}
	}
}
