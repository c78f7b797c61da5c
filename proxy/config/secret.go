package config

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"signalpost/proxy/units"
)

// redacted is what any attempt to print a Secret gives.
const redacted = "[secret]"

// A Secret is a string that cannot be printed: every formatting verb, log
// handler and encoder gives "[secret]". Where formatting cannot call methods
// (a Secret in an unexported field of another type) it gives an address. The
// zero Secret holds nothing.
type Secret struct {
	reveal func() string // reflection can follow a pointer but not a closure
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

// secretFlaw returns what is wrong with a text as a secret of any kind, without showing
// it, or "". Such a flaw comes from the way the value was stored, and makes every
// signature or login wrong.
func secretFlaw(text string) string {
	switch {
	case text == "":
		return "a secret value cannot be empty"
	case strings.ContainsRune(text, '\ufeff'):
		return "holds a byte order mark: store it without one, in PowerShell with -Encoding ascii"
	case wide([]byte(text)) != "":
		return "is " + wide([]byte(text)) + ": store it as UTF-8, in PowerShell with -Encoding ascii"
	case strings.ContainsFunc(text, unicode.IsControl):
		return "holds a control character (a line end?)"
	case strings.TrimSpace(text) != text:
		return "begins or ends with white space, which would be part of it"
	}
	return ""
}

// wide returns UTF-16 or UTF-32 for what is text in that, with a byte order mark or without.
func wide(data []byte) string {
	switch n := len(data); {
	case n >= 4 && n%4 == 0 && (data[0]|data[1] == 0) != (data[2]|data[3] == 0):
		return "UTF-32"
	case n >= 2 && (bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) || n%2 == 0 && (data[0] == 0) != (data[1] == 0)):
		return "UTF-16"
	}
	return ""
}

// sendable returns what is wrong with a bearer token.
func sendable(text string) string {
	if strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "a token is printable ASCII without spaces, and this one holds something else (a line end?)"
	}
	return ""
}

// secret parses a secret value: a string, { env = "NAME" } or { file = "path" },
// of which check, if there is one, returns what else is wrong. No fault shows the
// text of the string, or what was read.
func secret(check func(text string) string) parser[Secret] { return secretValue(check, false) }

// secretValue is secret for one that may be empty.
func secretValue(check func(text string) string, mayBeEmpty bool) parser[Secret] {
	return func(d *decoder, key string, v *value) (Secret, bool) {
		text, from := v.text, ""
		v.hidden = true
		if v.kind == kindTable && len(v.keys) == 1 {
			if bad := d.read(v, schema{"env": into(&text, "", fromEnv), "file": into(&text, "", fromFile)}, key+"."); len(bad) > 0 {
				return Secret{}, false
			}
			from = " (environment variable " + v.sorted()[0].text + ")"
			if file := v.keys["file"]; file != nil {
				from = " (file " + quote(file.text) + ")"
			}
		} else if v.kind != kindString {
			shown := ", not " + string(v.kind)
			if v.kind == kindTable {
				shown = fmt.Sprintf(": one of env and file, not %d keys", len(v.keys))
			}
			d.fault(v.at, `%s: expected a secret value (a string, { env = "NAME" } or { file = "path" })%s`, key, shown)
			return Secret{}, false
		}
		if d.rehearsed && text == "" && from != "" && !mayBeEmpty {
			d.missing = append(d.missing, strings.Trim(from, " ()"))
			return placeholder(check), true
		}
		problem := secretFlaw(text)
		if text == "" && mayBeEmpty {
			return Secret{}, true
		}
		if problem == "" && check != nil {
			problem = check(text)
		}
		if problem != "" {
			d.fault(v.at, "%s: %s%s", key, problem, from)
		}
		return NewSecret(text), problem == ""
	}
}

// secretTable is a table of names and secret values, such as the example. fits reports a
// name that cannot be in the table t, which is e, beside those before it.
func secretTable(dst *map[string]Secret, example string, check func(text string) string, fits func(d *decoder, key string, t, e *value, before map[string]Secret) bool) field {
	return field{keys: schema{}, read: func(d *decoder, key string, v *value) {
		if v.kind != kindTable {
			d.fault(v.at, "%s: expected a table such as %s, not %s", key, example, v.kind)
			return
		}
		kept := map[string]Secret{}
		for _, e := range v.sorted() {
			if fits(d, key, v, e, kept) {
				kept[e.name], _ = secret(check)(d, key+"."+e.name, e)
				d.warnDollar(e)
			}
		}
		*dst = kept
	}}
}

// placeholder returns what can stand in for a secret value of a kind, of which
// check returns what is wrong.
func placeholder(check func(text string) string) Secret {
	kinds := []string{"placeholder", PlaceholderURL, "tls://placeholder.invalid:4222", "whsk_" + strings.Repeat("A", 43) + "="}
	fits := func(text string) bool { return check == nil || check(text) == "" }
	return NewSecret(kinds[max(slices.IndexFunc(kinds, fits), 0)])
}

// PlaceholderURL stands in for a URL that is missing.
const PlaceholderURL = "https://placeholder.invalid"

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func fromEnv(d *decoder, key string, v *value) (text string, ok bool) {
	if v.kind != kindString || !envName.MatchString(v.text) || strings.HasPrefix(v.text, "whsec_") {
		d.fault(v.at, "%s: expected the name of an environment variable, in a string", key)
	} else if text, ok = d.env(v.text); !ok && d.rehearsed {
		d.missing = append(d.missing, "environment variable "+v.text)
	} else if !ok {
		d.fault(v.at, "%s: the environment variable %s is not set", key, v.text)
	}
	return text, ok
}

func fromFile(d *decoder, key string, v *value) (string, bool) {
	if _, ok := path(d, key, v); !ok {
		return "", false
	}
	data, ok := d.contentOf(key, v)
	if ok && len(data) > maxSecret {
		d.fault(v.at, "%s: the file %s is larger than a secret, of %s at most: is it the right one?", key, quote(v.text), units.FormatSize(maxSecret))
	}
	text, cut := strings.CutSuffix(string(data), "\n")
	if cut {
		text = strings.TrimSuffix(text, "\r")
	}
	return text, ok && len(data) <= maxSecret
}
