package sign_test

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"signalpost/proxy/sign"
)

var raceEnabled bool

// Secrets of tests. No test prints one, except to prove that the package does not.
const (
	plain = "correct horse battery staple"
	other = "another secret altogether, of old"
	whsec = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" // 24 bytes
	whold = "whsec_c2lnbmFscG9zdCByb3RhdGVzIGl0cyBzZWNyZXRzIQ=="
	whsk  = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=" // the first key of RFC 8032, section 7.1
	whpk  = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
)

func message(at time.Time) sign.Message {
	return sign.Message{
		ID:   "dlv_01HX2Y3Z4A5B6C7D8E9F0G1H2J",
		Time: at,
		Type: "product_qualified_lead",
		Body: []byte(`{"signal_type":"product_qualified_lead","confidence":0.92}`),
	}
}

// request returns the headers of a delivery: those of the presets, and the two
// that the caller sets on each.
func request(t testing.TB, presets, secrets []string, m sign.Message) http.Header {
	t.Helper()
	s, err := sign.New(presets, keyed(secrets))
	if err != nil {
		t.Fatalf("New(%q): %v", presets, err)
	}
	h := http.Header{}
	h.Set("webhook-id", m.ID)
	h.Set("webhook-timestamp", strconv.FormatInt(m.Time.Unix(), 10))
	s.Sign(h, m)
	return h
}

// keyed are the secrets with a key for ed25519.
func keyed(secrets []string) []string { return append(slices.Clip(secrets), whsk) }

// published are the examples that the specifications print.
var published = []struct {
	preset string
	secret string
	m      sign.Message
	header string
	want   string
}{
	{
		preset: "github",
		secret: "It's a Secret to Everybody",
		m:      sign.Message{Body: []byte("Hello, World!")},
		header: "X-Hub-Signature-256",
		want:   "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
	},
	{
		preset: "beton", // the same form
		secret: "It's a Secret to Everybody",
		m:      sign.Message{Body: []byte("Hello, World!")},
		header: "X-Beton-Signature",
		want:   "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
	},
	{
		preset: "slack",
		secret: "8f742231b10e8888abcd99yyyzzz85a5",
		m: sign.Message{
			Time: time.Unix(1531420618, 0),
			Body: []byte("token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow" +
				"&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner" +
				"&command=%2Fwebhook-collect&text=" +
				"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN" +
				"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"),
		},
		header: "X-Slack-Signature",
		want:   "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
	},
	{
		preset: "standard",
		secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
		m: sign.Message{
			ID:   "msg_p5jXN8AQM9LWM0D4loKWxJek",
			Time: time.Unix(1614265330, 0),
			Body: []byte(`{"test": 2432232314}`),
		},
		header: "Webhook-Signature",
		want:   "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
	},
}

func TestPublishedExamples(t *testing.T) {
	for _, p := range published {
		t.Run(p.preset, func(t *testing.T) {
			h := request(t, []string{p.preset}, []string{p.secret}, p.m)
			if got := h.Get(p.header); got != p.want {
				t.Errorf("%s:\n got %s\nwant %s", p.header, got, p.want)
			}
			h.Set(p.header, p.want)
			if err := sign.Verify(p.preset, []string{p.secret}, h, p.m.Body, p.m.Time, 0); err != nil {
				t.Errorf("Verify: %v", err)
			}
		})
	}
}

