package sign_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"signalpost/proxy/sign"
)

func TestVerify(t *testing.T) {
	now := time.Unix(1777473068, 0)
	m := message(now)
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(whsec, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	// Each case starts from a good request, signed with whsec at now.
	for _, tt := range []struct {
		name    string
		preset  string
		signed  []string                         // default: whsec
		secrets []string                         // default: as signed
		change  func(h http.Header, body []byte) // default: nothing
		body    string                           // default: as signed
		late    time.Duration
		is      error  // nil: verifies
		says    string // part of the error
	}{
		{name: "beton", preset: "beton"},
		{name: "standard", preset: "standard"},
		{name: "github", preset: "github"},
		{name: "stripe", preset: "stripe"},
		{name: "slack", preset: "slack"},

		{name: "beton missing", preset: "beton", change: del("X-Beton-Signature"), is: sign.ErrMissing, says: "header missing: X-Beton-Signature"},
		{name: "standard without id", preset: "standard", change: del("Webhook-Id"), is: sign.ErrMissing, says: "header missing: Webhook-Id"},
		{name: "standard without time", preset: "standard", change: del("Webhook-Timestamp"), is: sign.ErrMissing, says: "Webhook-Timestamp"},
		{name: "standard missing", preset: "standard", change: del("Webhook-Signature"), is: sign.ErrMissing, says: "Webhook-Signature"},
		{name: "standard with an empty id", preset: "standard", change: set("Webhook-Id", ""), is: sign.ErrMissing, says: "Webhook-Id is empty"},
		{name: "github missing", preset: "github", change: del("X-Hub-Signature-256"), is: sign.ErrMissing, says: "X-Hub-Signature-256"},
		{name: "stripe missing", preset: "stripe", change: del("Stripe-Signature"), is: sign.ErrMissing, says: "Stripe-Signature"},
		{name: "slack missing", preset: "slack", change: del("X-Slack-Signature"), is: sign.ErrMissing, says: "X-Slack-Signature"},
		{name: "slack without time", preset: "slack", change: del("X-Slack-Request-Timestamp"), is: sign.ErrMissing, says: "X-Slack-Request-Timestamp"},

		{name: "twice", preset: "beton", change: func(h http.Header, _ []byte) { h.Add("X-Beton-Signature", "sha256=00") },
			is: sign.ErrMalformed, says: "malformed X-Beton-Signature: expected once, came 2 times"},
		{name: "no prefix", preset: "beton", change: set("X-Beton-Signature", strings.Repeat("0", 64)), is: sign.ErrMalformed, says: "expected sha256= and 64 hex digits"},
		{name: "short", preset: "github", change: set("X-Hub-Signature-256", "sha256=abcd"), is: sign.ErrMalformed, says: `found "sha256=abcd"`},
		{name: "no hex", preset: "slack", change: set("X-Slack-Signature", "v0="+strings.Repeat("x", 64)), is: sign.ErrMalformed, says: "expected v0= and 64 hex digits"},
		{name: "controls", preset: "beton", change: set("X-Beton-Signature", "\x1b[31mred"), is: sign.ErrMalformed, says: `found "\x1b[31mred"`},
		{name: "long", preset: "beton", change: set("X-Beton-Signature", strings.Repeat("a", 100)), is: sign.ErrMalformed, says: `aaa" and 20 bytes more`},
		{name: "other versions", preset: "standard", change: set("Webhook-Signature", "v1a,AAAA v2,BBBB"), is: sign.ErrMalformed, says: "expected v1, and base64 of 32 bytes"},
		{name: "no base64", preset: "standard", change: set("Webhook-Signature", "v1,?"), is: sign.ErrMalformed, says: "malformed Webhook-Signature"},
		{name: "milliseconds", preset: "standard", change: set("Webhook-Timestamp", "1777473068000"), is: sign.ErrMalformed, says: `malformed Webhook-Timestamp: expected Unix seconds, found "1777473068000"`},
		{name: "negative", preset: "slack", change: set("X-Slack-Request-Timestamp", "-1"), is: sign.ErrMalformed, says: "X-Slack-Request-Timestamp"},
		{name: "plus", preset: "slack", change: set("X-Slack-Request-Timestamp", "+1777473068"), is: sign.ErrMalformed},
		{name: "huge", preset: "slack", change: set("X-Slack-Request-Timestamp", strings.Repeat("9", 30)), is: sign.ErrMalformed},
		{name: "stripe without time", preset: "stripe", change: set("Stripe-Signature", "v1="+strings.Repeat("0", 64)), is: sign.ErrMalformed, says: "expected t=UNIXSECONDS,v1=HEX"},
		{name: "stripe with two times", preset: "stripe", change: set("Stripe-Signature", "t=1,t=2,v1="+strings.Repeat("0", 64)), is: sign.ErrMalformed},
		{name: "stripe with a time that is none", preset: "stripe", change: set("Stripe-Signature", "t=now,v1="+strings.Repeat("0", 64)), is: sign.ErrMalformed, says: "t of Stripe-Signature"},
		{name: "stripe with another scheme", preset: "stripe", change: set("Stripe-Signature", "t=1777473068,v0="+strings.Repeat("0", 64)), is: sign.ErrMalformed},
		{name: "stripe with a space", preset: "stripe", is: sign.ErrMalformed, says: "without spaces", change: func(h http.Header, _ []byte) {
			h.Set("Stripe-Signature", strings.ReplaceAll(h.Get("Stripe-Signature"), ",", ", "))
		}},

		{name: "standard among other versions", preset: "standard", change: func(h http.Header, _ []byte) {
			h.Set("Webhook-Signature", "v1a,AAAA v1,AAAA v2,BBBB  "+h.Get("Webhook-Signature"))
		}},
		{name: "stripe among other schemes", preset: "stripe", change: func(h http.Header, _ []byte) {
			h.Set("Stripe-Signature", h.Get("Stripe-Signature")+",v0=abcd,v1=short,")
		}},
		{name: "upper case hex", preset: "beton", change: func(h http.Header, _ []byte) {
			h.Set("X-Beton-Signature", "sha256="+strings.ToUpper(strings.TrimPrefix(h.Get("X-Beton-Signature"), "sha256=")))
		}},

		{name: "body changed", preset: "beton", change: func(_ http.Header, body []byte) { body[3] ^= 1 }, is: sign.ErrMismatch, says: "no secret matches"},
		{name: "wrong secret", preset: "stripe", secrets: []string{plain, other}, is: sign.ErrMismatch},
		{name: "another id", preset: "standard", change: set("Webhook-Id", "dlv_1"), is: sign.ErrMismatch},
		{name: "another time", preset: "standard", change: set("Webhook-Timestamp", "1777473069"), is: sign.ErrMismatch},
		{name: "another time for slack", preset: "slack", change: set("X-Slack-Request-Timestamp", "1777473069"), is: sign.ErrMismatch},
		{name: "wrong and late", preset: "slack", secrets: []string{other}, late: time.Hour, is: sign.ErrMismatch},

		{name: "just in time", preset: "standard", late: sign.Tolerance},
		{name: "just ahead", preset: "slack", late: -sign.Tolerance},
		{name: "late", preset: "standard", late: 6 * time.Minute, is: sign.ErrTimestamp, says: "the signature matches, but was made 6m0s ago, over the 5m0s allowed"},
		{name: "late", preset: "stripe", late: 90 * time.Minute, is: sign.ErrTimestamp, says: "1h30m0s ago"},
		{name: "ahead", preset: "slack", late: -6 * time.Minute, is: sign.ErrTimestamp, says: "6m0s in the future"},
		{name: "no time is signed", preset: "github", late: 1000 * time.Hour},

		{name: "new secret at the receiver", preset: "standard", signed: []string{whold, whsec}, secrets: []string{whsec}},
		{name: "old secret at the receiver", preset: "standard", signed: []string{whold, whsec}, secrets: []string{whold}},
		{name: "new secret at the receiver", preset: "stripe", signed: []string{whold, whsec}, secrets: []string{whsec}},
		{name: "both at the receiver", preset: "slack", signed: []string{whold}, secrets: []string{whsec, whold}},
		{name: "beton signs with the first", preset: "beton", signed: []string{plain, whsec}, secrets: []string{plain}},
		{name: "beton signs with the first", preset: "beton", signed: []string{plain, whsec}, secrets: []string{whsec}, is: sign.ErrMismatch},

		{name: "line end added", preset: "beton", body: string(m.Body) + "\n", is: sign.ErrMismatch, says: "without the line end at its end"},
		{name: "line end added", preset: "standard", body: string(m.Body) + "\r\n", is: sign.ErrMismatch, says: "without the line end at its end"},
		{name: "secret not decoded", preset: "standard", is: sign.ErrMismatch, says: "as written: the sender did not base64-decode what follows whsec_",
			change: forge([]byte(whsec), m)},
		{name: "secret only cut", preset: "standard", is: sign.ErrMismatch, says: "the text after whsec_ as written",
			change: forge([]byte(strings.TrimPrefix(whsec, "whsec_")), m)},
		{name: "secret without whsec_", preset: "standard", secrets: []string{strings.TrimPrefix(whsec, "whsec_")}, is: sign.ErrMismatch, says: "write it with whsec_ before it"},
		{name: "secret decoded", preset: "beton", signed: []string{string(key)}, secrets: []string{whsec}, is: sign.ErrMismatch, says: "this preset takes it as written"},
		{name: "secret with a line end", preset: "beton", signed: []string{plain}, secrets: []string{plain + "\n"}, is: sign.ErrMismatch, says: "without the white space around it"},
	} {
		t.Run(tt.preset+"/"+tt.name, func(t *testing.T) {
			signed := tt.signed
			if signed == nil {
				signed = []string{whsec}
			}
			secrets := tt.secrets
			if secrets == nil {
				secrets = signed
			}
			m := message(now)
			h := request(t, []string{tt.preset}, signed, m)
			if tt.change != nil {
				tt.change(h, m.Body)
			}
			if tt.body != "" {
				m.Body = []byte(tt.body)
			}
			err := sign.Verify(tt.preset, secrets, h, m.Body, now.Add(tt.late), sign.Tolerance)
			if !errors.Is(err, tt.is) || (err == nil) != (tt.is == nil) {
				t.Fatalf("got %v, want %v", err, tt.is)
			}
			if err == nil {
				return
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want something about %s", err, tt.says)
			}
			for _, secret := range append(secrets, signed...) {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error holds a secret")
				}
			}
		})
	}
}

