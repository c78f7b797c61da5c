package config

import (
	"errors"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"signalpost/proxy/sign"
	"signalpost/proxy/units"
	"signalpost/transform"
)

// How each kind of value is read. A field sets its target only if the value
// has no fault.

func str(d *decoder, key string, v *value, expected string) (string, bool) {
	if v.kind != kindString {
		d.fault(v.at, "%s: expected %s, not %s", key, expected, v.show())
		return "", false
	}
	return v.text, true
}

func boolean(dst *bool) field {
	return func(d *decoder, key string, v *value) {
		if v.kind != kindBoolean {
			d.fault(v.at, "%s: expected true or false, not %s", key, v.show())
			return
		}
		*dst = v.text == "true"
	}
}

func integer(dst *int, least, most int) field {
	return func(d *decoder, key string, v *value) {
		n, ok := v.integer()
		if !ok || n < least || n > most {
			d.fault(v.at, "%s: expected a whole number from %d to %d, not %s", key, least, most, v.show())
			return
		}
		*dst = n
	}
}

func (v *value) integer() (int, bool) {
	if v.kind != kindInteger {
		return 0, false
	}
	n, err := strconv.ParseInt(v.text, 0, strconv.IntSize)
	return int(n), err == nil
}

// fraction is a number from 0 to below 1.
func fraction(dst *float64) field {
	return func(d *decoder, key string, v *value) {
		f, err := strconv.ParseFloat(strings.ReplaceAll(v.text, "_", ""), 64)
		if v.kind != kindFloat && v.kind != kindInteger || err != nil || !(f >= 0 && f < 1) {
			d.fault(v.at, "%s: expected a number from 0 to below 1, not %s", key, v.show())
			return
		}
		*dst = f
	}
}

func duration(dst *time.Duration, least, most time.Duration) field {
	return func(d *decoder, key string, v *value) {
		text, ok := str(d, key, v, units.DurationForm)
		if !ok {
			return
		}
		n, ok := units.ParseDuration(text)
		switch {
		case !ok:
			d.fault(v.at, "%s: expected %s, not %s", key, units.DurationForm, v.show())
		case n < least || n > most:
			d.fault(v.at, "%s: expected a duration from %s to %s, not %s", key, units.FormatDuration(least), units.FormatDuration(most), v.show())
		default:
			*dst = n
		}
	}
}

func size(dst *int64, least, most int64) field {
	return func(d *decoder, key string, v *value) {
		text, ok := str(d, key, v, `a size such as "512KiB" or "10GiB"`)
		if !ok {
			return
		}
		n, ok := units.ParseSize(text)
		switch {
		case !ok:
			d.fault(v.at, "%s: expected %s, not %s", key, units.SizeForm, v.show())
		case n < least || n > most:
			d.fault(v.at, "%s: expected a size from %s to %s, not %s", key, units.FormatSize(least), units.FormatSize(most), v.show())
		default:
			*dst = n
		}
	}
}

