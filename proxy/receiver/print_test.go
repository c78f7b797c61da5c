package receiver_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"signalpost/proxy/receiver"
	"signalpost/proxy/sign"
	"signalpost/proxy/term"
)

var update = flag.Bool("update", false, "write testdata anew")

func example() receiver.Request {
	return receiver.Request{
		Time:       time.Date(2026, 4, 29, 14, 31, 8, 0, time.UTC),
		Method:     "POST",
		Path:       "/hooks/crm",
		Header:     http.Header{},
		Body:       []byte(`{"company":"Acme Corp","score":92,"id":9007199254740993,"events":["a","b"],"none":[]}`),
		Status:     200,
		Signatures: []receiver.Signature{{Preset: "beton"}, {Preset: "standard"}},
		ID:         "dlv_01HX2Y3Z4A5B6C7D8E9F0G1H2J",
		SignalID:   "sig_01HX2Y3Z4A5B6C7D8E9F0G1H2K",
		SignalType: "product_qualified_lead",
		Attempt:    1,
	}
}

// TestPrint compares with the files of testdata. Run it with -update to write
// them, and read what changed.
func TestPrint(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*receiver.Request)
		colour bool
	}{
		{name: "good", change: func(*receiver.Request) {}},
		{name: "colour", colour: true, change: func(r *receiver.Request) {
			r.Duplicate = true
			r.Signatures = append(r.Signatures, receiver.Signature{Preset: "stripe", Err: sign.ErrMismatch}, receiver.Signature{Preset: "slack", Err: receiver.ErrNoSecret})
		}},
		{name: "failing", change: func(r *receiver.Request) {
			r.Status, r.Attempt = 503, 10
			r.Signatures = []receiver.Signature{
				{Preset: "beton", Err: fmt.Errorf("%w: signed with another secret, or the body is not the bytes that were sent", sign.ErrMismatch)},
				{Preset: "standard", Err: receiver.ErrNoSecret},
			}
		}},
		{name: "hanging", change: func(r *receiver.Request) { r.Status = 0; r.Duplicate = true }},
		{name: "bare", change: func(r *receiver.Request) {
			*r = receiver.Request{Time: r.Time, Method: "GET", Path: "/favicon.ico", Status: 200}
		}},
		{name: "empty", change: func(r *receiver.Request) { r.Body = nil }},
		{name: "refused", change: func(r *receiver.Request) {
			r.Status, r.Body, r.Signatures, r.Err = 413, nil, nil, errors.New("its body is over 10 MiB")
		}},
		{name: "text", change: func(r *receiver.Request) { r.Body = []byte("no JSON,\r\n  but lines\n\nof text\n") }},
		{name: "hostile", change: func(r *receiver.Request) {
			r.Method = "PO\x1b[2JST"
			r.Path = "/\x1b]0;title\x07" + strings.Repeat("long", 50)
			r.ID = "dlv_\x9b31m" + strings.Repeat("x", 50)
			r.SignalType = "a\rb"
			r.SignalID = "\x7f"
			r.Signatures = []receiver.Signature{{Preset: "beton", Err: errors.New("red \x1b[31m and \u202eback")}}
			r.Body = []byte("{\"esc\":\"\\u001b[31m\",\"bidi\":\"\u202e\",\"c1\":\"\u009b31m\",\"bom\":\"\ufeff\",\"line\":\"\u2028\",\"ok\":\"grüße \U0001f600\",\"raw\":\"\xff\xfe\"}")
		}},
		{name: "controls", change: func(r *receiver.Request) { r.Body = []byte("a\x00b\x08\x1b[2J\tc\r\rd\ufffd\xc3") }},
		{name: "long", change: func(r *receiver.Request) {
			r.Body = []byte(strings.Repeat("ü", 1200) + "\n" + strings.Repeat("line\n", 300))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := example()
			tt.change(&r)
			var out writes
			if err := receiver.Print(term.Page{Writer: &out, Shaded: tt.colour}, r); err != nil {
				t.Fatal(err)
			}
			if out.n != 1 {
				t.Errorf("%d writes, want 1", out.n)
			}
			file := filepath.Join("testdata", tt.name+".txt")
			if *update {
				if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(out.Bytes(), want) {
				t.Errorf("%s:\n got\n%s\nwant\n%s", file, out.Bytes(), want)
			}
			if !tt.colour {
				checkSafe(t, out.String())
			}
		})
	}
}

