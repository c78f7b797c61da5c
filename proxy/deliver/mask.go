package deliver

import (
	"encoding/base64"
	"encoding/json"
	"html"
	"net/url"
	"slices"
	"strings"

	"signalpost/proxy/config"
)

// redacted stands where a secret was.
const redacted = "[secret]"

// minSecret is the length in bytes from which on a secret is masked in text
// from receivers: shorter ones are found in any text, and hiding them would show where.
const minSecret = 4

// A mask knows a route's secrets, and takes them out of text that is not ours.
type mask struct {
	needles func() []string // a closure, so that nothing prints them
}

func newMask(r *config.Route, urls ...*url.URL) *mask {
	var known []string
	add := func(texts ...string) { known = append(known, texts...) }
	for _, s := range r.Secrets {
		add(s.Reveal(), strings.TrimPrefix(s.Reveal(), "whsec_"))
	}
	add(r.SigningKey.Reveal(), strings.TrimPrefix(r.SigningKey.Reveal(), "whsk_"))
	for _, s := range r.Headers {
		_, credentials, _ := strings.Cut(s.Reveal(), " ") // "Token abc"
		add(s.Reveal(), credentials)
	}
	if r.BasicAuth != nil {
		add(r.BasicAuth.Password.Reveal(), basicCredentials(r.BasicAuth))
	}
	add(r.BearerToken.Reveal())
	for _, s := range r.Params {
		add(s.Reveal())
	}
	if o := r.OAuth2; o != nil {
		id, secret := url.QueryEscape(o.ClientID.Reveal()), o.ClientSecret.Reveal()
		add(secret, base64.StdEncoding.EncodeToString([]byte(id+":"+url.QueryEscape(secret))))
		for _, value := range o.Params {
			add(value.Reveal())
		}
		if u, err := url.Parse(o.TokenURL.Reveal()); err == nil {
			urls = append(urls, u)
		}
	}
	if via, err := url.Parse(r.Proxy.Reveal()); err == nil && via.User != nil {
		password, _ := via.User.Password()
		add(password, base64.StdEncoding.EncodeToString([]byte(via.User.Username()+":"+password)))
	}
	for _, u := range urls {
		add(u.RequestURI(), u.EscapedPath(), u.Path, u.RawQuery)
		for _, values := range u.Query() {
			add(values...)
		}
		for segment := range strings.SplitSeq(u.Path, "/") {
			if credential(segment) {
				add(segment)
			}
		}
	}

	var needles []string
	for _, s := range known {
		needles = append(needles, echoes(s)...)
	}
	slices.Sort(needles)
	needles = slices.Compact(needles)
	return &mask{func() []string { return slices.Clip(needles) }}
}

// echoes are the forms in which a receiver may echo a secret; none of a secret so short
// that other text is likely to hold it.
func echoes(s string) []string {
	if len(s) < minSecret {
		return nil
	}
	query := url.QueryEscape(s)
	forms := []string{s, query, strings.ReplaceAll(query, "+", "%20"), url.PathEscape(s), html.EscapeString(s)}
	if b, err := json.Marshal(s); err == nil {
		safe := string(b[1 : len(b)-1]) // for HTML
		plain := strings.NewReplacer(`\u0026`, "&", `\u003c`, "<", `\u003e`, ">").Replace(safe)
		forms = append(forms, safe, plain, strings.ReplaceAll(safe, "/", `\/`), strings.ReplaceAll(plain, "/", `\/`))
	}
	return forms
}

// credential reports whether a segment of a path looks like one: long, or with
// digits, where words have none.
func credential(segment string) bool {
	return len(segment) >= 20 || len(segment) >= 6 && strings.ContainsAny(segment, "0123456789")
}

// clean returns text with every known secret replaced, and every one of further
// needles. If the text is not whole, the beginning of a secret at its end goes too.
func (m *mask) clean(text string, whole bool, further ...string) string {
	var hidden []bool
	for _, needle := range append(m.needles(), further...) {
		for from := 0; ; from++ {
			i := strings.IndexByte(text[from:], needle[0])
			if i < 0 {
				break
			}
			from += i
			if rest := text[from:]; strings.HasPrefix(rest, needle) || !whole && strings.HasPrefix(needle, rest) {
				if hidden == nil {
					hidden = make([]bool, len(text))
				}
				for i := range min(len(needle), len(rest)) {
					hidden[from+i] = true
				}
			}
		}
	}
	if hidden == nil {
		return text
	}
	var b strings.Builder
	for i := range len(text) {
		switch {
		case !hidden[i]:
			b.WriteByte(text[i])
		case i == 0 || !hidden[i-1]:
			b.WriteString(redacted)
		}
	}
	return b.String()
}
