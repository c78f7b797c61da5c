package sign

import (
	"bytes"
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

// Detect returns the presets whose signature header the request carries.
func Detect(h http.Header) []string {
	var found []string
	for _, p := range presets {
		if len(h[p.headers[0]]) > 0 {
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
	keys, err := writtenKeys(secrets)
	if err != nil {
		return err
	}
	var got received
	switch preset {
	case "beton":
		got, err = readHex(h, betonSignature, "sha256=")
	case "github":
		got, err = readHex(h, githubSignature, "sha256=")
	case "standard":
		if keys, err = standardKeys(secrets); err != nil {
			return err
		}
		got, err = readStandard(h)
	case "stripe":
		got, err = readStripe(h)
	case "slack":
		got, err = readSlack(h)
	default:
		return unknownPreset(preset)
	}
	if err != nil {
		return err
	}
	if !got.matches(keys, body) {
		if hint := got.hint(preset, secrets, keys, body); hint != "" {
			return fmt.Errorf("%w: %s", ErrMismatch, hint)
		}
		return fmt.Errorf("%w: signed with another secret, or the body is not the bytes that were sent", ErrMismatch)
	}
	if !got.timed || tolerance < 0 {
		return nil
	}
	switch age := now.Sub(got.at); {
	case age > tolerance:
		return fmt.Errorf("%w: the signature matches, but was made %s ago, over the %s allowed", ErrTimestamp, age.Truncate(time.Second), tolerance)
	case age < -tolerance:
		return fmt.Errorf("%w: the signature matches, but was made %s in the future, over the %s allowed", ErrTimestamp, (-age).Truncate(time.Second), tolerance)
	}
	return nil
}

// received is a request's signature, read from its headers.
type received struct {
	sums   [][]byte  // the digests, any of which may match
	prefix string    // of the signed text, before the body
	timed  bool      // a time is signed
	at     time.Time // if timed
}

func (r received) matches(keys [][]byte, body []byte) bool {
	found := false
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(r.prefix))
		mac.Write(body)
		want := mac.Sum(nil)
		for _, sum := range r.sums {
			found = hmac.Equal(sum, want) || found
		}
	}
	return found
}

// hint tries the usual mistakes on a signature that does not match, and
// returns the one that explains it, or nothing.
func (r received) hint(preset string, secrets []string, keys [][]byte, body []byte) string {
	if cut, ok := bytes.CutSuffix(body, []byte("\n")); ok {
		if r.matches(keys, cut) || r.matches(keys, bytes.TrimSuffix(cut, []byte("\r"))) {
			return "it matches the body without the line end at its end: something added that (an editor, echo)"
		}
	} else if r.matches(keys, append(slices.Clip(body), '\n')) {
		return "it matches the body with a line end at its end: something cut that off"
	}
	for _, secret := range secrets {
		text, prefixed := strings.CutPrefix(secret, whsec)
		decoded, err := base64.StdEncoding.DecodeString(text)
		isBase64 := err == nil && len(decoded) > 0
		switch {
		case preset == "standard" && prefixed && r.matches([][]byte{[]byte(secret)}, body):
			return "it matches the secret as written: the sender did not base64-decode what follows whsec_"
		case preset == "standard" && prefixed && r.matches([][]byte{[]byte(text)}, body):
			return "it matches the text after whsec_ as written: the sender did not base64-decode it"
		case preset == "standard" && isBase64 && r.matches([][]byte{decoded}, body):
			return "it matches the secret base64-decoded: write it with whsec_ before it"
		case preset != "standard" && isBase64 && r.matches([][]byte{decoded}, body):
			return "it matches the secret base64-decoded: this preset takes it as written"
		}
	}
	for _, secret := range secrets {
		if cut := strings.TrimSpace(secret); cut != secret && cut != "" && r.matches([][]byte{[]byte(cut)}, body) {
			return "it matches the secret without the white space around it"
		}
	}
	return ""
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
	default:
		return values[0], nil
	}
}