var rateForm = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)/([smh])$`)

// rate is a number of attempts a time, kept as attempts a second.
func rate(dst *float64, asWritten *string) field {
	seconds := map[string]float64{"s": 1, "m": 60, "h": 3600}
	return func(d *decoder, key string, v *value) {
		const expected = `a rate above 0 such as "50/s", "100/m" or "1000/h"`
		text, ok := str(d, key, v, expected)
		if !ok {
			return
		}
		var n float64
		if m := rateForm.FindStringSubmatch(text); m != nil {
			n, _ = strconv.ParseFloat(m[1], 64)
			n /= seconds[m[2]]
		}
		if n <= 0 || n > 1e6 {
			d.fault(v.at, "%s: expected %s, not %s", key, expected, v.show())
			return
		}
		*dst, *asWritten = n, text
	}
}

// choice is one of names, which stand for the values beside them.
func choice[T any](dst *T, names []string, values []T) field {
	return func(d *decoder, key string, v *value) {
		text, ok := str(d, key, v, oneOf(names))
		if !ok {
			return
		}
		i := slices.Index(names, text)
		if i < 0 {
			d.fault(v.at, "%s: expected %s, not %s", key, oneOf(names), v.show())
			return
		}
		*dst = values[i]
	}
}

var routeName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

func pattern(dst *string, form *regexp.Regexp, expected string) field {
	return func(d *decoder, key string, v *value) {
		text, ok := str(d, key, v, expected)
		if !ok {
			return
		}
		if !form.MatchString(text) {
			d.fault(v.at, "%s: expected %s, not %s", key, expected, v.show())
			return
		}
		*dst = text
	}
}

// path is a file or folder, kept as an absolute path.
func path(dst *string) field {
	return func(d *decoder, key string, v *value) {
		if text, ok := d.path(key, v); ok {
			*dst = text
		}
	}
}

func (d *decoder) path(key string, v *value) (string, bool) {
	text, ok := str(d, key, v, "a path")
	switch {
	case !ok:
		return "", false
	case text == "":
		d.fault(v.at, "%s: expected a path, not an empty string", key)
	case strings.ContainsRune(text, 0):
		d.fault(v.at, "%s: expected a path: %s holds a NUL", key, quote(text))
	case text == "~" || strings.HasPrefix(text, "~/"):
		d.fault(v.at, "%s: ~ is not expanded: write %s with the home folder in full", key, quote(text))
	default:
		return d.abs(text), true
	}
	return "", false
}

// list is a list of strings. check returns what it expected of one it refuses,
// or else the string to keep.
func list(dst *[]string, check func(text string) (kept, expected string)) field {
	return func(d *decoder, key string, v *value) {
		if v.kind != kindList {
			d.fault(v.at, "%s: expected a list of strings, not %s", key, v.show())
			return
		}
		kept, there := []string{}, map[string]bool{}
		for _, element := range v.list {
			text, ok := str(d, key, element, "a list of strings")
			if !ok {
				continue
			}
			k, expected := check(text)
			switch {
			case expected != "":
				d.fault(element.at, "%s: expected %s, not %s", key, expected, element.show())
			case there[k]:
				d.fault(element.at, "%s: %s is there twice", key, element.show())
			default:
				kept, there[k] = append(kept, k), true
			}
		}
		*dst = kept
	}
}

var hostForm = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)

func hostName(text string) (kept, expected string) {
	kept = strings.TrimSuffix(strings.ToLower(text), ".")
	if len(kept) > 253 || !hostForm.MatchString(kept) {
		return "", "a plain host name such as signals.example.com, without scheme, port or wildcard"
	}
	return kept, ""
}

// glob is a pattern for signal types, which are printable ASCII.
func glob(text string) (kept, expected string) {
	ok := text != "" && len(text) <= 256 && text == strings.TrimSpace(text)
	for _, c := range []byte(text) {
		ok = ok && c >= ' ' && c <= '~'
	}
	if !ok {
		return "", "a signal type, 1 to 256 printable ASCII characters with no space at either end, in which * stands for any characters and ? for one"
	}
	return text, ""
}

func preset(text string) (kept, expected string) {
	presets := sign.Presets()
	if slices.Contains(presets, text) {
		return text, ""
	}
	expected = oneOf(presets)
	if near := nearest(text, presets); near != "" {
		expected += " (did you mean " + quote(near) + "?)"
	}
	return "", expected
}

func statuses(dst *[]int) field {
	return func(d *decoder, key string, v *value) {
		if v.kind != kindList {
			d.fault(v.at, "%s: expected a list of HTTP statuses such as [410], not %s", key, v.show())
			return
		}
		kept := []int{}
		for _, element := range v.list {
			n, ok := element.integer()
			if !ok || n < 100 || n > 599 || n/100 == 2 {
				d.fault(element.at, "%s: expected HTTP statuses from 100 to 599 but not 2xx, which is delivered, not %s", key, element.show())
				continue
			}
			kept = append(kept, n)
		}
		*dst = kept
	}
}

// listen is an address to listen on: HOST:PORT or unix:PATH.
func listen(dst *string) field {
	const expected = `HOST:PORT such as "127.0.0.1:8787", or "unix:/path/to.sock"`
	return func(d *decoder, key string, v *value) {
		text, ok := str(d, key, v, expected)
		if !ok {
			return
		}
		if socket, ok := strings.CutPrefix(text, "unix:"); ok {
			if socket == "" || strings.ContainsRune(socket, 0) {
				d.fault(v.at, "%s: expected %s, not %s", key, expected, v.show())
				return
			}
			socket = d.abs(socket)
			// What a socket address holds on Linux; some systems hold less.
			if len(socket) > 107 {
				d.fault(v.at, "%s: the path of a socket has at most 107 bytes, and %s has %d: use a shorter one", key, quote(socket), len(socket))
				return
			}
			*dst = "unix:" + socket
			return
		}
		host, port, err := net.SplitHostPort(text)
		n, perr := strconv.ParseUint(port, 10, 16)
		if err != nil || perr != nil || strconv.FormatUint(n, 10) != port {
			d.fault(v.at, "%s: expected %s, not %s", key, expected, v.show())
			return
		}
		if _, err := netip.ParseAddr(host); host != "" && err != nil && !hostForm.MatchString(strings.ToLower(host)) {
			d.fault(v.at, "%s: expected %s, not %s", key, expected, v.show())
			return
		}
		*dst = text
	}
}

// isLoopback reports whether a host name or address can only be this machine.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// expression is a jq program. One of nothing but white space is none, so that
// a route can do without the one in [defaults].
func expression(dst **transform.Program, asWritten *string) field {
	return func(d *decoder, key string, v *value) {
		text, ok := str(d, key, v, "a jq expression in a string")
		if !ok {
			return
		}
		if strings.TrimSpace(text) == "" {
			*dst, *asWritten = nil, ""
			return
		}
		program, err := transform.Compile(text)
		if err == nil {
			*dst, *asWritten = program, text
			return
		}
		at, msg := v.at, err.Error()
		if keyLine.MatchString(text) {
			// The compiler's words could show a secret of those lines.
			msg = "is no jq expression: it goes on over lines that look like keys of this file; is its closing quote missing?"
		} else if cerr, ok := errors.AsType[*transform.CompileError](err); ok {
			msg = cerr.Msg
			if cerr.Line > 0 {
				at = v.offset(offsetIn(text, cerr.Line, cerr.Column))
				d.sharedToo(v.at, at)
			}
		}
		d.fault(at, "%s: %s", key, msg)
	}
}

// keyLine matches a line such as `secret = "x"`, which no jq has.
var keyLine = regexp.MustCompile(`\n[ \t]*[A-Za-z0-9_'"-][A-Za-z0-9_'".-]*[ \t]*=[ \t]*["'{\[0-9tf]`)

// offsetIn returns the offset of a line and column, in characters, both from 1.
func offsetIn(text string, line, column int) int {
	at := 0
	for ; line > 1; line-- {
		next := strings.IndexByte(text[at:], '\n')
		if next < 0 {
			return len(text)
		}
		at += next + 1
	}
	for ; column > 1 && at < len(text); column-- {
		_, size := utf8.DecodeRuneInString(text[at:])
		at += size
	}
	return at
}

// sharedToo notes that a place within a value belongs to [defaults] if the
// value does.
func (d *decoder) sharedToo(at, within int) {
	if d.shared[at] {
		d.shared[within] = true
	}
}

// A rule returns what is wrong with a secret's text, in words that do not show
// it, or "".
type rule func(text string) string

// sendable is the rule for a bearer token.
func sendable(text string) string {
	for _, c := range []byte(text) {
		if c <= ' ' || c > '~' {
			return "a token is printable ASCII without spaces, and this one holds something else (a line end?)"
		}
	}
	return ""
}

// printable is the rule for a password.
func printable(text string) string {
	if strings.ContainsFunc(text, unicode.IsControl) {
		return "holds a control character (a line end?)"
	}
	return ""
}

// headerValue is the rule for the value of a header.
func headerValue(text string) string {
	for _, c := range []byte(text) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return "the value holds a control character (a line end?), which could add headers"
		}
	}
	if strings.Trim(text, " \t") != text {
		return "the value begins or ends with a space, which would be lost on the way"
	}
	return ""
}

