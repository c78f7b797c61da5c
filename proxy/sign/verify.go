package sign

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What Verify can find wrong with a request. Its errors wrap one of these and
// say more; those about the caller's own arguments wrap none.
var (
	ErrMissing   = errors.New("header missing")
	ErrMalformed = errors.New("malformed")
	ErrTimestamp = errors.New("timestamp outside the tolerance")
	ErrMismatch  = errors.New("no secret matches")
)

// Tolerance is how far the clocks of sender and receiver may be apart, as
// Standard Webhooks, Stripe and Slack recommend.
const Tolerance = 5 * time.Minute

// Detect returns the presets whose signature header the request carries: of
// those that share one, those whose mark is in it, or else the first.
func Detect(h http.Header) []string {
	var found []string
	for _, p := range presets {
		marked := func(p *preset) bool {
			return slices.ContainsFunc(strings.Fields(strings.Join(h[p.Header], " ")), func(part string) bool { return strings.HasPrefix(part, p.mark()) })
		}
		other := slices.ContainsFunc(presets, func(o *preset) bool { return o != p && o.Header == p.Header && marked(o) })
		if len(h[p.Header]) > 0 && (marked(p) || !other && !p.pair) {
			found = append(found, p.name)
		}
	}
	return found
}

// Verify checks the preset's signature on a received request: nil says that
// the sender holds one of the secrets, signed exactly this body, and, where
// the preset signs a time, did so no further from now than the tolerance. A
// negative tolerance leaves the time unchecked.
//
// The signature is judged before the time: an error that wraps ErrTimestamp
// says that all else is right. Signatures are compared in constant time. When
// one does not match, the usual mistakes are tried, and the error names the one
// that explains it: it is for the receiver's owner, not for the sender.
func Verify(preset string, secrets []string, h http.Header, body []byte, now time.Time, tolerance time.Duration) error {
	p, err := find(preset)
	if err != nil {
		return err
	}
	keys, err := p.keys(secrets, false)
	if err != nil {
		return err
	}
	got, err := p.read(h)
	if err != nil {
		return err
	}
	if !got.matches(keys, body) {
		return fmt.Errorf("%w: %s", ErrMismatch, got.mistake(p.decodes, secrets, keys, body))
	}
	if !p.timed() || tolerance < 0 {
		return nil
	}
	age, when := now.Sub(got.at), "ago"
	if age < 0 {
		age, when = -age, "in the future"
	}
	if age > tolerance {
		return fmt.Errorf("%w: the signature matches, but was made %s %s, over the %s allowed", ErrTimestamp, age.Truncate(time.Second), when, tolerance)
	}
	return nil
}

// received is a request's signature, read from its headers.
type received struct {
	sums   [][]byte  // the digests, any of which may match
	prefix []byte    // of the signed text, before the body
	at     time.Time // if a time is signed
	pair   bool      // the digests are signatures of ed25519
}

func (r received) matches(keys [][]byte, body []byte) bool {
	found := false
	for _, key := range keys {
		if r.pair {
			text := append(slices.Clip(r.prefix), body...)
			found = slices.ContainsFunc(r.sums, func(sum []byte) bool { return ed25519.Verify(key, text, sum) }) || found
			continue
		}
		mac := hmac.New(sha256.New, key)
		mac.Write(r.prefix)
		mac.Write(body)
		want := mac.Sum(nil)
		for _, sum := range r.sums {
			found = hmac.Equal(sum, want) || found
		}
	}
	return found
}

