package config

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/pelletier/go-toml/v2"
)

// Every way a Secret may lie within another value.
type (
	holder struct {
		Exported Secret
		Pointer  *Secret
		Slice    []Secret
		Map      map[string]Secret
		Any      any
		Nested   struct{ Deep *holder }
		hidden   Secret
		behind   *Secret
		hiddens  []Secret
		byName   map[string]Secret
		any      any
	}
	embedder struct{ Secret }
)

func holders() []any {
	s := NewSecret(canary)
	h := holder{s, &s, []Secret{s}, map[string]Secret{"a": s}, s, struct{ Deep *holder }{}, s, &s, []Secret{s}, map[string]Secret{"a": s}, s}
	deep := h
	h.Nested.Deep = &deep
	return []any{s, &s, []Secret{s}, []*Secret{&s}, [1]Secret{s}, map[string]Secret{"a": s}, h, &h, []any{h, &h},
		embedder{s}, &embedder{s}, fmt.Errorf("wrapped: %v", s), errors.Join(fmt.Errorf("%w", errors.New(s.String())))}
}

// no fails the test if the canary, in any form a verb can give it, is in text.
func no(t *testing.T, what, text string) {
	t.Helper()
	forms := []string{canary, strings.ToLower(canary), fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), fmt.Sprintf("% x", canary),
		strings.Trim(fmt.Sprint([]byte(canary)), "[]"), fmt.Sprintf("%U", []rune(canary)), "Q0FOQVJZ"}
	for _, form := range forms {
		if strings.Contains(text, form) {
			t.Errorf("%s prints the secret: %s", what, text)
		}
	}
}

func TestSecretHasNoVerb(t *testing.T) {
	flags := []string{"", "+", "#", "-", " ", "0", "+#", "10", ".3", "#+10.3"}
	for _, v := range holders() {
		for c := rune('a'); c <= 'z'; c++ {
			for _, flag := range flags {
				for _, verb := range []string{"%" + flag + string(c), "%" + flag + string(c-'a'+'A')} {
					text := fmt.Sprintf(verb, v)
					no(t, fmt.Sprintf("%s of %T", verb, v), text)
					// fmt handles these three itself: they give a type or an address.
					if _, alone := v.(Secret); alone && !strings.ContainsAny(verb, "Tpw") && text != redacted {
						t.Errorf("%s: %q", verb, text)
					}
				}
			}
		}
		no(t, "Sprint", fmt.Sprint(v))
		no(t, "Sprintln", fmt.Sprintln(v))
		no(t, "Errorf", fmt.Errorf("%w, %v", io.EOF, v).Error())
		odd := "%d %d %!"
		//lint:ignore SA5009 a format that is wrong must print no secret either
		no(t, "an argument too few", fmt.Sprintf(odd, v))
	}
}

func TestSecretHasNoEncoding(t *testing.T) {
	for _, v := range holders() {
		encoded, err := json.Marshal(v)
		no(t, "json", string(encoded)+fmt.Sprint(err))
		encoded, err = xml.Marshal(v)
		no(t, "xml", string(encoded)+fmt.Sprint(err))
		encoded, err = toml.Marshal(v)
		no(t, "toml", string(encoded)+fmt.Sprint(err))

		var b bytes.Buffer
		for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
			slog.New(h).With("with", v).Info("m", "v", v, slog.Group("g", "v", v), "list", []any{v})
		}
		no(t, "slog", b.String())
	}
	encoded, err := json.Marshal(map[string]any{"a": NewSecret(canary), "zero": Secret{}})
	check(t, "json", []any{string(encoded), err}, []any{`{"a":"[secret]","zero":"[secret]"}`, nil})
}

func TestSecret(t *testing.T) {
	s, zero := NewSecret(canary), NewSecret("")
	check(t, "reveal", []string{s.Reveal(), zero.Reveal()}, []string{canary, ""})
	check(t, "zero", []bool{s.IsZero(), zero.IsZero(), Secret{}.IsZero()}, []bool{false, true, true})
	check(t, "equal", []bool{s.Equal(NewSecret(canary)), zero.Equal(Secret{}), s.Equal(zero), s.Equal(NewSecret(canary + "x"))},
		[]bool{true, true, false, false})
}

// A whole config, with a secret wherever one can be, prints none: not even to
// a dumper that follows every pointer and reads unexported fields.
func TestConfigPrintsNoSecret(t *testing.T) {
	c := good(t, `
[server]
token = "CANARY"
[[route]]
name = "a"
url = "https://x.example.com/CANARY?CANARY"
secrets = ["CANARY", { env = "CRM_SECRET" }, { file = "testdata/bad/files/secret" }]
signatures = ["beton", "standard", "github", "stripe", "slack"]
headers = { X-Key = "CANARY", X-Env = { env = "CRM_SECRET" } }
basic_auth = { username = "u", password = "CANARY" }
[[route]]
name = "b"
url = { env = "URL_HTTP" }
allow_http = true
bearer_token = { env = "CRM_SECRET" }
`)
	for _, v := range []any{c, *c, c.Server, c.Routes, c.Routes[0], &c.Routes[0], c.Routes[0].BasicAuth, *c.Routes[0].BasicAuth, c.Routes[0].Signer, c.Warnings} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			no(t, fmt.Sprintf("%s of %T", verb, v), fmt.Sprintf(verb, v))
		}
		encoded, err := json.Marshal(v)
		no(t, "json", string(encoded)+fmt.Sprint(err))
		var b bytes.Buffer
		for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
			slog.New(h).Info("m", "v", v)
		}
		no(t, "slog", b.String())
	}
	var dumped strings.Builder
	dump(&dumped, reflect.ValueOf(c), map[unsafe.Pointer]bool{})
	no(t, "dump", dumped.String())
	if !strings.Contains(dumped.String(), "x.example.com") {
		t.Error("the dump does not reach the routes")
	}
}

// dump writes every string and byte that reflection can reach.
func dump(b *strings.Builder, v reflect.Value, seen map[unsafe.Pointer]bool) {
	switch v.Kind() {
	case reflect.String:
		b.WriteString(v.String() + "\n")
	case reflect.Uint8, reflect.Int32:
		if v.CanUint() {
			b.WriteByte(byte(v.Uint()))
		} else {
			b.WriteRune(rune(v.Int()))
		}
	case reflect.Pointer:
		if !v.IsNil() && !seen[v.UnsafePointer()] {
			seen[v.UnsafePointer()] = true
			dump(b, v.Elem(), seen)
		}
	case reflect.Interface:
		dump(b, v.Elem(), seen)
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			dump(b, v.Index(i), seen)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			dump(b, it.Key(), seen)
			dump(b, it.Value(), seen)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			dump(b, v.Field(i), seen)
		}
	}
}
