package cli

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signalpost/proxy/api"
	"signalpost/proxy/client"
	"signalpost/proxy/term"
	"signalpost/queue"
)

func statusCommand() *cobra.Command {
	return remote(&cobra.Command{
		Use:   "status",
		Short: "Show how the running sidecar and each of its routes fare",
		Example: `  signalpost status
  signalpost status --json | jq '.routes[] | select(.dead > 0)'`,
	}, func(ctx context.Context, sidecar *client.Client, out output, _ []string) error {
		var s api.Status
		if err := sidecar.Get(ctx, "/status", &s); err != nil {
			return err
		}
		return out.show(s, func() { printStatus(out.Page, s, time.Now()) })
	})
}

func healthCommand() *cobra.Command {
	return remote(&cobra.Command{
		Use:   "health",
		Short: "Exit 0 when the running sidecar is ready: for container probes",
		Long: `Ask the running sidecar whether it accepts signals. Exit 0 if it does, else 1 and
say why not. The answer takes 5 seconds at most.`,
		Example: `  signalpost health
  signalpost health --server http://127.0.0.1:8787`,
	}, func(ctx context.Context, sidecar *client.Client, out output, _ []string) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		err := sidecar.Get(ctx, "/readyz", nil)
		health := struct {
			Ready  bool   `json:"ready"`
			Reason string `json:"reason,omitempty"`
		}{Ready: err == nil}
		if err != nil {
			health.Reason = err.Error()
		}
		return cmp.Or(out.show(health, func() {
			if err == nil {
				out.Printf("ready\n")
			}
		}), err)
	})
}

var stateShade = map[queue.RouteState]term.Shade{
	queue.RouteOK: term.Green, queue.RouteFailing: term.Red, queue.RoutePaused: term.Yellow, queue.RouteGone: term.Dim,
}

// printStatus prints GET /status, and what to do.
func printStatus(p term.Page, s api.Status, now time.Time) {
	accepting := p.In(term.Green, "accepting signals")
	if !s.Store.Accepting {
		accepting = p.In(term.Red, "refusing signals")
	}
	p.Printf("signalpost %s, up %s, %s\n", s.Version, s.Uptime, accepting)
	if s.Store.Reason != nil {
		p.Printf("        %s\n", term.Wrap(*s.Store.Reason, 8))
	}
	p.Printf("config  %s\n", term.Wrap(fmt.Sprintf("%s (%s), loaded %s", s.Config.Path, s.Config.Hash, term.Ago(&s.Config.LoadedAt, now)), 8))
	if s.Config.Error != nil {
		for i, fault := range strings.Split(*s.Config.Error, "\n") { // all of a file are reported at once
			if i == 0 {
				fault = "not reloaded: " + fault
			}
			p.Printf("        %s\n", p.In(term.Red, term.Wrap(fault, 8)))
		}
	}
	p.Printf("store   %s, %s free\n", term.Size(s.Store.Bytes), term.Size(s.Store.Free))
	if s.Dropped > 0 {
		p.Printf("log     %s dropped: whoever reads standard error was too slow, or away\n", term.Count(int(s.Dropped), "line"))
	}
	p.Printf("\n")
	printRoutes(p, s.Routes, now)
	for _, r := range s.Routes {
		if r.LastError != nil && r.State != queue.RouteOK {
			p.Printf("\n%s\n  %s\n", p.In(stateShade[r.State], r.Name+" failed last with"), term.Wrap(*r.LastError, 2))
		}
	}
	printAdvice(p, s.Routes)
}

func printRoutes(p term.Page, routes []api.RouteStatus, now time.Time) {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	var rows [][]string
	for _, r := range routes {
		due, target := "-", "-"
		if r.OldestDue != nil {
			due = term.Span(max(0, now.Sub(*r.OldestDue)))
		}
		if r.Target != nil {
			target = *r.Target
		}
		rows = append(rows, []string{
			r.Name, string(r.State), number(r.Pending), number(r.Held), number(r.Dead), due, term.Ago(r.LastSuccess, now), target,
		})
	}
	p.Table([]term.Column{{Name: "ROUTE"}, {Name: "STATE"}, {Name: "PENDING", Number: true}, {Name: "HELD", Number: true},
		{Name: "DEAD", Number: true}, {Name: "OLDEST DUE", Number: true}, {Name: "DELIVERED"}, {Name: "TARGET"}}, rows)
}

// printAdvice says what to do about dead deliveries.
func printAdvice(p term.Page, routes []api.RouteStatus) {
	var dead int64
	var with, gone []string // the routes that have dead ones
	for _, r := range routes {
		dead += r.Dead
		switch {
		case r.Dead > 0 && r.State == queue.RouteGone:
			gone = append(gone, r.Name)
		case r.Dead > 0:
			with = append(with, r.Name)
		}
	}
	if dead > 0 {
		p.Printf("\n%s dead. Why: signalpost log --verdict dead\n", term.Count(int(dead), "delivery"))
	}
	switch len(with) {
	case 0:
	case 1:
		p.Printf("Once that is mended:   signalpost retry --route %s\n", with[0])
	default:
		p.Printf("Once that is mended:   signalpost retry --state dead\n")
	}
	for _, name := range gone {
		p.Printf("%s\n", term.Wrap(fmt.Sprintf("Route %s has gone. Once it is back in the config: signalpost retry --route %s", name, name), 0))
	}
}