// mistake says why a signature does not match: by one of the usual mistakes if
// that explains it.
func (r received) mistake(decodes bool, secrets []string, keys [][]byte, body []byte) string {
	cut := bytes.TrimSuffix(body, []byte("\n"))
	switch {
	case len(cut) == len(body):
		if r.matches(keys, append(slices.Clip(body), '\n')) {
			return "it matches the body with a line end at its end: something cut that off"
		}
	case r.matches(keys, cut), r.matches(keys, bytes.TrimSuffix(cut, []byte("\r"))):
		return "it matches the body without the line end at its end: something added that (an editor, echo)"
	}
	if r.pair {
		return "signed with another key, or the body is not the bytes that were sent"
	}
	for _, secret := range secrets {
		text, prefixed := strings.CutPrefix(secret, whsec)
		decoded, _ := base64.StdEncoding.DecodeString(text)
		for _, try := range []struct {
			applies bool
			key     string
			mistake string
		}{
			{decodes && prefixed, secret, "secret as written: the sender did not base64-decode what follows whsec_"},
			{decodes && prefixed, text, "text after whsec_ as written: the sender did not base64-decode it"},
			{decodes, string(decoded), "secret base64-decoded: write it with whsec_ before it"},
			{!decodes, string(decoded), "secret base64-decoded: this preset takes it as written"},
			{true, strings.TrimSpace(secret), "secret without the white space around it"},
		} {
			if try.applies && try.key != "" && r.matches([][]byte{[]byte(try.key)}, body) {
				return "it matches the " + try.mistake
			}
		}
	}
	return "signed with another secret, or the body is not the bytes that were sent"
}

// value returns the one value of a header.
func value(h http.Header, name string) (string, error) {
	switch values := h[name]; {
	case len(values) == 0:
		return "", fmt.Errorf("%w: %s", ErrMissing, name)
	case len(values) > 1:
		return "", fmt.Errorf("%w %s: expected once, came %d times", ErrMalformed, name, len(values))
	case values[0] == "":
		return "", fmt.Errorf("%w: %s is empty", ErrMissing, name)
	}
	return h[name][0], nil
}

// read reads what Sign has written.
func (p *preset) read(h http.Header) (got received, err error) {
	need := func(name string) string {
		v, missing := value(h, name)
		err = cmp.Or(err, missing)
		return v
	}
	var id, stamp string
	if p.Text.Has("{id}") {
		id = need("Webhook-Id")
	}
	if p.time != "" {
		stamp = need(p.time)
	}
	text := need(p.Header)
	if err != nil {
		return got, err
	}
	// Other marks are for other receivers: v1a beside standard is ed25519's, v0 of
	// stripe is that of test events.
	parts, stamps := []string{text}, 0
	if p.sep != "" {
		parts = strings.Split(text, p.sep)
	}
	for _, part := range parts {
		if digits, ok := strings.CutPrefix(part, p.head); ok && p.head != "" {
			stamp = digits
			stamps++
		} else if encoded, ok := strings.CutPrefix(part, p.mark()); ok {
			if sum := p.decode(encoded); sum != nil {
				got.sums = append(got.sums, sum)
			}
		}
	}
	if len(got.sums) == 0 || p.head != "" && stamps != 1 {
		return got, fmt.Errorf("%w %s: expected %s, found %s", ErrMalformed, p.Header, p.expected, quote(text))
	}
	if p.timed() {
		seconds, err := strconv.ParseUint(stamp, 10, 63)
		if err != nil || len(stamp) > len("100000000000") {
			return got, fmt.Errorf("%w %s: expected Unix seconds, found %s", ErrMalformed, cmp.Or(p.time, "t of "+p.Header), quote(stamp))
		}
		got.at = time.Unix(int64(seconds), 0)
	}
	got.prefix, got.pair = p.prefix(id, stamp), p.pair
	return got, nil
}

// decode returns a digest, or nil if the text is none. Of the spellings base64
// has for one digest, libraries accept only the strict one; the decoder passes
// over line ends, for which the length leaves no room.
func (p *preset) decode(text string) []byte {
	sum, err := hex.DecodeString(text)
	inBase64 := p.Value.Has("{base64}")
	if inBase64 {
		sum, err = base64.StdEncoding.Strict().DecodeString(text)
	}
	size := sha256.Size
	if p.pair {
		size = ed25519.SignatureSize
	}
	if err != nil || len(sum) != size || inBase64 && len(text) != base64.StdEncoding.EncodedLen(size) {
		return nil
	}
	return sum
}

// quote shows what was found in a header: short, and safe to print.
func quote(text string) string {
	const most = 80
	if len(text) <= most {
		return fmt.Sprintf("%+q", text)
	}
	return fmt.Sprintf("%+q and %d bytes more", text[:most], len(text)-most)
}
