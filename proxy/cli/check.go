package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"signalpost/proxy/config"
	"signalpost/proxy/receiver"
	"signalpost/queue"
)

func checkCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "check",
		Short: "Validate the config; show its faults, or its routes and schedules",
		Long: `Read the config as run would, with the secrets it names, and print every fault
with its place, or the routes, their schedules and what is probably not meant.
Nothing is sent, and the store is not touched.`,
		Example: examples(
			"signalpost check",
			"signalpost check --config /etc/signalpost/signalpost.toml"),
	}
	path := configFlag(c)
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		file := configPath(*path)
		out := newPage(c.OutOrStdout())
		cfg, err := config.Load(c.Context(), file)
		if *asJSON {
			if printErr := printJSON(out, report(file, cfg, err)); printErr != nil {
				return printErr
			}
			if err != nil {
				return fmt.Errorf("config %s: not valid", file)
			}
			return nil
		}
		if err != nil {
			return err
		}
		out.config(cfg)
		return nil
	}
	return c
}

// A checked is what check --json prints.
type checked struct {
	Path     string         `json:"path"`
	OK       bool           `json:"ok"`
	Faults   []placed       `json:"faults"`
	Warnings []placed       `json:"warnings"`
	Routes   []checkedRoute `json:"routes"`
}

type placed struct {
	Line    int    `json:"line"`   // from 1; 0 when the file could not be read
	Column  int    `json:"column"` // likewise
	Route   string `json:"route,omitempty"`
	Message string `json:"message"`
}

type checkedRoute struct {
	Name       string    `json:"name"`
	Target     string    `json:"target"`
	Attempts   int       `json:"attempts"`
	Gaps       []float64 `json:"gaps_seconds"` // between the attempts, without jitter
	Signatures []string  `json:"signatures"`   // none without a secret
}

func report(path string, cfg *config.Config, err error) checked {
	r := checked{Path: path, OK: err == nil, Faults: []placed{}, Warnings: []placed{}, Routes: []checkedRoute{}}
	var faults config.Faults
	switch {
	case errors.As(err, &faults):
		r.Faults = places(faults)
	case err != nil:
		r.Faults = []placed{{Message: err.Error()}}
	default:
		r.Warnings = places(cfg.Warnings)
		for i := range cfg.Routes {
			route := &cfg.Routes[i]
			gaps := []float64{}
			for _, gap := range route.Retry.Gaps() {
				gaps = append(gaps, gap.Seconds())
			}
			r.Routes = append(r.Routes, checkedRoute{route.Name, route.Target, route.Retry.Attempts, gaps, signatures(route)})
		}
	}
	return r
}

func places(faults []config.Fault) []placed {
	list := []placed{}
	for _, f := range faults {
		list = append(list, placed{f.Line, f.Column, f.Route, f.Msg})
	}
	return list
}

// signatures are the presets a route signs with: none without a secret.
func signatures(r *config.Route) []string {
	if r.Signer == nil {
		return []string{}
	}
	return r.Signatures
}

// config prints a config that is valid.
func (p page) config(cfg *config.Config) {
	p.printf("%s\n", wrap(fmt.Sprintf("%s is valid: %s, listening on %s, store in %s",
		receiver.Escape(cfg.Path), count(len(cfg.Routes), "route"), receiver.Escape(cfg.Server.Listen), receiver.Escape(cfg.Queue.Path)), 0))
	for i := range cfg.Routes {
		r := &cfg.Routes[i]
		p.printf("\n%s  %s%s\n", p.in(bold, r.Name), receiver.Escape(r.Target), p.in(yellow, paused(r)))
		takes := "every signal"
		if len(r.SignalTypes) > 0 {
			takes = strings.Join(r.SignalTypes, ", ")
		}
		if r.Where != nil {
			takes += ", where " + oneLine(r.WhereSource)
		}
		p.field("takes", takes)
		if r.Transform != nil {
			p.field("shapes", oneLine(r.TransformSource))
		}
		if signed := signatures(r); len(signed) > 0 {
			p.field("signs", strings.Join(signed, ", "))
		} else {
			p.field("signs", "nothing")
		}
		p.field("tries", tries(r.Retry))
	}
	for i, w := range cfg.Warnings {
		if i == 0 {
			p.printf("\n")
		}
		p.printf("%s %s\n", p.in(yellow, "warning:"), receiver.Escape(strings.TrimPrefix(w.Error(), "config ")))
	}
}

func paused(r *config.Route) string {
	if r.Paused {
		return "  paused"
	}
	return ""
}

// field prints a named text of a route.
func (p page) field(name, text string) {
	p.printf("  %s%s\n", p.in(dim, fit(name, 8)), strings.TrimPrefix(wrap(receiver.Escape(text), 10), strings.Repeat(" ", 10)))
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// tries says when the attempts of a schedule are made.
func tries(s queue.Schedule) string {
	gaps := s.Gaps()
	if len(gaps) == 0 {
		return "once"
	}
	text := make([]string, len(gaps))
	for i, g := range gaps {
		text[i] = span(g)
	}
	jitter := ""
	if s.Jitter > 0 {
		jitter = fmt.Sprintf(" (±%g %%)", s.Jitter*100)
	}
	if len(gaps) == 1 {
		return fmt.Sprintf("twice, with a gap of %s%s", text[0], jitter)
	}
	return fmt.Sprintf("%d times over %s, with gaps of %s%s", s.Attempts, span(s.Window), strings.Join(text, ", "), jitter)
}