func del(name string) func(http.Header, []byte) {
	return func(h http.Header, _ []byte) { h.Del(name) }
}

func set(name, value string) func(http.Header, []byte) {
	return func(h http.Header, _ []byte) { h.Set(name, value) }
}

// forge signs for the standard preset with a key that is not the one its
// secret stands for.
func forge(key []byte, m sign.Message) func(http.Header, []byte) {
	return func(h http.Header, _ []byte) {
		s, err := sign.New([]string{"standard"}, []string{"whsec_" + base64.StdEncoding.EncodeToString(key)})
		if err != nil {
			panic(err)
		}
		s.Sign(h, m)
	}
}

func TestVerifyLineEndCut(t *testing.T) {
	m := message(time.Now())
	m.Body = []byte("{}\n")
	h := request(t, []string{"github"}, []string{plain}, m)
	err := sign.Verify("github", []string{plain}, h, []byte("{}"), m.Time, 0)
	if !errors.Is(err, sign.ErrMismatch) || !strings.Contains(err.Error(), "with a line end at its end") {
		t.Errorf("got %v", err)
	}
	if string(m.Body) != "{}\n" {
		t.Errorf("the body was changed: %q", m.Body)
	}
}

func TestVerifyIgnoresTimeOnRequest(t *testing.T) {
	m := message(time.Unix(1, 0))
	h := request(t, sign.Presets(), []string{plain}, m)
	for _, preset := range sign.Presets() {
		if err := sign.Verify(preset, []string{plain, whpk}, h, m.Body, time.Now(), -1); err != nil {
			t.Errorf("%s: %v", preset, err)
		}
	}
}

