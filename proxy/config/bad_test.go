package config

import (
	"context"
	"flag"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"signalpost/proxy/files"
)

var update = flag.Bool("update", false, "write what is found to testdata/bad/*.err")

// canary stands for every secret in the tests: it must not be in any fault.
const canary = "CANARY"

// testInputs has a few environment variables and no proxy.
func testInputs() inputs {
	env := map[string]string{
		"CRM_SECRET":  canary,
		"EMPTY":       "",
		"NEWLINE":     canary + "\n",
		"URL_HTTP":    "http://crm.example.com/" + canary,
		"URL_NEWLINE": "https://crm.example.com/" + canary + "\n",
	}
	return inputs{
		env:      func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		readFile: func(path string) ([]byte, error) { return files.Read(context.Background(), path, MaxFile) },
		proxy:    func(*http.Request) (*url.URL, error) { return nil, nil },
	}
}

// Each testdata/bad/NAME.toml has the faults of NAME.err, no more and no fewer.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil || len(files) < 130 {
		t.Fatalf("%d cases, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".toml"), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, faults := parse(file, data, testInputs())
			if c != nil || len(faults) == 0 {
				t.Fatalf("got %+v, want faults", c)
			}
			got := strings.ReplaceAll(faults.Error(), filepath.ToSlash(file), filepath.Base(file)) + "\n"
			golden := strings.TrimSuffix(file, ".toml") + ".err"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}
			for _, hidden := range []string{canary, "canary", "7654321"} {
				if strings.Contains(got, hidden) {
					t.Errorf("a secret is in\n%s", got)
				}
			}
			for _, f := range faults {
				if f.File != file || f.Line < 1 || f.Line > strings.Count(string(data), "\n")+1 || f.Column < 1 {
					t.Errorf("place of %#v", f)
				}
			}
		})
	}
}

// A quote or bracket that is missing is one fault, and one alone, wherever it is.
func TestUnclosed(t *testing.T) {
	data, err := os.ReadFile("../../config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data) + `
[[route]]
name = "slack"
url = "https://slack.example.com/hooks"
where = '.a == "x"'
transform = '''
{ text: "\(.a)" }
'''
secret = "abc"
`
	for _, m := range regexp.MustCompile(`'''|["'\[\]{}]`).FindAllStringIndex(text, -1) {
		before := text[strings.LastIndex(text[:m[0]], "\n")+1 : m[0]]
		if strings.HasPrefix(before, "#") || strings.HasPrefix(before, "{") { // jq
			continue
		}
		if _, faults := parse("x.toml", []byte(text[:m[0]]+text[m[1]:]), testInputs()); len(faults) > 1 {
			t.Errorf("without the %s behind %q: %v", text[m[0]:m[1]], before, faults)
		}
	}
}
