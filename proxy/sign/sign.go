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
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
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

// A preset is a form of signature. Its value is the head, then one signature for
// each secret, or for the first alone, between separators: a mark and the
// encoded HMAC-SHA256.
type preset struct {
	name     string
	header   string // of the signature, by which Detect knows the preset
	before   string // begins the signed text
	id       bool   // goes on with the id and a dot
	timed    bool   // goes on with the time
	after    string // and this; then the body
	head     string // before the time of the attempt and a separator; "": none
	mark     string
	sep      string // "": the first secret alone signs
	base64   bool   // else hex
	decodes  bool   // whsec_ secrets
	pair     bool   // its keys are those of ed25519, and it is no HMAC
	time     string // header of the time; "": it is in the value, or in none
	expected string // what the value looks like

	extra  []string                                  // further headers
	values func(i int, id, kind, time string) string // of the i-th of them
}

var presets = []*preset{
	{
		name: "beton", header: "X-Beton-Signature", mark: "sha256=",
		expected: "sha256= and 64 hex digits",
	},
	{
		name: "standard", header: "Webhook-Signature", mark: "v1,", sep: " ", base64: true, decodes: true,
		time: "Webhook-Timestamp", id: true, timed: true, after: ".",
		expected: "v1, and base64 of 32 bytes",
	},
	{
		name: "ed25519", header: "Webhook-Signature", mark: "v1a,", sep: " ", base64: true, pair: true,
		time: "Webhook-Timestamp", id: true, timed: true, after: ".",
		expected: "v1a, and base64 of 64 bytes",
	},
	{
		name: "github", header: "X-Hub-Signature-256", mark: "sha256=",
		expected: "sha256= and 64 hex digits",
		extra:    []string{"X-Github-Event", "X-Github-Delivery"},
		values:   func(i int, id, kind, _ string) string { return [...]string{kind, id}[i] },
	},
	{
		name: "stripe", header: "Stripe-Signature", head: "t=", mark: "v1=", sep: ",", timed: true, after: ".",
		expected: "t=UNIXSECONDS,v1=HEX without spaces",
	},
	{
		name: "slack", header: "X-Slack-Signature", mark: "v0=", time: "X-Slack-Request-Timestamp", timed: true, before: "v0:", after: ":",
		expected: "v0= and 64 hex digits",
		extra:    []string{"X-Slack-Request-Timestamp"},
		values:   func(_ int, _, _, time string) string { return time },
	},
}

// prefix appends what is signed before the body.
func (p *preset) prefix(b []byte, id, time string) []byte {
	b = append(b, p.before...)
	if p.id {
		b = append(append(b, id...), '.')
	}
	if p.timed {
		b = append(append(b, time...), p.after...)
	}
	return b
}

// find returns the preset of that name.
func find(name string) (*preset, error) {
	if i := slices.Index(Presets(), name); i >= 0 {
		return presets[i], nil
	}
	return nil, fmt.Errorf("unknown signature preset %q: expected one of %s", name, strings.Join(Presets(), ", "))
}

// Presets returns the names of all presets.
func Presets() []string { return namesOf(presets) }

func namesOf(presets []*preset) []string {
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
			headers = append(headers, p.extra...)
		}
	}
	return headers
}

