package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signalpost/proxy/api"
	"signalpost/proxy/receiver"
	"signalpost/queue"
)

func statusCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "status",
		Short:   "Show how the running sidecar and each of its routes fare",
		Example: examples("signalpost status", "signalpost status --json | jq '.routes[] | select(.dead > 0)'"),
	}
	r := remoteFlags(c)
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		api, err := r.client()
		if err != nil {
			return err
		}
		s, err := api.Status(c.Context())
		if err != nil {
			return err
		}
		out := newPage(c.OutOrStdout())
		if *asJSON {
			return printJSON(out, s)
		}
		out.status(s, time.Now())
		return nil
	}
	return c
}

func healthCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "health",
		Short: "Exit 0 when the running sidecar is ready: for container probes",
		Long: `Ask the running sidecar whether it accepts signals. Exit 0 if it does, else 1 and
say why not. The answer takes 5 seconds at most.`,
		Example: examples("signalpost health", "signalpost health --server http://127.0.0.1:8787"),
	}
	r := remoteFlags(c)
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		api, err := r.client()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(c.Context(), 5*time.Second)
		defer cancel()
		err = api.Ready(ctx)
		out := newPage(c.OutOrStdout())
		switch {
		case *asJSON:
			health := struct {
				Ready  bool   `json:"ready"`
				Reason string `json:"reason,omitempty"`
			}{Ready: err == nil}
			if err != nil {
				health.Reason = err.Error()
			}
			if printErr := printJSON(out, health); printErr != nil {
				return printErr
			}
		case err == nil:
			out.printf("ready\n")
		}
		return err
	}
	return c
}

var stateShade = map[queue.RouteState]shade{
	queue.RouteOK: green, queue.RouteFailing: red, queue.RoutePaused: yellow, queue.RouteGone: dim,
}

// status prints GET /status.
func (p page) status(s api.Status, now time.Time) {
	accepting := p.in(green, "accepting signals")
	if !s.Store.Accepting {
		accepting = p.in(red, "refusing signals")
	}
	p.printf("signalpost %s, up %s, %s\n", receiver.Escape(s.Version), receiver.Escape(s.Uptime), accepting)
	if s.Store.Reason != nil {
		p.printf("%s\n", wrap(receiver.Escape(*s.Store.Reason), 8))
	}
	p.printf("config  %s\n", trimMargin(wrap(fmt.Sprintf("%s (%s), loaded %s", receiver.Escape(s.Config.Path), receiver.Escape(s.Config.Hash), ago(&s.Config.LoadedAt, now)), 8)))
	if s.Config.Error != nil {
		for i, fault := range strings.Split(*s.Config.Error, "\n") { // all of a file are reported at once
			if i == 0 {
				fault = "not reloaded: " + fault
			}
			p.printf("%s\n", p.in(red, wrap(receiver.Escape(fault), 8)))
		}
	}
	p.printf("store   %s, %s free\n\n", size(s.Store.Bytes), size(s.Store.Free))
	rows := make([][]string, 0, len(s.Routes))
	for _, r := range s.Routes {
		due := "-"
		if r.OldestDue != nil {
			due = span(max(0, now.Sub(*r.OldestDue)))
		}
		target := "-"
		if r.Target != nil {
			target = *r.Target
		}
		rows = append(rows, []string{
			receiver.Escape(r.Name), string(r.State), number(r.Pending), number(r.Held), number(r.Dead), due, ago(r.LastSuccess, now), receiver.Escape(target),
		})
	}
	p.table([]string{"ROUTE", "STATE", "PENDING", "HELD", "DEAD", "OLDEST DUE", "DELIVERED", "TARGET"},
		map[int]bool{2: true, 3: true, 4: true, 5: true}, rows)
	var dead int64
	var with, gone []string // the routes that have dead ones
	for _, r := range s.Routes {
		if r.LastError != nil && r.State != queue.RouteOK {
			p.printf("\n%s\n%s\n", p.in(stateShade[r.State], r.Name+" failed last with"), wrap(receiver.Escape(*r.LastError), 2))
		}
		dead += r.Dead
		switch {
		case r.Dead > 0 && r.State == queue.RouteGone:
			gone = append(gone, receiver.Escape(r.Name))
		case r.Dead > 0:
			with = append(with, receiver.Escape(r.Name))
		}
	}
	if dead > 0 {
		p.printf("\n%s dead. Why: signalpost log --verdict dead\n", count(int(dead), "delivery"))
	}
	if len(with) > 0 {
		which := "--state dead"
		if len(with) == 1 {
			which = "--route " + with[0]
		}
		p.printf("Once that is mended:   signalpost retry %s\n", which)
	}
	for _, name := range gone {
		p.printf("%s\n", wrap(fmt.Sprintf("Route %s has gone. Once it is back in the config: signalpost retry --route %s", name, name), 0))
	}
}

// trimMargin takes the indent off the first line.
func trimMargin(text string) string {
	for len(text) > 0 && text[0] == ' ' {
		text = text[1:]
	}
	return text
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
