package cli

import (
	"context"
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"signalpost/proxy/api"
	"signalpost/proxy/client"
	"signalpost/proxy/term"
	"signalpost/queue"
)

// amend makes c retry or discard, as it is named, one delivery or all that its filters
// select, of one of the states. done says what has become of them then.
func amend(c *cobra.Command, done, stateUsage string, states ...string) *cobra.Command {
	var s api.Selection
	f := c.Flags()
	f.StringVar(&s.Route, "route", "", "only those of the route `NAME`")
	f.StringVar(&s.State, "state", "", stateUsage)
	f.StringVar(&s.Reason, "reason", "", "only those dead for `REASON`: gone, exhausted, transform, filtered, too_old, discarded")
	f.StringVar(&s.Type, "signal-type", "", "only those of signals of this `TYPE`")
	f.StringVar(&s.Since, "since", "", "only those made since `TIME`: RFC 3339, or a duration back such as 15m, 24h, 7d")
	f.StringVar(&s.Until, "until", "", "only those made before `TIME`")
	f.BoolVar(&s.DryRun, "dry-run", false, "only count them")
	oneOf(c, "state", states...)
	oneOf(c, "reason", "gone", "exhausted", "transform", "filtered", "too_old", "discarded")
	c.Args = takes(0, 1, "the id of one delivery, or filters such as --route NAME for many")
	return remote(c, func(ctx context.Context, sidecar *client.Client, out output, args []string) error {
		s.Reshape, _ = f.GetBool("reshape") // which discard lacks
		filters := s
		filters.Reshape, filters.DryRun = false, false
		filtered := filters != api.Selection{}
		switch {
		case len(args) == 1 && (filtered || s.DryRun):
			return usage("name one delivery, or give filters, not both")
		case len(args) == 1:
			return amendOne(ctx, sidecar, out, c.Name(), args[0], s.Reshape)
		case !filtered:
			return usage("name a delivery, or give at least one filter, such as --state %s", states[0])
		}
		var answer api.Matched
		var routes []api.RouteStatus // where none matched
		err := asUsage(sidecar.Post(ctx, "/"+c.Name(), s, &answer))
		if err == nil && answer.Matched == 0 {
			routes, err = knownRoutes(ctx, sidecar, s.Route)
		}
		if err != nil {
			return err
		}
		return out.show(answer, func() {
			would := ""
			if s.DryRun {
				would = "would be "
			}
			out.Printf("%s %s%s\n", term.Count(answer.Matched, "delivery"), would, done)
			if answer.Matched == 0 && c.Name() == "retry" {
				printWhyNone(out.Page, routes, s)
			}
		})
	})
}

// amendOne does to one delivery what the verb says, and prints its new state.
func amendOne(ctx context.Context, sidecar *client.Client, out output, verb, id string, reshape bool) error {
	var body any
	if reshape {
		body = api.RetryOne{Reshape: true}
	}
	var info queue.Info
	if err := sidecar.Post(ctx, "/deliveries/"+url.PathEscape(id)+"/"+verb, body, &info); err != nil {
		return err
	}
	return out.show(info, func() { out.Printf("%s  %s, route %s\n", info.ID, stateOf(info), info.Route) })
}

// stateOf is the state of a delivery, why it is dead, and how it stands in its order.
func stateOf(info queue.Info) string {
	switch {
	case info.Reason != "":
		return fmt.Sprintf("%s (%s)", info.State, info.Reason)
	case info.WaitsFor != nil:
		return fmt.Sprintf("%s (waits for %s)", info.State, info.WaitsFor)
	case info.OutOfOrder && info.State == queue.StatePending:
		return fmt.Sprintf("%s (out of order)", info.State)
	}
	return string(info.State)
}

func retryCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "retry ID | --FILTER …",
		Short: "Send deliveries again: one, or all that match",
		Long: `Make deliveries due at once: the one named, or all the dead ones that match every
filter given; those that wait with --state pending, the delivered ones with
--state delivered. What was discarded is left out unless --reason discarded asks
for it. Attempt numbers go on, the schedule starts over, and the id and the body
stay. With --reshape today's where and transform make the body again first. For
what is dead with reason transform they always do.`,
		Example: `  signalpost retry dlv_01K…
  signalpost retry --route crm --reason exhausted --since 24h --dry-run
  signalpost retry --reason transform           # after the expression is fixed
  signalpost retry --route crm --state pending  # what waits, now
  signalpost retry --state delivered --route crm --since 1h --reshape`,
	}
	c.Flags().Bool("reshape", false, "make the bodies again with today's where and transform")
	return amend(c, "due again", "dead (default), pending or delivered `STATE`", "dead", "pending", "delivered")
}

// printWhyNone says what to do when retry found nothing to send again.
func printWhyNone(p term.Page, routes []api.RouteStatus, s api.Selection) {
	var waiting int64
	for _, r := range routes {
		if r.Name == s.Route && r.State == queue.RouteGone {
			p.Printf("route %s has gone: it must be back in the config first\n", r.Name)
			return
		}
		if r.Name == s.Route || s.Route == "" {
			waiting += r.Pending
		}
	}
	if waiting > 0 && (s.State == "" || s.State == string(queue.StateDead)) {
		flags := "--state pending"
		if s.Route != "" {
			flags = "--route " + s.Route + " " + flags
		}
		p.Printf("none is dead, %s pending: signalpost retry %s sends what waits now\n", term.Count(int(waiting), "delivery"), flags)
	}
}

func discardCommand() *cobra.Command {
	return amend(&cobra.Command{
		Use:   "discard ID | --FILTER …",
		Short: "Stop sending deliveries: one, or all that match",
		Long: `Make the delivery named, or all that match every filter given, dead, reason
discarded: they are not sent any more, unless retry sends them. One whose attempt is
under way is dead if that attempt fails.`,
		Example: `  signalpost discard dlv_01K…
  signalpost discard --route crm --state pending --dry-run
  signalpost discard --route old-crm --state held`,
	}, "discarded", "pending, held or dead `STATE` (default all three)", "pending", "held", "dead")
}

func pauseCommand() *cobra.Command {
	return routeCommand(&cobra.Command{
		Use:     "pause ROUTE",
		Short:   "Pause a route: its deliveries are queued, nothing is sent",
		Long:    "Pause a route until resume, also across restarts: its deliveries are queued,\nand nothing is sent.",
		Example: "  signalpost pause crm",
	})
}

func resumeCommand() *cobra.Command {
	return routeCommand(&cobra.Command{
		Use:     "resume ROUTE",
		Short:   "Resume a paused route",
		Long:    "Resume a route that pause stopped. One that the config pauses resumes when\npaused is false there.",
		Example: "  signalpost resume crm",
	})
}

// routeCommand makes c pause or resume a route, as it is named.
func routeCommand(c *cobra.Command) *cobra.Command {
	c.Args = takes(1, 1, "the name of one route, which signalpost status lists")
	c.ValidArgsFunction = func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return completeRoutes(c, args, word)
	}
	return remote(c, func(ctx context.Context, sidecar *client.Client, out output, args []string) error {
		var s api.RouteStatus
		if err := sidecar.Post(ctx, "/routes/"+url.PathEscape(args[0])+"/"+c.Name(), nil, &s); err != nil {
			return err
		}
		return out.show(s, func() {
			out.Printf("%s  %s, %d pending\n", s.Name, out.In(shadeOf(s.State), s.State), s.Pending)
		})
	})
}
