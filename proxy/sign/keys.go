package sign

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const whsec = "whsec_"

// Standard Webhooks: "recommended to be between 24 bytes (192 bits) and 64
// bytes (512 bits)".
const minStandardKey, maxStandardKey = 24, 64

// Warnings returns what `check` recommends about secrets that New accepts:
// under the standard preset, secrets in the form whsec_BASE64, of 24 to 64
// bytes.
func Warnings(names []string, secrets []string) []string {
	if !slices.Contains(names, "standard") {
		return nil
	}
	var warnings []string
	warn := func(i int, what string) {
		warnings = append(warnings, nth(i, len(secrets))+what+"; make one with: echo whsec_$(openssl rand -base64 32)")
	}
	for i, secret := range secrets {
		key, err := standardKey(secret)
		n := len(key)
		switch {
		case err != nil: // an error of New
		case !strings.HasPrefix(secret, whsec):
			warn(i, " does not begin with whsec_: the libraries of Standard Webhooks base64-decode any secret, so their default will not verify these signatures")
		case n < minStandardKey || n > maxStandardKey:
			warn(i, fmt.Sprintf(" holds %d bytes after whsec_: Standard Webhooks asks for %d to %d", n, minStandardKey, maxStandardKey))
		}
	}
	return warnings
}

// nth names a secret without showing it.
func nth(i, n int) string {
	if n == 1 {
		return "the secret"
	}
	return fmt.Sprintf("secret %d of %d", i+1, n)
}

// ErrNoKey says that there is no key of the kind that a preset takes.
var ErrNoKey = errors.New("no secret")

// keys takes the secrets as the preset does: as they are written, or decoded; of
// ed25519 to sign with, or to verify.
func (p *preset) keys(secrets []string, signs bool) (keys [][]byte, err error) {
	for i, secret := range secrets {
		switch {
		case secret == "":
			return nil, errors.New(nth(i, len(secrets)) + " is empty")
		case IsKey(secret) != p.pair:
			continue
		}
		key, err := []byte(secret), error(nil)
		switch {
		case p.pair && signs:
			key, err = privateKey(secret)
		case p.pair:
			key, err = publicKey(secret)
		case p.decodes:
			key, err = standardKey(secret)
		}
		if err != nil {
			return nil, fmt.Errorf("%s %w", nth(i, len(secrets)), err)
		}
		keys = append(keys, key)
	}
	switch {
	case len(keys) > 0:
		return keys, nil
	case p.pair && signs:
		return nil, fmt.Errorf("%w: the preset ed25519 signs with a private key (whsk_)", ErrNoKey)
	case p.pair:
		return nil, fmt.Errorf("%w: the preset ed25519 is verified with a public key (whpk_)", ErrNoKey)
	}
	return nil, fmt.Errorf("%w: a signature needs at least one", ErrNoKey)
}

// standardKey returns the key a secret stands for under the standard preset.
// Its error is the rest of a sentence about the secret.
func standardKey(secret string) ([]byte, error) {
	text, ok := strings.CutPrefix(secret, whsec)
	if !ok {
		return []byte(secret), nil
	}
	if text == "" {
		return nil, errors.New("is empty after whsec_: the standard preset expects base64 there")
	}
	// The decoder would skip line ends; other libraries do not.
	if key, err := base64.StdEncoding.DecodeString(text); err == nil && !strings.ContainsAny(text, "\r\n") {
		return key, nil
	}
	return nil, errors.New("is not base64 after whsec_: the standard preset expects the standard alphabet (+ and /), padded with =")
}

// Prefixes of the keys of ed25519, as Standard Webhooks has them.
const whsk, whpk = "whsk_", "whpk_"

// IsKey reports whether a secret is a key of ed25519, private or public. No
// preset but ed25519 takes it, and ed25519 takes no other.
func IsKey(secret string) bool {
	key, _ := publicKey(secret)
	return key != nil
}

// privateKey reads whsk_ and base64 of a private key: its seed of 32 bytes, or
// the seed and the public key. The error is the rest of a sentence about it.
func privateKey(text string) (ed25519.PrivateKey, error) {
	encoded, ok := strings.CutPrefix(text, whsk)
	raw, err := decodeKey(encoded)
	switch {
	case !ok || err != nil || len(raw) != ed25519.SeedSize && len(raw) != ed25519.PrivateKeySize:
		return nil, errors.New("is no private key of ed25519: expected whsk_ and base64 of 32 or 64 bytes; make one with signalpost keygen")
	case len(raw) == ed25519.SeedSize:
		return ed25519.NewKeyFromSeed(raw), nil
	}
	key := ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize])
	if !bytes.Equal(key, raw) {
		return nil, errors.New("is no private key of ed25519: its last 32 bytes are not the public key of its first 32")
	}
	return key, nil
}

// publicKey reads whpk_ and base64 of a public key, or takes that of a private one.
func publicKey(text string) (ed25519.PublicKey, error) {
	encoded, ok := strings.CutPrefix(text, whpk)
	if !ok {
		private, err := privateKey(text)
		if err != nil {
			return nil, err
		}
		return private.Public().(ed25519.PublicKey), nil
	}
	raw, err := decodeKey(encoded)
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, errors.New("is no public key of ed25519: expected whpk_ and base64 of 32 bytes")
	}
	return raw, nil
}

// decodeKey decodes the standard alphabet, padded. The decoder would skip line ends.
func decodeKey(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("a line end")
	}
	return base64.StdEncoding.Strict().DecodeString(text)
}

// PublicKey returns the whpk_… that belongs to a whsk_…. The error is the rest of a
// sentence about that.
func PublicKey(private string) (string, error) {
	key, err := privateKey(private)
	if err != nil {
		return "", err
	}
	return whpk + base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey)), nil
}

// NewPrivateKey makes a whsk_….
func NewPrivateKey() string {
	var seed [ed25519.SeedSize]byte
	rand.Read(seed[:])
	return whsk + base64.StdEncoding.EncodeToString(seed[:])
}
