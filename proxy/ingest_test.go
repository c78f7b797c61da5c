package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"signalpost/proxy/api"
	"signalpost/proxy/config"
	"signalpost/transform"
)

// What split takes is what encoding/json and transform.Decode take, each
// element is the bytes they see, and nothing else is refused as not JSON.
func FuzzIngest(f *testing.F) {
	for _, body := range []string{
		`{"signal_type":"a"}`, ` {"signal_type" : "a b", "x":[1,-0.5e+9,true,false,null,{"signal_type":2}]} `, `[{"signal_type":"a"} ,{"signal_type":"b"}]`,
		"{\"signal_type\":\"a\"}\n\n{\"signal_type\":\"b\"}\r\n", `{"signal\u005ftype":"\ud83d\ude00\ud800\n\/"}`, `[]`, `null`, `"\"`, `01`, `-`, `1.`, `1e`, `tru`, "\ufeff{}", "{\"\xff\":1}",
		`[1,]`, `{"a":1,}`, `[[[[`, `{"signal_type":"a","signal_type":"b"}`, "\"\u007f\x00\"", `[{"signal_type":"a"}`,
	} {
		f.Add([]byte(body), false)
		f.Add([]byte(body), true)
	}
	table := tableOf(f, routesOf("a\nwhere = 'true'"))
	f.Fuzz(func(t *testing.T, body []byte, lines bool) {
		before := bytes.Clone(body)
		elements, batch, err := split(body, lines)
		if e, ok := single(table, body, lines); ok != (err == nil && !batch) {
			t.Errorf("single takes it: %t, split: %v", ok, err)
		} else if ok && (e.signalType != elements[0].signalType || !bytes.Equal(e.raw, elements[0].raw)) {
			t.Errorf("single has %q of type %q, split %q of type %q", e.raw, e.signalType, elements[0].raw, elements[0].signalType)
		}
		if !bytes.Equal(before, body) {
			t.Fatal("split changed the body")
		}
		var raw []json.RawMessage
		whole := utf8.Valid(body)
		switch {
		case lines:
			for line := range bytes.Lines(body) {
				if line = bytes.Trim(line, " \t\r\n"); len(line) > 0 {
					whole = whole && json.Valid(line)
					raw = append(raw, line)
				}
			}
		case bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("[")):
			whole = whole && json.Unmarshal(body, &raw) == nil
		default:
			whole = whole && json.Valid(body)
			raw = []json.RawMessage{body}
		}
		if batch != (lines || bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("["))) {
			t.Errorf("batch is %t", batch)
		}
		var no *api.Problem
		if err != nil && !errors.As(err, &no) {
			t.Fatalf("an error that is no problem: %v", err)
		}
		deep := no != nil && strings.Contains(no.Detail, "nested more than")
		if refused := no != nil && no.Status == http.StatusBadRequest; refused == whole && !deep {
			t.Fatalf("whole is %t, but: %v", whole, err)
		}
		if err != nil {
			return
		}
		if len(elements) != len(raw) {
			t.Fatalf("%d elements, want %d", len(elements), len(raw))
		}
		for i, e := range elements {
			if !bytes.Equal(e.raw, raw[i]) {
				t.Fatalf("element %d is %q, want %q", i, e.raw, raw[i])
			}
			v, err := transform.Decode(e.raw)
			if err != nil {
				t.Fatalf("element %d cannot be decoded: %v", i, err)
			}
			if got := v.(map[string]any)["signal_type"]; got != e.signalType {
				t.Fatalf("signal_type %q, decoded %q", e.signalType, got)
			}
			if !printable(e.signalType) || e.signalType == "" || len(e.signalType) > maxType {
				t.Fatalf("signal_type %q", e.signalType)
			}
		}
	})
}

// Offsets are those of the whole body, in lines too.
func TestOffsets(t *testing.T) {
	for _, test := range []struct {
		body  string
		lines bool
		want  string
	}{
		{`{"a":}`, false, "offset 5"},
		{"{}\n{\"a\":}", true, "offset 8"},
		{"[{},{\"a\":}]", false, "offset 9"},
		{"{}\n{", true, "found the end at offset 4"},
		{"{}\n{\n", true, "at offset 4"},
		{"é\xff", false, "offset 0"},
	} {
		_, _, err := split([]byte(test.body), test.lines)
		if err == nil || !strings.HasSuffix(err.Error(), test.want) {
			t.Errorf("%q: %v, want %s", test.body, err, test.want)
		}
	}
}

// discard is a ResponseWriter that keeps the last answer.
type discard struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (d *discard) Header() http.Header {
	if d.header == nil {
		d.header = http.Header{}
	}
	return d.header
}
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return d.body.Write(b) }

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

func BenchmarkSplit(b *testing.B) {
	body := []byte(documented)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := split(body, false); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIngest is the whole way of POST /signals but the socket, store and
// fsync among it, with one request at a time and with many.
func BenchmarkIngest(b *testing.B) {
	for _, bench := range []struct{ name, route string }{
		{"forwarded", ``},
		{"shaped", "where = '.confidence >= 0.8'\ntransform = '{ company: .account.name, domain: .account.domain, score: (.confidence * 100 | round), events: (.events | length), source, at: .detected_at }'\n"},
	} {
		path := filepath.Join(b.TempDir(), "signalpost.toml")
		text := "[[route]]\nname = \"a\"\nurl = \"http://127.0.0.1:1/\"\npaused = true\n" + bench.route
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
		cfg, err := config.Load(b.Context(), path)
		if err != nil {
			b.Fatal(err)
		}
		p, err := New(cfg, nil, "bench")
		if err != nil {
			b.Fatal(err)
		}
		h := p.front()
		post := func(b *testing.B, w *discard, body *bytes.Reader, r *http.Request) {
			body.Reset([]byte(documented))
			r.Body = io.NopCloser(body)
			w.body.Reset()
			h.ServeHTTP(w, r)
			if w.status != http.StatusAccepted {
				b.Fatalf("%d %s", w.status, w.body.Bytes())
			}
		}
		request := func() *http.Request {
			r, _ := http.NewRequest("POST", "http://localhost/signals", nil)
			r.Header.Set("Content-Type", "application/json")
			r.ContentLength = int64(len(documented))
			return r
		}
		b.Run(bench.name+"/one", func(b *testing.B) {
			var w discard
			var body bytes.Reader
			r := request()
			b.ReportAllocs()
			for b.Loop() {
				post(b, &w, &body, r)
			}
		})
		b.Run(bench.name+"/many", func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(64)
			b.RunParallel(func(pb *testing.PB) {
				var w discard
				var body bytes.Reader
				r := request()
				for pb.Next() {
					post(b, &w, &body, r)
				}
			})
		})
		if err := p.close(); err != nil {
			b.Fatal(err)
		}
		p.table.Load().Retire(nil)
	}
}
