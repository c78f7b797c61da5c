package config

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
)

// redacted is what any attempt to print a Secret gives.
const redacted = "[secret]"

// A Secret is a string that cannot be printed: every formatting verb, log
// handler and encoder gives "[secret]". Where formatting cannot call methods
// (a Secret in an unexported field of another type) it gives an address. The
// zero Secret holds nothing.
type Secret struct {
	// A closure, because reflection can follow a pointer but not a closure.
	reveal func() string
}

// NewSecret returns a Secret that holds value. An empty value gives the zero
// Secret.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{func() string { return value }}
}

// Reveal returns the value: for the wire, never for people.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// IsZero reports whether there is no value.
func (s Secret) IsZero() bool { return s.reveal == nil }

// Equal reports whether both hold the same value. The time it takes depends on
// their lengths at most.
func (s Secret) Equal(other Secret) bool {
	a, b := sha256.Sum256([]byte(s.Reveal())), sha256.Sum256([]byte(other.Reveal()))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// Format writes "[secret]", whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// String returns "[secret]".
func (Secret) String() string { return redacted }

// MarshalText returns "[secret]": so do JSON, TOML, XML and slog.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
