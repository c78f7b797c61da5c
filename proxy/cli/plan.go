package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signalpost/proxy/api"
	"signalpost/proxy/client"
	"signalpost/proxy/rehearse"
	"signalpost/proxy/table"
	"signalpost/proxy/term"
	"signalpost/queue"
	"signalpost/transform"
)

func planCommand(version string) *cobra.Command {
	c := &cobra.Command{
		Use:   "plan [NEW.toml]",
		Short: "Show what would have been different with another config",
		Long: `Put the stored signals through the config that runs and through NEW.toml, and
show for each route how many deliveries more and fewer there would have been,
where bodies change, which expressions fail, and what else of the route differs.
Without NEW.toml the config file on disk is compared with what runs: use it when an
edit has not taken effect. Nothing is sent or stored, and the secrets that NEW.toml
names need not exist.

With --signals the signals come from a file, one a line, as GET /signals prints or
an app sends them. If no sidecar runs then, its config file stands for the config
that runs.`,
		Example: `  signalpost plan new.toml --since 24h
  signalpost plan new.toml --fail-on lost,null,error   # for CI
  signalpost plan new.toml --signals signals.ndjson`,
	}
	c.Args = takes(0, 1, "at most one file, the new config")
	c.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveDefault) // files
	since := c.Flags().String("since", "24h", "the signals since `TIME`: RFC 3339, or a duration back such as 15m, 24h, 7d")
	file := c.Flags().String("signals", "", "take the signals from `FILE`, a line each; - is standard input")
	failOn := c.Flags().StringSlice("fail-on", nil, "exit 1 if there is one of `WHAT`: lost deliveries, values that become null, expressions that fail with error")
	oneOf(c, "fail-on", "lost", "null", "error")
	return remote(c, func(ctx context.Context, sidecar *client.Client, out output, args []string) error {
		for _, what := range *failOn {
			if !slices.Contains([]string{"lost", "null", "error"}, what) {
				return usage("--fail-on takes lost, null and error, or several with commas; given: %s", what)
			}
		}
		if *file != "" && c.Flags().Changed("since") {
			return usage("--since is of the signals that a sidecar has stored, --signals names others: leave one out")
		}
		path, _ := ConfigPath(c)
		if len(args) > 0 {
			path = args[0]
		}
		cfg, err := rehearsedConfig(c, path)
		if err != nil {
			return err
		}
		after, err := table.New(cfg, version)
		if err != nil {
			return err
		}
		defer after.Close()
		before, statuses, err := running(c, sidecar, version, *file != "")
		if err != nil {
			return err
		}
		defer before.Close()
		p, err := forecast(c, sidecar, before, after, *file, *since)
		if err != nil {
			return err
		}
		rehearse.Compare(&p, statuses, after)
		err = out.show(p, func() { printPlan(out.Page, p) })
		return cmp.Or(err, failing(p, *failOn))
	})
}

// running returns the config that runs, and the status of its routes. If no sidecar
// answers, and maybeNone, the config file stands for it.
func running(c *cobra.Command, sidecar *client.Client, version string, maybeNone bool) (*table.Table, []api.RouteStatus, error) {
	var s api.Status
	err := sidecar.Get(c.Context(), "/status", &s)
	if err == nil {
		before, err := rehearse.Running(&s)
		return before, s.Routes, err
	}
	refused := (*api.Problem)(nil)
	if !maybeNone || c.Flags().Changed("server") || errors.As(err, &refused) {
		return nil, nil, err
	}
	path, _ := ConfigPath(c)
	cfg, fault := rehearsedConfig(c, path)
	if fault != nil {
		return nil, nil, fmt.Errorf("%w\n%w", err, fault)
	}
	term.NewPage(c.ErrOrStderr()).Printf("no sidecar answers at %s: %s stands for the config that runs\n", sidecar.Server(), path)
	before, err := table.New(cfg, version)
	if err != nil {
		return nil, nil, err
	}
	return before, rehearse.StatusOf(before), nil
}

// forecast puts the signals through both configs.
func forecast(c *cobra.Command, sidecar *client.Client, before, after *table.Table, file, since string) (p api.Plan, err error) {
	ctx := c.Context()
	var from io.ReadCloser
	done := func(time.Time) float64 { return 0 }
	switch file {
	case "":
		from, err = sidecar.Signals(ctx, url.Values{"since": {since}})
		err, done = asUsage(err), shareUntil(time.Now())
	case "-":
		from = io.NopCloser(c.InOrStdin())
	default:
		var f *os.File
		f, err = os.Open(file)
		from, done = f, func(time.Time) float64 { return shareRead(f) }
	}
	if err != nil {
		return p, err
	}
	defer from.Close()
	saw, end := func(time.Time) {}, func() {}
	if f, ok := c.ErrOrStderr().(*os.File); ok && term.IsTerminal(f) {
		saw, end = progress(f, done)
	}
	defer end()
	p, err = rehearse.Plan(ctx, transform.ForSignals, before, after, "", func(yield func(queue.Signal) error) error {
		return rehearse.Signals(from, func(s queue.Signal) error {
			saw(s.ID.Time())
			return yield(s)
		})
	})
	if err != nil && file != "" && ctx.Err() == nil {
		err = fmt.Errorf("%s: %w", file, err)
	}
	return p, err
}