// Faults of the caller's own arguments are not the request's.
func TestVerifyArguments(t *testing.T) {
	m := message(time.Now())
	h := request(t, sign.Presets(), []string{plain}, m)
	for _, tt := range []struct {
		preset  string
		secrets []string
		want    string
	}{
		{"svix", []string{plain}, `unknown signature preset "svix": expected one of beton, standard, ed25519, github, stripe, slack`},
		{"beton", nil, "no secret: a signature needs at least one"},
		{"beton", []string{plain, ""}, "secret 2 of 2 is empty"},
		{"ed25519", []string{plain, whsec}, "no secret: the preset ed25519 is verified with a public key (whpk_)"},
		{"standard", []string{whpk}, "no secret: a signature needs at least one"},
		{"standard", []string{"whsec_?"}, "the secret is not base64 after whsec_: the standard preset expects the standard alphabet (+ and /), padded with ="},
	} {
		err := sign.Verify(tt.preset, tt.secrets, h, m.Body, m.Time, 0)
		if err == nil || err.Error() != tt.want {
			t.Errorf("Verify(%q): got %v, want %s", tt.preset, err, tt.want)
		}
		for _, is := range []error{sign.ErrMissing, sign.ErrMalformed, sign.ErrTimestamp, sign.ErrMismatch} {
			if errors.Is(err, is) {
				t.Errorf("Verify(%q): %v is %v", tt.preset, err, is)
			}
		}
	}
}

func TestDetect(t *testing.T) {
	m := message(time.Now())
	for _, preset := range sign.Presets() {
		if got := sign.Detect(request(t, []string{preset}, []string{plain}, m)); !slices.Equal(got, []string{preset}) {
			t.Errorf("Detect of %s: %q", preset, got)
		}
	}
	if got := sign.Detect(request(t, sign.Presets(), []string{plain}, m)); !slices.Equal(got, sign.Presets()) {
		t.Errorf("Detect of all: %q", got)
	}
	// Every delivery carries these: they are no signature.
	if got := sign.Detect(http.Header{"Webhook-Id": {"1"}, "Webhook-Timestamp": {"1"}, "X-Github-Event": {"push"}}); got != nil {
		t.Errorf("Detect of an unsigned request: %q", got)
	}
}
