package api

import (
	"encoding/json"
	"strconv"
	"time"

	"signalpost/queue"
)

// Accepted is the answer to POST /signals for one signal.
type Accepted struct {
	ID         string `json:"id"`
	Deliveries []Made `json:"deliveries"`
}

// Made is a delivery that was made of an accepted signal.
type Made struct {
	ID    string `json:"id"`
	Route string `json:"route"`
}

// AcceptedBatch is the answer to POST /signals for a batch, in its order.
type AcceptedBatch struct {
	Signals []Accepted `json:"signals"`
}

// Partial says what an answer lacks that was put together in a fleet.
type Partial struct {
	Missing []string `json:"missing,omitempty"` // of a fleet: who did not answer, so that what they have is not here
}

// Lacks is Missing, to be read and set.
func (p *Partial) Lacks() *[]string { return &p.Missing }

// LogPage is the answer to GET /log: a page of the delivery log, newest first.
type LogPage struct {
	Entries []queue.Entry `json:"entries"`
	Next    string        `json:"next,omitempty"` // the cursor of the next page; "" on the last
	// SearchedTo is how far back the search came, if it ended for having looked at much.
	SearchedTo *time.Time `json:"searched_to,omitempty"`
	Partial
}

// DeliveryPage is the answer to GET /deliveries, newest first.
type DeliveryPage struct {
	Deliveries []queue.Info `json:"deliveries"`
	Next       string       `json:"next,omitempty"` // the cursor of the next page; "" on the last
	SearchedTo *time.Time   `json:"searched_to,omitempty"`
	Partial
}

// Delivery is the answer to GET /deliveries/{id}.
type Delivery struct {
	queue.Info
	Request    *Request        `json:"request"`          // as sent last, or as it would be; nil if neither can be said
	Body       json.RawMessage `json:"body"`             // null if the expression failed; a string if it is no JSON
	Format     string          `json:"format,omitempty"` // of a body that is no JSON: form, text, ndjson
	SignalBody json.RawMessage `json:"signal_body"`      // as received
	Log        []queue.Entry   `json:"log"`              // every attempt, oldest first
}

// Request is what a route sends for a delivery, as people may see it: no path
// or query of the route's URL, secret headers and signatures redacted.
type Request struct {
	Method  string            `json:"method"`
	Target  string            `json:"target"`         // scheme://host
	Path    string            `json:"path,omitempty"` // and query, if the signal decides on one of them: [secret] is the URL's part
	Headers map[string]string `json:"headers"`
	Sent    bool              `json:"sent"`           // or as it would be
	Time    *time.Time        `json:"time,omitempty"` // that was signed, if it was sent
}

// Signal is the answer to GET /signals/{id}.
type Signal struct {
	ID         queue.SignalID  `json:"id"`
	Type       string          `json:"signal_type"`
	ReceivedAt time.Time       `json:"received_at"`
	Signal     json.RawMessage `json:"signal"` // as received
	Deliveries []queue.Info    `json:"deliveries"`
}

// StoredSignal is a signal in a list, and a line of GET /signals as application/x-ndjson.
type StoredSignal struct {
	ID         queue.SignalID  `json:"id"`
	Type       string          `json:"signal_type"`
	ReceivedAt time.Time       `json:"received_at"`
	Signal     json.RawMessage `json:"signal"`           // as received
	Config     string          `json:"config,omitempty"` // the hash of the config that it met; "" if nobody knows
}

// SignalPage is the answer to GET /signals, newest first.
type SignalPage struct {
	Signals []StoredSignal `json:"signals"`
	Next    string         `json:"next,omitempty"` // the cursor of the next page; "" on the last
	Partial
}

// Stats is the answer to GET /stats.
type Stats struct {
	Step   string   `json:"step"` // from a point to the next: 1m, 6h, 1d
	Series []Series `json:"series"`
	Partial
}

// Series and Point are what happened on one route. Before the first point nothing is known.
type (
	Series = queue.Series
	Point  = queue.Point
)

// Problems is the answer to GET /problems, worst first.
type Problems struct {
	Problems []queue.Problem `json:"problems"`
	Partial
}

// RetryOne is the body of POST /deliveries/{id}/retry, which may be left out.
type RetryOne struct {
	Reshape bool `json:"reshape,omitempty"` // make the body anew with today's signal_types, where and transform
}

// Selection is the body of POST /retry and POST /discard: the deliveries that
// match all of it. What is "" or left out selects all.
type Selection struct {
	Route   string   `json:"route,omitempty"`
	State   string   `json:"state,omitempty"`
	Reason  string   `json:"reason,omitempty"`
	Type    string   `json:"signal_type,omitempty"`
	Status  Answered `json:"status,omitempty"`  // of the last attempt: 503, 5xx or 500,503
	Since   string   `json:"since,omitempty"`   // of creation: RFC 3339, or a duration back
	Until   string   `json:"until,omitempty"`   // likewise
	Reshape bool     `json:"reshape,omitempty"` // of POST /retry alone
	DryRun  bool     `json:"dry_run,omitempty"` // only count them
}

