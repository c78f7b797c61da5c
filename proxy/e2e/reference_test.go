//go:build !race

// The programs run here are built without the race detector: once is enough.

package e2e

import (
	"flag"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"signalpost/proxy/docs/generated"
	"signalpost/proxy/term"
	"signalpost/transform/builtins"
)

var update = flag.Bool("update", false, "write the generated parts of the documentation anew")

// TestReferenceCommands: the page of the commands is what their help says.
func TestReferenceCommands(t *testing.T) {
	run := func(script string) string {
		out, err := bash(t, t.TempDir(), script)
		if err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
		return out
	}
	table, help := "| command | |\n| --- | --- |\n", ""
	for line := range strings.Lines(run("signalpost __complete ''")) {
		name, short, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok || name == "help" || name == "completion" { // which are cobra's
			continue
		}
		table += fmt.Sprintf("| [`%s`](#%[1]s) | %s |\n", name, short)
		said := run("signalpost " + name + " --help")
		for line := range strings.Lines(said) {
			if term.Width(strings.TrimSuffix(line, "\n")) > term.Columns {
				t.Errorf("help %s: more than %d columns: %s", name, term.Columns, line)
			}
		}
		help += fmt.Sprintf("\n## %s\n\n```text\n%s```\n", name, said)
	}
	if n := strings.Count(help, "\n## "); n < 10 {
		t.Errorf("found %d commands", n)
	}
	generated.Check(t, "../docs/commands.md", "go test ./proxy/e2e -run TestReferenceCommands -update", table+help, *update)
}

// TestReferenceMissing: the page of expressions names the builtins of jq that there are
// not.
func TestReferenceMissing(t *testing.T) {
	table := "| jq has | here |\n| --- | --- |\n"
	for _, name := range slices.Sorted(maps.Keys(builtins.Missing)) {
		table += fmt.Sprintf("| `%s` | %s |\n", name, strings.ReplaceAll(builtins.Missing[name], "|", `\|`))
	}
	generated.Check(t, "../docs/expressions.md", "go test ./proxy/e2e -run TestReferenceMissing -update", table, *update)
}

// TestReferenceMetrics: the page of the metrics is what a scrape says of its own.
func TestReferenceMetrics(t *testing.T) {
	metrics, _ := scrape(t, t.TempDir())
	table := "| metric | kind | labels | |\n| --- | --- | --- | --- |\n"
	help := regexp.MustCompile(`(?m)^# HELP (signalpost_\w+) (.*)\n# TYPE \S+ (\w+)$`)
	all := help.FindAllStringSubmatch(metrics, -1)
	if len(all) < 10 {
		t.Errorf("found %d metrics", len(all))
	}
	for _, m := range all {
		name, text, kind := m[1], strings.ReplaceAll(m[2], `\"`, `"`), m[3]
		var labels, buckets []string
		for _, series := range regexp.MustCompile(`(?m)^`+name+`(?:_bucket)?(?:\{(.*)\})? `).FindAllStringSubmatch(metrics, -1) {
			for _, label := range regexp.MustCompile(`(\w+)="([^"]*)"`).FindAllStringSubmatch(series[1], -1) {
				if label[1] == "le" {
					buckets = append(buckets, label[2])
				} else if label := "`" + label[1] + "`"; !slices.Contains(labels, label) {
					labels = append(labels, label)
				}
			}
		}
		if kind == "histogram" {
			kind += fmt.Sprintf(", %s to %s s", buckets[0], buckets[slices.Index(buckets, "+Inf")-1])
		}
		table += fmt.Sprintf("| `%s` | %s | %s | %s |\n", name, kind, strings.Join(labels, ", "), text)
	}
	generated.Check(t, "../docs/metrics.md", "go test ./proxy/e2e -run TestReferenceMetrics -update", table, *update)
}
