package sign

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"regexp"
	"slices"
	"strings"
)

// A Form is a signature of one's own form: a header, whose value is made of an
// HMAC of a text. The key is the first secret as written.
type Form struct {
	Header string // as it is spelled
	Text   Template
	Value  Template
	Hash   string // of Hashes
}

// Hashes are those of Forms. The first is that of the presets.
var Hashes = []string{"sha256", "sha1", "sha512"}

var hashes = map[string]func() hash.Hash{"sha256": sha256.New, "sha1": sha1.New, "sha512": sha512.New}

// A Template is a text with {names} in it, for which values stand when it is
// filled. {{ is a brace.
type Template struct {
	Source string
	parts  []part
}

// A part of a template is a literal, or has a name.
type part struct{ literal, name string }

// A TemplateError says what is wrong with a template, and where.
type TemplateError struct {
	Offset int // in bytes
	Msg    string
}

func (e *TemplateError) Error() string { return e.Msg }

// What has a value in a Template; the first of them in a text to sign.
var templateNames = []string{"{id}", "{timestamp}", "{type}", "{url}", "{body}", "{hex}", "{base64}"}

// ParseText reads the template of a text to sign.
func ParseText(source string) (Template, error) { return parse(source, templateNames[:5]...) }

// ParseValue reads the template of a header's value.
func ParseValue(source string) (Template, error) {
	t, err := parse(source, "{hex}", "{base64}", "{timestamp}")
	switch odd := strings.IndexFunc(source, func(c rune) bool { return c < ' ' || c > '~' }); {
	case err != nil:
	case odd >= 0:
		err = &TemplateError{odd, "a header holds printable ASCII alone"}
	case !t.Has("{hex}") && !t.Has("{base64}"):
		err = &TemplateError{0, "there is no signature in it: expected {hex} or {base64}"}
	}
	return t, err
}

// Has reports whether a name, in its braces, is in the template.
func (t Template) Has(name string) bool {
	return slices.ContainsFunc(t.parts, func(p part) bool { return p.name == name })
}

// braced matches a brace, or a name in braces, or one whose brace is not closed on its line.
var braced = regexp.MustCompile(`\{\{|\{[^}\n]*\}?`)

func parse(source string, names ...string) (Template, error) {
	t, literal, end := Template{Source: source}, "", 0
	for _, at := range braced.FindAllStringIndex(source, -1) {
		name := source[at[0]:at[1]]
		literal += source[end:at[0]]
		end = at[1]
		switch {
		case name == "{{":
			literal += "{"
			continue
		case !strings.HasSuffix(name, "}"):
			return t, &TemplateError{at[0], "{ has no }: a brace is written {{"}
		case !slices.Contains(names, name):
			return t, &TemplateError{at[0], fmt.Sprintf("unknown %s: expected %s; a brace is written {{", quote(name), strings.Join(names, ", "))}
		}
		t.parts = append(t.parts, part{literal, name})
		literal = ""
	}
	if literal += source[end:]; literal != "" {
		t.parts = append(t.parts, part{literal, ""})
	}
	return t, nil
}

// fill appends the template to b with the values of a message, of the time of its
// attempt, and of a digest. With a w all up to the last {body} is written to that instead:
// a body may be large.
func (t Template) fill(b []byte, m *Message, time string, sum []byte, w io.Writer) []byte {
	for _, p := range t.parts {
		b = append(b, p.literal...)
		switch p.name {
		case "{id}":
			b = append(b, m.ID...)
		case "{timestamp}":
			b = append(b, time...)
		case "{type}":
			b = append(b, m.Type...)
		case "{url}":
			b = append(b, m.URL.String()...)
		case "{body}":
			if w == nil {
				b = append(b, m.Body...)
				continue
			}
			w.Write(b)
			w.Write(m.Body)
			b = b[:0]
		case "{hex}":
			b = hex.AppendEncode(b, sum)
		case "{base64}":
			b = base64.StdEncoding.AppendEncode(b, sum)
		}
	}
	return b
}
