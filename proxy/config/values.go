package config

import (
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/net/http/httpguts"

	"signalpost/proxy/units"
	"signalpost/transform"
)

// text parses strings: read returns the value that one stands for.
func text[T any](expected string, read func(text string) (x T, ok bool)) parser[T] {
	return func(d *decoder, key string, v *value) (x T, ok bool) {
		if v.kind == kindString {
			x, ok = read(v.text)
		}
		return x, d.expect(ok, key, v, expected)
	}
}

// word parses strings that are good as they are.
func word(expected string, good func(text string) bool) parser[string] {
	return text(expected, func(text string) (string, bool) { return text, good(text) })
}

// ranged parses strings that stand for something from least to most.
func ranged[T int64 | time.Duration](form string, parse func(string) (T, bool), write func(T) string, least, most T) parser[T] {
	return text(fmt.Sprintf("%s, from %s to %s", form, write(least), write(most)), func(text string) (T, bool) {
		n, ok := parse(text)
		return n, ok && n >= least && n <= most
	})
}

func duration(least, most time.Duration) parser[time.Duration] {
	return ranged(units.DurationForm, units.ParseDuration, units.FormatDuration, least, most)
}

func size(least, most int64) parser[int64] {
	return ranged(units.SizeForm, units.ParseSize, units.FormatSize, least, most)
}

// choice parses names, which stand for the values.
func choice[T any](names []string, values ...T) parser[T] {
	return func(d *decoder, key string, v *value) (x T, ok bool) {
		expected := oneOf(names)
		if i := slices.Index(names, v.text); i >= 0 && v.kind == kindString {
			return values[i], true
		}
		if meant := Nearest(v.text, names); meant != "" && v.kind == kindString {
			expected += " (did you mean " + quote(meant) + "?)"
		}
		return x, d.expect(false, key, v, expected)
	}
}

// name parses names, which stand for themselves.
func name(names ...string) parser[string] { return choice(names, names...) }

func boolean(d *decoder, key string, v *value) (bool, bool) {
	return v.text == "true", d.expect(v.kind == kindBoolean, key, v, "true or false")
}

// whole parses integers that are good.
func whole(expected string, good func(n int) bool) parser[int] {
	return func(d *decoder, key string, v *value) (int, bool) {
		n, err := strconv.ParseInt(v.text, 0, strconv.IntSize)
		return int(n), d.expect(v.kind == kindInteger && err == nil && good(int(n)), key, v, expected)
	}
}

func integer(least, most int) parser[int] {
	return whole(fmt.Sprintf("a whole number from %d to %d", least, most), func(n int) bool { return n >= least && n <= most })
}

// A Status is what an attempt is given up on.
type Status int

// Any4xx is all of 4xx but 408, 425 and 429, which ask for another attempt.
const Any4xx Status = 4

// Covers is whether the status of an answer is meant.
func (s Status) Covers(status int) bool {
	if s == Any4xx {
		return status/100 == 4 && status != http.StatusRequestTimeout && status != http.StatusTooEarly && status != http.StatusTooManyRequests
	}
	return int(s) == status
}

var oneStatus = whole(`HTTP statuses from 100 to 599 but not 2xx, which is delivered, or "4xx" for all 4xx but 408, 425 and 429`,
	func(n int) bool { return n >= 100 && n <= 599 && n/100 != 2 })

func status(d *decoder, key string, v *value) (Status, bool) {
	if v.kind == kindString && v.text == "4xx" {
		return Any4xx, true
	}
	n, ok := oneStatus(d, key, v)
	return Status(n), ok
}

// fraction parses a number from 0 to below 1.
func fraction(d *decoder, key string, v *value) (float64, bool) {
	f, err := strconv.ParseFloat(strings.ReplaceAll(v.text, "_", ""), 64)
	number := v.kind == kindFloat || v.kind == kindInteger
	return f, d.expect(number && err == nil && f >= 0 && f < 1, key, v, "a number from 0 to below 1")
}

