package front

import (
	"net/http"
	"reflect"

	"signalpost/proxy/api"
	"signalpost/proxy/openapi"
	"signalpost/queue"
)

// An endpoint is what the router and /openapi.json know of one.
type endpoint struct {
	handler
	openapi.Endpoint
}

// page is the dashboard's, which has a handler of its own. (Its assets are for it alone.)
var page = openapi.Endpoint{
	Pattern: "GET /", Name: "getDashboard", Text: "The dashboard: its page needs no token, and asks for one",
	Gives: ok(openapi.Content{"text/html; charset=utf-8": openapi.Schema{"type": "string"}}), Sends: []string{"ETag"}, Open: true, Fails: []int{403, 503},
}

// endpoints are all of the API but the page.
var endpoints = []endpoint{
	{(*Front).postSignals, openapi.Endpoint{
		Pattern: "POST /signals", Name: "postSignals", Text: "Take a signal, or a batch of them, all or nothing: 202 once all is safe on disk",
		Params: []string{"route", "type", "Idempotency-Key", "Content-Encoding", "traceparent", "tracestate"}, Takes: openapi.JSON(signal, openapi.Schema{"type": "array", "items": signal, "minItems": 1}).Or(openapi.Lines(signal)),
		Gives: map[int]openapi.Content{202: openapi.JSON(api.Accepted{}, api.AcceptedBatch{})}, Sends: []string{"Idempotent-Replayed"}, Fails: []int{404, 408, 413, 415, 422},
	}},
	{(*Front).getSignals, openapi.Endpoint{
		Pattern: "GET /signals", Name: "getSignals", Text: "Stored signals, newest first; as lines all of them, oldest first",
		Params: []string{"signal_type", "since", "until", "limit", "after", "here"}, Gives: ok(openapi.JSON(api.SignalPage{}).Or(openapi.Lines(api.StoredSignal{}))),
	}},
	{(*Front).getSignal, openapi.Endpoint{
		Pattern: "GET /signals/{id}", Name: "getSignal", Text: "One signal as received, and its deliveries", Params: []string{"here"}, Gives: ok(openapi.JSON(api.Signal{})), Fails: []int{404},
	}},
	{(*Front).getLog, openapi.Endpoint{
		Pattern: "GET /log", Name: "getLog", Text: "The delivery log, one entry an attempt, newest first; with follow=true as lines, the last oldest first, then each as it comes",
		Params: []string{"route", "signal_type", "signal", "delivery", "verdict", "status", "text", "since", "until", "limit", "after", "follow", "here"},
		Gives:  ok(openapi.JSON(api.LogPage{}).Or(openapi.Lines(queue.Entry{}))),
	}},
	{(*Front).getDeliveries, openapi.Endpoint{
		Pattern: "GET /deliveries", Name: "getDeliveries", Text: "Deliveries, newest first",
		Params: []string{"state", "route", "signal_type", "signal", "reason", "body", "since", "until", "limit", "after", "here"}, Gives: ok(openapi.JSON(api.DeliveryPage{})),
	}},
	{(*Front).getDelivery, openapi.Endpoint{
		Pattern: "GET /deliveries/{id}", Name: "getDelivery", Text: "One delivery whole: its request, bodies and attempts; with an ETag",
		Params: []string{"If-None-Match", "here"}, Gives: map[int]openapi.Content{200: openapi.JSON(api.Delivery{}), 304: nil}, Sends: []string{"ETag"}, Fails: []int{404},
	}},
	{(*Front).postRetryOne, openapi.Endpoint{
		Pattern: "POST /deliveries/{id}/retry", Name: "retryDelivery", Text: "Make a delivery due at once",
		Params: []string{"here"}, Takes: openapi.JSON(api.RetryOne{}), Optional: true, Gives: accepted(queue.Info{}), Fails: commandFails(404, 409),
	}},
	{(*Front).postDiscardOne, openapi.Endpoint{
		Pattern: "POST /deliveries/{id}/discard", Name: "discardDelivery", Text: "Give a delivery up",
		Params: []string{"here"}, Takes: openapi.JSON(struct{}{}), Optional: true, Gives: accepted(queue.Info{}), Fails: commandFails(404, 409),
	}},
	{(*Front).postRetry, openapi.Endpoint{
		Pattern: "POST /retry", Name: "retryAll", Text: "Make all matching deliveries due at once: the dead ones, unless state says otherwise; 200 for a dry run",
		Params: []string{"here"}, Takes: openapi.JSON(api.Selection{}), Optional: true, Gives: map[int]openapi.Content{200: matched, 202: matched}, Fails: commandFails(),
	}},
	{(*Front).postDiscard, openapi.Endpoint{
		Pattern: "POST /discard", Name: "discardAll", Text: "Give all matching deliveries up; 200 for a dry run",
		Params: []string{"here"}, Takes: openapi.JSON(api.Selection{}), Gives: map[int]openapi.Content{200: matched, 202: matched}, Fails: commandFails(),
	}},
	{trying((*Front).postTry), openapi.Endpoint{
		Pattern: "POST /try", Name: "trySignal", Text: "What each route would do with a signal; nothing is stored or sent",
		Takes: openapi.JSON(api.TryRequest{}), Gives: ok(openapi.JSON(api.Trials{})), Fails: commandFails(404, 422),
	}},
	{trying((*Front).getExplanation), openapi.Endpoint{
		Pattern: "GET /explain/{id}", Name: "explain", Text: "The life of a signal, or of one delivery: which routes took it and why, each attempt and wait, what comes next",
		Params: []string{"here"}, Gives: ok(openapi.JSON(api.Explanation{})), Fails: []int{404},
	}},
	{trying((*Front).postPlan), openapi.Endpoint{
		Pattern: "POST /plan", Name: "planRoute", Text: "What a route would have made of the last signals by other expressions; nothing is stored or sent",
		Takes: openapi.JSON(api.PlanRequest{}), Gives: ok(openapi.JSON(api.Plan{})), Fails: commandFails(404, 422),
	}},
	{(*Front).getStats, openapi.Endpoint{
		Pattern: "GET /stats", Name: "getStats", Text: "What happened on each route in each step of time",
		Params: []string{"route", "since", "until", "step", "here"}, Gives: ok(openapi.JSON(api.Stats{})),
	}},
	{(*Front).getProblems, openapi.Endpoint{
		Pattern: "GET /problems", Name: "getProblems", Text: "Failures grouped by route and cause, worst first",
		Params: []string{"since", "here"}, Gives: ok(openapi.JSON(api.Problems{})),
	}},
	{(*Front).getStatus, openapi.Endpoint{
		Pattern: "GET /status", Name: "getStatus", Text: "How the sidecar and all routes fare", Params: []string{"here"}, Gives: ok(openapi.JSON(api.Status{})),
	}},
	{(*Front).postPause, openapi.Endpoint{
		Pattern: "POST /routes/{name}/pause", Name: "pauseRoute", Text: "Send nothing on a route until it is resumed, also after a restart",
		Params: []string{"here"}, Takes: openapi.JSON(struct{}{}), Optional: true, Gives: ok(openapi.JSON(api.RouteStatus{})), Fails: commandFails(404, 409),
	}},
	{(*Front).postResume, openapi.Endpoint{
		Pattern: "POST /routes/{name}/resume", Name: "resumeRoute", Text: "End a pause; 409 while the config pauses the route",
		Params: []string{"here"}, Takes: openapi.JSON(struct{}{}), Optional: true, Gives: ok(openapi.JSON(api.RouteStatus{})), Fails: commandFails(404, 409),
	}},
	{(*Front).getMetrics, openapi.Endpoint{
		Pattern: "GET /metrics", Name: "getMetrics", Text: "Metrics in Prometheus's text format", Gives: ok(openapi.Text()),
	}},
	{(*Front).getOpenAPI, openapi.Endpoint{
		Pattern: "GET /openapi.json", Name: "getOpenAPI", Text: "This description", Gives: ok(openapi.JSON(openapi.Schema{"type": "object"})),
	}},
	{(*Front).getHealth, openapi.Endpoint{
		Pattern: "GET /healthz", Name: "getHealth", Text: "200 while the process lives", Gives: ok(openapi.Text()), Fails: []int{400}, Open: true,
	}},
	{(*Front).getReady, openapi.Endpoint{
		Pattern: "GET /readyz", Name: "getReady", Text: "200 while signals are accepted, else 503 and why", Gives: ok(openapi.Text()), Fails: []int{400, 503}, Open: true,
	}},
}

