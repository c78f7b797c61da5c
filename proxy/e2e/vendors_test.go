package e2e

import (
	"bufio"
	"compress/gzip"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"signalpost/proxy/config"
	"signalpost/proxy/table"
	"signalpost/queue"
	"signalpost/transform"
)

// A vendor answers a request as its documentation says: with what status, and whether
// the request is one that it takes.
type vendor func(r *http.Request, body []byte) (status int, answer string)

// refused is an answer to what a vendor does not take.
func refused(status int, format string, args ...any) (int, string) {
	return status, fmt.Sprintf(format, args...)
}

var vendors = map[string]vendor{
	// https://developer.pagerduty.com/docs/events-api-v2/trigger-events/
	"pagerduty": func(r *http.Request, body []byte) (int, string) {
		var e struct {
			Key     string `json:"routing_key"`
			Action  string `json:"event_action"`
			Dedup   string `json:"dedup_key"`
			Payload struct{ Summary, Source, Severity, Timestamp string }
		}
		switch p := &e.Payload; {
		case json.Unmarshal(body, &e) != nil || e.Key != "value-of-PAGERDUTY_KEY":
			return refused(400, `{"status":"invalid event","errors":["Invalid routing key"]}`)
		case !slices.Contains([]string{"trigger", "acknowledge", "resolve"}, e.Action), len(e.Dedup) > 255,
			p.Summary == "", utf8.RuneCountInString(p.Summary) > 1024, p.Source == "", !slices.Contains([]string{"critical", "error", "warning", "info"}, p.Severity):
			return refused(400, `{"status":"invalid event","errors":["Length of 'payload' …"]}`)
		}
		if _, err := time.Parse(time.RFC3339, e.Payload.Timestamp); err != nil {
			return refused(400, "%v", err)
		}
		return 202, `{"status":"success","message":"Event processed","dedup_key":"` + e.Dedup + `"}`
	},
	// https://docs.datadoghq.com/api/latest/logs/#send-logs
	"datadog": func(r *http.Request, body []byte) (int, string) {
		var logs []map[string]string
		switch {
		case r.Header.Get("DD-API-KEY") != "value-of-DD_API_KEY":
			return refused(403, `{"errors":[{"status":"403","title":"Forbidden"}]}`)
		case json.Unmarshal(body, &logs) != nil || len(logs) == 0 || len(logs) > 1000 || len(body) > 5_000_000 || logs[0]["message"] == "":
			return refused(400, `{"errors":[{"status":"400","title":"Bad Request"}]}`)
		}
		return 202, "{}"
	},
	// https://docs.discord.com/developers/resources/webhook#execute-webhook
	"discord": func(r *http.Request, body []byte) (int, string) {
		var m struct {
			Content  string
			Mentions struct{ Parse []string } `json:"allowed_mentions"`
		}
		if json.Unmarshal(body, &m) != nil || m.Content == "" || utf8.RuneCountInString(m.Content) > 2000 || m.Mentions.Parse == nil {
			return refused(400, `{"message":"Cannot send an empty message","code":50006}`)
		}
		return 204, ""
	},
	// https://learn.microsoft.com/connectors/teams/#microsoft-teams-webhook
	"teams": func(r *http.Request, body []byte) (int, string) {
		var m struct {
			Type        string
			Attachments []struct {
				ContentType string
				Content     struct {
					Type, Version string
					Body          []map[string]any
				}
			}
		}
		if json.Unmarshal(body, &m) != nil || m.Type != "message" || len(m.Attachments) != 1 || m.Attachments[0].ContentType != "application/vnd.microsoft.card.adaptive" ||
			m.Attachments[0].Content.Type != "AdaptiveCard" || len(m.Attachments[0].Content.Body) == 0 || len(body) > 28_000 {
			return refused(400, `{"error":{"code":"TriggerInputSchemaMismatch"}}`)
		}
		return 202, ""
	},
	// https://www.twilio.com/docs/messaging/api/message-resource#create-a-message
	"twilio": func(r *http.Request, body []byte) (int, string) {
		user, password, _ := r.BasicAuth()
		form, err := url.ParseQuery(string(body))
		number := regexp.MustCompile(`^\+[1-9]\d{1,14}$`)
		switch {
		case password != "value-of-TWILIO_TOKEN" || !strings.Contains(r.URL.Path, "/"+user+"/"):
			return refused(401, `{"code":20003,"message":"Authenticate","status":401}`)
		case err != nil || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || !number.MatchString(form.Get("To")) || !number.MatchString(form.Get("From")):
			return refused(400, `{"code":21211,"message":"Invalid 'To' Phone Number","status":400}`)
		case form.Get("Body") == "" || utf8.RuneCountInString(form.Get("Body")) > 1600:
			return refused(400, `{"code":21617,"status":400}`)
		}
		return 201, `{"sid":"SM00000000000000000000000000000000","status":"queued"}`
	},
	// https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk
	"elasticsearch": func(r *http.Request, body []byte) (int, string) {
		lines := strings.SplitAfter(string(body), "\n")
		switch {
		case r.Header.Get("Authorization") != "value-of-ELASTIC_AUTHORIZATION":
			return refused(401, `{"error":{"type":"security_exception"},"status":401}`)
		case !slices.Contains([]string{"application/x-ndjson", "application/json"}, r.Header.Get("Content-Type")):
			return refused(406, `{"error":"Content-Type header is not supported","status":406}`)
		case lines[len(lines)-1] != "" || len(lines) != 3:
			return refused(400, `{"error":{"reason":"The bulk request must be terminated by a newline [\\n]"},"status":400}`)
		}
		var action struct {
			Index struct {
				Index string `json:"_index"`
			}
		}
		if json.Unmarshal([]byte(lines[0]), &action) != nil || action.Index.Index == "" || !json.Valid([]byte(lines[1])) {
			return refused(400, `{"error":{"reason":"Malformed action/metadata line [1]"},"status":400}`)
		}
		return 200, `{"took":1,"errors":false,"items":[{"index":{"status":201}}]}`
	},
	// https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-index
	"documents": func(r *http.Request, body []byte) (int, string) {
		if r.Method != "PUT" || !regexp.MustCompile(`^/\w+/_doc/[^/]+$`).MatchString(r.URL.Path) || !json.Valid(body) || r.Header.Get("Content-Type") != "application/json" {
			return refused(400, `{"status":400}`)
		}
		return 201, `{"result":"created"}`
	},
	// https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/dome_upsert.htm, and
	// https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_client_credentials_flow.htm
	"salesforce": func(r *http.Request, body []byte) (int, string) {
		if r.URL.Path == "/services/oauth2/token" {
			id, secret, basic := r.BasicAuth()
			form, err := url.ParseQuery(string(body))
			if !basic || id != "value-of-SALESFORCE_ID" || secret != "value-of-SALESFORCE_KEY" || err != nil || form.Get("grant_type") != "client_credentials" {
				return refused(400, `{"error":"invalid_client","error_description":"invalid client credentials"}`)
			}
			return 200, `{"access_token":"value-of-ACCESS_TOKEN","instance_url":"https://acme.my.salesforce.com","token_type":"Bearer","issued_at":"1777473068000"}`
		}
		var fields map[string]any
		switch {
		case r.Header.Get("Authorization") != "Bearer value-of-ACCESS_TOKEN":
			return refused(401, `[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]`)
		case r.Method != "PATCH" || !regexp.MustCompile(`^/services/data/v\d\d\.0/sobjects/Account/Domain__c/[^/]+$`).MatchString(r.URL.Path):
			return refused(404, `[{"errorCode":"NOT_FOUND","message":"The requested resource does not exist"}]`)
		case r.Header.Get("Content-Type") != "application/json" || json.Unmarshal(body, &fields) != nil || fields["Name"] == nil || fields["Domain__c"] != nil:
			return refused(400, `[{"errorCode":"INVALID_FIELD"}]`)
		}
		return 201, `{"id":"001000000000000AAA","success":true,"errors":[],"created":true}`
	},
	// https://shopify.dev/docs/apps/build/webhooks/subscribe/https
	"shopify": func(r *http.Request, body []byte) (int, string) {
		mac := hmac.New(sha256.New, []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
		mac.Write(body)
		if r.Header.Get("X-Shopify-Hmac-Sha256") != base64.StdEncoding.EncodeToString(mac.Sum(nil)) || !strings.Contains(r.Header.Get("X-Shopify-Topic"), "/") {
			return refused(401, "")
		}
		return 200, ""
	},
	// https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
	"slack": func(r *http.Request, body []byte) (int, string) {
		var m struct{ Text string }
		if json.Unmarshal(body, &m) != nil || m.Text == "" {
			return refused(400, "no_text")
		}
		return 200, "ok"
	},
	// https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md#32-structured-content-mode
	"cloudevents": func(r *http.Request, body []byte) (int, string) {
		var e map[string]any
		if r.Header.Get("Content-Type") != "application/cloudevents+json" || json.Unmarshal(body, &e) != nil || e["specversion"] != "1.0" {
			return refused(415, "no event in structured mode")
		}
		for _, name := range []string{"id", "source", "type", "time", "subject", "datacontenttype"} {
			if s, ok := e[name].(string); !ok || s == "" {
				return refused(400, "%s is missing", name)
			}
		}
		_, err1 := url.Parse(e["source"].(string))
		_, err2 := time.Parse(time.RFC3339, e["time"].(string))
		for name := range e {
			if err1 != nil || err2 != nil || !regexp.MustCompile(`^[a-z0-9]+$`).MatchString(name) {
				return refused(400, "%s, %v, %v", name, err1, err2)
			}
		}
		return 204, ""
	},
}

// TestReadmeVendors delivers what each fragment makes of the signal to a double of the
// vendor, which takes it, and compares the request with the one shown.
func TestReadmeVendors(t *testing.T) {
	all := blocks(t, "vendors", "toml", "http")
	for i := 0; i+1 < len(all); i += 2 {
		if all[i].language != "toml" || all[i+1].language != "http" {
			t.Fatalf("a recipe is a config and the request that comes of it; found %s and %s:\n%s", all[i].language, all[i+1].language, all[i].text)
		}
		cfg, err := config.Load(t.Context(), outside(t, all[i].text))
		if err != nil {
			t.Fatal(err)
		}
		name := cfg.Routes[0].Name
		t.Run(name, func(t *testing.T) {
			double := vendors[name]
			if status, _ := double(httptest.NewRequest("POST", "/", nil), []byte("{}")); status/100 == 2 {
				t.Errorf("the double takes anything: %d", status)
			}
			var got []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				sent, body := wireOf(t, r, all[i+1].text)
				if !strings.HasSuffix(r.URL.Path, "/token") {
					got = append(got, sent)
				}
				status, answer := double(r, body)
				w.WriteHeader(status)
				io.WriteString(w, answer)
			}))
			defer server.Close()
			if name == "slack" {
				sendAlerts(t, server.URL, all[i].text)
			} else {
				sendTo(t, cfg, server.URL, []byte(cliSample(t)))
			}
			if want := wireShown(t, all[i+1].text); len(got) != 1 || got[0] != want {
				t.Errorf("%q, shown %q", got, want)
			}
		})
		delete(vendors, name)
	}
	if len(vendors) > 0 {
		t.Errorf("there is no recipe for %v", vendors)
	}
}

