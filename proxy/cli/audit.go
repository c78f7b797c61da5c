package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"

	"signalpost/proxy/audit"
	"signalpost/proxy/config"
	"signalpost/proxy/sign"
	"signalpost/proxy/term"
)

func auditCommand(version string) *cobra.Command {
	c := &cobra.Command{
		Use:   "audit [FILE|-] --route NAME | --url URL --secret SECRET",
		Short: "Examine a receiver with samples: signatures, repeats, speed, TLS",
		Long: `Send samples to a receiver, and report what it does: whether it accepts what is
right, refuses a wrong, missing or old signature and takes a repeated webhook-id
once, how it takes odd payloads, how fast it is, and more. Each sample says that it
is one. Each check is passed, failed, cannot tell or does not apply; exit 1 if one
failed. The command names the receiver and asks before it sends, and asks you about
what it cannot see. It needs no sidecar, and touches no queue.
With --route the route makes the samples, from the signal in FILE or from the
sample signal; else they are sent as they are.`,
		Example: `  signalpost audit --route crm
  signalpost audit --url https://example.com/hooks --secret whsec_… --yes --json
  signalpost audit signal.json --route crm`,
	}
	ConfigFlag(c)
	jsonFlag(c)
	takesSignal(c)
	f := c.Flags()
	route := f.String("route", "", "examine the receiver of the route `NAME` of the config")
	url := f.String("url", "", "examine the receiver at this `URL`")
	presets := f.StringSlice("preset", []string{"beton", "standard"}, "with --url: the `PRESETS` to sign with")
	yes := f.Bool("yes", false, "ask nothing: send, and leave open what cannot be seen")
	secrets := secretFlag(c)
	oneOf(c, "preset", sign.Presets()...)
	c.RunE = func(c *cobra.Command, args []string) error {
		if (*route == "") == (*url == "") {
			return usage("one of --route and --url says what to examine")
		}
		o := audit.Options{Route: *route, UserAgent: "signalpost/" + version + " (audit)"}
		var err error
		if *url == "" {
			o.Config, err = loadConfig(c)
		} else {
			o.Route = "audit"
			o.Config, err = configFor(*url, *presets, secrets())
		}
		if err != nil {
			return err
		}
		if o.Signal, err = readSignal(c, args); err != nil {
			return err
		}
		names := routeNames(o.Config)
		at := slices.Index(names, o.Route)
		if at < 0 {
			return noRoute(o.Route, names)
		}
		target := o.Config.Routes[at].Target
		out, ask := newOutput(c), asker(c)
		if !*yes {
			question := fmt.Sprintf("This sends up to %d samples to %s now. Each says that it is one; nothing is queued. Go on?", audit.Samples, target)
			if sure, known := ask(question); !known || !sure {
				return errors.New("nothing was sent; answer y, or say --yes")
			}
			o.Ask = ask
		}
		return examine(c, out, o, target)
	}
	return c
}

// examine runs an audit, and prints it.
func examine(c *cobra.Command, out output, o audit.Options, target string) error {
	report := struct {
		Target string       `json:"target"`
		Lines  []audit.Line `json:"lines"`
		Failed int          `json:"failed"`
	}{target, []audit.Line{}, 0}
	o.Report = func(l audit.Line) {
		if report.Lines = append(report.Lines, l); l.Verdict == audit.Failed {
			report.Failed++
		}
		if !out.json {
			printAuditLine(out.Page, l)
		}
	}
	if err := audit.Run(c.Context(), o); err != nil {
		return err
	}
	err := out.show(report, func() {})
	if err == nil && report.Failed > 0 {
		err = fmt.Errorf("%d of %s failed", report.Failed, term.Count(len(report.Lines), "check"))
	}
	return err
}

func printAuditLine(p term.Page, l audit.Line) {
	p.Printf("%s %s\n", p.In(shadeOf(l.Verdict), fmt.Sprintf("%-14s", l.Verdict)), p.In(term.Bold, l.Check))
	p.Printf("               %s\n", p.In(term.Dim, term.Wrap(l.Text, 15)))
	if l.Do != "" {
		p.Printf("               %s\n", term.Wrap(l.Do, 15))
	}
}

// asker asks on standard error, and reads an answer from standard input: yes, no or that
// nobody knows, which is also what an end of the input means.
func asker(c *cobra.Command) func(question string) (yes, known bool) {
	in := bufio.NewReader(c.InOrStdin())
	page := term.NewPage(c.ErrOrStderr())
	return func(question string) (yes, known bool) {
		page.Printf("%s ", term.Wrap(question+" [y/n]", 0))
		line, err := in.ReadString('\n')
		if err != nil && err != io.EOF {
			return false, false
		}
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return true, true
		case "n", "no":
			return false, true
		}
		return false, false
	}
}

// configFor is a config with one route, audit, to a URL that somebody named.
func configFor(url string, presets, secrets []string) (*config.Config, error) {
	if slices.Contains(presets, "ed25519") {
		return nil, usage("--preset: ed25519 signs with a key that only a config has: examine the receiver with --route")
	}
	route := map[string]any{"name": "audit", "url": url, "allow_http": true, "signatures": presets}
	if len(secrets) > 0 {
		route["secrets"] = secrets
	}
	text, err := toml.Marshal(map[string]any{"route": []map[string]any{route}})
	if err != nil {
		return nil, err
	}
	cfg, err := config.Parse("of the flags", text, false)
	if faults := (config.Faults)(nil); errors.As(err, &faults) {
		msg := faults[0].Msg
		for key, flag := range map[string]string{"url": "--url", "secrets": "--secret", "signatures": "--preset"} {
			if rest, ok := strings.CutPrefix(msg, key+":"); ok {
				msg = flag + ":" + rest
			}
		}
		return nil, usage("%s", msg)
	}
	return cfg, err
}
