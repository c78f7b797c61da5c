// Package sign makes and checks the signatures of deliveries.
//
// A preset is a form of signature that receivers already know how to verify.
// All are of the exact bytes sent, and all but ed25519 HMAC-SHA256; they differ in
// the text signed, the key and the header:
//
//	preset    headers                                    signed text        secrets
//	beton     X-Beton-Signature: sha256=HEX              body               first
//	standard  webhook-signature: v1,B64 v1,B64           id.timestamp.body  all
//	ed25519   webhook-signature: v1a,B64                 id.timestamp.body  the private key
//	github    X-Hub-Signature-256: sha256=HEX,           body               first
//	          X-GitHub-Event, X-GitHub-Delivery
//	stripe    Stripe-Signature: t=TIME,v1=HEX,v1=HEX     t.body             all
//	slack     X-Slack-Signature: v0=HEX,                 v0:t:body          first
//	          X-Slack-Request-Timestamp
//
// Hex is lower case, times are Unix seconds of the attempt, and nothing is
// added between parts. The key is the secret's bytes as written, with one
// exception: under standard the part of a secret after "whsec_" is
// base64-decoded, as its specification asks. Presets of one header share it, with
// a space between. A Form is a signature of one's own form.
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
	"cmp"
	"crypto/ed25519"
	"crypto/hmac"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A preset is a Form that receivers know. The value of its header is the head, then
// one signature for each secret, or for the first alone, with separators between. A
// Form of a route's own becomes a preset without a name.
type preset struct {
	Form     // its header is in canonical form, {body} ends its text
	name     string
	head     string // before the time of the attempt and a separator; "": none
	sep      string // "": the first secret alone signs
	decodes  bool   // whsec_ secrets
	pair     bool   // its keys are those of ed25519, and it is no HMAC
	time     string // header of the time; "": it is in the value, or in none
	expected string // what the value looks like
	further  []Form // headers without a signature: their values
}

var presets = []*preset{
	{
		Form: form("X-Beton-Signature", "{body}", "sha256={hex}"), name: "beton",
		expected: "sha256= and 64 hex digits",
	},
	{
		Form: form("Webhook-Signature", "{id}.{timestamp}.{body}", "v1,{base64}"), name: "standard", sep: " ", decodes: true,
		time: "Webhook-Timestamp", expected: "v1, and base64 of 32 bytes",
	},
	{
		Form: form("Webhook-Signature", "{id}.{timestamp}.{body}", "v1a,{base64}"), name: "ed25519", sep: " ", pair: true,
		time: "Webhook-Timestamp", expected: "v1a, and base64 of 64 bytes",
	},
	{
		Form: form("X-Hub-Signature-256", "{body}", "sha256={hex}"), name: "github",
		expected: "sha256= and 64 hex digits",
		further:  []Form{form("X-Github-Event", "", "{type}"), form("X-Github-Delivery", "", "{id}")},
	},
	{
		Form: form("Stripe-Signature", "{timestamp}.{body}", "v1={hex}"), name: "stripe", head: "t=", sep: ",",
		expected: "t=UNIXSECONDS,v1=HEX without spaces",
	},
	{
		Form: form("X-Slack-Signature", "v0:{timestamp}:{body}", "v0={hex}"), name: "slack",
		time: "X-Slack-Request-Timestamp", expected: "v0= and 64 hex digits",
		further: []Form{form("X-Slack-Request-Timestamp", "", "{timestamp}")},
	},
}

func form(header, text, value string) Form {
	t, _ := parse(text, templateNames...)
	v, _ := parse(value, templateNames...)
	return Form{Header: header, Text: t, Value: v, Hash: Hashes[0]}
}

// mark is what each signature in the header begins with.
func (p *preset) mark() string { return p.Value.parts[0].literal }

// timed reports whether the time of the attempt is signed.
func (p *preset) timed() bool { return p.Text.Has("{timestamp}") }

// prefix is what is signed before the body.
func (p *preset) prefix(id, time string) []byte {
	return p.Text.fill(nil, &Message{ID: id}, time, nil, nil)
}

// find returns the preset of that name.
func find(name string) (*preset, error) {
	if i := slices.Index(Presets(), name); i >= 0 {
		return presets[i], nil
	}
	return nil, fmt.Errorf("unknown signature preset %q: expected one of %s", name, strings.Join(Presets(), ", "))
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
	headers := SignatureHeaders(names)
	for _, p := range presets {
		if slices.Contains(names, p.name) {
			for _, f := range p.further {
				headers = append(headers, f.Header)
			}
		}
	}
	return headers
}

