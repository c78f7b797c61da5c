package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signalpost/proxy/api"
	"signalpost/proxy/client"
	"signalpost/proxy/term"
	"signalpost/queue"
)

func statusCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "status",
		Short: "Show what needs attention, and the health of the sidecar and routes",
		Long: `Show the health of the running sidecar: what needs attention, since when, and
what to do; the causes of what failed in the last 24 hours and is not delivered;
and each route. STATE says what is wrong with a route, if something is. A narrow
terminal gets fewer columns, a pipe all of them.`,
		Example: `  signalpost status
  signalpost status --exit-code > /dev/null || echo "somebody is needed"
  signalpost status --json | jq '.routes[] | select(.dead > 0)'`,
	}
	exitCode := c.Flags().Bool("exit-code", false, "exit 1 when health is bad")
	return remote(c, func(ctx context.Context, sidecar *client.Client, out output, _ []string) error {
		var s api.Status
		if err := sidecar.Get(ctx, "/status", &s); err != nil {
			return err
		}
		var problems api.Problems
		if !out.json {
			if err := sidecar.Get(ctx, "/problems", &problems); err != nil {
				return err
			}
		}
		err := out.show(s, func() { printStatus(out.Page, s, problems.Problems, s.Now) })
		if err == nil && *exitCode && s.Health.Level == api.Bad {
			err = errors.New("health is bad")
		}
		return err
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

// mostShown is how many reasons and problems a terminal is shown.
const mostShown = 8

// printStatus prints GET /status and what to do, what needs somebody first.
func printStatus(p term.Page, s api.Status, problems []queue.Problem, now time.Time) {
	printHealth(p, s.Health, now)
	printProblems(p, problems, now)
	printAdvice(p, s.Routes)
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
	if f := s.Fleet; f != nil {
		p.Printf("fleet   %s; %s here, its own and adopted ones\n", term.Count(len(f.Nodes), "sidecar"), term.Count(int(f.Ledgers), "ledger"))
	}
	if s.Dropped > 0 {
		p.Printf("log     %s dropped: whoever reads standard error was too slow, or away\n", term.Count(int(s.Dropped), "line"))
	}
	p.Printf("\n")
	printRoutes(p, s.Routes, now)
	for _, r := range s.Routes {
		if r.LastError == nil || r.LastSuccess != nil && r.LastErrorAt != nil && r.LastSuccess.After(*r.LastErrorAt) ||
			slices.ContainsFunc(r.Health.Reasons, func(why api.Reason) bool { return strings.Contains(why.Text, *r.LastError) }) {
			continue // it is over, or has been said
		}
		p.Printf("\n%s, %s, with\n  %s\n", p.In(term.Bold, r.Name+" failed last"), term.Ago(r.LastErrorAt, now), term.Wrap(*r.LastError, 2))
	}
}

// printHealth prints the health of the whole, and each reason that it is not ok.
func printHealth(p term.Page, h api.Health, now time.Time) {
	needs := "nothing needs you"
	if len(h.Reasons) > 0 {
		needs = term.Count(len(h.Reasons), "reason")
	}
	p.Printf("%s: %s\n\n", p.In(shadeOf(h.Level), h.Level), needs)
	for i, r := range h.Reasons {
		if i == mostShown && p.Width > 0 {
			p.Printf("and %s\n", term.Count(len(h.Reasons)-i, "more reason"))
			break
		}
		text, command := r.Text, term.Text("")
		if i := strings.LastIndex(text, ": signalpost "); i >= 0 { // to be copied, on a line of its own
			text, command = text[:i+1], term.Text("\n  "+term.Escape(text[i+2:]))
		}
		what := strings.TrimSpace(r.Route + " " + strings.ReplaceAll(r.Code, "_", " "))
		p.Printf("%s, since %s\n  %s%s\n", p.In(term.Bold, what), timeAndAgo(r.Since, now), term.Wrap(text, 2), command)
	}
	if len(h.Reasons) > 0 {
		p.Printf("\n")
	}
}

// printProblems prints why deliveries wait or are dead, worst first, and how to
// look at one.
func printProblems(p term.Page, problems []queue.Problem, now time.Time) {
	problems = slices.DeleteFunc(problems, func(a queue.Problem) bool { return a.Pending+a.Dead == 0 }) // over
	if len(problems) > 0 {
		p.Printf("%s\n", p.In(term.Bold, "Not delivered of the last 24 hours, by cause:"))
	}
	for i, a := range problems {
		if i == mostShown && p.Width > 0 {
			p.Printf("and %s\n", term.Count(len(problems)-i, "more cause"))
			break
		}
		p.Printf("%s\n", term.Wrap(a.Route+": "+a.Error, 2))
		left := fmt.Sprintf("%d pending", a.Pending)
		switch {
		case a.Pending == 0:
			left = fmt.Sprintf("%d dead", a.Dead)
		case a.Dead > 0:
			left += fmt.Sprintf(", %d dead", a.Dead)
		}
		p.Printf("  %s\n", term.Wrap(fmt.Sprintf("%s since %s, last %s; %s, such as %s",
			term.Count(int(a.Count), "time"), timeAndAgo(a.First, now), term.Ago(&a.Last, now), left, a.Sample), 2))
	}
	if len(problems) > 0 {
		p.Printf("What was sent, and came back: signalpost log --delivery ID\n\n")
	}
}

// timeAndAgo is a time, and how long ago it was.
func timeAndAgo(t, now time.Time) string { return clock(t, now) + " (" + term.Ago(&t, now) + ")" }

func printRoutes(p term.Page, routes []api.RouteStatus, now time.Time) {
	var rows [][]string
	for _, r := range routes {
		due, target, state := "-", "-", string(r.State)
		if r.OldestDue != nil {
			due = term.Span(max(0, now.Sub(*r.OldestDue)))
		}
		if r.Target != nil {
			target = *r.Target
		}
		if r.State == queue.RouteOK && len(r.Health.Reasons) > 0 {
			state = r.Health.Reasons[0].Code
		}
		rows = append(rows, []string{
			r.Name, string(r.Health.Level), state, fmt.Sprint(r.Pending), fmt.Sprint(r.Held), fmt.Sprint(r.Dead), due, term.Ago(r.LastSuccess, now), target,
		})
	}
	p.Table([]term.Column{{Name: "ROUTE", Least: 12}, {Name: "HEALTH", Rank: 1, Shade: shadeOf[string]}, {Name: "STATE", Shade: shadeOf[string]}, {Name: "PENDING", Number: true, Rank: 3},
		{Name: "HELD", Number: true, Rank: 6}, {Name: "DEAD", Number: true, Rank: 2}, {Name: "OLDEST", Number: true, Rank: 5}, {Name: "DELIVERED", Rank: 4},
		{Name: "TARGET", Rank: 7, Least: 16}}, rows)
}

// printAdvice says what to do about dead deliveries.
func printAdvice(p term.Page, routes []api.RouteStatus) {
	var dead int64
	var again []string // the commands that send them again
	gone := ""
	for _, r := range routes {
		dead += r.Dead
		switch {
		case r.Dead > 0 && r.State == queue.RouteGone:
			gone += string(term.Wrap(fmt.Sprintf("Route %s has gone. Once it is back in the config: signalpost retry --route %s", r.Name, r.Name), 0)) + "\n"
		case r.Dead > 0:
			again = append(again, "signalpost retry --route "+r.Name)
		}
	}
	if dead == 0 {
		return
	}
	p.Printf("%s dead. Why: signalpost log --verdict dead\n", term.Count(int(dead), "delivery"))
	if len(again) > 1 {
		again = []string{"signalpost retry --state dead"}
	}
	for _, command := range again {
		p.Printf("Once that is fixed:    %s\n", command)
	}
	p.Printf("%s\n", term.Text(gone))
}
