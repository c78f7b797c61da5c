package sign_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"signalpost/proxy/sign"
)

// FuzzSign: what Sign makes, Verify accepts, with the secrets that the preset
// promises; and not with another body or another secret.
func FuzzSign(f *testing.F) {
	f.Add(plain, other, "dlv_1", "expansion_seat", uint32(1777473068), []byte(`{"a":1}`))
	f.Add(whsec, whold, "dlv.with.dots", "x", uint32(0), []byte{})
	f.Add("whsec_", "whsec_??", " ", "", uint32(1), []byte("\n"))
	f.Add(whsk, "whsk_TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs=", "dlv_1", "x", uint32(2), []byte("{}"))
	f.Add("a", "a\x00", "\x00", "\r\n", uint32(1<<31), []byte{0xff})
	f.Fuzz(func(t *testing.T, first, second, id, kind string, at uint32, body []byte) {
		if sign.IsKey(first) != sign.IsKey(second) { // no preset takes both
			return
		}
		m := sign.Message{ID: id, Time: time.Unix(int64(at), 0), Type: kind, Body: body}
		changed := append(bytes.Clone(body), '!')
		for _, preset := range sign.Presets() {
			secrets := []string{first, second}
			s, err := sign.New([]string{preset}, secrets)
			if err != nil {
				if (first != "" && len(first) > 8 && strings.Contains(err.Error(), first)) ||
					(len(second) > 8 && strings.Contains(err.Error(), second)) {
					t.Fatalf("%s: an error holds a secret", preset)
				}
				continue
			}
			h := http.Header{}
			h.Set("webhook-id", id)
			h.Set("webhook-timestamp", fmt.Sprint(at))
			s.Sign(h, m)
			if got := sign.Detect(h); len(got) != 1 || got[0] != preset {
				t.Fatalf("Detect of %s: %q", preset, got)
			}
			verify := func(body []byte, secrets ...string) error {
				return sign.Verify(preset, secrets, h, body, m.Time, 0)
			}
			if (preset == "standard" || preset == "ed25519") && id == "" {
				if err := verify(body, first); !errors.Is(err, sign.ErrMissing) {
					t.Fatalf("an empty id: %v", err)
				}
				continue
			}
			if err := verify(body, first); err != nil {
				t.Fatalf("%s, first secret: %v", preset, err)
			}
			if err := verify(body, "not this one", first); err != nil {
				t.Fatalf("%s, first secret among others: %v", preset, err)
			}
			all := preset == "standard" || preset == "stripe" || preset == "ed25519"
			if err := verify(body, second); all && err != nil {
				t.Fatalf("%s, second secret: %v", preset, err)
			} else if !all && !sameKey(preset, first, second) && !errors.Is(err, sign.ErrMismatch) {
				t.Fatalf("%s, second secret: %v", preset, err)
			}
			if err := verify(changed, first, second); !errors.Is(err, sign.ErrMismatch) {
				t.Fatalf("%s, changed body: %v", preset, err)
			}
		}
	})
}

// FuzzVerify: no header or body makes Verify panic; what it accepts is what
// the table says, worked out here by searching the header for the right
// digest; its errors are of the documented kinds.
func FuzzVerify(f *testing.F) {
	m := message(time.Unix(1777473068, 0))
	for i, preset := range sign.Presets() {
		h := request(f, []string{preset}, []string{whsec}, m)
		signature := h.Get(sign.Headers([]string{preset})[0])
		f.Add(uint8(i), signature, m.ID, "1777473068", m.Body, whsec)
		f.Add(uint8(i), signature, m.ID, "1777473068", m.Body, plain)
		f.Add(uint8(i), signature+" ", m.ID, "-1", []byte("\n"), "whsec_")
		f.Add(uint8(i), signature, m.ID, "1777473068", m.Body, whsk)
	}
	f.Add(uint8(3), "t=,v1=,=,,t", "", "", []byte(nil), "x")
	f.Add(uint8(1), "v1, ,v1 v1a,", "", "99999999999999999999", []byte(nil), "x")
	f.Fuzz(func(t *testing.T, which uint8, signature, id, stamp string, body []byte, secret string) {
		preset := sign.Presets()[int(which)%len(sign.Presets())]
		h := http.Header{}
		h.Set("webhook-id", id)
		h.Set("webhook-timestamp", stamp)
		h.Set("X-Slack-Request-Timestamp", stamp)
		h.Set(sign.Headers([]string{preset})[0], signature)
		before := bytes.Clone(body)
		err := sign.Verify(preset, []string{secret}, h, body, m.Time, -1)
		if !bytes.Equal(body, before) {
			t.Fatal("the body was changed")
		}
		if err != nil {
			kinds := 0
			for _, kind := range []error{sign.ErrMissing, sign.ErrMalformed, sign.ErrTimestamp, sign.ErrMismatch} {
				if errors.Is(err, kind) {
					kinds++
				}
			}
			_, bad := sign.New([]string{preset}, []string{secret})
			if (bad == nil) != (kinds == 1) && !strings.HasPrefix(secret, "whpk_") { // which verifies, and signs nothing
				t.Fatalf("%v is of %d kinds; New says %v", err, kinds, bad)
			}
			for _, c := range err.Error() {
				if c < ' ' || c > '~' {
					t.Fatalf("an error holds %q: %q", c, err)
				}
			}
			return
		}
		text := map[string]string{
			"beton": "", "github": "", "standard": id + "." + stamp + ".", "slack": "v0:" + stamp + ":",
		}[preset]
		if preset == "stripe" {
			_, stamp, _ = strings.Cut(signature, "t=")
			stamp, _, _ = strings.Cut(stamp, ",")
			text = stamp + "."
		}
		if preset == "ed25519" {
			seed, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsk_"))
			want := ed25519.Sign(ed25519.NewKeyFromSeed(seed[:32]), []byte(id+"."+stamp+"."+string(body)))
			if !strings.HasPrefix(secret, "whsk_") || !strings.Contains(signature, "v1a,"+base64.StdEncoding.EncodeToString(want)) {
				t.Fatalf("accepted %q", signature)
			}
			return
		}
		mac := hmac.New(sha256.New, keyOf(preset, secret))
		mac.Write([]byte(text))
		mac.Write(body)
		sum := mac.Sum(nil)
		if preset == "standard" {
			if !strings.Contains(signature, base64.StdEncoding.EncodeToString(sum)) {
				t.Fatalf("accepted %q", signature)
			}
		} else if !strings.Contains(strings.ToLower(signature), hex.EncodeToString(sum)) {
			t.Fatalf("%s accepted %q", preset, signature)
		}
	})
}

func keyOf(preset, secret string) []byte {
	if text, ok := strings.CutPrefix(secret, "whsec_"); ok && preset == "standard" {
		key, _ := base64.StdEncoding.DecodeString(text)
		return key
	}
	return []byte(secret)
}

// sameKey says whether HMAC takes the two for one key: it pads a short key
// with zeros, and hashes one longer than a block.
func sameKey(preset, a, b string) bool {
	normal := func(secret string) string {
		key := keyOf(preset, secret)
		if len(key) > sha256.BlockSize {
			sum := sha256.Sum256(key)
			key = sum[:]
		}
		return strings.TrimRight(string(key), "\x00")
	}
	return normal(a) == normal(b)
}
