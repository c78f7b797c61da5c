package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"signalpost/proxy/api"
	"signalpost/proxy/client"
	"signalpost/proxy/config"
	"signalpost/proxy/rehearse"
	"signalpost/proxy/term"
)

const testFile = "signalpost.test.toml"

func testCommand(version string) *cobra.Command {
	c := &cobra.Command{
		Use:   "test [FILE…]",
		Short: "Run the tests of the routes, from the config alone",
		Long: `Run the [[test]] tables of the files, or of ` + testFile + ` beside the
config: each is a signal and what the routes should make of it. For each test
that fails it prints where, what was wanted and what came, and it exits 1.
Nothing is sent, and neither a sidecar nor the secrets are needed.

With --record it asks the running sidecar for a real delivery instead, and prints
a test made of it.`,
		Example: `  signalpost test
  signalpost test routes/*.test.toml --junit report.xml
  signalpost test --record dlv_01K… >> ` + testFile,
	}
	ConfigFlag(c)
	jsonFlag(c)
	c.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveDefault) // files
	junit := c.Flags().String("junit", "", "write a report for CI to `FILE`, as JUnit does")
	record := c.Flags().String("record", "", "print a test made of the delivery `ID`")
	c.Flags().String("server", "", "with --record: find the sidecar at `URL`: http://HOST:PORT or unix:PATH; token from SIGNALPOST_TOKEN")
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(c *cobra.Command, args []string) error {
		out := newOutput(c)
		if *record != "" {
			if len(args) > 0 || *junit != "" || out.json {
				return usage("--record prints a test, and runs none: leave files, --junit and --json out")
			}
			sidecar, err := connect(c)
			if err != nil {
				return err
			}
			return recordTest(c.Context(), sidecar, out, *record)
		}
		if c.Flags().Changed("server") {
			return usage("--server is for --record: tests need no sidecar")
		}
		if len(args) == 0 {
			path, _ := ConfigPath(c)
			args = []string{filepath.Join(filepath.Dir(path), testFile)}
		}
		results, err := runTests(c, version, args)
		if err != nil {
			return err
		}
		if *junit != "" {
			if err := writeJUnit(*junit, results); err != nil {
				return err
			}
		}
		failed := 0
		for _, r := range results {
			if !r.OK {
				failed++
			}
		}
		err = out.show(testReport{Tests: results, Failed: failed}, func() { printResults(out.Page, results, failed) })
		if err == nil && failed > 0 {
			err = fmt.Errorf("%s failed", term.Count(failed, "test"))
		}
		return err
	}
	return c
}

// A testReport is what test --json prints.
type testReport struct {
	Tests  []rehearse.Result `json:"tests"`
	Failed int               `json:"failed"`
}

func runTests(c *cobra.Command, version string, files []string) ([]rehearse.Result, error) {
	path, _ := ConfigPath(c)
	cfg, err := rehearsedConfig(c, path)
	if err != nil {
		return nil, err
	}
	var tests []config.Test
	var faults []error
	for _, file := range files {
		some, err := config.LoadTests(c.Context(), file, cfg)
		tests = append(tests, some...)
		faults = append(faults, err)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return rehearse.Test(c.Context(), cfg, version, tests)
}

func printResults(p term.Page, results []rehearse.Result, failed int) {
	for _, r := range results {
		p.Printf("%s %s\n", p.Mark(r.OK), r.Name)
		for _, f := range r.Failures {
			p.Printf("    %s  %s%s\n", f.Place, p.In(term.Bold, f.Route), strings.TrimRight("  "+f.Path, " "))
			if f.Why != "" {
				p.Printf("      %s\n", term.Wrap(f.Why, 6))
			}
			printSide(p, "want", f.Want, f.Path)
			printSide(p, "got ", f.Got, f.Path)
		}
	}
	p.Printf("%s, %d failed\n", term.Count(len(results), "test"), failed)
}

// printSide prints what was wanted or came at a path, unless that is nothing of a whole.
func printSide(p term.Page, name string, v json.RawMessage, path string) {
	if v == nil && path == "" {
		return
	}
	p.Printf("      %s %s\n", p.In(term.Dim, name), cmp.Or(string(v), "nothing"))
}

// JUnit's report, as far as those who read it agree: suites of cases.
type (
	junitSuite struct {
		XMLName  xml.Name
		Name     string       `xml:"name,attr,omitempty"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Suites   []junitSuite `xml:"testsuite"`
		Cases    []junitCase  `xml:"testcase"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		File    string        `xml:"file,attr"`
		Line    int           `xml:"line,attr"`
		Failure *junitFailure `xml:"failure"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// writeJUnit writes a suite for each file.
func writeJUnit(path string, results []rehearse.Result) error {
	all := junitSuite{XMLName: xml.Name{Local: "testsuites"}}
	for _, r := range results {
		if n := len(all.Suites); n == 0 || all.Suites[n-1].Name != r.File {
			all.Suites = append(all.Suites, junitSuite{Name: r.File})
		}
		suite := &all.Suites[len(all.Suites)-1]
		c := junitCase{Name: r.Name, Class: r.File, File: r.File, Line: r.Line}
		if !r.OK {
			var text strings.Builder
			printResults(term.NewPage(&text), []rehearse.Result{r}, 1)
			first := r.Failures[0]
			why := first.Why
			if why == "" {
				why = fmt.Sprintf("%s: want %s, got %s", first.Path, cmp.Or(string(first.Want), "nothing"), cmp.Or(string(first.Got), "nothing"))
			}
			c.Failure = &junitFailure{fmt.Sprintf("route %s: %s", first.Route, why), text.String()}
			suite.Failures++
			all.Failures++
		}
		suite.Cases = append(suite.Cases, c)
		suite.Tests++
		all.Tests++
	}
	b, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append([]byte(xml.Header), append(b, '\n')...), 0o666)
}

// recordTest prints a test of what a delivery's route made of its signal.
func recordTest(ctx context.Context, sidecar *client.Client, out output, id string) error {
	var named api.Delivery
	if err := sidecar.Get(ctx, "/deliveries/"+url.PathEscape(id), &named); err != nil {
		return err
	}
	var s api.Signal
	if err := sidecar.Get(ctx, "/signals/"+named.Signal.String(), &s); err != nil {
		return err
	}
	var made []api.Delivery
	for _, d := range s.Deliveries {
		if d.Route != named.Route {
			continue
		}
		var one api.Delivery
		if err := sidecar.Get(ctx, "/deliveries/"+d.ID.String(), &one); err != nil {
			return err
		}
		made = append(made, one)
	}
	text, err := rehearse.Record(id, made)
	if err == nil {
		_, err = io.WriteString(out, text) // it is escaped as TOML has it
	}
	return err
}