// sendTo delivers what the one route of a config makes of a signal to a server, which
// has to take it.
func sendTo(t *testing.T, cfg *config.Config, server string, signal []byte) {
	t.Helper()
	r := &cfg.Routes[0]
	u, err := url.Parse(r.URL.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	r.URL, r.Target = config.NewSecret(server+u.RequestURI()), server
	if r.OAuth2 != nil {
		at, err := url.Parse(r.OAuth2.TokenURL.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		r.OAuth2.TokenURL = config.NewSecret(server + at.RequestURI())
	}
	routes, err := table.New(cfg, "signalpost/test")
	if err != nil {
		t.Fatal(err)
	}
	defer routes.Close()
	var clock queue.SignalID
	use := transform.NewSession(t.Context(), transform.ForSignals)
	defer use.Close()
	made, _, err := routes.Offer(use, &queue.Signal{ID: clock, Type: "product_qualified_lead", Body: signal}, nil, "")
	if err != nil || len(made) != 1 || made[0].Error != "" {
		t.Fatalf("%+v, %v", made, err)
	}
	d := queue.Delivery{ID: clock.Delivery(1), Signal: clock, Route: r.Name, Type: "product_qualified_lead", Body: made[0].Body, Shape: made[0].Shape, Step: 1}
	if o, err := routes.Routes[0].Endpoint.Attempt(t.Context(), d, 1); err != nil || o.Verdict != queue.Delivered {
		t.Errorf("%+v, %v", o, err)
	}
}

// sendAlerts has a sidecar with a route take what Alertmanager sends to the URL that
// its config names, and waits until a server has what comes of it.
func sendAlerts(t *testing.T, server, route string) {
	t.Helper()
	webhook := only(t, "vendors ## Alertmanager to Slack", "json")
	to := regexp.MustCompile(`url: http://127\.0\.0\.1:8787(/\S+)`).FindStringSubmatch(only(t, "vendors ## Alertmanager to Slack", "yaml"))
	s := newSidecar(t, t.TempDir())
	s.begin("[server]\nlisten = \"" + s.address + "\"\n" + strings.Replace(route, `{ file = "slack.url" }`, `"`+server+`/services/T00/B00/x"`, 1))
	s.ready()
	resp, err := s.client.Post("http://"+s.address+to[1], "application/json", strings.NewReader(webhook))
	if err != nil || resp.StatusCode != http.StatusAccepted {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	if !wait(func() bool { return strings.Contains(s.output.String(), `"verdict":"delivered"`) }) {
		s.fatal("it does not deliver what Alertmanager sends")
	}
}

var (
	aSignalID = regexp.MustCompile(`sig_\w{26}`)
	aValue    = regexp.MustCompile(`value-of-(\w+)`)
)

// wireOf writes a request as pages show it, with the headers that the one shown has, and returns its
// body, unpacked.
func wireOf(t *testing.T, r *http.Request, shown string) (string, []byte) {
	body, err := io.ReadAll(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" && err == nil {
		var z *gzip.Reader
		if z, err = gzip.NewReader(strings.NewReader(string(body))); err == nil {
			body, err = io.ReadAll(z)
		}
	}
	if err != nil {
		t.Error(err)
	}
	head, _, _ := strings.Cut(shown, "\n\n")
	text := r.Method + " " + r.RequestURI + "\n"
	for _, line := range strings.Split(head, "\n")[1:] {
		name, _, _ := strings.Cut(line, ":")
		text += name + ": " + r.Header.Get(name) + "\n"
	}
	text += "\n" + plainBody(t, string(body))
	return aValue.ReplaceAllString(aSignalID.ReplaceAllString(text, "sig_…"), "$$$1"), body
}

// wireShown is the same of one that is shown.
func wireShown(t *testing.T, shown string) string {
	head, body, _ := strings.Cut(shown, "\n\n")
	r := textproto.NewReader(bufio.NewReader(strings.NewReader(head + "\n\n")))
	r.ReadLine()
	if _, err := r.ReadMIMEHeader(); err != nil {
		t.Errorf("%v: %s", err, head)
	}
	return head + "\n\n" + plainBody(t, body)
}

// plainBody is a body in one spelling, if it is JSON.
func plainBody(t *testing.T, body string) string {
	if json.Valid([]byte(body)) {
		return canonical(t, []byte(body))
	}
	return strings.TrimSuffix(body, "\n")
}
