package openapi

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

type inner struct {
	ID string `json:"id"`
}

type outer struct {
	inner
	At       time.Time         `json:"at"`
	Maybe    *time.Time        `json:"maybe,omitempty"`
	Null     *float64          `json:"null"`
	Raw      json.RawMessage   `json:"raw"`
	List     []inner           `json:"list"`
	Map      map[string]int64  `json:"map"`
	Own      ratio             `json:"own"`
	Hidden   chan int          `json:"-"`
	Self     *outer            `json:"self"`
	Optional map[string]string `json:"optional,omitempty"`
}

type ratio float64

func (r ratio) MarshalText() ([]byte, error) { return []byte("half"), nil }

// what encoding/json writes is as the schema made of its type has it, and the
// document as OpenAPI's own schema (of testdata; from the OpenAPI Initiative) has it.
func TestDocument(t *testing.T) {
	b, err := example().Document()
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for name, text := range map[string][]byte{"openapi.json": b, "oas.json": official(t)} {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource(name, v); err != nil {
			t.Fatal(err)
		}
	}
	valid := func(schema, text string) error {
		t.Helper()
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return c.MustCompile(schema).Validate(v)
	}
	if err := valid("oas.json", string(b)); err != nil {
		t.Errorf("%v\n%s", err, b)
	}
	if err := valid("oas.json", strings.Replace(string(b), `"required":true`, `"required":1`, 1)); err == nil {
		t.Error("OpenAPI's schema lets everything pass")
	}
	half := 0.5
	whole := outer{inner{"a"}, time.Now(), new(time.Time), &half, json.RawMessage(`[1]`), []inner{{"b"}}, map[string]int64{"c": math.MaxInt64}, 0.5, nil, nil, nil}
	whole.Self = &outer{Raw: json.RawMessage("null"), List: []inner{}, Map: map[string]int64{}}
	text, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	const schema = "openapi.json#/components/schemas/outer"
	if err := valid(schema, string(text)); err != nil {
		t.Errorf("%v: %s", err, text)
	}
	for _, change := range [][2]string{
		{`"id":"a"`, `"id":1`}, {`"id":"a",`, ``}, {`"half"`, `0.5`}, {`[{"id":"b"}]`, `null`}, {`[{"id":"b"}]`, `[{}]`}, {`9223372036854775807`, `0.5`}, {`"at":"`, `"at":"x`},
	} {
		if wrong := strings.Replace(string(text), change[0], change[1], 1); valid(schema, wrong) == nil || wrong == string(text) {
			t.Errorf("it lets pass %s", wrong)
		}
	}
}

// What cannot be described is an error, not a gap.
func TestDocumentFails(t *testing.T) {
	for want, change := range map[string]func(*API){
		"parameter Why":          func(a *API) { delete(a.Params, "Why") },
		"parameter id":           func(a *API) { delete(a.Params, "id") },
		"chan int has no JSON":   func(a *API) { a.Problem = struct{ C chan int }{} },
		"marshals itself: it ne": func(a *API) { a.Problem = self{} },
	} {
		a := example()
		change(a)
		if _, err := a.Document(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

type self struct{}

func (self) MarshalJSON() ([]byte, error) { return nil, nil }

func example() *API {
	return &API{
		Title: "T", Version: "1", Problem: inner{}, Fails: []int{400}, Sends: map[int]string{400: "Why"},
		Params: map[string]Param{"id": {In: "path", Text: "of it", Schema: Schema{"type": "string"}}, "q": {In: "query", Text: "what", Schema: Enum("a", "b")}, "Why": {Text: "it fails", Schema: Schema{"type": "string"}}},
		Endpoints: []Endpoint{
			{Pattern: "GET /x/{id}", Name: "getX", Text: "x", Params: []string{"q"}, Gives: map[int]Content{200: JSON(outer{}).Or(Lines(inner{})), 304: nil}, Sends: []string{"Why"}},
			{Pattern: "POST /x/{id}", Name: "postX", Text: "x", Takes: JSON(inner{}, outer{}, struct{}{}), Gives: map[int]Content{200: Text()}, Open: true, Fails: []int{404}},
		},
	}
}

func official(t *testing.T) []byte {
	b, err := os.ReadFile("testdata/oas-3.1.json")
	if err != nil {
		t.Fatal(err)
	}
	return b
}