var rateForm = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)/([smh])$`)

// rate parses attempts a time into attempts a second.
var rate = text(`a rate above 0 such as "50/s", "100/m" or "1000/h"`, func(text string) (perSecond float64, ok bool) {
	if m := rateForm.FindStringSubmatch(text); m != nil {
		perSecond, _ = strconv.ParseFloat(m[1], 64)
		perSecond /= map[string]float64{"s": 1, "m": 60, "h": 3600}[m[2]]
	}
	return perSecond, perSecond > 0 && perSecond <= 1e6
})

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

var routeName = word("1 to 63 of a-z, 0-9, _ and -, the first a letter or digit", nameForm.MatchString)

// path is a file or folder, kept as an absolute path.
func path(d *decoder, key string, v *value) (string, bool) {
	expected, home := "a path without NUL", v.text == "~" || strings.HasPrefix(v.text, "~/")
	if v.kind != kindString || v.text == "" {
		expected = "a path"
	} else if home {
		expected = "a path with the home folder in full, since ~ is not expanded"
	}
	ok := v.kind == kindString && v.text != "" && !home && !strings.ContainsRune(v.text, 0)
	return d.abs(v.text), d.expect(ok, key, v, expected)
}

var hostForm = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)

var hostName = text("a plain host name such as signals.example.com, without scheme, port or wildcard", func(text string) (string, bool) {
	text = strings.TrimSuffix(strings.ToLower(text), ".")
	return text, len(text) <= 253 && hostForm.MatchString(text)
})

var typeForm = regexp.MustCompile(`^[!-~]([ -~]{0,254}[!-~])?$`)

// glob is a pattern for signal types. What other globs have beside * and ?
// cannot be meant as it would be read here.
var glob = word("a signal type, 1 to 256 printable ASCII characters with no space at either end, in which * stands for any characters and ? for one "+
	`(no [ ] { } \, and no ! or ^ at the front: list each type, or use where)`, func(text string) bool {
	return typeForm.MatchString(text) && !strings.ContainsAny(text, `[]{}\`) && !strings.HasPrefix(text, "!") && !strings.HasPrefix(text, "^")
})

// listen is an address to listen on: HOST:PORT or unix:PATH.
func listen(d *decoder, key string, v *value) (string, bool) {
	host, port, err := net.SplitHostPort(v.text)
	n, portErr := strconv.ParseUint(port, 10, 16)
	_, addrErr := netip.ParseAddr(host)
	ok := err == nil && portErr == nil && strconv.FormatUint(n, 10) == port && (host == "" || addrErr == nil || hostForm.MatchString(strings.ToLower(host)))
	socket, isSocket := strings.CutPrefix(v.text, "unix:")
	if isSocket {
		ok = socket != "" && !strings.ContainsRune(socket, 0)
	}
	ok = d.expect(ok && v.kind == kindString, key, v, `HOST:PORT such as "127.0.0.1:8787", or "unix:/path/to.sock"`)
	if !ok || !isSocket {
		return v.text, ok
	}
	// What a socket address holds on Linux; some systems hold less.
	if socket = d.abs(socket); len(socket) > 107 {
		d.fault(v.at, "%s: the path of a socket has at most 107 bytes, and %s has %d: use a shorter one", key, quote(socket), len(socket))
	}
	return "unix:" + socket, len(socket) <= 107
}

// checkListen reports a missing token, unless only this machine reaches the address.
func (s *Server) checkListen(d *decoder, _ string, v *value) {
	host, _, _ := net.SplitHostPort(s.Listen)
	if s.Token.IsZero() && !strings.HasPrefix(s.Listen, "unix:") && !isLoopback(host) {
		d.fault(v.keys["listen"].at, "listen: %s can be reached from other machines: set server.token, or listen on 127.0.0.1", quote(s.Listen))
	}
}

// isLoopback reports whether a host name or address can only be this machine.
func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.Unmap().IsLoopback()
}

// expression is a jq expression; a filter is one that says yes or no. White space is
// none, so that a route can do without the one in [defaults].
func expression(dst **transform.Program, compile func(string) (*transform.Program, error), filter bool) field {
	f := into(dst, nil, func(d *decoder, key string, v *value) (*transform.Program, bool) {
		if !d.expect(v.kind == kindString, key, v, "a jq expression in a string") || strings.TrimSpace(v.text) == "" {
			return nil, true
		}
		compiled, err := compile(v.text)
		wrong, _ := errors.AsType[*transform.CompileError](err)
		switch {
		case err == nil:
			for _, w := range compiled.Warnings(filter) {
				d.warn(v.offset(w.Offset), "%s: %s", key, w.Msg)
			}
		case keyLine.MatchString(v.text): // the compiler's words could show a secret of those lines
			d.fault(v.at, "%s: is no jq expression: it goes on over lines that look like keys of this file; is its closing quote missing?", key)
		case key == "path" && strings.HasPrefix(v.text, "/"):
			d.fault(v.at, "%s: a path is a jq expression that yields a string: write it as %s", key, quote(strconv.Quote(v.text)))
		default:
			d.fault(v.offset(wrong.Offset), "%s: %s", key, wrong.Msg)
		}
		return compiled, err == nil
	})
	f.jq = true
	return f
}

// contentType is the value of a Content-Type header; "" is none.
var contentType = word(`a media type such as "application/json"`, func(text string) bool {
	kind, _, err := mime.ParseMediaType(text)
	return text == "" || err == nil && strings.Contains(kind, "/") && httpguts.ValidHeaderFieldValue(text)
})

func username(d *decoder, key string, v *value) (string, bool) {
	ok := v.kind == kindString && !strings.ContainsFunc(v.text, func(c rune) bool { return c == ':' || unicode.IsControl(c) })
	if v.kind != kindString {
		d.fault(v.at, "%s: expected a string, not %s", key, v.kind)
	} else if !ok {
		d.fault(v.at, "%s: HTTP Basic allows no colon and no control character in a user name", key)
	}
	return v.text, ok
}