// SignatureHeaders names those of Headers whose values are signatures.
func SignatureHeaders(names []string) []string {
	var headers []string
	for _, p := range presets {
		if slices.Contains(names, p.name) && !slices.Contains(headers, p.Header) {
			headers = append(headers, p.Header)
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
	URL  *url.URL  // as it is sent; only Forms sign it
}

// A Signer signs for one route. It may be used concurrently, and does not
// print its secrets. A nil Signer signs nothing.
type Signer struct {
	presets []*preset // then forms
	// The keys live in the pool's constructor and in what it makes, nowhere
	// that a formatting verb reaches.
	pool sync.Pool
}

// New returns a Signer for the presets, of which none is there twice, and the
// forms. The first of the secrets is the one receivers verify today; none is
// empty. There is one for each preset and form: for ed25519 a private key, whsk_…,
// which all others pass over.
func New(names []string, secrets []string, forms ...*Form) (*Signer, error) {
	if len(names)+len(forms) == 0 {
		return nil, errors.New("no signature preset: name at least one of " + strings.Join(Presets(), ", "))
	}
	// In the order of the table, so that what shares a header always looks the same.
	names = slices.SortedStableFunc(slices.Values(names), func(a, b string) int {
		return cmp.Compare(slices.Index(Presets(), a), slices.Index(Presets(), b))
	})
	s := new(Signer)
	for _, name := range names {
		p, err := find(name)
		if err == nil && slices.Contains(s.presets, p) {
			err = fmt.Errorf("signature preset %q is named twice", name)
		}
		if err != nil {
			return nil, err
		}
		s.presets = append(s.presets, p)
	}
	for _, f := range forms {
		s.presets = append(s.presets, &preset{Form: *f})
	}
	keys := make([][][]byte, len(s.presets))
	for i, p := range s.presets {
		var err error
		if keys[i], err = p.keys(secrets, true); err != nil {
			return nil, err
		}
		if p.sep == "" {
			keys[i] = keys[i][:1]
		}
	}
	s.pool.New = func() any {
		sc := &scratch{keys: make([][]key, len(keys))}
		for i, p := range s.presets {
			for _, k := range keys[i] {
				if p.pair {
					sc.keys[i] = append(sc.keys[i], key{private: k})
				} else {
					sc.keys[i] = append(sc.keys[i], key{Hash: hmac.New(hashes[p.Hash], k)})
				}
			}
		}
		return sc
	}
	return s, nil
}

// Names are the Signer's presets and the headers of its forms.
func (s *Signer) Names() []string {
	names := []string{}
	if s != nil {
		for _, p := range s.presets {
			names = append(names, cmp.Or(p.name, p.Header))
		}
	}
	return names
}

// Timed reports whether one of the signatures is over the time, so that its receiver can refuse an old one.
func (s *Signer) Timed() bool { return s != nil && slices.ContainsFunc(s.presets, (*preset).timed) }

// Format writes the Signer's names, whatever the verb.
func (s *Signer) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "sign.Signer(%s)", cmp.Or(strings.Join(s.Names(), ", "), "none"))
}

// Sign sets the headers of the Signer's presets in h, in the memory of the values
// that they have. The standard preset is complete only beside the headers
// webhook-id and webhook-timestamp, which the caller sets to m.ID and the Unix
// seconds of m.Time.
func (s *Signer) Sign(h http.Header, m Message) {
	if s == nil {
		return
	}
	sc := s.pool.Get().(*scratch)
	defer s.pool.Put(sc)
	at := strconv.FormatInt(m.Time.Unix(), 10)
	for i, p := range s.presets {
		value := sc.header(p, sc.keys[i], &m, at)
		if s.shared(i) {
			value = h[p.Header][0] + " " + value
		}
		h[p.Header] = append(h[p.Header][:0], value)
		for _, f := range p.further {
			h[f.Header] = append(h[f.Header][:0], string(f.Value.fill(nil, &m, at, nil, nil)))
		}
	}
}

// shared reports whether a preset before the i-th has its header.
func (s *Signer) shared(i int) bool {
	return slices.ContainsFunc(s.presets[:i], func(p *preset) bool { return p.Header == s.presets[i].Header })
}

// Describe sets the headers that Sign sets, for people: of these texts, with signature in
// place of each signature.
func (s *Signer) Describe(h http.Header, id, kind, time, signature string) {
	if s == nil {
		return
	}
	for _, p := range s.presets {
		h[p.Header] = []string{signature}
		for _, f := range p.further {
			h[f.Header] = []string{string(f.Value.fill(nil, &Message{ID: id, Type: kind}, time, nil, nil))}
		}
	}
}

// scratch is what one Sign needs. Its hashes carry their keys: Reset brings
// them back to the state after the key, without hashing it again.
type scratch struct {
	keys   [][]key // of each preset
	signed []byte  // of the signed text, but the body
	sum    []byte  // the digest made last
	value  []byte  // of the header
}

// A key is that of an HMAC, or of ed25519.
type key struct {
	hash.Hash
	private ed25519.PrivateKey
}

// sign makes the digest of a preset's text.
func (sc *scratch) sign(k key, p *preset, m *Message, time string) {
	if k.private != nil {
		sc.sum = append(sc.sum[:0], ed25519.Sign(k.private, p.Text.fill(nil, m, time, nil, nil))...)
		return
	}
	k.Reset()
	sc.signed = p.Text.fill(sc.signed[:0], m, time, nil, k.Hash)
	k.Write(sc.signed)
	sc.sum = k.Sum(sc.sum[:0])
}

// header returns the value of a preset's header.
func (sc *scratch) header(p *preset, keys []key, m *Message, time string) string {
	sc.value = sc.value[:0]
	if p.head != "" {
		sc.value = append(append(append(sc.value, p.head...), time...), p.sep...)
	}
	for i, key := range keys {
		if i > 0 {
			sc.value = append(sc.value, p.sep...)
		}
		sc.sign(key, p, m, time)
		sc.value = p.Value.fill(sc.value, m, time, sc.sum, nil)
	}
	return string(sc.value)
}

// PresetsOf names the presets, of those in may, whose signatures stand in a header, and
// returns the text that they sign before the body, of an attempt at a time; names is ""
// if there are none.
func PresetsOf(header string, may []string, id string, at time.Time) (names, before string) {
	for _, p := range presets {
		if p.Header == http.CanonicalHeaderKey(header) && slices.Contains(may, p.name) {
			names = strings.TrimPrefix(names+", "+p.name, ", ")
			before = string(p.prefix(id, strconv.FormatInt(at.Unix(), 10)))
		}
	}
	return names, before
}
