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
	"signalpost/proxy/units"
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

// running is the config that runs, and what the sidecar says of its routes. If there
// may be none, and is none, it is that of the config file.
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
	bar := newProgress(c.ErrOrStderr())
	switch file {
	case "":
		from, err = sidecar.Signals(ctx, url.Values{"since": {since}})
		if err = asUsage(err); err == nil {
			bar.since(since)
		}
	case "-":
		from = io.NopCloser(c.InOrStdin())
	default:
		var f *os.File
		if f, err = os.Open(file); err == nil {
			if info, err := f.Stat(); err == nil {
				bar.bytes = info.Size()
			}
			from = f
		}
	}
	if err != nil {
		return p, err
	}
	defer from.Close()
	defer bar.end()
	p, err = rehearse.Plan(ctx, transform.ForSignals, before, after, "", func(yield func(queue.Signal) error) error {
		return rehearse.Signals(bar.reading(from), func(s queue.Signal) error {
			bar.saw(s.ID.Time())
			return yield(s)
		})
	})
	if err != nil && file != "" && ctx.Err() == nil {
		err = fmt.Errorf("%s: %w", file, err)
	}
	return p, err
}

// failing is why a plan is not to be followed, by the words of --fail-on.
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
			p.Printf("  %s: %s → %s, %d of %d\n", change.Path, side(p, change.From), side(p, change.To), change.Count, r.Before)
		}
		if r.Errors > 0 {
			p.Printf("  %s\n", p.In(term.Red, term.Wrap(fmt.Sprintf("fails for %s: %s", term.Count(r.Errors, "signal"), r.Error), 2)))
		}
		for _, change := range r.Settings {
			p.Printf("  %s: %s → %s\n", change.Path, side(p, change.From), side(p, change.To))
		}
		if len(r.First) > 0 {
			p.Printf("  %s\n", p.In(term.Dim, term.Wrap("first: "+strings.Join(r.First, ", "), 2)))
		}
	}
	if same != nil {
		p.Printf("\n%s\n", term.Wrap("as it was: "+strings.Join(same, ", "), 0))
	}
}

// side is a value as one line shows it.
func side(p term.Page, v []byte) term.Text {
	const longest = 60
	if v == nil {
		return p.In(term.Dim, "nothing")
	}
	return term.Cut(string(v), longest)
}

// A progress is a bar on a terminal. Where there is none it does nothing.
type progress struct {
	w           io.Writer // nil: no terminal
	bytes, read int64     // of the file; 0: none, or of no known size
	begin, now  time.Time // of the signals to come; zero: not known
	signals     int
	drawn       time.Time
}

func newProgress(w io.Writer) *progress {
	if f, ok := w.(*os.File); ok && term.IsTerminal(f) {
		return &progress{w: w}
	}
	return &progress{}
}

func (b *progress) since(text string) {
	b.now = time.Now()
	if back, ok := units.ParseDuration(text); ok {
		b.begin = b.now.Add(-back)
	} else if t, err := time.Parse(time.RFC3339, text); err == nil {
		b.begin = t
	}
}

// reading counts what is read of r.
func (b *progress) reading(r io.Reader) io.Reader { return io.TeeReader(r, b) }

func (b *progress) Write(p []byte) (int, error) {
	b.read += int64(len(p))
	return len(p), nil
}

// saw counts a signal that came at a time.
func (b *progress) saw(at time.Time) {
	b.signals++
	if b.w == nil || time.Since(b.drawn) < 100*time.Millisecond {
		return
	}
	b.drawn = time.Now()
	done := 0.0
	switch {
	case b.bytes > 0:
		done = float64(b.read) / float64(b.bytes)
	case !b.begin.IsZero():
		done = float64(at.Sub(b.begin)) / float64(b.now.Sub(b.begin))
	}
	const width = 40
	full := int(width * min(max(done, 0), 1))
	fmt.Fprintf(b.w, "\r[%s%s] %s ", strings.Repeat("#", full), strings.Repeat(".", width-full), term.Count(b.signals, "signal"))
}

// end takes the bar away.
func (b *progress) end() {
	if b.w != nil && !b.drawn.IsZero() {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}
