package e2e

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkMillion is what a backlog costs. The binary takes in a million
// signals that nobody receives, then more, is killed with SIGKILL and started
// again. It reports the memory it had at most, how fast the last signals were
// taken for the first ones, the time from its start to the first delivery, and the store's
// bytes for each byte accepted. SIGNALPOST_BACKLOG is another number than a million.
func BenchmarkMillion(b *testing.B) {
	backlog := number(b, "SIGNALPOST_BACKLOG", 1_000_000)
	part := backlog / 20
	for b.Loop() {
		s := newSidecar(b, b.TempDir())
		target, err := freePort()
		if err != nil {
			b.Fatal(err)
		}
		config := fmt.Sprintf(`server = { listen = %q }
[[route]]
name = "crm"
url = "http://127.0.0.1:%s"
where = ".confidence >= 0.8"
transform = '{ company: .account.name, domain: .account.domain, score: (.confidence * 100 | round), events: (.events | length), source, at: .detected_at }'
secret = "secret"
concurrency = 64
`, s.address, target)
		s.begin(config)
		s.ready()
		first := s.flood(part)
		s.flood(backlog - part)
		last := s.flood(part)
		time.Sleep(2 * time.Second) // what is in memory is written, and compacted
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Process.Pid))
		if err != nil {
			b.Fatal(err)
		}
		peak, _ := strconv.ParseFloat(string(regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)[1]), 64)
		s.kill()
		stored := int64(0)
		if err := filepath.Walk(filepath.Join(s.dir, "data"), func(_ string, info os.FileInfo, err error) error {
			if err == nil {
				stored += info.Size()
			}
			return err
		}); err != nil {
			b.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:"+target)
		if err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		s.begin(config)
		c, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			b.Fatal(err)
		}
		took := time.Since(began)
		s.kill()
		l.Close()
		c.Close()

		b.ReportMetric(peak/1000, "MB-at-most")
		b.ReportMetric(first.Seconds()/last.Seconds(), "last/first")
		b.ReportMetric(float64(took.Microseconds())/1000, "ms-to-first")
		b.ReportMetric(float64(stored)/float64((backlog+part)*floodBytes), "stored/accepted")
	}
}

// floodBytes is the size of each signal of a flood.
const floodBytes = 1000

// flood has n signals, of random content, accepted over 64 connections. It
// returns how long that took.
func (s *sidecar) flood(n uint64) time.Duration {
	const (
		before = `{"signal_type":"product_qualified_lead","confidence":0.92,"source":"posthog","account":{"name":"Acme Corp","domain":"acme.com"},` +
			`"events":["visited_pricing_page","invited_team_member","api_key_created"],"detected_at":"2026-04-29T14:31:08Z","noise":"`
		behind = `"}`
		base64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	)
	var all sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(n))
	began := time.Now()
	for range 64 {
		all.Go(func() {
			c, err := net.Dial("tcp", s.address)
			if err != nil {
				s.t.Error(err)
				return
			}
			defer c.Close()
			in := bufio.NewReader(c)
			out := fmt.Appendf(nil, "POST /signals HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", s.address, floodBytes, before)
			at := len(out)
			for left.Add(-1) >= 0 {
				out = out[:at]
				for range floodBytes - len(before) - len(behind) {
					out = append(out, base64[rand.N(len(base64))])
				}
				out = append(out, behind...)
				if _, err := c.Write(out); err != nil {
					s.t.Error(err)
					return
				}
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					s.t.Error(err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				if resp.StatusCode != http.StatusAccepted {
					s.t.Errorf("answered %d", resp.StatusCode)
					return
				}
			}
		})
	}
	all.Wait()
	return time.Since(began)
}