// TestSign compares every combination of presets with a slow and plain reading
// of the table in the package comment.
func TestSign(t *testing.T) {
	mac := func(key, text string) []byte {
		h := hmac.New(sha256.New, []byte(key))
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	decode := func(secret string) string {
		text, ok := strings.CutPrefix(secret, "whsec_")
		if !ok {
			return secret
		}
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return string(key)
	}
	m := message(time.Unix(1777473068, 999))
	ts, body := "1777473068", string(m.Body)
	seed, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(whsk, "whsk_"))
	if err != nil {
		t.Fatal(err)
	}
	v1a := "v1a," + base64.StdEncoding.EncodeToString(ed25519.Sign(ed25519.NewKeyFromSeed(seed), []byte(m.ID+"."+ts+"."+body)))
	for _, secrets := range [][]string{{plain}, {whsec}, {whsec, plain}, {plain, whsec, whold}, {strings.Repeat("long", 50)}} {
		full := map[string]map[string]string{
			"beton":    {"X-Beton-Signature": fmt.Sprintf("sha256=%x", mac(secrets[0], body))},
			"standard": {"Webhook-Signature": ""},
			"ed25519":  {"Webhook-Signature": v1a},
			"github": {
				"X-Hub-Signature-256": fmt.Sprintf("sha256=%x", mac(secrets[0], body)),
				"X-Github-Event":      m.Type,
				"X-Github-Delivery":   m.ID,
			},
			"stripe": {"Stripe-Signature": "t=" + ts},
			"slack": {
				"X-Slack-Signature":         fmt.Sprintf("v0=%x", mac(secrets[0], "v0:"+ts+":"+body)),
				"X-Slack-Request-Timestamp": ts,
			},
		}
		for i, secret := range secrets {
			if i > 0 {
				full["standard"]["Webhook-Signature"] += " "
			}
			full["standard"]["Webhook-Signature"] += "v1," + base64.StdEncoding.EncodeToString(mac(decode(secret), m.ID+"."+ts+"."+body))
			full["stripe"]["Stripe-Signature"] += ",v1=" + hex.EncodeToString(mac(secret, ts+"."+body))
		}
		for set := 1; set < 1<<len(sign.Presets()); set++ {
			var presets []string
			want := http.Header{}
			for i, name := range sign.Presets() {
				if set&(1<<i) != 0 {
					presets = append(presets, name)
					for header, value := range full[name] {
						if name == "ed25519" && want[header] != nil {
							value = want[header][0] + " " + value
						}
						want[header] = []string{value}
					}
				}
			}
			slices.Reverse(presets) // the order is of no account
			s, err := sign.New(presets, keyed(secrets))
			if err != nil {
				t.Fatal(err)
			}
			for range 3 { // a used scratch is as good as a new one
				h := http.Header{}
				s.Sign(h, m)
				if !maps.EqualFunc(h, want, slices.Equal[[]string]) {
					t.Fatalf("presets %q, %d secrets:\n got %q\nwant %q", presets, len(secrets), h, want)
				}
				named := slices.Sorted(slices.Values(sign.Headers(presets)))
				if got := slices.Sorted(maps.Keys(h)); !slices.Equal(got, named) {
					t.Fatalf("Headers(%q) = %q; Sign set %q", presets, named, got)
				}
			}
		}
	}
}

// A header that someone appends to does not reach into another.
func TestSignHeadersAreApart(t *testing.T) {
	h := request(t, sign.Presets(), []string{plain}, message(time.Now()))
	want := h.Clone()
	for name := range h {
		h.Add(name, "more")
	}
	for name, values := range h {
		if len(values) != 2 || values[0] != want.Get(name) || values[1] != "more" {
			t.Errorf("%s: %q", name, values)
		}
	}
}

func TestHeadersAreCanonical(t *testing.T) {
	for _, name := range sign.Headers(sign.Presets()) {
		if name != http.CanonicalHeaderKey(name) {
			t.Errorf("%s: net/http would call it %s", name, http.CanonicalHeaderKey(name))
		}
	}
	if got := sign.Headers([]string{"unknown"}); got != nil {
		t.Errorf("Headers of an unknown preset: %q", got)
	}
}

