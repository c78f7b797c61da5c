package sign_test

import (
	"bytes"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-github/v74/github"
	"github.com/slack-go/slack"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	stripe "github.com/stripe/stripe-go/v85/webhook"
	svix "github.com/svix/svix-webhooks/go"

	"signalpost/proxy/sign"
)

// The libraries that receivers use accept what Sign makes, for a body that any
// re-encoding would change, and refuse it with another secret.
func TestPublishedLibraries(t *testing.T) {
	m := message(time.Now())
	m.Body = []byte("{ \"n\": 9007199254740993.10, \"text\": \"gr\u00fc\u00dfe \\u003c\u2028\", \"z\":1, \"a\":2 }\n")
	for _, lib := range []struct {
		name   string
		accept func(secret string, h map[string][]string) error
		first  bool // takes one signature, that of the first secret
		raw    bool // takes secrets that are not whsec_ as written
	}{
		{name: "standard-webhooks", accept: func(secret string, h map[string][]string) error {
			wh, err := standardwebhooks.NewWebhook(secret)
			if err != nil {
				return err
			}
			return wh.Verify(m.Body, h)
		}},
		{name: "svix", accept: func(secret string, h map[string][]string) error {
			wh, err := svix.NewWebhook(secret)
			if err != nil {
				return err
			}
			return wh.Verify(m.Body, h)
		}},
		{name: "go-github", first: true, raw: true, accept: func(secret string, h map[string][]string) error {
			r := httptest.NewRequest("POST", "/", bytes.NewReader(m.Body))
			r.Header = h
			r.Header.Set("Content-Type", "application/json")
			if got := github.WebHookType(r); got != m.Type {
				t.Errorf("event %q, want %q", got, m.Type)
			}
			if got := github.DeliveryID(r); got != m.ID {
				t.Errorf("delivery %q, want %q", got, m.ID)
			}
			got, err := github.ValidatePayload(r, []byte(secret))
			if err == nil && !bytes.Equal(got, m.Body) {
				t.Errorf("payload %q", got)
			}
			return err
		}},
		{name: "stripe-go", raw: true, accept: func(secret string, h map[string][]string) error {
			return stripe.ValidatePayload(m.Body, h["Stripe-Signature"][0], secret)
		}},
		{name: "slack-go", first: true, raw: true, accept: func(secret string, h map[string][]string) error {
			v, err := slack.NewSecretsVerifier(h, secret)
			if err != nil {
				return err
			}
			if _, err := v.Write(m.Body); err != nil {
				return err
			}
			return v.Ensure()
		}},
	} {
		t.Run(lib.name, func(t *testing.T) {
			pairs := [][]string{{whsec, whold}}
			if lib.raw {
				pairs = append(pairs, []string{plain, other})
			}
			for _, secrets := range pairs {
				h := request(t, sign.Presets(), secrets, m) // all presets on one request
				if err := lib.accept(secrets[0], h.Clone()); err != nil {
					t.Errorf("the first secret: %v", err)
				}
				if err := lib.accept(secrets[1], h.Clone()); (err == nil) == lib.first {
					t.Errorf("the second secret: %v", err)
				}
				wrong := strings.Replace(secrets[0], "M", "N", 1) + strings.Repeat("x", 4*strings.Count(secrets[0], " "))
				if wrong == secrets[0] {
					t.Fatal("the wrong secret is the right one")
				}
				if err := lib.accept(wrong, h.Clone()); err == nil {
					t.Error("accepted with a wrong secret")
				}
			}
		})
	}
}

// A secret that is not whsec_ is its bytes: a receiver says so to its library.
func TestPublishedLibrariesRaw(t *testing.T) {
	m := message(time.Now())
	h := request(t, []string{"standard"}, []string{plain}, m)
	wh, err := standardwebhooks.NewWebhookRaw([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	if err := wh.Verify(m.Body, h); err != nil {
		t.Errorf("standard-webhooks: %v", err)
	}
	sv, err := svix.NewWebhookRaw([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	if err := sv.Verify(m.Body, h); err != nil {
		t.Errorf("svix: %v", err)
	}
}

// Verify accepts what a published library signs.
func TestVerifyPublishedLibraries(t *testing.T) {
	m := message(time.Now())
	wh, err := standardwebhooks.NewWebhook(whsec)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := wh.Sign(m.ID, m.Time, m.Body)
	if err != nil {
		t.Fatal(err)
	}
	h := request(t, []string{"standard"}, []string{whold}, m)
	h.Set("webhook-signature", signature)
	if err := sign.Verify("standard", []string{whsec}, h, m.Body, m.Time, sign.Tolerance); err != nil {
		t.Errorf("standard: %v", err)
	}
	signed := stripe.GenerateTestSignedPayload(&stripe.UnsignedPayload{Payload: m.Body, Secret: whsec, Timestamp: m.Time})
	h.Set("Stripe-Signature", signed.Header)
	if err := sign.Verify("stripe", []string{whsec}, h, m.Body, m.Time, sign.Tolerance); err != nil {
		t.Errorf("stripe: %v", err)
	}
}
