package config

import (
	"strings"
	"testing"
)

func TestAuthAndSignatures(t *testing.T) {
	c := good(t, `
[defaults]
proxy = "socks5://user:CANARY@proxy.example.com"
signing_key = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
signatures = ["ed25519"]
[defaults.oauth2.params]
audience = "a"
tenant = "t"
[[defaults.signature]]
header = "X-ONE"
[[route]]
name = "a"
url = "https://x.example.com/"
secret = "s"
oauth2 = { token_url = "https://idp.example.com/token", client_id = "id", client_secret = { env = "CRM_SECRET" }, scopes = ["a", "b:c"], params = { tenant = "u" } }
[[route]]
name = "b"
url = "http://crm.example.com/"
allow_http = true
oauth2 = { token_url = "http://idp.example.com/token", client_id = "id", client_secret = "s", auth = "body" }
proxy = "none"
signatures = []
signature = []
[[route]]
name = "c"
url = "https://x.example.com/"
secrets = ["whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX", "whsec_BAECAwQFBgcICQoLDA0ODxAREhMUFRYX"]
signatures = ["standard", "ed25519"]
basic_auth = { username = "u", password = "p" }
[[route.signature]]
header = "X-Two"
text = "{url}{{{body}"
value = "t={timestamp} {base64}"
hash = "sha512"
[[route.signature]]
header = "X-Three"
value = "{hex}"
`)
	a, b, r := &c.Routes[0], &c.Routes[1], &c.Routes[2]
	o := a.OAuth2
	check(t, "oauth2", []any{o.TokenURL.Reveal(), o.Target, o.ClientID.Reveal(), o.ClientSecret.Reveal(), o.Scopes, o.Params["audience"].Reveal(), o.Params["tenant"].Reveal(), o.Auth, a.BearerToken.IsZero()},
		[]any{"https://idp.example.com/token", "https://idp.example.com", "id", canary, []string{"a", "b:c"}, "a", "u", "", true})
	check(t, "auth", []any{b.OAuth2.Auth, b.OAuth2.Params["tenant"].Reveal(), b.BasicAuth == nil}, []any{"body", "t", true})
	check(t, "others", []any{r.OAuth2 == nil, r.BearerToken.IsZero(), r.BasicAuth.Username}, []any{true, true, "u"})
	check(t, "proxies", []string{a.Proxy.Reveal(), b.Proxy.Reveal()}, []string{"socks5://user:CANARY@proxy.example.com", NoProxy})
	check(t, "signs", [][]string{a.Signer.Names(), b.Signer.Names(), r.Signer.Names()}, [][]string{{"ed25519", "X-ONE"}, {}, {"standard", "ed25519", "X-Two", "X-Three"}})
	f := r.Forms[0]
	check(t, "form", []string{f.Header, f.Text.Source, f.Value.Source, f.Hash, r.Forms[1].Text.Source, r.Forms[1].Hash},
		[]string{"X-Two", "{url}{{{body}", "t={timestamp} {base64}", "sha512", "{body}", "sha256"})
	if len(c.Warnings) != 1 || c.Warnings[0].Route != "b" || !strings.Contains(c.Warnings[0].Msg, "no secret") { // though it has a key
		t.Errorf("%v", c.Warnings)
	}
}

// The URL of tokens is a target, too; a signature of less than the body is hardly meant.
func TestAuthWarnings(t *testing.T) {
	for text, want := range map[string]string{
		"[[route.signature]]\nheader = \"X-A\"\ntext = \"{id}\"":                                                                  `config signalpost.toml:7:8: route "crm": signature.text: without {body} whoever has seen one delivery can send any body with its signature`,
		"signatures = []\n[[route.signature]]\nheader = \"X-A\"":                                                                  "",
		"block_private_networks = true\noauth2 = { token_url = \"https://10.0.0.1/\", client_id = \"a\", client_secret = \"b\" }": `config signalpost.toml:5:26: route "crm": block_private_networks: no attempt will reach "https://10.0.0.1", which is not a public address`,
	} {
		warnings := ""
		if c := good(t, minimal+"secret = \"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX\"\n"+text+"\n"); len(c.Warnings) > 0 {
			warnings = c.Warnings.Error()
		}
		check(t, text, warnings, want)
	}
}
