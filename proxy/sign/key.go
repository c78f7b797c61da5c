package sign

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
)

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
