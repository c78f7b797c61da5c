//go:build !race

package e2e

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	paddle "github.com/PaddleHQ/paddle-go-sdk/v4"

	"signalpost/proxy/config"
	"signalpost/proxy/sign"
)

// TestReadmeForms signs as the documentation says what vendors have published the
// signature of, or have a library to verify.
func TestReadmeForms(t *testing.T) {
	now := time.Now()
	verifies := map[string]func(t *testing.T, load func(secret string) *config.Route){
		// The documentation of Square prints it.
		"square": func(t *testing.T, load func(string) *config.Route) {
			h := signedBy(t, load("asdf1234"), now, `{"hello":"world"}`)
			//lint:ignore SA1008 it is sent as it is written
			if got := h["X-Square-HmacSha256-Signature"][0]; got != "2kRE5qRU2tR+tBGlDwMEw2avJ7QM4ikPYD/PJ3bd9Og=" {
				t.Errorf("got %s", got)
			}
		},
		// A test of go-shopify has it.
		"shopify": func(t *testing.T, load func(string) *config.Route) {
			h := signedBy(t, load("hush"), now, `"my secret message"`)
			if got := h["X-Shopify-Hmac-Sha256"][0]; got != "hMTq0K2x7oyOjoBwGYeTj5oxfnaVYXzbanUG9aajpKI=" {
				t.Errorf("got %s", got)
			}
		},
		"paddle": func(t *testing.T, load func(string) *config.Route) {
			const secret = "pdl_ntfset_01h"
			r := httptest.NewRequest("POST", "/", strings.NewReader(signedBody))
			r.Header = signedBy(t, load(secret), now, signedBody)
			good, err := paddle.NewWebhookVerifier(secret, paddle.VerifierWithTimestampTolerance(time.Minute)).Verify(r)
			if !good || err != nil {
				t.Errorf("%q: %v", r.Header, err)
			}
			if good, _ := paddle.NewWebhookVerifier("another").Verify(r); good {
				t.Error("verified with another secret")
			}
		},
		"gitlab": func(t *testing.T, load func(string) *config.Route) {
			if got := load("x").Headers["X-Gitlab-Token"].Reveal(); got != "x" {
				t.Errorf("sends %q", got)
			}
		},
	}
	for _, b := range blocks(t, "verifying ## Signatures of other forms", "toml") {
		load := func(secret string) *config.Route {
			path := outside(t, b.text)
			for _, name := range []string{"SHOPIFY_SECRET", "PADDLE_SECRET", "SQUARE_SECRET", "GITLAB_TOKEN"} {
				t.Setenv(name, secret)
			}
			cfg, err := config.Load(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			return &cfg.Routes[0]
		}
		name := load("x").Name
		t.Run(name, func(t *testing.T) { verifies[name](t, load) })
		delete(verifies, name)
	}
	if len(verifies) > 0 {
		t.Errorf("not in the documentation: %v", verifies)
	}
}

func signedBy(t *testing.T, r *config.Route, at time.Time, body string) http.Header {
	t.Helper()
	u, err := url.Parse(r.URL.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	r.Signer.Sign(h, sign.Message{ID: "dlv_1", Type: "t", Time: at, Body: []byte(body), URL: u})
	return h
}

// TestReadmePublicKey verifies as the documentation shows it.
func TestReadmePublicKey(t *testing.T) {
	tool(t, "openssl")
	dir := t.TempDir()
	cfg, err := config.Load(t.Context(), outside(t, only(t, "verifying ## By a public key", "toml")))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1777473068, 0)
	signature := signedBy(t, &cfg.Routes[0], at, signedBody).Get("webhook-signature")
	public, err := sign.PublicKey(cfg.Routes[0].SigningKey.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{signedBody, signedBody + " "} {
		if err := os.WriteFile(filepath.Join(dir, "body.json"), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := bash(t, dir, only(t, "verifying ## By a public key", "sh"), "PUBLIC="+public,
			"SIGNATURE="+strings.TrimPrefix(signature, "v1a,"), "ID=dlv_1", "TIMESTAMP="+strconv.FormatInt(at.Unix(), 10))
		if (err == nil) != (body == signedBody) || !strings.Contains(out, "Signature Verif") {
			t.Errorf("%q: %v: %s", body, err, out)
		}
	}
}
