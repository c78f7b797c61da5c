package config

import (
	"bytes"
	"regexp"
	"strings"
	"unicode"

	"signalpost/proxy/sign"
	"signalpost/proxy/units"
)

// A rule returns what is wrong with a secret's text, in words that do not show
// it, or "".
type rule func(text string) string

// What no secret value may hold, whatever its key: it comes from the way the
// value was written down, and every signature or login with it is wrong.
const (
	hasControl = "holds a control character (a line end?)"
	hasMark    = "holds a byte order mark: store it without one, in PowerShell with -Encoding ascii"
	hasSpace   = "begins or ends with white space, which would be part of it"
)

func secretFlaw(text string) string {
	switch {
	case strings.ContainsRune(text, '\ufeff'):
		return hasMark
	case utf16Text([]byte(text)):
		return "is UTF-16: store it as UTF-8, in PowerShell with -Encoding ascii"
	case strings.ContainsFunc(text, unicode.IsControl):
		return hasControl
	case strings.TrimSpace(text) != text:
		return hasSpace
	}
	return ""
}

// utf16Text tells whether data is text in UTF-16, with a byte order mark or without.
func utf16Text(data []byte) bool {
	return bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) ||
		len(data) > 1 && len(data)%2 == 0 && (data[0] == 0) != (data[1] == 0)
}

// sendable is the rule for a bearer token.
func sendable(text string) string {
	if strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "a token is printable ASCII without spaces, and this one holds something else (a line end?)"
	}
	return ""
}

func secret(check rule) parser[Secret] {
	return func(d *decoder, key string, v *value) (Secret, bool) {
		text, ok := d.secret(key, v, check)
		return NewSecret(text), ok
	}
}

// secret reads a secret value: a string, { env = "NAME" } or { file = "path" }.
// Its faults show the text of neither the string nor what was read.
func (d *decoder) secret(key string, v *value, check rule) (string, bool) {
	text, from, ok := d.secretText(key, v)
	if !ok {
		return "", false
	}
	problem := secretFlaw(text)
	if text == "" {
		problem = "a secret value cannot be empty"
	} else if problem == "" && check != nil {
		problem = check(text)
	}
	if problem != "" {
		d.fault(v.at, "%s: %s%s", key, problem, from)
	}
	return text, problem == ""
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// secretText returns the text, and in words from where, if not from here.
func (d *decoder) secretText(key string, v *value) (text, from string, ok bool) {
	const expected = `a secret value (a string, { env = "NAME" } or { file = "path" })`
	env, file := v.keys["env"], v.keys["file"]
	switch {
	case v.kind == kindString:
		return v.text, "", true
	case v.kind != kindTable:
		d.fault(v.at, "%s: expected %s, not %s", key, expected, v.kind)
	case len(v.keys) != 1:
		d.fault(v.at, "%s: expected %s: one of env and file, not %d keys", key, expected, len(v.keys))
	case env != nil && (env.kind != kindString || !envName.MatchString(env.text) || strings.HasPrefix(env.text, "whsec_")):
		d.fault(env.at, "%s.env: expected the name of an environment variable, in a string", key)
	case env != nil:
		if text, ok = d.env(env.text); !ok {
			d.fault(env.at, "%s.env: the environment variable %s is not set", key, env.text)
		}
		return text, " (environment variable " + env.text + ")", ok
	case file != nil:
		if _, ok = path(d, key+".file", file); !ok {
			return "", "", false
		}
		data, ok := d.contentOf(key+".file", file)
		if ok && len(data) > maxSecret {
			d.fault(file.at, "%s.file: the file %s is larger than a secret, of %s at most: is it the right one?", key, quote(file.text), units.FormatSize(maxSecret))
			return "", "", false
		}
		text, cut := strings.CutSuffix(string(data), "\n")
		if cut {
			text = strings.TrimSuffix(text, "\r")
		}
		return text, " (file " + quote(file.text) + ")", ok
	default:
		d.read(v, schema{"env": {}, "file": {}}, key+".") // to report the key
	}
	return "", "", false
}

// dollar matches what looks like the use of an environment variable: ${NAME},
// or $NAME alone or in capitals.
var dollar = regexp.MustCompile(`\$\{[A-Za-z_][A-Za-z0-9_]*\}|(?:^|[^A-Za-z0-9$])\$[A-Z_][A-Z0-9_]+\b|^\$[A-Za-z_][A-Za-z0-9_]*$`)

func (d *decoder) warnDollar(v *value) {
	for _, element := range v.list {
		d.warnDollar(element)
	}
	if v.kind == kindString && dollar.MatchString(v.text) {
		d.warn(v.at, `$ and the name after it are taken as written: an environment variable is read only as a whole secret value, { env = "NAME" }`)
	}
}

// makeSigner makes the route's signer from its secrets and presets.
func (d *decoder) makeSigner(r *Route, t *value) {
	var values []*value
	if v := t.keys["secret"]; v != nil {
		values = []*value{v}
	} else if v := t.keys["secrets"]; v != nil {
		values = v.list
	}
	switch {
	case len(values) != len(r.Secrets): // both keys: reported
		return
	case len(values) == 0:
		at := t.at
		if name := t.keys["name"]; name != nil {
			at = name.at
		}
		d.warn(at, "no secret: receivers cannot tell these deliveries from anyone else's; set secret")
		return
	case len(r.Signatures) == 0:
		d.warn(t.keys["signatures"].at, "signatures is empty: nothing is signed, though the route has a secret")
		return
	}
	var texts []string
	for i, s := range r.Secrets {
		texts = append(texts, s.Reveal())
		// One by one, to place the fault.
		if _, err := sign.New(r.Signatures, texts[i:]); err != nil {
			d.fault(values[i].at, "%v", err)
		} else if strings.HasPrefix(texts[i], "v1,whsec_") {
			d.warn(values[i].at, "the secret begins with v1,whsec_: v1, is the version of its signatures and hardly part of it: leave out v1,")
		} else {
			for _, w := range sign.Warnings(r.Signatures, texts[i:]) {
				d.warn(values[i].at, "%s", w)
			}
		}
	}
	r.Signer, _ = sign.New(r.Signatures, texts)
}