func secret(dst *Secret, ok rule) field {
	return func(d *decoder, key string, v *value) {
		if text, good := d.secret(key, v, ok); good {
			*dst = NewSecret(text)
		}
	}
}

// oneSecret is a list of one.
func oneSecret(dst *[]Secret) field {
	return func(d *decoder, key string, v *value) {
		if text, ok := d.secret(key, v, nil); ok {
			*dst = []Secret{NewSecret(text)}
		}
	}
}

func secrets(dst *[]Secret) field {
	return func(d *decoder, key string, v *value) {
		if v.kind != kindList {
			d.fault(v.at, "%s: expected a list of secret values, not %s", key, v.kind)
			return
		}
		kept := []Secret{}
		for _, element := range v.list {
			if text, ok := d.secret(key, element, nil); ok {
				kept = append(kept, NewSecret(text))
			}
		}
		*dst = kept
	}
}

var (
	envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	envUse  = regexp.MustCompile(`^(\$[A-Za-z_][A-Za-z0-9_]*|\$\{.*\})$`)
)

// secret reads a secret value: a string, { env = "NAME" } or { file = "path" }.
// Its faults show the text of neither the string nor what was read.
func (d *decoder) secret(key string, v *value, check rule) (string, bool) {
	text, from, ok := d.secretText(key, v)
	if !ok {
		return "", false
	}
	if text == "" {
		d.fault(v.at, "%s: a secret value cannot be empty%s", key, from)
		return "", false
	}
	if check != nil {
		if problem := check(text); problem != "" {
			d.fault(v.at, "%s: %s%s", key, problem, from)
			return "", false
		}
	}
	return text, true
}

