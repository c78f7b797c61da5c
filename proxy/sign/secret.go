package sign

import (
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

// keys takes the secrets as the preset does: as they are written, or decoded.
func (p *preset) keys(secrets []string) ([][]byte, error) {
	if len(secrets) == 0 {
		return nil, errors.New("no secret: a signature needs at least one")
	}
	keys := make([][]byte, len(secrets))
	for i, secret := range secrets {
		if secret == "" {
			return nil, errors.New(nth(i, len(secrets)) + " is empty")
		}
		keys[i] = []byte(secret)
		if p.decodes {
			var err error
			if keys[i], err = standardKey(secret); err != nil {
				return nil, fmt.Errorf("%s %w", nth(i, len(secrets)), err)
			}
		}
	}
	return keys, nil
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
