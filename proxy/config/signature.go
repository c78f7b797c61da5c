package config

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"signalpost/proxy/sign"
)

// How the deliveries of a route are signed.

// sharedSecret is what is wrong with a secret that signer and receiver share.
func sharedSecret(text string) string {
	if sign.IsKey(text) {
		return "is a key of ed25519: set signing_key to the private one, and give receivers the public one"
	}
	return ""
}

// privateKey is what is wrong with a private key.
func privateKey(text string) string {
	if _, err := sign.PublicKey(text); err != nil {
		return err.Error()
	}
	return ""
}

// forms is a list of [[route.signature]] tables.
func forms(dst *[]*sign.Form) field {
	*dst = nil
	return field{keys: formKeys(new(sign.Form)), read: func(d *decoder, key string, v *value) {
		tables := v.list
		if v.kind != kindList {
			tables = []*value{v}
		}
		for _, t := range tables {
			f := new(sign.Form)
			if v.kind != kindList || t.kind != kindTable {
				d.fault(t.at, "%s: expected a list of tables, each [[route.signature]], not %s", key, t.kind)
			} else if bad := d.read(t, formKeys(f), key+"."); len(bad) == 0 && !t.broken {
				*dst = append(*dst, f)
				if !d.partial && !f.Text.Has("{body}") {
					d.warn(cmp.Or(t.keys["text"], t).at, "%s.text: without {body} whoever has seen one delivery can send any body with its signature", key)
				}
			}
		}
	}}
}

func formKeys(f *sign.Form) schema {
	text, _ := sign.ParseText("{body}")
	hex, _ := sign.ParseValue("{hex}")
	return schema{
		"header": required("each has the header that it goes into", into(&f.Header, "", headerName)),
		"text":   into(&f.Text, text, template(sign.ParseText)),
		"value":  into(&f.Value, hex, template(sign.ParseValue)),
		"hash":   into(&f.Hash, sign.Hashes[0], name(sign.Hashes...)),
	}
}

func headerName(d *decoder, key string, v *value) (string, bool) {
	if !d.expect(v.kind == kindString, key, v, "the name of a header in a string") {
		return "", false
	}
	if strings.EqualFold(v.text, "User-Agent") {
		d.fault(v.at, "%s: %s is no place for a signature", key, quote(v.text))
		return "", false
	}
	return v.text, d.checkHeaderName(key, v.text, v.at)
}

// template parses the templates that parse knows.
func template(parse func(string) (sign.Template, error)) parser[sign.Template] {
	return func(d *decoder, key string, v *value) (sign.Template, bool) {
		if !d.expect(v.kind == kindString, key, v, "a string") {
			return sign.Template{}, false
		}
		t, err := parse(v.text)
		if wrong, ok := errors.AsType[*sign.TemplateError](err); ok {
			d.fault(v.offset(wrong.Offset), "%s: %s", key, wrong.Msg)
		}
		return t, err == nil
	}
}

// makeSigner makes the route's signer of its secrets, keys, presets and forms.
func (r *Route) makeSigner(d *decoder, t *value) {
	values := cmp.Or(t.keys["secrets"], new(value)).list
	if v := t.keys["secret"]; v != nil {
		values = []*value{v}
	}
	presets, keys, forms := r.signingPresets(d, t), []string{}, r.Forms
	switch {
	case len(values) != len(r.Secrets): // both keys: reported
		return
	case len(values) > 0 && len(presets)+len(forms) == 0:
		d.warn(cmp.Or(t.keys["signatures"], t).at, "signatures is empty: nothing is signed, though the route has a secret")
	case len(values) > 0:
		for i, s := range r.Secrets {
			keys = append(keys, s.Reveal())
			r.checkSecret(d, values[i], presets, keys[i])
		}
	default:
		if len(presets)+len(forms) > 0 || len(r.Signatures) == 0 { // else ed25519 is all
			d.warn(cmp.Or(t.keys["name"], t).at, "no secret: receivers cannot tell these deliveries from anyone else's; set secret")
		}
		presets, forms = nil, nil
	}
	if slices.Contains(r.Signatures, ed25519) {
		presets, keys = append(presets, ed25519), append(keys, r.SigningKey.Reveal())
	}
	if len(presets)+len(forms) > 0 {
		r.Signer, _ = sign.New(presets, keys, forms...) // or there is a fault
	}
}

const ed25519 = "ed25519" // the preset that signing_key is for

// signingPresets are the presets that sign with secrets. It reports a key without
// its preset and a preset without its key.
func (r *Route) signingPresets(d *decoder, t *value) []string {
	presets := slices.DeleteFunc(slices.Clone(r.Signatures), func(name string) bool { return name == ed25519 })
	key, set := t.keys["signing_key"], t.keys["signatures"]
	switch paired := len(presets) < len(r.Signatures); {
	case paired && key == nil:
		d.fault(set.at, "signatures: the preset ed25519 signs with a private key: set signing_key to one that signalpost keygen makes")
	case !paired && key != nil && (set == nil || d.inDefaults(set.at) || !d.inDefaults(key.at)): // else the route leaves out what [defaults] has
		d.fault(key.key, `signing_key: the preset "ed25519" alone signs with it: add that to signatures`)
	}
	return presets
}

// checkSecret reports a secret that the presets cannot sign with, and warns of
// one that is hardly meant.
func (r *Route) checkSecret(d *decoder, v *value, presets []string, secret string) {
	if len(presets) > 0 {
		if _, err := sign.New(presets, []string{secret}); err != nil {
			d.fault(v.at, "%v", err)
			return
		}
	}
	if strings.HasPrefix(secret, "v1,whsec_") {
		d.warn(v.at, "the secret begins with v1,whsec_: v1, is the version of its signatures and hardly part of it: leave out v1,")
		return
	}
	for _, w := range sign.Warnings(presets, []string{secret}) {
		d.warn(v.at, "%s", w)
	}
}
