package cli

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"signalpost/proxy/api"
	"signalpost/proxy/client"
	"signalpost/proxy/config"
	"signalpost/proxy/term"
	"signalpost/queue"
)

// logFilters are the parameters of GET /log, which are flags of log.
var logFilters = []queryFlag{
	{"route", "", "only deliveries of the route `NAME`; * and ? stand for others"},
	{"signal-type", "", "only signals of this `TYPE`; * and ? stand for others"},
	{"signal", "", "only the signal `ID`"},
	{"delivery", "", "only the delivery `ID`; what was sent is shown, too"},
	{"verdict", "", "only attempts that ended so: `VERDICT` delivered, retry, dead, failed (retry,dead)"},
	{"status", "", "only attempts answered so: a `STATUS` such as 503, 5xx or 500,503"},
	{"text", "", "only attempts with this `TEXT` in the error or the answer"},
	{"since", "", "only attempts since `TIME`: RFC 3339, or a duration back such as 15m, 24h, 7d"},
	{"until", "", "only attempts before `TIME`"},
	{"limit", "n", "at most `N` (default 100, at most 1000); with -f so many old ones first (default 10)"},
	{"after", "", "the page behind `CURSOR`: what the last page called next"},
}

func logCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "log [WORD:VALUE …]",
		Short: "Show the delivery log: one entry for each attempt",
		Long: `Show the delivery log of the running sidecar, oldest of the page first: one entry
for each attempt, and for each delivery that ended without one. Without
flags it shows all; with several, what matches every one of them. With -f it goes
on until it is interrupted, exit 0, or the sidecar ends it, exit 1.

A filter of the dashboard can be given as it is: route:crm-* is --route 'crm-*',
type: is --signal-type, and -verdict:delivered is --verdict failed.`,
		Example: `  signalpost log -f                              # as they come
  signalpost log --verdict dead --since 24h      # what died today
  signalpost log --delivery dlv_01K…             # one delivery's whole story
  signalpost log 'route:crm-* status:5xx text:"acme corp"'
  signalpost log -f --json | jq 'select(.status == 500)'`,
		Args: cobra.ArbitraryArgs, // filterWords judges them
	}
	query := queryFlags(c, logFilters)
	follow := c.Flags().BoolP("follow", "f", false, "go on with each attempt as it ends, until interrupted")
	oneOf(c, "verdict", "failed", "delivered", "retry", "dead")
	return remote(c, func(ctx context.Context, sidecar *client.Client, out output, args []string) error {
		filter := query()
		if err := filterWords(filter, args); err != nil {
			return err
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
			if _, err := knownRoutes(ctx, sidecar, filter.Get("route")); err != nil {
				return err
			}
		}
		return out.show(list, func() {
			printLog(out.Page, list, time.Now())
			if len(filter) == 1 && filter.Has("delivery") {
				printDelivery(ctx, sidecar, out.Page, filter.Get("delivery"))
			}
		})
	})
}

func followLog(ctx context.Context, sidecar *client.Client, out output, filter url.Values) error {
	routes, err := knownRoutes(ctx, sidecar, filter.Get("route"))
	if err != nil {
		return err
	}
	if !filter.Has("limit") {
		filter.Set("limit", "10")
	}
	names := make([]string, len(routes))
	for i, r := range routes {
		names[i] = r.Name
	}
	show := entryPrinter(out.Page, names, time.Now)
	return sidecar.Follow(ctx, filter, func(e queue.Entry) error {
		if out.json {
			return out.JSON(e, "")
		}
		show(e)
		return nil
	})
}

var (
	filterWord = regexp.MustCompile(`(-?)([a-z_-]+):("(?:[^"\\]|\\.)*"|\S+)(?:\s+|$)`)
	wholeWord  = regexp.MustCompile(`^(-?)([a-z_-]+):(.+)$`) // of which a shell took the quotes
)

// filterWords adds to filter what the arguments say in the words of the
// dashboard: one to each argument, or several.
func filterWords(filter url.Values, args []string) error {
	known := []string{"type"}
	for _, f := range logFilters {
		known = append(known, f.name)
	}
	for _, arg := range args {
		arg = strings.TrimSpace(arg)
		words := filterWord.FindAllStringSubmatch(arg, -1)
		if filterWord.ReplaceAllString(arg, "") != "" {
			words = wholeWord.FindAllStringSubmatch(arg, -1)
		}
		if words == nil {
			return usage("log takes flags, and words such as route:crm, status:5xx or text:\"no such hook\"; given: %q", arg)
		}
		for _, w := range words {
			not, name, value := w[1] != "", strings.ReplaceAll(w[2], "_", "-"), w[3]
			if unquoted, err := strconv.Unquote(value); err == nil {
				value = unquoted
			}
			near := config.Nearest(name, known)
			if name == "type" {
				name = "signal-type"
			}
			param := strings.ReplaceAll(name, "-", "_")
			switch {
			case !slices.Contains(known, name) && near != "":
				return usage("unknown word %q, did you mean %q?", w[2], near)
			case !slices.Contains(known, name):
				return usage("unknown word %q; the words are %s", w[2], strings.Join(known, ", "))
			case filter.Has(param):
				return usage("%s is given twice", w[2])
			case not && name != "verdict":
				return usage("-%s: the sidecar cannot leave out by this; of words only verdict can have a - before it", w[2])
			case not:
				value = otherVerdicts(value)
			}
			filter.Set(param, value)
		}
	}
	return nil
}

