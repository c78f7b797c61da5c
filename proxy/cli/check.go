package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"signalpost/proxy/config"
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
		path, _ := ConfigPath(c)
		cfg, err := config.Load(c.Context(), path)
		out := newOutput(c)
		if out.json {
			if printErr := out.JSON(report(path, cfg, err), "  "); printErr != nil {
				return printErr
			}
			if err != nil {
				return fmt.Errorf("config %s: not valid", path)
			}
			return nil
		}
		if err != nil {
			return err
		}
		printConfig(out.Page, cfg)
		return nil
	}
	return c
}

// A checked is what check --json prints.
type checked struct {
	Path     string         `json:"path"`
	OK       bool           `json:"ok"`
	Faults   []config.Fault `json:"faults"`
	Warnings []config.Fault `json:"warnings"`
	Routes   []checkedRoute `json:"routes"`
}

type checkedRoute struct {
	Name       string    `json:"name"`
	Target     string    `json:"target"`
	Attempts   int       `json:"attempts"`
	Gaps       []float64 `json:"gaps_seconds"` // between the attempts, without jitter
	Signatures []string  `json:"signatures"`   // none without a secret
}

func report(path string, cfg *config.Config, err error) checked {
	r := checked{Path: path, OK: err == nil, Faults: []config.Fault{}, Warnings: []config.Fault{}, Routes: []checkedRoute{}}
	if faults := (config.Faults)(nil); errors.As(err, &faults) {
		r.Faults = faults
	}
	if err != nil {
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
		r.Routes = append(r.Routes, checkedRoute{route.Name, route.Target, route.Retry.Attempts, gaps, signatures(route)})
	}
	return r
}

// signatures are the presets a route signs with: none without a secret.
func signatures(r *config.Route) []string {
	if r.Signer == nil {
		return []string{}
	}
	return r.Signatures
}

// printConfig prints a config that is valid.
func printConfig(p term.Page, cfg *config.Config) {
	p.Printf("%s\n", term.Wrap(fmt.Sprintf("%s is valid: %s, listening on %s, store in %s",
		cfg.Path, term.Count(len(cfg.Routes), "route"), cfg.Server.Listen, cfg.Queue.Path), 0))
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
			takes += ", where " + oneLine(r.WhereSource)
		}
		field("takes", takes)
		if r.Transform != nil {
			field("shapes", oneLine(r.TransformSource))
		}
		signs := "nothing"
		if signed := signatures(r); len(signed) > 0 {
			signs = strings.Join(signed, ", ")
		}
		field("signs", signs)
		field("tries", tries(r.Retry))
	}
	var warnings []string
	for _, w := range cfg.Warnings {
		warnings = append(warnings, strings.TrimPrefix(w.Error(), "config "))
	}
	if zone := ZoneWarning(); zone != "" {
		warnings = append(warnings, zone)
	}
	for i, w := range warnings {
		if i == 0 {
			p.Printf("\n")
		}
		p.Printf("%s %s\n", p.In(term.Yellow, "warning:"), w)
	}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// tries says when the attempts of a schedule are made.
func tries(s queue.Schedule) string {
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