// shareUntil is what share of the time between the first signal and end is over at another.
func shareUntil(end time.Time) func(at time.Time) float64 {
	var first time.Time
	return func(at time.Time) float64 {
		first = cmp.Or(first, at)
		return float64(at.Sub(first)) / float64(end.Sub(first))
	}
}

// shareRead is how much of a file has been read, from 0 to 1; 0 if it has no size.
func shareRead(f *os.File) float64 {
	at, err1 := f.Seek(0, io.SeekCurrent)
	info, err2 := f.Stat()
	if err1 != nil || err2 != nil {
		return 0
	}
	return float64(at) / float64(info.Size())
}

// progress draws a bar: saw counts a signal that came at a time, at which done says what share
// of all is done, and end takes the bar away.
func progress(w io.Writer, done func(at time.Time) float64) (saw func(at time.Time), end func()) {
	signals, drawn := 0, time.Time{}
	saw = func(at time.Time) {
		signals++
		if time.Since(drawn) < 100*time.Millisecond {
			return
		}
		drawn = time.Now()
		const width = 40
		full := 0
		if share := done(at); share > 0 {
			full = int(width * min(share, 1))
		}
		fmt.Fprintf(w, "\r[%s%s] %s ", strings.Repeat("#", full), strings.Repeat(".", width-full), term.Count(signals, "signal"))
	}
	return saw, func() { fmt.Fprint(w, "\r\x1b[K") }
}

// failing is an error that says what of --fail-on a plan has, nil if nothing.
func failing(p api.Plan, words []string) error {
	var why []string
	for _, r := range p.Routes {
		nulls := 0
		for _, change := range r.Changes {
			if string(change.To) == "null" {
				nulls += change.Count
			}
		}
		for _, found := range []struct {
			word, thing, what string
			n                 int
		}{{"lost", "delivery", "fewer", r.Fewer}, {"null", "value", "that become null", nulls}, {"error", "signal", "for which an expression fails", r.Errors}} {
			if found.n > 0 && slices.Contains(words, found.word) {
				why = append(why, fmt.Sprintf("route %s: %s %s", r.Route, term.Count(found.n, found.thing), found.what))
			}
		}
	}
	if why == nil {
		return nil
	}
	return errors.New(strings.Join(why, "\n"))
}

// printPlan prints a plan, what differs first.
func printPlan(p term.Page, plan api.Plan) {
	p.Printf("%s, by the config that runs and by the new one\n", term.Count(plan.Signals, "signal"))
	var same []string
	for _, r := range plan.Routes {
		if r.More+r.Fewer+r.Errors+len(r.Changes)+len(r.Settings) == 0 && r.State == "" {
			same = append(same, r.Route)
			continue
		}
		p.Printf("\n%s  %d → %s", p.In(term.Bold, r.Route), r.Before, term.Count(r.After, "delivery"))
		if r.More+r.Fewer > 0 {
			p.Printf("  %s %s", p.In(term.Green, fmt.Sprintf("+%d", r.More)), p.In(term.Red, fmt.Sprintf("-%d", r.Fewer)))
		}
		p.Printf("\n")
		switch {
		case r.State == "goes" && r.Waiting == 0:
			p.Printf("  %s\n", p.In(term.Yellow, "goes"))
		case r.State == "goes":
			p.Printf("  %s; %s wait for it, and would be held\n", p.In(term.Yellow, "goes"), term.Count(int(r.Waiting), "delivery"))
		case r.State == "appears" && r.Waiting > 0:
			p.Printf("  %s; %s held for it would be sent\n", p.In(term.Green, "appears"), term.Count(int(r.Waiting), "delivery"))
		case r.State == "appears":
			p.Printf("  %s\n", p.In(term.Green, "appears"))
		}
		for _, change := range r.Changes {
			printChange(p, change, fmt.Sprintf(", %d of %d", change.Count, r.Before))
		}
		if r.Errors > 0 {
			p.Printf("  %s\n", p.In(term.Red, term.Wrap(fmt.Sprintf("fails for %s: %s", term.Count(r.Errors, "signal"), r.Error), 2)))
		}
		for _, change := range r.Settings {
			printChange(p, change, "")
		}
		if len(r.First) > 0 {
			p.Printf("  %s\n", p.In(term.Dim, term.Wrap("first: "+strings.Join(r.First, ", "), 2)))
		}
	}
	if same != nil {
		p.Printf("\n%s\n", term.Wrap("as it was: "+strings.Join(same, ", "), 0))
	}
}

// printChange prints a change on a line of 80 columns, if its path leaves room.
func printChange(p term.Page, c api.Change, of string) {
	room := term.Columns - term.Width(fmt.Sprintf("  %s:  → %s", term.Escape(c.Path), of))
	side := func(v, other []byte) term.Text {
		if v == nil {
			return p.In(term.Dim, "nothing")
		}
		return term.Cut(string(v), max(room-min(term.Width(cmp.Or(term.Escape(string(other)), "nothing")), room/2), 20))
	}
	p.Printf("  %s: %s → %s%s\n", c.Path, side(c.From, c.To), side(c.To, c.From), of)
}
