// Package sign makes and checks the signatures of deliveries.
//
// A preset is a form of signature that receivers already know how to verify.
// All are HMAC-SHA256 of the exact bytes sent; they differ in the text signed,
// the key and the header:
//
//	preset    headers                                    signed text        secrets
//	beton     X-Beton-Signature: sha256=HEX              body               first
//	standard  webhook-signature: v1,B64 v1,B64           id.timestamp.body  all
//	github    X-Hub-Signature-256: sha256=HEX,           body               first
//	          X-GitHub-Event, X-GitHub-Delivery
//	stripe    Stripe-Signature: t=TIME,v1=HEX,v1=HEX     t.body             all
//	slack     X-Slack-Signature: v0=HEX,                 v0:t:body          first
//	          X-Slack-Request-Timestamp
//
// Hex is lower case, times are Unix seconds of the attempt, and nothing is
// added between parts. The key is the secret's bytes as written, with one
// exception: under standard the part of a secret after "whsec_" is
// base64-decoded, as its specification asks.
//
// While a secret is rotated there are two or more. The first is the one
// receivers verify today: presets that have room for one signature use it,
// the others carry one signature for each secret.
//
// The specifications followed:
//
//	standard  https://github.com/standard-webhooks/standard-webhooks
//	github    https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
//	stripe    https://docs.stripe.com/webhooks#verify-manually
//	slack     https://docs.slack.dev/authentication/verifying-requests-from-slack
//
// No error, warning or formatted value of this package holds a secret.
package sign

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Header names, in the form that net/http uses as keys.
const (
	betonSignature = "X-Beton-Signature"

	standardID        = "Webhook-Id"
	standardTimestamp = "Webhook-Timestamp"
	standardSignature = "Webhook-Signature"

	githubSignature = "X-Hub-Signature-256"
	githubEvent     = "X-Github-Event"
	githubDelivery  = "X-Github-Delivery"

	stripeSignature = "Stripe-Signature"

	slackSignature = "X-Slack-Signature"
	slackTimestamp = "X-Slack-Request-Timestamp"
)

// presets lists what there is. The first header of each is the signature
// itself, by which Detect knows the preset.
var presets = []struct {
	name    string
	headers []string
}{
	{"beton", []string{betonSignature}},
	{"standard", []string{standardSignature}},
	{"github", []string{githubSignature, githubEvent, githubDelivery}},
	{"stripe", []string{stripeSignature}},
	{"slack", []string{slackSignature, slackTimestamp}},
}

// Presets returns the names of all presets.
func Presets() []string {
	names := make([]string, len(presets))
	for i, p := range presets {
		names[i] = p.name
	}
	return names
}

// Headers names every header that the presets set, in net/http's canonical
// form. The standard preset also signs webhook-id and webhook-timestamp, which
// each delivery carries whatever its presets are; they are not named here.
func Headers(names []string) []string {
	var headers []string
	for _, p := range presets {
		if slices.Contains(names, p.name) {
			headers = append(headers, p.headers...)
		}
	}
	return headers
}

// SignatureHeaders names those of Headers whose values are signatures.
func SignatureHeaders(names []string) []string {
	var headers []string
	for _, p := range presets {
		if slices.Contains(names, p.name) {
			headers = append(headers, p.headers[0])
		}
	}
	return headers
}

// Message is what is signed: one attempt of one delivery.
type Message struct {
	ID   string    // the delivery's id, the same on every attempt; what webhook-id says
	Time time.Time // of this attempt; what webhook-timestamp says, in Unix seconds
	Type string    // the signal's type
	Body []byte    // the exact bytes sent
}

// A Signer signs for one route. It may be used concurrently, and does not
// print its secrets. A nil Signer signs nothing.
type Signer struct {
	presets []string
	use     struct{ beton, standard, github, stripe, slack bool }
	// The keys live in the pool's constructor and in what it makes, nowhere
	// that a formatting verb reaches.
	pool sync.Pool
}

// New returns a Signer for the presets, of which there is at least one and
// none twice. The first of the secrets, of which there is at least one and
// none empty, is the one receivers verify today.
func New(names []string, secrets []string) (*Signer, error) {
	if len(names) == 0 {
		return nil, errors.New("no signature preset: name at least one of " + strings.Join(Presets(), ", "))
	}
	s := &Signer{presets: slices.Clone(names)}
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return nil, fmt.Errorf("signature preset %q is named twice", name)
		}
		switch name {
		case "beton":
			s.use.beton = true
		case "standard":
			s.use.standard = true
		case "github":
			s.use.github = true
		case "stripe":
			s.use.stripe = true
		case "slack":
			s.use.slack = true
		default:
			return nil, unknownPreset(name)
		}
	}
	written, err := writtenKeys(secrets)
	if err != nil {
		return nil, err
	}
	var standard [][]byte
	if s.use.standard {
		if standard, err = standardKeys(secrets); err != nil {
			return nil, err
		}
	}
	s.pool.New = func() any { return newScratch(written, standard) }
	return s, nil
}