func TestNilSigner(t *testing.T) {
	var s *sign.Signer
	h := http.Header{}
	s.Sign(h, message(time.Now()))
	if len(h) != 0 {
		t.Errorf("a nil Signer set %q", h)
	}
	if got, want := fmt.Sprint(s), "sign.Signer(none)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestNewErrors(t *testing.T) {
	const hidden = "Tr0ub4dor"
	for _, tt := range []struct {
		presets, secrets []string
		want             string
	}{
		{nil, []string{plain}, "no signature preset: name at least one of beton, standard, ed25519, github, stripe, slack"},
		{[]string{"betn"}, []string{plain}, `unknown signature preset "betn": expected one of beton, standard, ed25519, github, stripe, slack`},
		{[]string{"Beton"}, []string{plain}, `unknown signature preset "Beton": expected one of beton, standard, ed25519, github, stripe, slack`},
		{[]string{"beton", "slack", "beton"}, []string{plain}, `signature preset "beton" is named twice`},
		{[]string{"beton"}, nil, "no secret: a signature needs at least one"},
		{[]string{"beton"}, []string{whsk}, "no secret: a signature needs at least one"},
		{[]string{"ed25519"}, []string{plain, whsec}, "no secret: the preset ed25519 signs with a private key (whsk_)"},
		{[]string{"ed25519"}, []string{whpk}, "the secret is no private key of ed25519: expected whsk_ and base64 of 32 or 64 bytes; make one with signalpost keygen"},
		{[]string{"beton"}, []string{""}, "the secret is empty"},
		{[]string{"beton"}, []string{plain, ""}, "secret 2 of 2 is empty"},
		{[]string{"standard"}, []string{"whsec_"}, "the secret is empty after whsec_: the standard preset expects base64 there"},
		{[]string{"standard"}, []string{whsec, "whsec_" + hidden}, "secret 2 of 2 is not base64 after whsec_: the standard preset expects the standard alphabet (+ and /), padded with ="},
		{[]string{"standard"}, []string{"whsec_" + hidden + "_-_"}, "the secret is not base64 after whsec_: the standard preset expects the standard alphabet (+ and /), padded with ="},  // the URL alphabet
		{[]string{"standard"}, []string{"whsec_c2lnbmFscA"}, "the secret is not base64 after whsec_: the standard preset expects the standard alphabet (+ and /), padded with ="},         // no padding
		{[]string{"standard"}, []string{"whsec_c2lnbmFs\ncA=="}, "the secret is not base64 after whsec_: the standard preset expects the standard alphabet (+ and /), padded with ="},     // a line end
		{[]string{"standard"}, []string{"whsec_c2lnbmFscA== "}, "the secret is not base64 after whsec_: the standard preset expects the standard alphabet (+ and /), padded with ="},      // a space
		{[]string{"standard"}, []string{"whsec_" + hidden + "===="}, "the secret is not base64 after whsec_: the standard preset expects the standard alphabet (+ and /), padded with ="}, // padding alone
	} {
		s, err := sign.New(tt.presets, tt.secrets)
		if err == nil || s != nil {
			t.Errorf("New(%q, %d secrets) gave no error", tt.presets, len(tt.secrets))
			continue
		}
		if err.Error() != tt.want {
			t.Errorf("New(%q):\n got %v\nwant %s", tt.presets, err, tt.want)
		}
		if strings.Contains(err.Error(), hidden) {
			t.Errorf("an error holds a secret: %v", err)
		}
	}
	// Only the standard preset reads a secret as base64.
	if _, err := sign.New([]string{"beton", "stripe"}, []string{"whsec_" + hidden}); err != nil {
		t.Errorf("without the standard preset: %v", err)
	}
}

func TestWarnings(t *testing.T) {
	of := func(n int) string {
		return "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, n))
	}
	for _, tt := range []struct {
		presets, secrets []string
		want             []string // how each warning begins
	}{
		{sign.Presets(), []string{whsec}, nil},
		{[]string{"standard"}, []string{of(24), of(64)}, nil},
		{[]string{"standard"}, []string{of(23)}, []string{"the secret holds 23 bytes after whsec_: Standard Webhooks asks for 24 to 64;"}},
		{[]string{"standard"}, []string{of(24), of(65)}, []string{"secret 2 of 2 holds 65 bytes after whsec_: "}},
		{[]string{"standard"}, []string{plain}, []string{"the secret does not begin with whsec_: "}},
		{[]string{"standard"}, []string{plain, of(1)}, []string{"secret 1 of 2 does not", "secret 2 of 2 holds 1 bytes"}},
		{[]string{"beton", "github", "stripe", "slack"}, []string{plain, of(1)}, nil},
		{[]string{"standard"}, []string{"whsec_?"}, nil}, // an error of New
		{nil, nil, nil},
	} {
		got := sign.Warnings(tt.presets, tt.secrets)
		if !slices.EqualFunc(got, tt.want, strings.HasPrefix) {
			t.Errorf("Warnings(%q):\n got %q\nwant %q", tt.presets, got, tt.want)
		}
		for _, warning := range got {
			if strings.Contains(warning, plain) || strings.Contains(warning, "AAAA") {
				t.Errorf("a warning holds a secret: %s", warning)
			}
		}
	}
}

