package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"signalpost/proxy"
	"signalpost/proxy/api"
	"signalpost/proxy/config"
	"signalpost/proxy/term"
)

func tryCommand(version string) *cobra.Command {
	c := &cobra.Command{
		Use:   "try [FILE|-]",
		Short: "Show what each route would do with a signal, from the config alone",
		Long: `Show for each route of the config whether a signal passes and why, and the body
and headers it would be sent with, secret ones redacted. Nothing is sent, and
neither a sidecar nor the secrets are needed. With no FILE the sample signal is
tried. It exits 1 if an expression fails.`,
		Example: `  signalpost try
  signalpost try signal.json --route crm
  echo '{"signal_type":"test"}' | signalpost try -`,
	}
	ConfigFlag(c)
	jsonFlag(c)
	takesSignal(c)
	route := c.Flags().String("route", "", "try the route `NAME` alone")
	headers := c.Flags().Bool("headers", false, "print the request's headers too")
	c.RegisterFlagCompletionFunc("route", func(c *cobra.Command, _ []string, _ string) (names []string, _ cobra.ShellCompDirective) {
		path, _ := ConfigPath(c)
		if cfg, err := config.LoadRehearsal(c.Context(), path); err == nil {
			names = routeNames(cfg)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
	c.RunE = func(c *cobra.Command, args []string) error {
		path, _ := ConfigPath(c)
		cfg, err := rehearsedConfig(c, path)
		if err != nil {
			return err
		}
		body, err := readSignal(c, args)
		if err != nil {
			return err
		}
		trials, err := proxy.Try(c.Context(), cfg, version, body, *route)
		if err != nil {
			return err
		}
		out := newOutput(c)
		err = out.show(api.Trials{Routes: trials}, func() {
			for _, t := range trials {
				printTrial(out.Page, t, *headers)
			}
		})
		if err == nil && slices.ContainsFunc(trials, func(t api.Trial) bool { return t.Error != nil }) {
			return errors.New("an expression failed; such a delivery would be dead, reason transform")
		}
		return err
	}
	return c
}

// printTrial prints what one route would do.
func printTrial(p term.Page, t api.Trial, headers bool) {
	mark := p.In(term.Dim, "-")
	switch {
	case t.Error != nil:
		mark = p.Mark(false)
	case len(t.Bodies) > 0:
		mark = p.Mark(true)
	}
	p.Printf("%s %s  %s\n", mark, p.In(term.Bold, t.Route), t.Why)
	if t.Error != nil {
		p.Printf("    %s\n", term.Wrap(*t.Error, 4))
	}
	if t.Order != "" {
		p.Printf("    %s\n", p.In(term.Dim, "in order, one at a time, with all others of "+t.Order))
	}
	if t.Request != nil {
		printRequest(p, t.Request, headers)
	}
	for _, body := range t.Bodies {
		printBody(p, body, t.Format, math.MaxInt)
	}
}

func printRequest(p term.Page, r *api.Request, headers bool) {
	p.Printf("    %s %s\n", r.Method, r.Target+r.Path)
	if headers {
		for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
			p.Printf("    %s\n", p.In(term.Dim, name+": "+r.Headers[name]))
		}
	}
}

// printBody prints a body: JSON, or a string of it that says what was sent in another format.
// Lines that are longer than a width are broken.
func printBody(p term.Page, body json.RawMessage, format string, width int) {
	var b bytes.Buffer
	if format != "" {
		var text string
		json.Unmarshal(body, &text) // it is one
		b.WriteString(text)
	} else if json.Indent(&b, body, "", "  ") != nil {
		b.Write(body)
	}
	for line := range strings.Lines(strings.TrimSpace(b.String())) {
		rest := []rune(term.Escape(strings.TrimRight(line, "\n")))
		for ; len(rest) > width-4; rest = rest[width-4:] {
			p.Printf("    %s\n", string(rest[:width-4]))
		}
		p.Printf("    %s\n", string(rest))
	}
}
