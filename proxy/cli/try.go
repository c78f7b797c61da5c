package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"signalpost/proxy"
	"signalpost/proxy/api"
	"signalpost/proxy/config"
	"signalpost/proxy/receiver"
)

func tryCommand(version string) *cobra.Command {
	c := &cobra.Command{
		Use:   "try [FILE|-]",
		Short: "Show what each route would do with a signal, from the config alone",
		Long: `Show for each route of the config whether a signal passes and why, and the body
and headers it would be sent with, secret ones redacted. Nothing is sent, and no
sidecar need run. With no FILE the sample signal is tried. It fails if an
expression does.`,
		Example: examples(
			"signalpost try",
			"signalpost try signal.json --route crm",
			`echo '{"signal_type":"test"}' | signalpost try -`),
		Args: takes(0, 1, signalFile),
	}
	path := configFlag(c)
	asJSON := jsonFlag(c)
	route := c.Flags().String("route", "", "try the route `NAME` alone")
	headers := c.Flags().Bool("headers", false, "print the request's headers too")
	c.RegisterFlagCompletionFunc("route", func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		var names []string
		if cfg, err := config.Load(c.Context(), configPath(*path)); err == nil {
			for _, r := range cfg.Routes {
				names = append(names, r.Name)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	})
	c.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveDefault) // files
	c.RunE = func(c *cobra.Command, args []string) error {
		cfg, err := config.Load(c.Context(), configPath(*path))
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
		out := newPage(c.OutOrStdout())
		if *asJSON {
			err = printJSON(out, map[string]any{"routes": trials})
		} else {
			for _, t := range trials {
				out.trial(t, *headers)
			}
		}
		for _, t := range trials {
			if err == nil && t.Error != nil {
				err = errors.New("an expression failed; such a delivery would be dead, reason transform")
			}
		}
		return err
	}
	return c
}

// trial prints what one route would do.
func (p page) trial(t api.Trial, headers bool) {
	mark := p.in(dim, "-")
	switch {
	case t.Error != nil:
		mark = p.in(red, "✗")
	case len(t.Bodies) > 0:
		mark = p.in(green, "✓")
	}
	p.printf("%s %s  %s\n", mark, p.in(bold, receiver.Escape(t.Route)), receiver.Escape(t.Why))
	if t.Error != nil {
		p.printf("%s\n", wrap(receiver.Escape(*t.Error), 4))
	}
	if t.Request != nil {
		p.printf("    %s %s\n", t.Request.Method, receiver.Escape(t.Request.Target))
		if headers {
			for _, name := range slices.Sorted(maps.Keys(t.Request.Headers)) {
				p.printf("    %s\n", p.in(dim, receiver.Escape(name+": "+t.Request.Headers[name])))
			}
		}
	}
	for _, body := range t.Bodies {
		p.json(body, 4)
	}
}

// json prints JSON, indented, with so many spaces before each line.
func (p page) json(body []byte, indent int) {
	margin := strings.Repeat(" ", indent)
	var b bytes.Buffer
	if json.Indent(&b, body, margin, "  ") != nil {
		b.Reset()
		b.Write(body)
	}
	for line := range strings.Lines(strings.TrimSpace(b.String())) {
		p.printf("%s%s\n", margin, receiver.Escape(strings.TrimPrefix(strings.TrimRight(line, "\n"), margin)))
	}
}