var (
	signal  = openapi.Schema{"type": "object", "properties": map[string]any{"signal_type": openapi.Schema{"type": "string", "pattern": "^[!-~]([ -~]{0,254}[!-~])?$"}}}
	matched = openapi.JSON(api.Matched{})
)

func ok(c openapi.Content) map[int]openapi.Content { return map[int]openapi.Content{200: c} }

func accepted(v any) map[int]openapi.Content {
	return map[int]openapi.Content{202: openapi.JSON(v)}
}

// commandFails are the statuses of a request with a body that [Front.readCommand] reads.
func commandFails(further ...int) []int { return append(further, 408, 413, 415) }

// parameters are those of all endpoints: one name means the same everywhere.
var parameters = map[string]openapi.Param{
	"id":          ofPath("of a signal, or delivery"),
	"name":        ofPath("of a route"),
	"route":       ofQuery("name of a route; of things to read also a glob of * and ?"),
	"signal_type": ofQuery("glob of * and ?"),
	"type":        ofQuery("signal_type of signals that have none: other programs' webhooks come in as they are"),
	"signal":      ofQuery("id of a signal"),
	"delivery":    ofQuery("id of a delivery"),
	"verdict":     ofQuery(verdictForm),
	"status":      ofQuery(statusesForm),
	"state":       {In: "query", Text: "of a delivery", Schema: openapi.Enum(states...)},
	"reason":      {In: "query", Text: "why it is dead", Schema: openapi.Enum(reasons...)},
	"text":        ofQuery("found in error or response, whatever the case of letters"),
	"body":        ofQuery("found in the signal or the body"),
	"since":       ofQuery("RFC 3339 time, or a duration back such as 15m, 24h or 7d; inclusive"),
	"until":       ofQuery("the same; exclusive"),
	"step":        ofQuery("from a point to the next: whole minutes up to an hour, or whole hours, such as 1m or 1d"),
	"limit":       {In: "query", Text: "things of a page; with follow=true 0 is none", Schema: openapi.Schema{"type": "integer", "minimum": 0, "maximum": maxPage, "default": defaultPage}},
	"after":       ofQuery("next of the page before"),
	"follow":      {In: "query", Text: "go on with what comes", Schema: openapi.Enum("true", "false")},
	"here":        {In: "query", Text: "true: of this sidecar alone, where it is one of a fleet", Schema: openapi.Enum("true", "false")},

	"Idempotency-Key": {In: "header", Text: "with the same bytes within dedup_window the first answer is given again, and nothing stored",
		Schema: openapi.Schema{"type": "string", "minLength": 1, "maxLength": 255}},
	"If-None-Match":    ofHeader("ETags of what the caller has"),
	"traceparent":      ofHeader("sent with each delivery"),
	"tracestate":       ofHeader("sent with each delivery, if there is a traceparent: 32 members and 512 bytes at most"),
	"Content-Encoding": {In: "header", Text: "how the body is packed", Schema: openapi.Enum("gzip", "identity")},

	"Idempotent-Replayed": {Text: "the answer is that of an earlier request with the same Idempotency-Key", Schema: openapi.Enum("true")},
	"ETag":                {Text: "changes with what is answered", Schema: openapi.Schema{"type": "string"}},
	"Retry-After":         {Text: "seconds to wait before the next try", Schema: openapi.Schema{"type": "integer"}},
	"WWW-Authenticate":    {Text: "asks for the token", Schema: openapi.Schema{"type": "string"}},
}