// unixTime reads Unix seconds, which no sender writes with more than 12 digits.
func unixTime(name, text string) (time.Time, error) {
	seconds, err := strconv.ParseUint(text, 10, 63)
	if err != nil || len(text) > 12 {
		return time.Time{}, fmt.Errorf("%w %s: expected Unix seconds, found %s", ErrMalformed, name, quote(text))
	}
	return time.Unix(int64(seconds), 0), nil
}

// readHex reads a header of the form PREFIX HEX.
func readHex(h http.Header, name, prefix string) (received, error) {
	text, err := value(h, name)
	if err != nil {
		return received{}, err
	}
	digits, ok := strings.CutPrefix(text, prefix)
	sum, err := hex.DecodeString(digits)
	if !ok || err != nil || len(sum) != sha256.Size {
		return received{}, fmt.Errorf("%w %s: expected %s and 64 hex digits, found %s", ErrMalformed, name, prefix, quote(text))
	}
	return received{sums: [][]byte{sum}}, nil
}

func readStandard(h http.Header) (received, error) {
	id, err := value(h, standardID)
	if err != nil {
		return received{}, err
	}
	stamp, err := value(h, standardTimestamp)
	if err != nil {
		return received{}, err
	}
	text, err := value(h, standardSignature)
	if err != nil {
		return received{}, err
	}
	at, err := unixTime(standardTimestamp, stamp)
	if err != nil {
		return received{}, err
	}
	// Other versions are for other receivers: v1a is an asymmetric one. Of the
	// spellings base64 has for one digest, libraries accept only the strict one.
	var sums [][]byte
	for part := range strings.SplitSeq(text, " ") {
		if b64, ok := strings.CutPrefix(part, "v1,"); ok {
			// The decoder passes over line ends; the length leaves no room for any.
			if len(b64) != base64.StdEncoding.EncodedLen(sha256.Size) {
				continue
			}
			if sum, err := base64.StdEncoding.Strict().DecodeString(b64); err == nil && len(sum) == sha256.Size {
				sums = append(sums, sum)
			}
		}
	}
	if len(sums) == 0 {
		return received{}, fmt.Errorf("%w %s: expected v1, and base64 of 32 bytes, found %s", ErrMalformed, standardSignature, quote(text))
	}
	return received{sums: sums, prefix: id + "." + stamp + ".", timed: true, at: at}, nil
}

func readStripe(h http.Header) (received, error) {
	text, err := value(h, stripeSignature)
	if err != nil {
		return received{}, err
	}
	// Other schemes are for other receivers: v0 is that of Stripe's test events.
	var stamps []string
	var sums [][]byte
	for part := range strings.SplitSeq(text, ",") {
		switch key, val, _ := strings.Cut(part, "="); key {
		case "t":
			stamps = append(stamps, val)
		case "v1":
			if sum, err := hex.DecodeString(val); err == nil && len(sum) == sha256.Size {
				sums = append(sums, sum)
			}
		}
	}
	if len(stamps) != 1 || len(sums) == 0 {
		return received{}, fmt.Errorf("%w %s: expected t=UNIXSECONDS,v1=HEX without spaces, found %s", ErrMalformed, stripeSignature, quote(text))
	}
	at, err := unixTime("t of "+stripeSignature, stamps[0])
	if err != nil {
		return received{}, err
	}
	return received{sums: sums, prefix: stamps[0] + ".", timed: true, at: at}, nil
}

func readSlack(h http.Header) (received, error) {
	stamp, err := value(h, slackTimestamp)
	if err != nil {
		return received{}, err
	}
	got, err := readHex(h, slackSignature, "v0=")
	if err != nil {
		return received{}, err
	}
	at, err := unixTime(slackTimestamp, stamp)
	if err != nil {
		return received{}, err
	}
	got.prefix, got.timed, got.at = "v0:"+stamp+":", true, at
	return got, nil
}

// quote shows what was found in a header: short, and safe to print.
func quote(text string) string {
	const most = 80
	if len(text) > most {
		return fmt.Sprintf("%+q and %d bytes more", text[:most], len(text)-most)
	}
	return fmt.Sprintf("%+q", text)
}
