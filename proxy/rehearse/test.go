package rehearse

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"signalpost/proxy/api"
	"signalpost/proxy/config"
	"signalpost/proxy/table"
	"signalpost/proxy/term"
	"signalpost/queue"
	"signalpost/transform"
	sigjson "signalpost/transform/json"
)

// testID is that of the signal of every test, so that $signal_id and $received_at
// are the same each time.
var testID = func() (id ulid.ULID) {
	id.SetTime(ulid.Timestamp(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)))
	return id
}()

// A Result is what came of one test.
type Result struct {
	Name string `json:"name"`
	config.Place
	OK       bool      `json:"ok"`
	Failures []Failure `json:"failures"`
}

// A Failure is where a route did not make what a test expects.
type Failure struct {
	Route        string `json:"route"`
	config.Place        // of the expectation
	// Path is where in the body, as jq writes it, or in the list of bodies if not
	// exactly one is expected. It is "" if the whole is at fault, as Why says.
	Path string          `json:"path"`
	Want json.RawMessage `json:"want,omitempty"` // left out: nothing
	Got  json.RawMessage `json:"got,omitempty"`  // likewise
	Why  string          `json:"why,omitempty"`
}

// Test runs tests of the routes of a config. version is that of the program.
func Test(ctx context.Context, cfg *config.Config, version string, tests []config.Test) ([]Result, error) {
	t, err := table.New(cfg, version)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	results := make([]Result, len(tests))
	for i := range tests {
		if results[i], err = one(ctx, t, &tests[i]); err != nil {
			return nil, fmt.Errorf("%s: test %q: %w", tests[i].Place, tests[i].Name, err)
		}
	}
	return results, nil
}

func one(ctx context.Context, t *table.Table, test *config.Test) (Result, error) {
	r := Result{Name: test.Name, Place: test.Place, Failures: []Failure{}}
	s := &queue.Signal{ID: queue.SignalID(testID), Type: test.Type, Body: test.Signal}
	for i := range test.Expect {
		use := transform.NewSession(ctx, transform.ForTries)
		trials, err := t.Try(ctx, use, s, test.Expect[i].Route, nil, nil)
		if err == nil {
			r.Failures = append(r.Failures, judge(&test.Expect[i], &trials[0], test.Partial)...)
		}
		use.Close()
		if err != nil {
			return r, err
		}
	}
	r.OK = len(r.Failures) == 0
	return r, nil
}

// judge compares what is expected of a route with what it made.
func judge(e *config.Expectation, made *api.Trial, partial bool) (failures []Failure) {
	fail := func(f Failure) {
		f.Route, f.Place = e.Route, e.Place
		failures = append(failures, f)
	}
	got := make([]any, len(made.Bodies))
	for i, body := range made.Bodies {
		got[i], _ = sigjson.Decode(body)
	}
	deliveries := func(n int) string {
		if n == 0 {
			return "no delivery"
		}
		return term.Count(n, "delivery")
	}
	switch {
	case made.Error != nil && !(e.Error != "" && strings.Contains(*made.Error, e.Error)):
		why := "an expression fails: " + *made.Error
		if e.Error != "" {
			why = fmt.Sprintf("the error was to hold %q: %s", e.Error, *made.Error)
		}
		fail(Failure{Why: why})
	case made.Error != nil:
	case e.Error != "":
		fail(Failure{Got: encode(got), Why: fmt.Sprintf("an error was to hold %q, and there is none: %s; %s", e.Error, made.Why, deliveries(len(got)))})
	case len(got) != len(e.Bodies):
		why := fmt.Sprintf("want %s, got %s", deliveries(len(e.Bodies)), deliveries(len(got)))
		if len(got) == 0 {
			why += ": " + made.Why
		}
		fail(Failure{Want: encode(e.Bodies), Got: encode(got), Why: why})
	default:
		want, has := any(e.Bodies), any(got)
		if len(got) == 1 {
			want, has = e.Bodies[0], got[0]
		}
		diff("", want, has, partial, func(path string, want, got any) {
			fail(Failure{Path: path, Want: encode(want), Got: encode(got)})
		})
	}
	return failures
}