func TestSignerDoesNotPrintSecrets(t *testing.T) {
	s, err := sign.New([]string{"beton", "standard", "ed25519"}, []string{plain, whsec, whsk})
	if err != nil {
		t.Fatal(err)
	}
	s.Sign(http.Header{}, message(time.Now()))
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(whsec, "whsec_"))
	seed, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(whsk, "whsk_"))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		for _, value := range []any{s, struct{ S *sign.Signer }{s}, struct{ s *sign.Signer }{s}, []*sign.Signer{s}} {
			text := fmt.Sprintf(verb, value)
			for _, secret := range []string{plain, whsec, string(key), whsk, string(seed)} {
				for _, form := range []string{secret, hex.EncodeToString([]byte(secret)), fmt.Sprint([]byte(secret))} {
					if strings.Contains(strings.ToLower(text), strings.ToLower(strings.Trim(form, "[]"))) {
						t.Errorf("%s of %T holds a secret", verb, value)
					}
				}
			}
		}
	}
	if got, want := fmt.Sprintf("%+v", s), "sign.Signer(beton, standard, ed25519)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSignConcurrently(t *testing.T) {
	secrets := []string{whsec, plain, whsk}
	s, err := sign.New(sign.Presets(), secrets)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				m := message(time.Unix(int64(1700000000+j), 0))
				m.ID = fmt.Sprintf("dlv_%d_%d", i, j)
				m.Body = fmt.Appendf(nil, `{"i":%d,"j":%d}`, i, j)
				h := http.Header{}
				h.Set("webhook-id", m.ID)
				h.Set("webhook-timestamp", strconv.FormatInt(m.Time.Unix(), 10))
				s.Sign(h, m)
				for _, preset := range sign.Presets() {
					if err := sign.Verify(preset, secrets, h, m.Body, m.Time, 0); err != nil {
						t.Errorf("%s of %s: %v", preset, m.ID, err)
					}
				}
			}
		})
	}
	wg.Wait()
}

// hmacs are the presets but ed25519.
func hmacs() []string {
	return slices.DeleteFunc(sign.Presets(), func(name string) bool { return name == "ed25519" })
}

func TestSignAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector changes what is allocated")
	}
	s, err := sign.New(hmacs(), []string{whsec, plain})
	if err != nil {
		t.Fatal(err)
	}
	h, m := http.Header{}, message(time.Now())
	if n := testing.AllocsPerRun(1000, func() { s.Sign(h, m) }); n > 14 {
		t.Errorf("Sign allocates %v times, want 14: the time, five signatures, eight headers", n)
	}
}

func BenchmarkSign(b *testing.B) {
	for _, bench := range []struct {
		name             string
		presets, secrets []string
		body             int
	}{
		{"beton", []string{"beton"}, []string{whsec}, 412},
		{"standard", []string{"standard"}, []string{whsec}, 412},
		{"default", []string{"beton", "standard"}, []string{whsec}, 412},
		{"default/rotation", []string{"beton", "standard"}, []string{whsec, whold}, 412},
		{"default/64KiB", []string{"beton", "standard"}, []string{whsec}, 64 << 10},
		{"all", hmacs(), []string{whsec}, 412},
		{"ed25519", []string{"ed25519"}, []string{whsk}, 412},
	} {
		b.Run(bench.name, func(b *testing.B) {
			s, err := sign.New(bench.presets, bench.secrets)
			if err != nil {
				b.Fatal(err)
			}
			m := message(time.Now())
			m.Body = make([]byte, bench.body)
			h := make(http.Header, 16)
			b.ReportAllocs()
			b.SetBytes(int64(bench.body))
			for b.Loop() {
				s.Sign(h, m)
			}
		})
	}
}

func BenchmarkSignParallel(b *testing.B) {
	s, err := sign.New([]string{"beton", "standard"}, []string{whsec})
	if err != nil {
		b.Fatal(err)
	}
	m := message(time.Now())
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		h := make(http.Header, 16)
		for pb.Next() {
			s.Sign(h, m)
		}
	})
}
