package cli

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"signalpost/proxy/config"
	"signalpost/proxy/sign"
	"signalpost/proxy/term"
	"signalpost/queue"
)

func checkCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "check",
		Short: "Validate the config; show its faults, or its routes and schedules",
		Long: `Read the config as run would, with the secrets it names, and print every fault
with its place, or the routes, their schedules and what is probably not meant.
Nothing is sent, and the store is not touched.`,
		Example: `  signalpost check
  signalpost check --config /etc/signalpost/signalpost.toml`,
	}
	ConfigFlag(c)
	jsonFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := loadConfig(c)
		out := newOutput(c)
		if err != nil && !out.json {
			return err
		}
		path, _ := ConfigPath(c)
		r := report(path, cfg, err)
		if err != nil {
			err = fmt.Errorf("config %s: not valid", path)
		}
		return cmp.Or(out.show(r, func() { printConfig(out.Page, cfg, r) }), err)
	}
	return c
}

// A checked is what check --json prints.
type checked struct {
	Path     string         `json:"path"`
	OK       bool           `json:"ok"`
	Faults   config.Faults  `json:"faults"`
	Warnings config.Faults  `json:"warnings"`
	Routes   []checkedRoute `json:"routes"`
}

type checkedRoute struct {
	Name       string    `json:"name"`
	Target     string    `json:"target"`
	Attempts   int       `json:"attempts"`
	Gaps       []float64 `json:"gaps_seconds"` // between the attempts, without jitter
	Signatures []string  `json:"signatures"`   // presets and headers; none without a secret
	PublicKey  string    `json:"public_key,omitempty"`
}

func report(path string, cfg *config.Config, err error) checked {
	r := checked{Path: path, OK: err == nil, Faults: config.Faults{}, Warnings: config.Faults{}, Routes: []checkedRoute{}}
	if errors.As(err, &r.Faults); err != nil {
		return r
	}
	r.Warnings = append(r.Warnings, cfg.Warnings...)
	if zone := ZoneWarning(); zone != "" {
		r.Warnings = append(r.Warnings, config.Fault{Msg: zone})
	}
	for i := range cfg.Routes {
		route := &cfg.Routes[i]
		gaps := []float64{}
		for _, gap := range route.Retry.Gaps() {
			gaps = append(gaps, gap.Seconds())
		}
		key := ""
		if slices.Contains(route.Signer.Names(), "ed25519") {
			key, _ = sign.PublicKey(route.SigningKey.Reveal())
		}
		r.Routes = append(r.Routes, checkedRoute{route.Name, route.Target, route.Retry.Attempts, gaps, route.Signer.Names(), key})
	}
	return r
}

// printConfig prints a config that is valid, and the report on it.
func printConfig(p term.Page, cfg *config.Config, report checked) {
	where := "store in " + cfg.Queue.Path
	if f := cfg.Fleet; f != nil {
		where += fmt.Sprintf(", in the fleet %s on %s", f.Name, term.Count(len(f.Servers), "NATS server"))
	}
	p.Printf("%s\n", term.Wrap(fmt.Sprintf("%s is valid: %s, listening on %s, %s", cfg.Path, term.Count(len(cfg.Routes), "route"), cfg.Server.Listen, where), 0))
	field := func(name, text string) {
		p.Printf("  %s%s\n", p.In(term.Dim, term.Fit(name, 8)), term.Wrap(text, 10))
	}
	for i := range cfg.Routes {
		r := &cfg.Routes[i]
		paused := ""
		if r.Paused {
			paused = "  paused"
		}
		p.Printf("\n%s  %s%s\n", p.In(term.Bold, r.Name), r.Target, p.In(term.Yellow, paused))
		takes := "every signal"
		if len(r.SignalTypes) > 0 {
			takes = strings.Join(r.SignalTypes, ", ")
		}
		if r.Where != nil {
			takes += ", where " + oneLine(r.Where.Source())
		}
		field("takes", takes)
		if r.Transform != nil {
			field("shapes", oneLine(r.Transform.Source()))
		}
		field("signs", cmp.Or(strings.Join(report.Routes[i].Signatures, ", "), "nothing"))
		if key := report.Routes[i].PublicKey; key != "" {
			field("key", key)
		}
		field("tries", scheduleText(r.Retry))
	}
	for i, w := range report.Warnings {
		if i == 0 {
			p.Printf("\n")
		}
		p.Printf("%s %s\n", p.In(term.Yellow, "warning:"), term.Wrap(strings.TrimPrefix(strings.TrimPrefix(w.Error(), "config "), ": "), 9))
	}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// scheduleText says when the attempts of a schedule are made.
func scheduleText(s queue.Schedule) string {
	var gaps []string
	for _, g := range s.Gaps() {
		gaps = append(gaps, term.Span(g))
	}
	jitter := ""
	if s.Jitter > 0 {
		jitter = fmt.Sprintf(" (±%g %%)", s.Jitter*100)
	}
	switch len(gaps) {
	case 0:
		return "once"
	case 1:
		return fmt.Sprintf("twice, with a gap of %s%s", gaps[0], jitter)
	}
	return fmt.Sprintf("%d times over %s, with gaps of %s%s", s.Attempts, term.Span(s.Window), strings.Join(gaps, ", "), jitter)
}
