package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signalpost/proxy/sign"
	"signalpost/proxy/term"
)

func verifyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "verify --headers FILE --body FILE",
		Short: "Check a signature offline: headers and body from files",
		Long: `Check the signatures of a delivery as its receiver would. The headers are lines
as HTTP has them, Name: value (a request line and curl's marks are ignored); the
body is exactly the bytes received, compressed (gzip) or not. Every signature that
the headers carry must be right, or the one of --preset. It exits 0 if they are,
else 1, and says why. A signature by ed25519 is checked with the public key,
--secret whpk_….

A delivery may have any age, unless --tolerance limits it.`,
		Example: `  signalpost verify --headers headers.txt --body body.json --secret whsec_…
  signalpost verify --headers h --body b --preset stripe --tolerance 5m`,
	}
	headers := c.Flags().String("headers", "", "`FILE` of the headers, - for standard input")
	body := c.Flags().String("body", "", "`FILE` of the body, - for standard input")
	preset := c.Flags().String("preset", "", "the `PRESET` to check (default all that the headers carry)")
	var tolerance time.Duration
	durationFlag(c, &tolerance, "tolerance", "how far the signed time may be from now, a `DURATION` (default any)")
	secrets := secretFlag(c)
	jsonFlag(c)
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
		text, err1 := readFile(c, *headers)
		payload, err2 := readFile(c, *body)
		if err := cmp.Or(err1, err2); err != nil {
			return err
		}
		h, err := parseHeaders(text)
		if err != nil {
			return fmt.Errorf("%s: %w", *headers, err)
		}
		if payload, err = unpacked(h, payload); err != nil {
			return fmt.Errorf("%s: %w", *body, err)
		}
		presets := sign.Detect(h)
		if *preset != "" {
			presets = []string{*preset}
		}
		if len(presets) == 0 {
			return fmt.Errorf("%s: no signature header; the presets are %s", *headers, strings.Join(sign.Presets(), ", "))
		}
		out := newOutput(c)
		verdicts, bad := verdictsOf(presets, secrets(), h, payload, cmp.Or(tolerance, -1)) // -1: any
		err = out.show(map[string]any{"signatures": verdicts}, func() {
			for _, v := range verdicts {
				text := v.Preset
				if !v.OK {
					text += ": " + *v.Error
				}
				out.Printf("%s %s\n", out.Mark(v.OK), term.Wrap(text, 2))
			}
		})
		if err == nil && bad > 0 {
			err = fmt.Errorf("%d of %s not verified", bad, term.Count(len(verdicts), "signature"))
		}
		return err
	}
	return c
}

// A verdict is what verify --json prints of one signature.
type verdict struct {
	Preset string  `json:"preset"`
	OK     bool    `json:"ok"`
	Error  *string `json:"error"`
}

// verdictsOf are of one preset each; bad is how many are not right.
func verdictsOf(presets, secrets []string, h http.Header, body []byte, tolerance time.Duration) (verdicts []verdict, bad int) {
	for _, preset := range presets {
		v := verdict{Preset: preset, OK: true}
		if err := sign.Verify(preset, secrets, h, body, time.Now(), tolerance); err != nil {
			text := err.Error()
			v.OK, v.Error = false, &text
			bad++
		}
		verdicts = append(verdicts, v)
	}
	return verdicts, bad
}

// unpacked is what was signed of a body: what it unpacks to, if it was compressed
// and still is.
func unpacked(h http.Header, body []byte) ([]byte, error) {
	const magic = "\x1f\x8b"
	if !strings.EqualFold(h.Get("Content-Encoding"), "gzip") || !bytes.HasPrefix(body, []byte(magic)) {
		return body, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// parseHeaders reads header lines, whatever tool wrote them: a request or
// status line and the marks of curl -v are passed over, and so is all after a
// blank line.
func parseHeaders(text []byte) (http.Header, error) {
	lines := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(strings.TrimLeft(line, "<>"))
		switch {
		case line == "" && lines == "", strings.HasPrefix(line, "* "), strings.HasPrefix(line, "HTTP/"), strings.Contains(line, " HTTP/") && lines == "":
		default:
			lines += line + "\n"
		}
	}
	h, err := textproto.NewReader(bufio.NewReader(strings.NewReader(lines + "\n"))).ReadMIMEHeader()
	if err != nil || len(h) == 0 {
		return nil, errors.Join(err, errors.New("expected lines of Name: value"))
	}
	return http.Header(h), nil
}