// SignatureHeaders names those of Headers whose values are signatures.
func SignatureHeaders(names []string) []string {
	var headers []string
	for _, p := range presets {
		if slices.Contains(names, p.name) && !slices.Contains(headers, p.header) {
			headers = append(headers, p.header)
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
	presets []*preset
	forms   []*Form
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
	s := &Signer{forms: forms}
	keys := make([][][]byte, len(names), len(names)+len(forms))
	for i, name := range names {
		p, err := find(name)
		if err != nil {
			return nil, err
		}
		if slices.Contains(s.presets, p) {
			return nil, fmt.Errorf("signature preset %q is named twice", name)
		}
		if keys[i], err = p.keys(secrets, true); err != nil {
			return nil, err
		}
		if p.sep == "" {
			keys[i] = keys[i][:1]
		}
		s.presets = append(s.presets, p)
	}
	if len(forms) > 0 {
		written, err := new(preset).keys(secrets, true)
		if err != nil {
			return nil, err
		}
		keys = append(keys, slices.Repeat([][][]byte{written[:1]}, len(forms))...)
	}
	s.pool.New = func() any {
		sc := &scratch{keys: make([][]key, len(keys))}
		for i := range keys {
			made := sha256.New
			if i >= len(names) {
				made = hashMakers[slices.Index(Hashes, forms[i-len(names)].Hash)]
			}
			for _, k := range keys[i] {
				if i < len(names) && s.presets[i].pair {
					sc.keys[i] = append(sc.keys[i], key{private: k})
				} else {
					sc.keys[i] = append(sc.keys[i], key{Hash: hmac.New(made, k)})
				}
			}
		}
		return sc
	}
	return s, nil
}

// Names are the Signer's presets and the headers of its forms.
func (s *Signer) Names() []string {
	if s == nil {
		return []string{}
	}
	names := namesOf(s.presets)
	for _, f := range s.forms {
		names = append(names, f.Header)
	}
	return names
}

// Timed reports whether one of the signatures is over the time, so that its receiver can refuse an old one.
func (s *Signer) Timed() bool {
	return s != nil && (slices.ContainsFunc(s.presets, func(p *preset) bool { return p.timed }) ||
		slices.ContainsFunc(s.forms, func(f *Form) bool { return f.Text.Has("{timestamp}") }))
}

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
		value := sc.value(p, sc.keys[i], &m, at)
		if s.shared(i) {
			value = h[p.header][0] + " " + value
		}
		h[p.header] = append(h[p.header][:0], value)
		for i, name := range p.extra {
			h[name] = append(h[name][:0], p.values(i, m.ID, m.Type, at))
		}
	}
	for i, f := range s.forms {
		h[f.Header] = append(h[f.Header][:0], sc.form(f, sc.keys[len(s.presets)+i][0], &m, at))
	}
}

// shared reports whether a preset before the i-th has its header.
func (s *Signer) shared(i int) bool {
	return slices.ContainsFunc(s.presets[:i], func(p *preset) bool { return p.header == s.presets[i].header })
}

// Shape sets the headers that Sign sets, of these texts, with signature in place
// of each signature.
func (s *Signer) Shape(h http.Header, id, kind, time, signature string) {
	if s == nil {
		return
	}
	for _, p := range s.presets {
		h[p.header] = []string{signature}
		for i, name := range p.extra {
			h[name] = []string{p.values(i, id, kind, time)}
		}
	}
	for _, f := range s.forms {
		h[f.Header] = []string{signature}
	}
}

// scratch is what one Sign needs. Its hashes carry their keys: Reset brings
// them back to the state after the key, without hashing it again.
type scratch struct {
	keys   [][]key // of each preset, then of each form
	prefix []byte  // of the signed text, before the body
	sum    []byte  // the digest made last
	text   []byte  // the signature's value
}

// A key is that of an HMAC, or of ed25519.
type key struct {
	hash.Hash
	private ed25519.PrivateKey
}

// value returns the value of a preset's signature.
func (sc *scratch) value(p *preset, keys []key, m *Message, time string) string {
	sc.text = sc.text[:0]
	sc.prefix = p.prefix(sc.prefix[:0], m.ID, time)
	if p.head != "" {
		sc.text = append(append(append(sc.text, p.head...), time...), p.sep...)
	}
	for i, key := range keys {
		if i > 0 {
			sc.text = append(sc.text, p.sep...)
		}
		if p.pair {
			sc.sum = append(sc.sum[:0], ed25519.Sign(key.private, append(sc.prefix, m.Body...))...)
		} else {
			key.Reset()
			key.Write(sc.prefix)
			key.Write(m.Body)
			sc.sum = key.Sum(sc.sum[:0])
		}
		sc.text = append(sc.text, p.mark...)
		if p.base64 {
			sc.text = base64.StdEncoding.AppendEncode(sc.text, sc.sum)
		} else {
			sc.text = hex.AppendEncode(sc.text, sc.sum)
		}
	}
	return string(sc.text)
}

// Signed says of a header that holds a signature of which presets it is, of those that
// may be, and what is signed before the body, of an attempt at a time; presets is "" if
// it is of none.
func Signed(header string, may []string, id string, at time.Time) (names, before string) {
	for _, p := range presets {
		if p.header == http.CanonicalHeaderKey(header) && slices.Contains(may, p.name) {
			names = strings.TrimPrefix(names+", "+p.name, ", ")
			before = string(p.prefix(nil, id, strconv.FormatInt(at.Unix(), 10)))
		}
	}
	return names, before
}
