//go:build !race

package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"text/template"
)

// An operation is what a template of a client is told of one.
type operation struct {
	Name, Text, Method, Path string
	Where                    string // JSON: each parameter's place
	Read                     string // json or text
	Lines                    bool   // the answer may be lines
}

// operations reads them from /openapi.json.
func operations(t *testing.T, document []byte) (all []operation) {
	t.Helper()
	var d struct {
		Paths map[string]map[string]struct {
			OperationID string
			Summary     string
			Parameters  []struct{ Name, In string }
			Responses   map[string]struct{ Content map[string]any }
		}
	}
	if err := json.Unmarshal(document, &d); err != nil {
		t.Fatal(err)
	}
	for path, methods := range d.Paths {
		for method, o := range methods {
			where := map[string]string{}
			for _, p := range o.Parameters {
				where[p.Name] = p.In
			}
			places, err := json.Marshal(where)
			if err != nil {
				t.Fatal(err)
			}
			op := operation{Name: o.OperationID, Text: o.Summary, Method: strings.ToUpper(method), Path: path, Where: string(places), Read: "text"}
			for status, r := range o.Responses {
				if status[0] == '2' {
					if r.Content["application/json"] != nil {
						op.Read = "json"
					}
					op.Lines = op.Lines || r.Content["application/x-ndjson"] != nil
				}
			}
			all = append(all, op)
		}
	}
	return all
}

// TestGeneratedClients makes clients from what GET /openapi.json says, and uses
// them: they post before the sidecar is up, follow the log and retry.
func TestGeneratedClients(t *testing.T) {
	for _, tt := range []struct{ program, client, use string }{
		{"node", "client.mjs", "use.mjs"},
		{"python3", "client.py", "use.py"},
	} {
		t.Run(tt.program, func(t *testing.T) {
			program := tool(t, tt.program)
			var requests atomic.Int64
			receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if requests.Add(1) == 1 {
					w.WriteHeader(500)
				}
			}))
			defer receiver.Close()
			s := newSidecar(t, t.TempDir())
			config := fmt.Sprintf("[server]\nlisten = %q\ntoken = \"sesame\"\n[[route]]\nname = \"crm\"\nurl = %q\nretry = { first = \"10m\" }\n", s.address, receiver.URL)
			s.begin(config)
			s.ready()
			ask, err := http.NewRequest("GET", "http://"+s.address+"/openapi.json", nil)
			if err != nil {
				t.Fatal(err)
			}
			ask.Header.Set("Authorization", "Bearer sesame")
			resp, err := s.client.Do(ask)
			if err != nil {
				t.Fatal(err)
			}
			document, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != 200 {
				t.Fatal(resp.Status, err)
			}
			s.stop()

			var text bytes.Buffer
			if err := template.Must(template.ParseFiles("testdata/clients/"+tt.client+".tmpl")).Execute(&text, operations(t, document)); err != nil {
				t.Fatal(err)
			}
			use, err := os.ReadFile("testdata/clients/" + tt.use)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for name, content := range map[string][]byte{tt.client: text.Bytes(), tt.use: use} {
				if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), program, tt.use)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "SIGNALPOST_SERVER=http://"+s.address, "SIGNALPOST_TOKEN=sesame", "PYTHONUTF8=1")
			var errors bytes.Buffer
			cmd.Stderr = &errors
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewReader(out)
			if posting, err := lines.ReadString('\n'); posting != "posting\n" {
				t.Fatalf("%q, %v\n%s", posting, err, &errors)
			}
			s.begin(config)
			printed, _ := io.ReadAll(lines)
			if err := cmd.Wait(); err != nil {
				t.Fatalf("%v\n%s%s", err, printed, &errors)
			}
			const want = "once true 1\n1 retry schedule\npending\n2 delivered manual\nGrüße delivered\n404\nok\n"
			if string(printed) != want {
				t.Errorf("it printed\n%s, want\n%s", printed, want)
			}
			s.stop()
		})
	}
}
