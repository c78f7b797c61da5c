package sign_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"signalpost/proxy/sign"
)

func form(t testing.TB, header, text, value, hash string) *sign.Form {
	t.Helper()
	of, err1 := sign.ParseText(text)
	as, err2 := sign.ParseValue(value)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return &sign.Form{Header: header, Text: of, Value: as, Hash: hash}
}

// Each text and value by openssl dgst -hmac.
func TestForms(t *testing.T) {
	at, err := url.Parse("https://example.com/hook%20s?a=1")
	if err != nil {
		t.Fatal(err)
	}
	m := sign.Message{ID: "dlv_1", Time: time.Unix(1777473068, 5), Type: "lead", Body: []byte(`{"a":1}`), URL: at}
	const odd = "X-ODD-Sign" // as it is spelled, not canonical
	for _, tt := range []struct{ text, value, hash string }{
		{"{body}", "{hex}", "sha256"},
		{"{id}|{timestamp}|{type}|{url}|{body}{{}", "t={timestamp};{{h1={base64}", "sha512"},
		{"v0:{timestamp}:{body}{body}", "{base64} {hex}", "sha1"},
		{"nothing", "{hex}", "sha256"},
	} {
		written := strings.NewReplacer("{{", "{", "{id}", m.ID, "{timestamp}", "1777473068", "{type}", m.Type, "{url}", at.String(), "{body}", string(m.Body)).Replace(tt.text)
		sum := openssl(t, nil, "dgst", "-"+tt.hash, "-hmac", plain, "-binary", file(t, written))
		want := strings.NewReplacer("{{", "{", "{timestamp}", "1777473068", "{hex}", fmt.Sprintf("%x", sum), "{base64}", base64.StdEncoding.EncodeToString(sum)).Replace(tt.value)
		s, err := sign.New(nil, []string{whsk, plain, other}, form(t, odd, tt.text, tt.value, tt.hash), form(t, "X-Two", "{id}", "{hex}", "sha1"))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			h := http.Header{}
			s.Sign(h, m)
			if got := spelled(h, odd); len(got) != 1 || got[0] != want || len(h) != 2 || len(h["X-Two"][0]) != 40 {
				t.Errorf("%s %s:\n got %q\nwant %q", tt.text, tt.value, h, want)
			}
			s.Describe(h, "", "", "", "[signature]")
			if got := spelled(h, odd); len(got) != 1 || got[0] != "[signature]" {
				t.Errorf("shown as %q", h)
			}
		}
	}
	if _, err := sign.New(nil, []string{whsk}, form(t, "X", "{body}", "{hex}", "sha1")); !errors.Is(err, sign.ErrNoKey) {
		t.Errorf("without a secret: %v", err)
	}
}

// spelled are the values of a header that may not be canonical.
func spelled(h map[string][]string, name string) []string { return h[name] }