// Answered names statuses of answers: 503, 5xx, or a list such as 500,503. In JSON
// a single one may be a number.
type Answered string

// UnmarshalJSON reads a string or a number.
func (a *Answered) UnmarshalJSON(b []byte) error {
	if _, err := strconv.Atoi(string(b)); err == nil {
		*a = Answered(b)
		return nil
	}
	return json.Unmarshal(b, (*string)(a))
}

// Matched is the answer to POST /retry and POST /discard: how many matched.
type Matched struct {
	Matched int `json:"matched"`
	Partial
}

// TryRequest is the body of POST /try. All but the signal may be left out.
type TryRequest struct {
	Signal json.RawMessage `json:"signal"`
	Route  string          `json:"route,omitempty"` // the one route to ask
	// Where and Transform stand in for the routes' own expressions; "" for none.
	Where     *string `json:"where,omitempty"`
	Transform *string `json:"transform,omitempty"`
}

// Trials is the answer to POST /try, in the order of the config.
type Trials struct {
	Routes []Trial `json:"routes"`
}

// Trial is what one route would do with a signal.
type Trial struct {
	Route   string            `json:"route"`
	Matches bool              `json:"matches"`          // it passes, also when the transform then fails or yields nothing
	Why     string            `json:"why"`              // it matches, or not
	Bodies  []json.RawMessage `json:"bodies"`           // of the deliveries it would make, one each; strings if they are no JSON
	Order   string            `json:"order,omitempty"`  // the order key of the deliveries, in JSON; "": none
	Format  string            `json:"format,omitempty"` // of bodies that are no JSON: form, text, ndjson
	Request *Request          `json:"request"`          // of the first attempt of the first delivery; nil if there is none
	Error   *string           `json:"error"`            // what is wrong with an expression, or went wrong in it
}

// PlanRequest is the body of POST /plan: all but the route may be left out.
type PlanRequest struct {
	Route string `json:"route"`
	// Where and Transform stand in for the route's own expressions; "" for none.
	Where     *string `json:"where,omitempty"`
	Transform *string `json:"transform,omitempty"`
	Limit     int     `json:"limit,omitempty"` // of the last signals: 1000 at most, and by default
}

// Plan is how the deliveries of two configs differ, made of the same signals: the
// answer to POST /plan.
type Plan struct {
	Signals int         `json:"signals"`
	Routes  []RoutePlan `json:"routes"` // in the order of the new config, those that go last
}

// RoutePlan is how one route differs. Deliveries of which an expression fails count, too.
type RoutePlan struct {
	Route   string   `json:"route"`
	Before  int      `json:"before"` // deliveries made by the old config
	After   int      `json:"after"`
	More    int      `json:"more"` // of the signals of which more are made, so many more
	Fewer   int      `json:"fewer"`
	Changes []Change `json:"changes"` // of deliveries that both make, most frequent first
	Errors  int      `json:"errors"`  // signals for which an expression fails that did not
	First   []string `json:"first"`   // ids of the first signals that differ

	Error    string   `json:"error,omitempty"`    // the first of the errors
	State    string   `json:"state,omitempty"`    // appears, or goes
	Waiting  int64    `json:"waiting,omitempty"`  // deliveries of it that a route that goes would hold, or one that appears has held
	Settings []Change `json:"settings,omitempty"` // what else of the route differs, but its expressions
}

// Change is what differs at a path of the body, or of the delivery: path, query, content_type, order_by.
type Change struct {
	Path  string          `json:"path"`            // as jq writes it: .account.name
	From  json.RawMessage `json:"from,omitempty"`  // of the first; left out: nothing was there
	To    json.RawMessage `json:"to,omitempty"`    // likewise
	Count int             `json:"count,omitempty"` // deliveries; of a setting left out
}

// Level is how bad something is. The zero value is none of them.
type Level string

// The levels.
const (
	OK   Level = "ok" // nothing needs anyone
	Warn Level = "warn"
	Bad  Level = "bad"
)

// Health is that of a route, or of the whole, which has the reasons of all routes, too.
type Health struct {
	Level   Level    `json:"level"`   // of the worst reason
	Reasons []Reason `json:"reasons"` // worst first
}

// Reason is why something is not well: see package health.
type Reason struct {
	Route string    `json:"route"` // "": the sidecar itself
	Code  string    `json:"code"`
	Text  string    `json:"text"` // for people, with what to do
	Since time.Time `json:"since"`
}

// Alert is a signal of the sidecar's own: see package alert.
type Alert struct {
	Type       string    `json:"signal_type"`
	Route      string    `json:"route"`  // that it is about; "": the sidecar itself
	Reason     string    `json:"reason"` // a code of health; of deaths the most frequent one
	Text       string    `json:"text"`   // for people, with what to do
	Since      time.Time `json:"since"`
	Count      int64     `json:"count,omitempty"` // of deaths
	Pending    int64     `json:"pending"`         // of the route, or of all
	Dead       int64     `json:"dead"`            // likewise
	DetectedAt time.Time `json:"detected_at"`
}

