package sign_test

import (
	"fmt"
	"net/http"
	"time"

	"signalpost/proxy/sign"
)

func Example() {
	secrets := []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
	signer, err := sign.New([]string{"beton", "standard"}, secrets)
	if err != nil {
		fmt.Println(err)
		return
	}
	at := time.Unix(1614265330, 0)
	body := []byte(`{"test": 2432232314}`)
	h := http.Header{}
	h.Set("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek")
	h.Set("webhook-timestamp", "1614265330")
	signer.Sign(h, sign.Message{ID: "msg_p5jXN8AQM9LWM0D4loKWxJek", Time: at, Type: "test", Body: body})
	fmt.Println(h.Get("webhook-signature"))

	fmt.Println(sign.Verify("standard", secrets, h, body, at.Add(time.Second), sign.Tolerance))
	fmt.Println(sign.Verify("standard", secrets, h, body, at.Add(time.Hour), sign.Tolerance))
	fmt.Println(sign.Verify("standard", secrets, h, append(body, '\n'), at, sign.Tolerance))
	fmt.Println(sign.Verify("slack", secrets, h, body, at, sign.Tolerance))
	// Output:
	// v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=
	// <nil>
	// timestamp outside the tolerance: the signature matches, but was made 1h0m0s ago, over the 5m0s allowed
	// no secret matches: it matches the body without the line end at its end: something added that (an editor, echo)
	// header missing: X-Slack-Request-Timestamp
}