// secretText returns the text, and in words from where, if not from here.
func (d *decoder) secretText(key string, v *value) (text, from string, ok bool) {
	const expected = `a secret value (a string, { env = "NAME" } or { file = "path" })`
	if v.kind == kindString {
		if envUse.MatchString(v.text) {
			d.warn(v.at, `%s: the string is taken as written, $ and all: to read an environment variable write { env = "NAME" }`, key)
		}
		return v.text, "", true
	}
	if v.kind != kindTable {
		d.fault(v.at, "%s: expected %s, not %s", key, expected, v.kind)
		return "", "", false
	}
	if len(v.entries) != 1 {
		d.fault(v.at, "%s: expected %s: one of env and file, not %d keys", key, expected, len(v.entries))
		return "", "", false
	}
	bad := d.read(v, schema{
		"env": func(d *decoder, key string, v *value) {
			if v.kind != kindString || !envName.MatchString(v.text) || strings.HasPrefix(v.text, "whsec_") {
				d.fault(v.at, "%s: expected the name of an environment variable, in a string", key)
				return
			}
			from = " (environment variable " + v.text + ")"
			if text, ok = d.env(v.text); !ok {
				d.fault(v.at, "%s: the environment variable %s is not set", key, v.text)
			}
		},
		"file": func(d *decoder, key string, v *value) {
			name, good := d.path(key, v)
			if !good {
				return
			}
			from = " (file " + quote(v.text) + ")"
			data, err := d.contentOf(name, maxSecret)
			if err != nil {
				d.fault(v.at, "%s: the file %s cannot be read: %s", key, quote(v.text), readProblem(err))
				return
			}
			text, ok = string(data), true
			if line, cut := strings.CutSuffix(text, "\n"); cut {
				text = strings.TrimSuffix(line, "\r")
			}
		},
	}, key+".")
	return text, from, ok && len(bad) == 0
}

func username(dst *string) field {
	return func(d *decoder, key string, v *value) {
		switch {
		case v.kind != kindString:
			d.fault(v.at, "%s: expected a string, not %s", key, v.kind)
		case strings.Contains(v.text, ":") || printable(v.text) != "":
			d.fault(v.at, "%s: HTTP Basic allows no colon and no control character in a user name", key)
		default:
			*dst = v.text
		}
	}
}