// Status is the answer to GET /status.
type Status struct {
	Version string        `json:"version"`
	Uptime  string        `json:"uptime"` // as Go writes a duration, whole seconds
	Host    string        `json:"host"`   // the name of the machine
	Now     time.Time     `json:"now"`
	Config  ConfigStatus  `json:"config"`
	Store   StoreStatus   `json:"store"`
	Dropped int64         `json:"log_lines_dropped"` // since the start: the reader of the log was too slow, or away
	Health  Health        `json:"health"`
	Routes  []RouteStatus `json:"routes"` // in the order of the config, those that have gone last
	Partial
	Fleet *FleetStatus `json:"fleet,omitempty"` // nil: one machine
}

// FleetStatus is the sidecar in its fleet.
type FleetStatus struct {
	Node      string            `json:"node"`      // id of the process
	Nodes     map[string]string `json:"nodes"`     // hosts by id, of all sidecars
	Owners    map[string]Owner  `json:"owners"`    // who runs what, by the ledger's id
	Ledgers   int64             `json:"ledgers"`   // that the sidecar runs: its own, and those it has adopted
	Adoptions int64             `json:"adoptions"` // since it started
	Deposed   int64             `json:"deposed"`   // ledgers that others took over from it
	Ownerless []string          `json:"ownerless"` // ledgers that nobody runs now
}

// Owner is who runs a ledger.
type Owner struct {
	Node string `json:"node"`
	Own  bool   `json:"own"` // it takes the node's new signals; else it is adopted
}

// ConfigStatus is the running config.
type ConfigStatus struct {
	Path     string    `json:"path"`
	Hash     string    `json:"hash"`
	LoadedAt time.Time `json:"loaded_at"`
	Error    *string   `json:"error"`   // why the file as it is now is not the running config
	Reloads  []Reload  `json:"reloads"` // the last of this process, oldest first
}

// Reload is when a config took over from another.
type Reload struct {
	Time time.Time `json:"time"`
	Hash string    `json:"hash"`
}

// StoreStatus is the state of the store, in bytes.
type StoreStatus struct {
	Bytes     int64   `json:"bytes"`
	Free      int64   `json:"free"`
	Accepting bool    `json:"accepting"`
	Reason    *string `json:"reason"` // why not
	MaxSize   int64   `json:"max_size"`
	MinFree   int64   `json:"min_free"`
}

// RouteStatus is the state of one route. POST /routes/{name}/pause and /resume answer
// with it, too.
type RouteStatus struct {
	Name        string           `json:"name"`
	State       queue.RouteState `json:"state"`
	Health      Health           `json:"health"`
	Pending     int64            `json:"pending"`
	Held        int64            `json:"held"`
	Dead        int64            `json:"dead"`      // without those that were discarded
	Discarded   int64            `json:"discarded"` // given up by somebody
	OldestDue   *time.Time       `json:"oldest_due"`
	LastSuccess *time.Time       `json:"last_success"`
	LastError   *string          `json:"last_error"`
	LastErrorAt *time.Time       `json:"last_error_at"`
	PausedBy    []string         `json:"paused_by"` // config, api
	Failing     *time.Time       `json:"failing_since"`
	NextProbe   *time.Time       `json:"next_probe"`
	Recent      Recent           `json:"recent"`

	Partial
	RouteConfig
}

// RouteConfig is what of a route people may see, as a config has it; nil and []
// when the route has gone.
type RouteConfig struct {
	Target      *string        `json:"target"`       // scheme://host
	SignalTypes []string       `json:"signal_types"` // [] for all
	Where       *string        `json:"where"`
	Transform   *string        `json:"transform"`
	Schedule    *Schedule      `json:"schedule"`
	Limits      *Limits        `json:"limits"`
	Settings    map[string]any `json:"settings"` // all other keys, by name: "[secret]" is a secret value
}

// Recent counts the attempts of the last 15 minutes by verdict.
type Recent struct {
	Delivered int64 `json:"delivered"`
	Retry     int64 `json:"retry"`
	Dead      int64 `json:"dead"`
}

// Schedule is a route's retry. Durations are as the config writes them.
type Schedule struct {
	Attempts int      `json:"attempts"`
	First    string   `json:"first"`
	Window   string   `json:"window"`
	Jitter   float64  `json:"jitter"`
	Gaps     []string `json:"gaps"` // between the attempts, without jitter
}

// Limits are what bounds a route's attempts.
type Limits struct {
	Timeout     string  `json:"timeout"`
	Concurrency int     `json:"concurrency"`
	Rate        *string `json:"rate"`       // nil for no limit
	GiveUpOn    []any   `json:"give_up_on"` // statuses, and "4xx" for all of these but 408, 425 and 429
}