func file(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func openssl(t testing.TB, in []byte, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil && os.Getenv("CI") == "" {
		t.Skip("no openssl")
	}
	c := exec.Command("openssl", args...)
	c.Stdin = strings.NewReader(string(in))
	out, err := c.Output()
	if err != nil {
		t.Fatalf("openssl %s: %v", args[0], err)
	}
	return out
}

func TestTemplateErrors(t *testing.T) {
	for _, tt := range []struct {
		parse  func(string) (sign.Template, error)
		source string
		offset int
		want   string
	}{
		{sign.ParseText, "{body", 0, "{ has no }: a brace is written {{"},
		{sign.ParseText, "{\n}", 0, "{ has no }: a brace is written {{"},
		{sign.ParseText, "ü{{{", 4, "{ has no }: a brace is written {{"},
		{sign.ParseText, "{id}.{hex}", 5, `unknown "{hex}": expected {id}, {timestamp}, {type}, {url}, {body}; a brace is written {{`},
		{sign.ParseText, "{Body}", 0, `unknown "{Body}": expected {id}, {timestamp}, {type}, {url}, {body}; a brace is written {{`},
		{sign.ParseText, "{}", 0, `unknown "{}": expected {id}, {timestamp}, {type}, {url}, {body}; a brace is written {{`},
		{sign.ParseText, "{ body }", 0, `unknown "{ body }": expected {id}, {timestamp}, {type}, {url}, {body}; a brace is written {{`},
		{sign.ParseValue, "sha256={body}", 7, `unknown "{body}": expected {hex}, {base64}, {timestamp}; a brace is written {{`},
		{sign.ParseValue, "t={timestamp}", 0, "there is no signature in it: expected {hex} or {base64}"},
		{sign.ParseValue, "{{hex}", 0, "there is no signature in it: expected {hex} or {base64}"},
		{sign.ParseValue, "{hex}\n", 5, "a header holds printable ASCII alone"},
		{sign.ParseValue, "{hex} ü", 6, "a header holds printable ASCII alone"},
	} {
		_, err := tt.parse(tt.source)
		wrong, ok := errors.AsType[*sign.TemplateError](err)
		if !ok || wrong.Offset != tt.offset || wrong.Error() != tt.want {
			t.Errorf("%q: got %v at %v, want %s at %d", tt.source, err, wrong, tt.want, tt.offset)
		}
	}
}

// FuzzTemplate: what a template makes is what its names stand for, read in one
// pass from the left; what is refused is refused at a place in it.
func FuzzTemplate(f *testing.F) {
	for _, source := range []string{"{body}", "{id}.{timestamp}.{body}", "{{{type}}", "{", "}{{", "{url}{", "ü{{{{{body}", "{bodybody}"} {
		f.Add(source)
	}
	at, err := url.Parse("https://example.com/")
	if err != nil {
		f.Fatal(err)
	}
	m := sign.Message{ID: "dlv_{type}", Time: time.Unix(17, 0), Type: "{id}", Body: []byte("{{{body}"), URL: at}
	stands := strings.NewReplacer("{{", "{", "{id}", m.ID, "{timestamp}", "17", "{type}", m.Type, "{url}", at.String(), "{body}", string(m.Body))
	f.Fuzz(func(t *testing.T, source string) {
		of, err := sign.ParseText(source)
		if wrong, ok := errors.AsType[*sign.TemplateError](err); ok {
			if wrong.Offset < 0 || wrong.Offset >= len(source) || source[wrong.Offset] != '{' {
				t.Fatalf("%q: at %d: %v", source, wrong.Offset, wrong)
			}
			return
		}
		literal, err := sign.ParseText(strings.ReplaceAll(stands.Replace(source), "{", "{{"))
		if err != nil {
			t.Fatalf("%q: a literal: %v", source, err)
		}
		value := form(t, "A", "", "{hex}", "sha256").Value
		s, err := sign.New(nil, []string{plain}, &sign.Form{Header: "A", Text: of, Value: value, Hash: "sha256"}, &sign.Form{Header: "B", Text: literal, Value: value, Hash: "sha256"})
		if err != nil {
			t.Fatal(err)
		}
		h := http.Header{}
		s.Sign(h, m)
		if h["A"][0] != h["B"][0] {
			t.Fatalf("%q is not %q", source, stands.Replace(source))
		}
	})
}

func TestKeys(t *testing.T) {
	if got, err := sign.PublicKey(whsk); err != nil || got != whpk {
		t.Errorf("public key of RFC 8032: %s, %v", got, err)
	}
	seed, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(whsk, "whsk_"))
	public, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(whpk, "whpk_"))
	encode := func(raw ...byte) string { return "whsk_" + base64.StdEncoding.EncodeToString(raw) }
	if got, err := sign.PublicKey(encode(append(seed[:32:32], public...)...)); err != nil || got != whpk {
		t.Errorf("of 64 bytes: %s, %v", got, err)
	}
	one, two := sign.NewPrivateKey(), sign.NewPrivateKey()
	if !sign.IsKey(one) || one == two || !sign.IsKey(whpk) {
		t.Error("a new key is none, or not new")
	}
	public[3] ^= 1
	for _, bad := range []string{
		"", "whsk_", whpk, strings.TrimPrefix(whsk, "whsk_"), whsk + "\n", strings.Replace(whsk, "=", "", 1), strings.Replace(whsk, "A=", "B=", 1), encode(seed[1:]...), encode(append(seed[:32:32], 1)...),
		encode(append(seed[:32:32], public...)...), strings.Replace(whsk, "/", "_", 1), "whsec_" + strings.TrimPrefix(whsk, "whsk_"),
	} {
		if got, err := sign.PublicKey(bad); err == nil || strings.Contains(err.Error(), "nWGxne") {
			t.Errorf("PublicKey(%q) = %s, %v", bad, got, err)
		}
		if bad != whpk && sign.IsKey(bad) {
			t.Errorf("%q is a key", bad)
		}
	}
}

// No published library of Standard Webhooks verifies v1a yet: OpenSSL does, and
// they pass over it beside v1 (TestPublishedLibraries).
func TestEd25519ByOpenSSL(t *testing.T) {
	m := message(time.Unix(1777473068, 0))
	h := request(t, []string{"ed25519"}, nil, m)
	encoded, ok := strings.CutPrefix(h.Get("Webhook-Signature"), "v1a,")
	signature, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil {
		t.Fatalf("%q: %v", h, err)
	}
	public, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(whpk, "whpk_"))
	key := file(t, "\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"+string(public)) // RFC 8410
	text := file(t, m.ID+".1777473068."+string(m.Body))
	openssl(t, nil, "pkeyutl", "-verify", "-pubin", "-inkey", key, "-keyform", "DER", "-rawin", "-in", text, "-sigfile", file(t, string(signature)))

	for _, key := range []string{whpk, whsk} {
		if err := sign.Verify("ed25519", []string{plain, key}, h, m.Body, m.Time, 0); err != nil {
			t.Error(err)
		}
		err := sign.Verify("ed25519", []string{plain, key}, h, append(m.Body, '\n'), m.Time, 0)
		if !errors.Is(err, sign.ErrMismatch) || !strings.Contains(err.Error(), "without the line end") {
			t.Errorf("got %v", err)
		}
	}
	if err := sign.Verify("ed25519", []string{sign.NewPrivateKey()}, h, m.Body, m.Time, 0); !errors.Is(err, sign.ErrMismatch) {
		t.Errorf("another key: %v", err)
	}
	if err := sign.Verify("ed25519", []string{whpk}, h, m.Body, m.Time.Add(time.Hour), time.Minute); !errors.Is(err, sign.ErrTimestamp) {
		t.Errorf("an old one: %v", err)
	}
}
