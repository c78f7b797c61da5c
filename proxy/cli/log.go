package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"signalpost/proxy/api"
	"signalpost/proxy/client"
	"signalpost/proxy/term"
	"signalpost/queue"
)

// logFilters are the parameters of GET /log, which are flags of log.
var logFilters = []struct{ name, short, usage string }{
	{"route", "", "only deliveries of the route `NAME`"},
	{"signal-type", "", "only signals of this `TYPE`"},
	{"signal", "", "only the signal `ID`"},
	{"delivery", "", "only the delivery `ID`"},
	{"verdict", "", "only attempts that ended so: `VERDICT` delivered, retry, dead"},
	{"status", "", "only attempts answered with the status `CODE`"},
	{"since", "", "only attempts since `TIME`: RFC 3339, or a duration back such as 15m, 24h, 7d"},
	{"until", "", "only attempts before `TIME`"},
	{"limit", "n", "at most `N` (default 100, at most 1000); with -f so many old ones first (default 10)"},
	{"after", "", "the page behind `CURSOR`: what the last page called next"},
}

func logCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "log",
		Short: "Show the delivery log: one entry for each attempt",
		Long: `Show the delivery log of the running sidecar, oldest of the page first: one entry
for each attempt, and for each delivery that ended without one. Nothing is
selected unless a flag says so, and all flags must hold together. With -f it goes
on until it is interrupted, exit 0, or the sidecar ends it, exit 1.`,
		Example: `  signalpost log -f                              # as they come
  signalpost log --verdict dead --since 24h      # what was given up today
  signalpost log --delivery dlv_01K…             # one delivery's whole story
  signalpost log -f --json | jq 'select(.status == 500)'`,
	}
	for _, f := range logFilters {
		c.Flags().StringP(f.name, f.short, "", f.usage)
	}
	follow := c.Flags().BoolP("follow", "f", false, "go on with each attempt as it ends, until interrupted")
	oneOf(c, "verdict", "delivered", "retry", "dead")
	return remote(c, func(ctx context.Context, sidecar *client.Client, out output, _ []string) error {
		filter := url.Values{}
		for _, f := range logFilters {
			if value := c.Flags().Lookup(f.name); value.Changed {
				filter.Set(strings.ReplaceAll(f.name, "-", "_"), value.Value.String())
			}
		}
		ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		if *follow {
			return asUsage(followLog(ctx, sidecar, out, filter))
		}
		var list api.LogPage
		if err := sidecar.Get(ctx, "/log?"+filter.Encode(), &list); err != nil {
			return asUsage(err)
		}
		if len(list.Entries) == 0 {
			if err := knowsRoute(ctx, sidecar, filter.Get("route")); err != nil {
				return err
			}
		}
		return out.show(list, func() {
			for i := range list.Entries {
				printEntry(out.Page, list.Entries[len(list.Entries)-1-i], time.Now())
			}
			switch {
			case list.Next != "":
				out.Printf("%s\n", out.In(term.Dim, "older ones: --after "+list.Next))
			case len(list.Entries) == 0:
				out.Printf("no entry\n")
			}
		})
	})
}

func followLog(ctx context.Context, sidecar *client.Client, out output, filter url.Values) error {
	if err := knowsRoute(ctx, sidecar, filter.Get("route")); err != nil {
		return err
	}
	if !filter.Has("limit") {
		filter.Set("limit", "10")
	}
	return sidecar.Follow(ctx, filter, func(e queue.Entry) error {
		if out.json {
			return out.JSON(e, "")
		}
		printEntry(out.Page, e, time.Now())
		return nil
	})
}

var verdictShade = map[queue.Verdict]term.Shade{queue.Delivered: term.Green, queue.Retry: term.Yellow, queue.Dead: term.Red}

// printEntry prints one entry of the delivery log: a line, and below it why it is
// not delivered.
func printEntry(p term.Page, e queue.Entry, now time.Time) {
	clock := e.Time.Local().Format("15:04:05")
	if today := now.Local().Format(time.DateOnly); e.Time.Local().Format(time.DateOnly) != today {
		clock = e.Time.Local().Format("01-02 15:04")
	}
	attempt, status, took := "", "", ""
	if e.Attempt > 0 {
		attempt = "#" + strconv.Itoa(e.Attempt)
		took = term.Span(time.Duration(e.DurationMS * float64(time.Millisecond)))
	}
	if e.Status > 0 {
		status = strconv.Itoa(e.Status)
	}
	p.Printf("%s %s %s %s%s\n", p.In(term.Dim, clock), p.In(verdictShade[e.Verdict], term.Fit(string(e.Verdict), 9)), term.Fit(e.Route, 12),
		p.In(term.Dim, e.Delivery), strings.TrimRight(fmt.Sprintf(" %3s %3s %6s", attempt, status, took), " "))
	if e.Verdict == queue.Delivered {
		return
	}
	why := e.Error
	if why == "" && e.Status > 0 {
		why = strings.TrimSpace(status + " " + http.StatusText(e.Status))
	}
	if e.Reason != "" {
		why = strings.TrimSuffix(string(e.Reason)+": "+why, ": ")
	}
	if e.NextAttempt != nil {
		why = strings.TrimPrefix(why+"; again in "+term.Span(max(0, e.NextAttempt.Sub(e.Time))), "; ")
	}
	p.Printf("    %s\n", term.Wrap(e.Type+": "+why, 4))
}
