package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"signalpost/proxy/receiver"
	"signalpost/queue"
)

// filterFlags are the parameters of GET /log as flags.
var filterFlags = []struct{ name, arg, usage string }{
	{"route", "NAME", "only deliveries of this route"},
	{"signal-type", "TYPE", "only signals of this type"},
	{"signal", "ID", "only this signal"},
	{"delivery", "ID", "only this delivery"},
	{"verdict", "VERDICT", "only attempts that ended so: delivered, retry, dead"},
	{"status", "CODE", "only attempts answered with this status"},
	{"since", "TIME", "only attempts since then: RFC 3339, or a duration back such as 15m, 24h, 7d"},
	{"until", "TIME", "only attempts before then"},
	{"limit", "N", "at most so many (default 100, at most 1000); with -f so many old ones first (default 10)"},
	{"after", "CURSOR", "the page behind this one: what the last page called next"},
}

func logCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "log",
		Short: "Show the delivery log: one entry for each attempt",
		Long: `Show the delivery log of the running sidecar, oldest of the page first: one entry
for each attempt, and for each delivery that ended without one. Nothing is
selected unless a flag says so, and all flags must hold together. With -f it goes
on until it is interrupted, exit 0, or the sidecar ends it, exit 1.`,
		Example: examples(
			"signalpost log -f                              # as they come",
			"signalpost log --verdict dead --since 24h      # what was given up today",
			"signalpost log --delivery dlv_01K…             # one delivery's whole story",
			"signalpost log -f --json | jq 'select(.status == 500)'"),
	}
	r := remoteFlags(c)
	asJSON := jsonFlag(c)
	follow := c.Flags().BoolP("follow", "f", false, "go on with each attempt as it ends, until interrupted")
	for _, f := range filterFlags {
		short := ""
		if f.name == "limit" {
			short = "n"
		}
		c.Flags().VarP(&word{kind: f.arg}, f.name, short, f.usage)
	}
	c.RegisterFlagCompletionFunc("route", r.completeRoutes)
	oneOf(c, "verdict", "delivered", "retry", "dead")
	c.RunE = func(c *cobra.Command, _ []string) error {
		api, err := r.client()
		if err != nil {
			return err
		}
		filter := url.Values{}
		for _, f := range filterFlags {
			if v := c.Flags().Lookup(f.name); v.Changed {
				filter.Set(strings.ReplaceAll(f.name, "-", "_"), v.Value.String())
			}
		}
		ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		out := newPage(c.OutOrStdout())
		if *follow {
			if !filter.Has("limit") {
				filter.Set("limit", "10")
			}
			return asUsage(api.Follow(ctx, filter, func(e queue.Entry) error {
				if *asJSON {
					b, err := json.Marshal(e)
					if err == nil {
						_, err = out.Write(append(b, '\n'))
					}
					return err
				}
				out.entry(e, time.Now())
				return nil
			}))
		}
		list, err := api.Log(ctx, filter)
		if err != nil {
			return asUsage(err)
		}
		if *asJSON {
			return printJSON(out, list)
		}
		for i := range list.Entries {
			out.entry(list.Entries[len(list.Entries)-1-i], time.Now())
		}
		if len(list.Entries) == 0 && list.Next == "" {
			out.printf("no entry\n")
		}
		if list.Next != "" {
			out.printf("%s\n", out.in(dim, "older ones: --after "+list.Next))
		}
		return nil
	}
	return c
}

var verdictShade = map[queue.Verdict]shade{queue.Delivered: green, queue.Retry: yellow, queue.Dead: red}

// entry prints one entry of the delivery log: a line, and below it why it is
// not delivered.
func (p page) entry(e queue.Entry, now time.Time) {
	clock := e.Time.Local().Format("15:04:05")
	if y, m, d := e.Time.Local().Date(); !sameDay(now.Local(), y, m, d) {
		clock = e.Time.Local().Format("01-02 15:04")
	}
	attempt, status, took := "", "", ""
	if e.Attempt > 0 {
		attempt = "#" + strconv.Itoa(e.Attempt)
		took = span(time.Duration(e.DurationMS * float64(time.Millisecond)))
	}
	if e.Status > 0 {
		status = strconv.Itoa(e.Status)
	}
	line := fmt.Sprintf("%s %s %s %s %3s %3s %6s",
		p.in(dim, clock), p.in(verdictShade[e.Verdict], fit(string(e.Verdict), 9)), fit(receiver.Escape(e.Route), 12), p.in(dim, e.Delivery.String()), attempt, status, took)
	p.printf("%s\n", strings.TrimRight(line, " "))
	if e.Verdict == queue.Delivered {
		return
	}
	why := e.Error
	if why == "" && e.Status > 0 {
		why = strings.TrimSpace(status + " " + http.StatusText(e.Status))
	}
	if e.Reason != "" && why != "" {
		why = string(e.Reason) + ": " + why
	} else if e.Reason != "" {
		why = string(e.Reason)
	}
	if e.NextAttempt != nil {
		why += "; again in " + span(max(0, e.NextAttempt.Sub(e.Time)))
	}
	p.printf("%s\n", wrap(receiver.Escape(e.Type+": "+strings.TrimPrefix(why, "; ")), 4))
}

func sameDay(t time.Time, y int, m time.Month, d int) bool {
	ty, tm, td := t.Date()
	return ty == y && tm == m && td == d
}