func ofHeader(text string) openapi.Param {
	return openapi.Param{In: "header", Text: text, Schema: openapi.Schema{"type": "string"}}
}

func ofPath(text string) openapi.Param {
	return openapi.Param{In: "path", Text: text, Schema: openapi.Schema{"type": "string"}}
}

func ofQuery(text string) openapi.Param {
	return openapi.Param{In: "query", Text: text, Schema: openapi.Schema{"type": "string", "minLength": 1}}
}

// types are the schemas that cannot be found by reflection.
var types = openapi.Types{
	reflect.TypeFor[queue.State]():      openapi.Enum(states...),
	reflect.TypeFor[queue.Reason]():     openapi.Enum(reasons...),
	reflect.TypeFor[queue.Verdict]():    openapi.Enum(queue.Delivered, queue.Retry, queue.Dead),
	reflect.TypeFor[queue.RouteState](): openapi.Enum(queue.RouteOK, queue.RouteFailing, queue.RoutePaused, queue.RouteGone),
	reflect.TypeFor[api.Level]():        openapi.Enum(api.OK, api.Warn, api.Bad),
	reflect.TypeFor[api.Answered]():     {"type": []string{"string", "integer"}},
	reflect.TypeFor[queue.SignalID]():   {"type": "string", "pattern": "^sig_[0-9A-HJKMNP-TV-Z]{26}$"},
	reflect.TypeFor[queue.DeliveryID](): {"type": "string", "pattern": "^dlv_[0-9A-HJKMNP-TV-Z]{26}$"},
	reflect.TypeFor[queue.Timing]():     {"type": "object", "additionalProperties": openapi.Schema{"type": "number"}},
}

// Document is /openapi.json of a version.
func Document(version string) ([]byte, error) {
	a := openapi.API{
		Title: "Signalpost", Version: version, Text: "A durable webhook sidecar. A token is needed if server.token is set.",
		Params: parameters, Types: types, Problem: api.Problem{}, Fails: []int{400, 401, 403, 500, 503},
		Sends: map[int]string{401: "WWW-Authenticate", 503: "Retry-After"}, Endpoints: []openapi.Endpoint{page},
	}
	for _, e := range endpoints {
		a.Endpoints = append(a.Endpoints, e.Endpoint)
	}
	return a.Document()
}

func (f *Front) getOpenAPI(w http.ResponseWriter, _ *http.Request, _ *query) error {
	document, err := f.document()
	if err == nil {
		api.WriteJSON(w, http.StatusOK, document)
	}
	return err
}
