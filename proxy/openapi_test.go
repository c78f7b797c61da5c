package proxy_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"signalpost/proxy/front"
)

// described is /openapi.json, strict: a member or a status that it does not
// know is a fault, which it is not to clients.
var described = sync.OnceValue(func() *document {
	b, err := front.Document("test")
	if err != nil {
		panic(err)
	}
	root, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		panic(err)
	}
	d := &document{root: root.(map[string]any), compiler: jsonschema.NewCompiler(), compiled: map[string]*jsonschema.Schema{}}
	for _, s := range d.root["components"].(map[string]any)["schemas"].(map[string]any) {
		s.(map[string]any)["additionalProperties"] = false
	}
	d.compiler.AssertFormat()
	if err := d.compiler.AddResource("openapi.json", root); err != nil {
		panic(err)
	}
	return d
})

type document struct {
	root     map[string]any
	compiler *jsonschema.Compiler

	mu       sync.Mutex
	compiled map[string]*jsonschema.Schema // by JSON pointer; guarded by mu
}

// at follows a path of members.
func (d *document) at(path ...string) any {
	var v any = d.root
	for _, name := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

// valid complains unless v is what the schema at path says.
func (d *document) valid(t testing.TB, what string, v any, path ...string) {
	t.Helper()
	pointer := "openapi.json#"
	for _, name := range path {
		pointer += "/" + url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
	}
	d.mu.Lock()
	schema := d.compiled[pointer]
	if schema == nil {
		var err error
		if schema, err = d.compiler.Compile(pointer); err != nil {
			t.Fatal(err)
		}
		d.compiled[pointer] = schema
	}
	d.mu.Unlock()
	if err := schema.Validate(v); err != nil {
		t.Errorf("%s is not as /openapi.json has it: %v", what, err)
	}
}

// template is the path of paths that a request's path is of, "" if it is of none.
func (d *document) template(path string) string {
	parts := strings.Split(path, "/")
	for template := range d.at("paths").(map[string]any) {
		names, fits := strings.Split(template, "/"), true
		for i, n := range names {
			fits = fits && len(names) == len(parts) && (n == parts[i] || strings.HasPrefix(n, "{") && parts[i] != "")
		}
		if fits {
			return template
		}
	}
	return ""
}

// conforms complains unless the answer is one that /openapi.json tells of, and
// so is the request, if it was answered.
func conforms(t testing.TB, r *http.Request, sent string, a answer) {
	t.Helper()
	d := described()
	method := strings.ToLower(r.Method)
	path := []string{"paths", d.template(r.URL.Path), method}
	if d.at(path...) == nil {
		if a.status/100 == 2 && method != "head" && !strings.HasPrefix(r.URL.Path, "/assets/") {
			t.Errorf("/openapi.json does not know %s %s, which is answered %d", r.Method, r.URL.Path, a.status)
		}
		return
	}
	what := r.Method + " " + r.URL.RequestURI()
	answers := append(slices.Clone(path), "responses", strconv.Itoa(a.status))
	if d.at(answers...) == nil {
		t.Errorf("/openapi.json does not know that %s may be answered %s", what, a)
		return
	}
	d.content(t, "the answer to "+what, a.header.Get("Content-Type"), a.body, answers...)
	for _, name := range []string{"ETag", "Idempotent-Replayed", "Retry-After", "WWW-Authenticate"} {
		if a.header.Get(name) != "" && d.at(append(slices.Clone(answers), "headers", name)...) == nil {
			t.Errorf("/openapi.json does not know that %s may be answered %d with %s", what, a.status, name)
		}
	}
	if a.status/100 != 2 {
		return
	}
	if sent != "" && r.Header.Get("Content-Encoding") == "" {
		d.content(t, "the body of "+what, r.Header.Get("Content-Type"), sent, append(slices.Clone(path), "requestBody")...)
	}
	parameters, _ := d.at(append(slices.Clone(path), "parameters")...).([]any)
	for name, values := range r.URL.Query() {
		i := slices.IndexFunc(parameters, func(p any) bool { return p.(map[string]any)["name"] == name && p.(map[string]any)["in"] == "query" })
		if i < 0 {
			t.Errorf("/openapi.json does not know the parameter %s of %s", name, what)
			continue
		}
		var v any = values[0]
		if parameters[i].(map[string]any)["schema"].(map[string]any)["type"] == "integer" {
			v = json.Number(values[0])
		}
		d.valid(t, name+" of "+what, v, append(slices.Clone(path), "parameters", strconv.Itoa(i), "schema")...)
	}
}

// content complains unless a body is as described at path.
func (d *document) content(t testing.TB, what, media, body string, path ...string) {
	t.Helper()
	contents, _ := d.at(append(slices.Clone(path), "content")...).(map[string]any)
	if contents == nil && body == "" {
		return
	}
	known, _, _ := strings.Cut(media, ";")
	for full := range contents {
		if short, _, _ := strings.Cut(full, ";"); strings.EqualFold(short, known) {
			known = full
		}
	}
	schema := append(slices.Clone(path), "content", known, "schema")
	if d.at(schema...) == nil {
		t.Errorf("/openapi.json does not know %s as %q: %.200s", what, media, body)
		return
	}
	if lines := append(slices.Clone(schema), "x-lines"); d.at(lines...) != nil {
		for line := range strings.Lines(body) {
			if strings.TrimSpace(line) != "" {
				d.json(t, what, line, lines...)
			}
		}
		return
	}
	if strings.HasSuffix(known, "json") {
		d.json(t, what, body, schema...)
	}
}

func (d *document) json(t testing.TB, what, body string, schema ...string) {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if m, ok := v.(map[string]any); ok && slices.Contains(schema, "requestBody") {
		maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil }) // null is taken as left out
	}
	d.valid(t, what, v, schema...)
}

// What is served is the description, which OpenAPI's own schema accepts, behind the guard.
func TestOpenAPI(t *testing.T) {
	s := start(t, "[server]\ntoken = \"sesame\"\n"+held, nil)
	if a := s.do("GET", "/openapi.json", ""); a.status != 401 {
		t.Errorf("without the token: %s", a)
	}
	a := s.do("GET", "/openapi.json", "", "Authorization", "Bearer sesame")
	want, _ := front.Document("test")
	if a.status != 200 || a.body != string(want) {
		t.Fatalf("GET /openapi.json: %s", a)
	}
	official, err := os.Open("openapi/testdata/oas-3.1.json")
	if err != nil {
		t.Fatal(err)
	}
	defer official.Close()
	schema, err := jsonschema.UnmarshalJSON(official)
	if err != nil {
		t.Fatal(err)
	}
	d := &document{root: schema.(map[string]any), compiler: jsonschema.NewCompiler(), compiled: map[string]*jsonschema.Schema{}}
	if err := d.compiler.AddResource("openapi.json", schema); err != nil {
		t.Fatal(err)
	}
	d.json(t, "it", a.body)
	if a := s.do("GET", "/openapi.json?x=1", "", "Authorization", "Bearer sesame"); a.status != 400 {
		t.Errorf("with a parameter: %s", a)
	}
}