func unknownPreset(name string) error {
	return fmt.Errorf("unknown signature preset %q: expected one of %s", name, strings.Join(Presets(), ", "))
}

// Format writes the Signer's presets, whatever the verb.
func (s *Signer) Format(f fmt.State, _ rune) {
	if s == nil {
		fmt.Fprint(f, "sign.Signer(none)")
		return
	}
	fmt.Fprintf(f, "sign.Signer(%s)", strings.Join(s.presets, ", "))
}

// Sign sets the headers of the Signer's presets in h. The standard preset is
// complete only beside the headers webhook-id and webhook-timestamp, which
// the caller sets to m.ID and the Unix seconds of m.Time.
func (s *Signer) Sign(h http.Header, m Message) {
	if s == nil {
		return
	}
	sc := s.pool.Get().(*scratch)
	defer s.pool.Put(sc)
	sc.text, sc.cuts = sc.text[:0], sc.cuts[:0]
	sc.time = strconv.AppendInt(sc.time[:0], m.Time.Unix(), 10)

	if s.use.beton || s.use.github {
		sc.prefix = sc.prefix[:0]
		sc.digest(sc.written[0], m.Body)
		start := len(sc.text)
		sc.text = append(sc.text, "sha256="...)
		sc.text = hex.AppendEncode(sc.text, sc.sum)
		if s.use.beton {
			sc.cut(betonSignature, start)
		}
		if s.use.github {
			sc.cut(githubSignature, start)
		}
	}
	if s.use.standard {
		sc.prefix = append(append(sc.prefix[:0], m.ID...), '.')
		sc.prefix = append(append(sc.prefix, sc.time...), '.')
		start := len(sc.text)
		for i, key := range sc.standard {
			if i > 0 {
				sc.text = append(sc.text, ' ')
			}
			sc.digest(key, m.Body)
			sc.text = append(sc.text, "v1,"...)
			sc.text = base64.StdEncoding.AppendEncode(sc.text, sc.sum)
		}
		sc.cut(standardSignature, start)
	}
	if s.use.stripe {
		sc.prefix = append(append(sc.prefix[:0], sc.time...), '.')
		start := len(sc.text)
		sc.text = append(append(sc.text, "t="...), sc.time...)
		for _, key := range sc.written {
			sc.digest(key, m.Body)
			sc.text = append(sc.text, ",v1="...)
			sc.text = hex.AppendEncode(sc.text, sc.sum)
		}
		sc.cut(stripeSignature, start)
	}
	if s.use.slack {
		sc.prefix = append(append(append(sc.prefix[:0], "v0:"...), sc.time...), ':')
		sc.digest(sc.written[0], m.Body)
		start := len(sc.text)
		sc.text = append(sc.text, "v0="...)
		sc.text = hex.AppendEncode(sc.text, sc.sum)
		sc.cut(slackSignature, start)
		start = len(sc.text)
		sc.text = append(sc.text, sc.time...)
		sc.cut(slackTimestamp, start)
	}

	// All values share one string and one slice: two allocations, however
	// many headers there are.
	text := string(sc.text)
	values := make([]string, 0, len(sc.cuts)+2)
	set := func(name, value string) {
		values = append(values, value)
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
	for _, c := range sc.cuts {
		set(c.name, text[c.start:c.end])
	}
	if s.use.github {
		set(githubEvent, m.Type)
		set(githubDelivery, m.ID)
	}
}

// scratch is what one Sign needs. Its hashes carry their keys: Reset brings
// them back to the state after the key, without hashing it again.
type scratch struct {
	written  []hash.Hash // keyed with the secrets as written
	standard []hash.Hash // keyed as the standard preset asks
	time     []byte      // Unix seconds of the attempt
	prefix   []byte      // of the signed text, before the body
	sum      []byte      // the digest made last
	text     []byte      // header values
	cuts     []cut       // of text
}

// cut is a header and where in the text its value stands.
type cut struct {
	name       string
	start, end int
}

func newScratch(written, standard [][]byte) *scratch {
	sc := &scratch{}
	for _, key := range written {
		sc.written = append(sc.written, hmac.New(sha256.New, key))
	}
	for _, key := range standard {
		sc.standard = append(sc.standard, hmac.New(sha256.New, key))
	}
	return sc
}

// digest leaves the digest of the prefix and the body in sum.
func (sc *scratch) digest(key hash.Hash, body []byte) {
	key.Reset()
	key.Write(sc.prefix)
	key.Write(body)
	sc.sum = key.Sum(sc.sum[:0])
}

// cut gives the header the text from start to the end.
func (sc *scratch) cut(name string, start int) {
	sc.cuts = append(sc.cuts, cut{name, start, len(sc.text)})
}
