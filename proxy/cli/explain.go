package cli

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signalpost/proxy/api"
	"signalpost/proxy/client"
	"signalpost/proxy/term"
	"signalpost/queue"
)

func explainCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "explain ID",
		Short: "Show the history of a signal or delivery, and what comes next",
		Long: `Show all that the running sidecar knows of a signal, or of one delivery: when and
how it came, and which config ran then; why each route took it or did not; each
attempt, with what was signed and how long its parts took; each wait, with its
reason; what comes next; and what the config that runs now would make of it. It
also says what cannot be known.`,
		Example: `  signalpost explain sig_01K…
  signalpost explain dlv_01K… --json | jq '.deliveries[0].steps'`,
		Args: takes(1, 1, "the ID of a signal (sig_…) or delivery (dlv_…)"),
	}
	return remote(c, func(ctx context.Context, sidecar *client.Client, out output, args []string) error {
		var e api.Explanation
		if err := sidecar.Get(ctx, "/explain/"+url.PathEscape(args[0]), &e); err != nil {
			return err
		}
		return out.show(e, func() { printExplanation(out.Page, e) })
	})
}

func printExplanation(p term.Page, e api.Explanation) {
	s := e.Signal
	p.Printf("%s  %s\n", s.ID, p.In(term.Bold, p.WrapAll(s.Type, 32)))
	p.Printf("  %s\n", p.WrapAll(fmt.Sprintf("Received at %s (%s): %s", precise(s.ReceivedAt), term.Ago(&s.ReceivedAt, e.Now), s.Text), 2))
	for _, r := range e.Routes {
		printExplainedRoute(p, r, slices.ContainsFunc(e.Deliveries, func(d api.ExplainedDelivery) bool {
			return d.Route == r.Route && d.Reason == queue.Transform
		}))
	}
	if len(e.Routes) > 0 && len(e.Deliveries) == 0 {
		p.Printf("\nIt made no delivery, so nothing is sent.\n")
	}
	for _, d := range e.Deliveries {
		printExplainedDelivery(p, d, e.Now)
	}
}

// precise is a time as logs have it.
func precise(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// printExplainedRoute prints what a route made of the signal; failed says that a delivery
// of it is dead because an expression failed.
func printExplainedRoute(p term.Page, r api.ExplainedRoute, failed bool) {
	mark := p.In(term.Dim, "-")
	if failed || r.Taken {
		mark = p.Mark(!failed)
	}
	p.Printf("\n%s %s\n  %s\n", mark, p.In(term.Bold, "route "+r.Route), p.WrapAll(r.Why, 2))
	if r.Today != "" {
		p.Printf("  %s\n", p.WrapAll("Today: "+r.Today, 2))
	}
	if len(r.PausedBy) > 0 {
		p.Printf("  %s\n", p.In(term.Yellow, "It is paused by the "+api.Pausers(r.PausedBy)+": it takes signals, and sends nothing."))
	}
	if r.Where != "" && len(r.Reads) > 0 {
		p.Printf("  %s\n", p.In(term.Dim, p.WrapAll("where "+oneLine(r.Where), 2)))
		for _, read := range r.Reads {
			value := string(read.Value)
			switch {
			case !read.Found:
				value = "is not there"
			case read.Large:
				value = "is too large to be shown"
			default:
				value = "= " + value
			}
			p.Printf("    %s\n", p.WrapAll(read.Path+" "+value, 4))
		}
	}
}

func printExplainedDelivery(p term.Page, d api.ExplainedDelivery, now time.Time) {
	state := d.Info
	state.WaitsFor = nil // it makes the line too long, and stands below
	p.Printf("\n%s\n", term.Text(term.Fold(fmt.Sprintf("%s  %s, %s", d.ID, d.Route, p.In(shadeOf(d.State), stateOf(state))), 2)))
	sent := func(s api.Step) bool { return s.Attempt != nil && s.Attempt.Request != nil }
	for i, s := range d.Steps {
		long := ""
		switch {
		case s.To == nil:
			long = term.Span(now.Sub(s.From).Truncate(time.Millisecond)) + "…"
		case s.Kind == "wait":
			long = term.Span(s.To.Sub(s.From))
		}
		shade := term.Plain
		switch {
		case s.Attempt != nil:
			shade = shadeOf(s.Attempt.Verdict)
		case s.Kind == "wait":
			shade = term.Dim
		case s.Kind == "end":
			shade = term.Red
		}
		head := s.Kind
		if s.Kind == "wait" {
			head = strings.ReplaceAll(s.Code, "_", " ")
		}
		p.Printf("  %-12s %s %s  %s\n", clockAs("15:04:05.000", s.From, now), p.In(shade, fmt.Sprintf("%-11s", head)), fmt.Sprintf("%7s", long), p.WrapAll(s.Text, 36))
		if s.Attempt != nil {
			printExplainedAttempt(p, s.Attempt, sent(s) && !slices.ContainsFunc(d.Steps[i+1:], sent))
		}
	}
	p.Printf("  %s\n", p.WrapAll("Next: "+d.Next, 2))
	for _, way := range d.Today {
		p.Printf("  %s\n", p.In(term.Yellow, p.WrapAll("Today: "+way, 2)))
	}
	if d.TodayBody != nil {
		width := term.Columns
		if p.Width == 0 {
			width = math.MaxInt
		}
		printBody(p, d.TodayBody, d.TodayFormat, width)
	}
}

// printExplainedAttempt prints what went over the wire, and how long it took; with headers the
// request, too.
func printExplainedAttempt(p term.Page, a *api.ExplainedAttempt, headers bool) {
	detail := func(format string, args ...any) {
		p.Printf("    %s\n", p.In(term.Dim, p.WrapAll(fmt.Sprintf(format, args...), 6)))
	}
	if a.Peer != "" {
		how := "a new connection"
		if a.Reused != nil && *a.Reused {
			how = "a connection used before"
		}
		detail("to %s over %s%s", a.Peer, how, timings(a.Timing))
	}
	if a.Config != "" {
		detail("by the config %s, trigger %s, class %s", a.Config, a.Trigger, a.Class)
	}
	for _, s := range a.Signed {
		detail("%s (%s) signs %s", s.Header, cmp.Or(s.Preset, "a form of its own"), s.Over)
	}
	if headers {
		var plain []string
		for name, value := range a.Request.Headers {
			if value != "[signature]" {
				plain = append(plain, name+": "+value)
			}
		}
		slices.Sort(plain)
		detail("%s %s", a.Request.Method, a.Request.Target+a.Request.Path)
		for _, line := range plain {
			p.Printf("      %s\n", p.In(term.Dim, p.WrapAll(line, 8)))
		}
	}
	if said := oneLine(a.Response); said != "" {
		detail("it said: %s", term.Cut(said, 2*term.Columns))
	}
}

// timings splits the time of an attempt.
func timings(t *queue.Timing) string {
	if t == nil {
		return ""
	}
	var parts []string
	for _, part := range []struct {
		name string
		took time.Duration
	}{{"DNS", t.DNS}, {"connecting", t.Connect}, {"TLS", t.TLS}, {"first byte", t.FirstByte}} {
		if part.took > 0 {
			parts = append(parts, part.name+" "+term.Span(part.took))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return ": " + strings.Join(parts, ", ")
}
