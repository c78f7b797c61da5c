package deliver

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"signalpost/proxy/config"
	"signalpost/proxy/sign"
)

// A form's header goes out spelled as the config has it, over the URL as it is
// sent; an answer that echoes it, or the key of ed25519, is masked; people are
// shown neither.
func TestFormsOnTheWire(t *testing.T) {
	const secret = "the secret of a form"
	key := sign.NewPrivateKey()
	heads := make(chan string, 2)
	address := wire(t, func(_ int, c net.Conn, r *bufio.Reader) {
		for {
			head := ""
			for !strings.HasSuffix(head, "\r\n\r\n") {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				head += line
			}
			heads <- head
			io.CopyN(io.Discard, r, int64(len(sampleBody)))
			_, signature, _ := strings.Cut(head, "X-ODD-Sign: ")
			signature, _, _ = strings.Cut(signature, "\r\n")
			echo := "got " + signature + " and " + key
			io.WriteString(c, "HTTP/1.1 400 Bad\r\nContent-Length: "+strconv.Itoa(len(echo))+"\r\n\r\n"+echo)
		}
	})
	text, err1 := sign.ParseText("{url} {body}")
	value, err2 := sign.ParseValue("t={timestamp},h={hex}")
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	r := testRoute(t, "http://"+address+"/x y?a=b c")
	r.Forms = []*sign.Form{{Header: "X-ODD-Sign", Text: text, Value: value, Hash: "sha256"}}
	r.SigningKey = config.NewSecret(key)
	var err error
	if r.Signer, err = sign.New([]string{"standard", "ed25519"}, []string{secret, key}, r.Forms...); err != nil {
		t.Fatal(err)
	}
	e := testEndpoint(t, r)
	o := e.try(t)
	head := <-heads
	if !strings.HasPrefix(o.Response, "got t=") || !strings.HasSuffix(o.Response, ",h=[secret] and [secret]") {
		t.Errorf("response %q", o.Response)
	}
	sent, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head)))
	if err != nil || !strings.Contains(head, "\r\nX-ODD-Sign: t=") || !strings.Contains(sent.Header.Get("Webhook-Signature"), " v1a,") {
		t.Fatalf("%v: %s", err, head)
	}
	u, err := url.Parse("http://" + address + sent.RequestURI)
	if err != nil {
		t.Fatal(err)
	}
	at, err := strconv.ParseInt(sent.Header.Get("Webhook-Timestamp"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	m := sign.Message{Time: time.Unix(at, 0), Body: []byte(sampleBody), URL: u}
	again, err := sign.New(nil, []string{secret}, r.Forms...)
	if err != nil {
		t.Fatal(err)
	}
	want := http.Header{}
	if again.Sign(want, m); sent.Header.Get("X-ODD-Sign") != strings.Join(want[r.Forms[0].Header], "") {
		t.Errorf("signed %q, want %q", sent.Header.Get("X-ODD-Sign"), want)
	}
	if !strings.Contains(e.Template(), `"X-ODD-Sign":"[signature]"`) || !strings.Contains(e.Template(), `"Webhook-Signature":"[signature]"`) {
		t.Errorf("shown as %s", e.Template())
	}
}