// writes counts how often it is written to.
type writes struct {
	bytes.Buffer
	n int
}

func (w *writes) Write(b []byte) (int, error) {
	w.n++
	return w.Buffer.Write(b)
}

func checkSafe(t testing.TB, text string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Fatalf("not UTF-8: %q", text)
	}
	for _, c := range text {
		if c < ' ' && c != '\n' || c >= 0x7f && c < 0xa0 || c >= 0x202a && c <= 0x202e || c >= 0x2066 && c <= 0x2069 {
			t.Fatalf("%q reaches the terminal: %q", c, text)
		}
	}
}

// JSON may nest until its indentation is a thousand times its size.
func TestPrintDeep(t *testing.T) {
	for _, body := range []string{
		strings.Repeat("[", 9000) + strings.Repeat("]", 9000),
		`["` + strings.Repeat("]", 9000) + `",` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `]`,
		`["\"` + strings.Repeat("]", 9000) + `",` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `]`,
		"[" + strings.Repeat("[],", 4<<20) + "0]",
	} {
		r := example()
		r.Body = []byte(body)
		n := testing.AllocsPerRun(1, func() {
			var out bytes.Buffer
			if err := receiver.Print(term.Page{Writer: &out}, r); err != nil {
				t.Fatal(err)
			}
			if out.Len() > 16<<10 {
				t.Errorf("%d bytes printed of %d", out.Len(), len(body))
			}
		})
		if n > 1000 {
			t.Errorf("%v allocations", n)
		}
	}
}

func TestPrintError(t *testing.T) {
	r, w := io.Pipe()
	r.CloseWithError(io.ErrShortWrite)
	if err := receiver.Print(term.Page{Writer: w}, example()); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("got %v", err)
	}
}

// FuzzPrint: whatever a request holds, what reaches the terminal is text, of
// bounded size, and the lines above the body fit 80 columns.
func FuzzPrint(f *testing.F) {
	f.Add("POST", "/", "dlv_1", "sig_1", "a", 1, []byte(`{"a":[1,2]}`))
	f.Add("P\x1b[2J", "/\x9b\u202e", "\xff", "\r\n", "\u2066", -1, []byte("\x1b[31m\u009b\xff\n\n"))
	f.Add("", strings.Repeat("ü", 200), strings.Repeat("\x00", 90), "", strings.Repeat("x", 300), 1<<40, []byte(`"`))
	f.Fuzz(func(t *testing.T, method, path, id, signal, kind string, attempt int, body []byte) {
		r := receiver.Request{
			Method: method, Path: path, ID: id, SignalID: signal, SignalType: kind, Attempt: attempt, Body: body, Status: 200,
			Signatures: []receiver.Signature{{Preset: "beton"}},
		}
		var out bytes.Buffer
		if err := receiver.Print(term.Page{Writer: &out}, r); err != nil {
			t.Fatal(err)
		}
		checkSafe(t, out.String())
		if out.Len() > 200*(1000*len(`\U0010ffff`)+40)+1000 {
			t.Fatalf("%d bytes printed of %d", out.Len(), len(body))
		}
		head, _, ok := strings.Cut(out.String(), "  ✓ beton\n")
		if !ok {
			t.Fatalf("no verdict: %q", out.String())
		}
		for line := range strings.Lines(head) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
				t.Fatalf("%d columns: %q", n, line)
			}
		}
		if strings.Count(head, "\n") > 2 {
			t.Fatalf("the request added lines: %q", head)
		}
	})
}

func BenchmarkPrint(b *testing.B) {
	r := example()
	b.ReportAllocs()
	for b.Loop() {
		if err := receiver.Print(term.Page{Writer: io.Discard, Shaded: true}, r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReceiver(b *testing.B) {
	rc := receiver.New(receiver.Options{Secrets: []string{secret}})
	r := delivery(b, "dlv_1", `{"a":1}`, "beton", "standard")
	body := strings.NewReader(`{"a":1}`)
	r.Body = io.NopCloser(body)
	w := discard{}
	b.ReportAllocs()
	for b.Loop() {
		body.Seek(0, io.SeekStart)
		rc.ServeHTTP(w, r)
	}
}

// discard is an http.ResponseWriter that keeps nothing.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}
