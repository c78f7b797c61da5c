package deliver

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"signalpost/proxy/config"
	"signalpost/queue"
	"signalpost/transform"
	"signalpost/transform/json"
)

// Of a 2xx the route's success decides, by the JSON of its body.
func TestSuccess(t *testing.T) {
	noLeak(t)
	release := make(chan struct{})
	var next atomic.Value // what is answered
	base, _, _ := receives(t, func(w http.ResponseWriter, r *http.Request) {
		answer := next.Load().(string)
		if text, ok := strings.CutPrefix(answer, "gzip:"); ok {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			io.WriteString(z, text)
			z.Close()
			return
		}
		switch answer {
		case "503":
			w.WriteHeader(503)
			answer = `{"ok":true}`
		case "204":
			w.WriteHeader(204)
			return
		case "large":
			answer = `"` + strings.Repeat("x", 64<<10-2) + `"`
		case "too large":
			answer = `"` + strings.Repeat("x", 64<<10-1) + `"`
		case "slow":
			io.WriteString(w, `{"ok":`)
			w.(http.Flusher).Flush()
			select {
			case <-release:
			case <-r.Context().Done():
			}
			return
		}
		io.WriteString(w, answer)
	})
	t.Cleanup(func() { close(release) })
	const fails = "answered 200 OK, but success fails: "
	for _, test := range []struct{ success, answer, want string }{ // want is the error
		{".ok", `{"ok":true}`, ""},
		{".ok", ` {"ok":0} `, ""},
		{".ok", `{"ok":true}` + strings.Repeat(" ", 4<<10), ""},
		{".ok", `{"ok":false,"error":"channel_not_found"}`, fails + "it is false, null or nothing"},
		{".ok", `{}`, fails + "it is false, null or nothing"},
		{"empty", `{}`, fails + "it is false, null or nothing"},
		{".ok, false", `{"ok":1}`, ""},
		{".errors == null", `{"data":{}}`, ""},
		{".errors == null", `{"errors":[]}`, fails + "it is false, null or nothing"},
		{". == 1", `1`, ""},
		{"length == 65534", "large", ""},
		{"length", "too large", fails + "its body has more than 64 KiB"},
		{".ok", "slow", fails + "its body did not come whole within 1s"},
		{".ok", "204", "answered 204 No Content, but success fails: its body is not JSON: found the end at offset 0"},
		{".ok", "", fails + "its body is not JSON: found the end at offset 0"},
		{".ok", "<html>", fails + "its body is not JSON: invalid character '<' looking for beginning of value at offset 0"},
		{".ok", `{"ok":true} x`, fails + "its body is not JSON: expected nothing more, found 'x' at offset 12"},
		{".ok", "[1]", fails + "expected an object but got: array ([1])"},
		{".ok // error(.error)", `{"error":"s3cret-k3y of the route"}`, fails + "the expression raised an error: [secret] of the route"},
		{".[0]", `{"error":"012345678s3cret-k3y"}`, fails + "expected an array but got: object ({\"error\":\"012345678[secret] ...})"},
		{".[0]", `{"error":"s3cret-k3y"}`, fails + "expected an array but got: object ({\"error\":\"[secret]\"})"},
		{".ok", "gzip:{\"ok\":true}", fails + "its body has a Content-Encoding"},
		{"last(range(1e12))", "{}", fails + "the expression ran for more than 100 ms"},
		{`$route == "crm" and $signal_type == "product_qualified_lead" and ($signal_id | startswith("sig_")) and ($received_at | fromdate > 0)`, "{}", ""},
		{"false", "503", "answered 503 Service Unavailable"},
	} {
		p, err := transform.Compile(test.success)
		if err != nil {
			t.Fatal(err)
		}
		for _, over := range []func(*Endpoint){func(*Endpoint) {}, overHTTP} {
			r := testRoute(t, base)
			r.Success, r.BearerToken = p, config.NewSecret("s3cret-k3y")
			next.Store(test.answer)
			e := testEndpoint(t, r)
			over(e)
			o := e.try(t)
			class := queue.ClassSuccess
			switch {
			case test.want == "":
				class = queue.Class2xx
			case test.answer == "503":
				class = queue.Class5xx
			}
			if o.Error != test.want || o.Class != class || (o.Verdict == queue.Delivered) != (test.want == "") || o.Fault != (class == queue.Class5xx) {
				t.Errorf("%s of %.40s: %s, class %s, fault %v, %s; want %s", test.success, test.answer, o.Verdict, o.Class, o.Fault, o.Error, test.want)
			}
			if test.answer == `{}` && o.Response != "{}" {
				t.Errorf("the log has %q", o.Response)
			}
		}
	}
}

// An answer that cannot be judged for want of memory is no verdict: the delivery did nothing wrong.
func TestSuccessWithoutRoom(t *testing.T) {
	base, requests, _ := receives(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"ok":true}`) })
	p, err := transform.Compile(".ok")
	if err != nil {
		t.Fatal(err)
	}
	r := testRoute(t, base)
	r.Success = p
	e := testEndpoint(t, r)
	taken, err := decoding.Take(t.Context(), 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	if o, err := e.Attempt(context.Background(), testDelivery(), 1); !errors.Is(err, queue.ErrShortage) {
		t.Errorf("%+v, %v", o, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if o, err := e.Attempt(ctx, testDelivery(), 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("when it is stopped: %+v, %v", o, err)
	}
	if r := requests(); r[0].RemoteAddr != r[1].RemoteAddr {
		t.Error("the connection of the answer that could not be judged is lost")
	}
	decoding.Give(taken)
	if o := e.try(t); o.Verdict != queue.Delivered {
		t.Errorf("then %+v", o)
	}
	if most := json.Footprint([]byte(strings.Repeat("{", maxResponse))); most > 32<<20 {
		t.Errorf("one answer may take %d bytes, more than there are", most)
	}
}