// otherVerdicts lists the verdicts that are not in a list.
func otherVerdicts(list string) string {
	not := strings.Split(strings.ReplaceAll(list, "failed", "retry,dead"), ",")
	others := slices.DeleteFunc([]string{"delivered", "retry", "dead"}, func(v string) bool { return slices.Contains(not, v) })
	return strings.Join(others, ",")
}

// printLog prints a page of the log, oldest first.
func printLog(p term.Page, page api.LogPage, now time.Time) {
	var routes []string
	for _, e := range page.Entries {
		if !slices.Contains(routes, e.Route) {
			routes = append(routes, e.Route)
		}
	}
	show := entryPrinter(p, routes, func() time.Time { return now })
	for _, e := range slices.Backward(page.Entries) {
		show(e)
	}
	switch {
	case page.SearchedTo != nil:
		p.Printf("%s\n", p.In(term.Dim, "looked back to "+clock(*page.SearchedTo, now)+"; further: --after "+page.Next))
	case page.Next != "":
		p.Printf("%s\n", p.In(term.Dim, "older ones: --after "+page.Next))
	case len(page.Entries) == 0:
		p.Printf("no entry\n")
	}
}

// entryPrinter returns a function that prints an entry of the delivery log of one of
// the routes: a line, and below it what does not fit the terminal.
func entryPrinter(p term.Page, routes []string, now func() time.Time) func(queue.Entry) {
	shown, width := map[string]string{}, 0
	short := routes
	if p.Width > 0 {
		short = term.Shorten(routes, max(p.Width-68, 12)) // which leaves room for all but the type
	}
	for i, name := range routes {
		shown[name] = short[i]
		width = max(width, term.Width(short[i]))
	}
	return func(e queue.Entry) {
		clock := clock(e.Time, now())
		verdict, route := fmt.Sprintf(" %-9s", e.Verdict), fmt.Sprintf(" %-*s", width, cmp.Or(shown[e.Route], e.Route))
		id, numbers := e.Delivery.String(), ""
		if e.Attempt > 0 {
			status := strings.TrimLeft(strconv.Itoa(e.Status), "0")
			numbers = fmt.Sprintf(" %3s %3s %6s", "#"+strconv.Itoa(e.Attempt), status, term.Span(e.Took()))
		}
		what := e.Type
		if e.Trigger != "" && e.Trigger != "schedule" {
			what += " (" + string(e.Trigger) + ")"
		}
		if failure := failureText(e, p.Width > 0); failure != "" {
			what += ": " + failure
		}
		beforeID, beforeWhat, text := term.Text(" "), term.Text(" "), term.Text(term.Escape(what))
		used := term.Width(clock + verdict + route + " " + id + numbers)
		if p.Width > 0 && used > p.Width {
			beforeID = "\n    "
		}
		if p.Width > 0 && used+1+term.Width(text) > p.Width {
			beforeWhat, text = "\n    ", term.WrapAt(what, 4, p.Width)
		}
		p.Printf("%s%s%s%s%s%s%s%s\n", p.In(term.Dim, clock), p.In(shadeOf(e.Verdict), verdict), route, beforeID, p.In(term.Dim, id), numbers, beforeWhat, text)
	}
}

// clock is a time of today, or a time and its date.
func clock(t, now time.Time) string { return clockAs(time.TimeOnly, t, now) }

// clockAs is the same with a layout for today.
func clockAs(layout string, t, now time.Time) string {
	if t, now = t.Local(), now.Local(); t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(layout)
	}
	return t.Format("01-02 15:04")
}

// failureText says why an attempt did not deliver, and what was answered; "" if it did.
func failureText(e queue.Entry, short bool) string {
	if e.Verdict == queue.Delivered {
		return ""
	}
	why := e.Error
	if why == "" && e.Status > 0 {
		why = strings.TrimSpace(fmt.Sprint(e.Status, " ", http.StatusText(e.Status)))
	}
	if e.Reason != "" {
		why = strings.TrimSuffix(string(e.Reason)+": "+why, ": ")
	}
	if e.NextAttempt != nil {
		why = strings.TrimPrefix(why+"; again in "+term.Span(max(0, e.NextAttempt.Sub(e.Time))), "; ")
	}
	if said := oneLine(e.Response); said != "" {
		if short {
			said = string(term.Cut(said, 2*term.Columns))
		}
		why += "; it said: " + said
	}
	return why
}

// printDelivery prints where a delivery stands, and what was sent, or would be.
func printDelivery(ctx context.Context, sidecar *client.Client, p term.Page, id string) {
	var d api.Delivery
	if sidecar.Get(ctx, "/deliveries/"+url.PathEscape(id), &d) != nil {
		return // its log has been printed
	}
	p.Printf("\n%s  %s, %s, signal %s\n", d.ID, p.In(term.Bold, stateOf(d.Info)), term.Count(d.Attempts, "attempt"), d.Signal)
	if d.Request != nil {
		sent := "it would be sent as"
		if d.Request.Sent {
			sent = "it was sent last at " + timeAndAgo(*d.Request.Time, time.Now())
		}
		p.Printf("  %s\n", sent)
		printRequest(p, d.Request, true)
	}
	if d.Reason == queue.Transform {
		p.Printf("    no body could be made of the signal\n")
		d.Body = d.SignalBody
	}
	printBody(p, d.Body, d.Format, math.MaxInt)
}
