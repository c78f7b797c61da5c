package deliver

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"signalpost/proxy/memory"
	"signalpost/queue"
	"signalpost/transform"
	"signalpost/transform/json"
)

// decoding is what answers take in memory that success looks at, all together.
var decoding = memory.New(32<<20, memory.Wait)

// judgeSuccess judges a 2xx answer by the route's success. What it reads of the body can
// be read again.
func (e *Endpoint) judgeSuccess(a *attempt, resp *http.Response) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body), resp.Body), resp.Body}
	coding, why := resp.Header.Get("Content-Encoding"), ""
	switch {
	case err != nil:
		why = fmt.Sprintf("its body did not come whole within %v", responseTime)
	case len(body) > maxResponse:
		why = fmt.Sprintf("its body has more than %d KiB", maxResponse>>10)
	case coding != "" && !strings.EqualFold(coding, "identity"):
		why = "its body has a Content-Encoding"
	default:
		why, a.err = e.refusal(a, body)
	}
	if o := &a.outcome; why != "" {
		o.Verdict, o.Class, o.Error = queue.Retry, queue.ClassSuccess, "answered "+statusName(o.Status)+", but success fails: "+why
	}
}

// refusal is why an answer is no success, "" if it is one. The error is as of an attempt.
func (e *Endpoint) refusal(a *attempt, body []byte) (string, error) {
	taken, err := decoding.Take(a, json.Footprint(body))
	if err != nil {
		return "", lackOf(a, err)
	}
	defer decoding.Give(taken)
	doc, err := json.Decode(body)
	if err != nil {
		return "its body is " + err.Error(), nil
	}
	use := transform.NewSession(a, transform.ForSignals)
	defer use.Close()
	d := &a.delivery
	ok, err := e.route.Success.Match(use, doc, transform.Vars{
		SignalID: d.Signal.String(), ReceivedAt: d.Signal.Time().Format(time.RFC3339), Route: d.Route, SignalType: d.Type,
	})
	switch {
	case err == transform.ErrBusy || a.Err() != nil:
		return "", lackOf(a, err)
	case err != nil:
		shown := strings.Split(err.Error(), " ...") // where values are cut that it shows
		for i, text := range shown {
			shown[i] = e.mask.clean(text, i == len(shown)-1, e.credentials(a, len(text))...)
		}
		return strings.Join(shown, " ..."), nil
	case !ok:
		return "it is false, null or nothing", nil
	}
	return "", nil
}

// lackOf is the error of an attempt whose answer could not be judged, for lack of memory or time.
func lackOf(a *attempt, err error) error {
	if a.Err() != nil {
		return a.Err()
	}
	return fmt.Errorf("%w: %w", queue.ErrShortage, err)
}
