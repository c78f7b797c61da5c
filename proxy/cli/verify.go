package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signalpost/proxy/receiver"
	"signalpost/proxy/sign"
)

func verifyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "verify --headers FILE --body FILE",
		Short: "Check a signature offline: headers and body from files",
		Long: `Check the signatures of a delivery as its receiver would. The headers are lines
as HTTP has them, Name: value (a request line and curl's marks are passed over),
the body is exactly the bytes received. Every signature that the headers carry
must be right, or the one of --preset. It exits 0 if they are, else 1, and says
why.

How old a delivery is does not count, unless --tolerance says how old it may be.`,
		Example: examples(
			"signalpost verify --headers headers.txt --body body.json --secret whsec_…",
			"signalpost verify --headers h --body b --preset stripe --tolerance 5m"),
	}
	headers := c.Flags().String("headers", "", "`FILE` of the headers, - for standard input")
	body := c.Flags().String("body", "", "`FILE` of the body, - for standard input")
	preset := c.Flags().String("preset", "", "the `PRESET` to check (default all that the headers carry)")
	tolerance := c.Flags().Duration("tolerance", 0, "how far the signed time may be from now, a `DURATION` (default any)")
	secrets := secretFlag(c)
	asJSON := jsonFlag(c)
	oneOf(c, "preset", sign.Presets()...)
	c.MarkFlagFilename("headers")
	c.MarkFlagFilename("body")
	c.RunE = func(c *cobra.Command, _ []string) error {
		switch {
		case *headers == "" || *body == "":
			return usage("--headers and --body are both needed")
		case *headers == "-" && *body == "-":
			return usage("only one of --headers and --body can be standard input")
		case len(secrets()) == 0:
			return usage("a secret is needed: --secret, or SIGNALPOST_SECRET")
		}
		text, err := readFile(c, *headers)
		if err != nil {
			return err
		}
		h, err := parseHeaders(text)
		if err != nil {
			return fmt.Errorf("%s: %w", *headers, err)
		}
		payload, err := readFile(c, *body)
		if err != nil {
			return err
		}
		presets := sign.Detect(h)
		if *preset != "" {
			presets = []string{*preset}
		}
		if len(presets) == 0 {
			return fmt.Errorf("%s: no signature header; the presets are %s", *headers, strings.Join(sign.Presets(), ", "))
		}
		return verify(newPage(c.OutOrStdout()), *asJSON, presets, secrets(), h, payload, *tolerance)
	}
	return c
}

// A verdict is what verify --json prints of one signature.
type verdict struct {
	Preset string  `json:"preset"`
	OK     bool    `json:"ok"`
	Error  *string `json:"error"`
}

func verify(out page, asJSON bool, presets, secrets []string, h http.Header, body []byte, tolerance time.Duration) error {
	if tolerance == 0 {
		tolerance = -1
	}
	var verdicts []verdict
	bad := 0
	for _, preset := range presets {
		v := verdict{Preset: preset, OK: true}
		if err := sign.Verify(preset, secrets, h, body, time.Now(), tolerance); err != nil {
			text := err.Error()
			v.OK, v.Error = false, &text
			bad++
		}
		verdicts = append(verdicts, v)
	}
	if asJSON {
		if err := printJSON(out, map[string]any{"signatures": verdicts}); err != nil {
			return err
		}
	} else {
		for _, v := range verdicts {
			if v.OK {
				out.printf("%s %s\n", out.in(green, "✓"), receiver.Escape(v.Preset))
			} else {
				out.printf("%s %s\n", out.in(red, "✗"), trimMargin(wrap(receiver.Escape(v.Preset+": "+*v.Error), 2)))
			}
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %s not verified", bad, count(len(presets), "signature"))
	}
	return nil
}

func readFile(c *cobra.Command, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(c.InOrStdin())
	}
	return os.ReadFile(name)
}

// parseHeaders reads header lines, whatever tool wrote them: a request or
// status line and the marks of curl -v are passed over, and so is all after a
// blank line.
func parseHeaders(text []byte) (http.Header, error) {
	h := http.Header{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		if rest, ok := strings.CutPrefix(line, "> "); ok {
			line = rest
		} else if rest, ok := strings.CutPrefix(line, "< "); ok {
			line = rest
		}
		if strings.TrimSpace(line) == "" || line == ">" || line == "<" {
			if len(h) == 0 {
				continue
			}
			break
		}
		name, value, ok := strings.Cut(line, ":")
		switch {
		case strings.HasPrefix(line, "HTTP/"), strings.Contains(line, " HTTP/") && len(h) == 0, strings.HasPrefix(line, "* "):
			continue
		case !ok || name == "" || strings.ContainsAny(name, " \t"):
			return nil, fmt.Errorf("%q is no header line; expected Name: value", cut(receiver.Escape(line), 60))
		}
		h.Add(name, strings.TrimSpace(value))
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(h) == 0 {
		return nil, errors.New("no header in it; expected lines of Name: value")
	}
	return h, nil
}
