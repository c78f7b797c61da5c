package cli

import (
	"context"

	"github.com/spf13/cobra"

	"signalpost/proxy/api"
	"signalpost/proxy/client"
	"signalpost/proxy/receiver"
	"signalpost/queue"
)

// selectionCommand has c do one thing to the delivery that is named, or to all
// that its filters select, which are in one of the states. done says what became
// of them, and none, unless nil, why it can be that the selection matched nothing, or is
// "". The selection is for flags of c's own.
func selectionCommand(c *cobra.Command, states []string, statesHelp, done string,
	one func(*client.Client, context.Context, string, bool) (queue.Info, error),
	all func(*client.Client, context.Context, api.Selection) (int, error),
	none func(*client.Client, context.Context, api.Selection) string) *api.Selection {
	r := remoteFlags(c)
	asJSON := jsonFlag(c)
	s := new(api.Selection)
	f := c.Flags()
	f.StringVar(&s.Route, "route", "", "only those of the route `NAME`")
	f.StringVar(&s.State, "state", "", statesHelp)
	f.StringVar(&s.Reason, "reason", "", "only those dead for `REASON`: gone, exhausted, transform, filtered, too_old, discarded")
	f.StringVar(&s.Type, "signal-type", "", "only those of signals of this `TYPE`")
	f.StringVar(&s.Since, "since", "", "only those made since `TIME`: RFC 3339, or a duration back such as 15m, 24h, 7d")
	f.StringVar(&s.Until, "until", "", "only those made before `TIME`")
	f.BoolVar(&s.DryRun, "dry-run", false, "only count them")
	c.RegisterFlagCompletionFunc("route", r.completeRoutes)
	oneOf(c, "state", states...)
	oneOf(c, "reason", "gone", "exhausted", "transform", "filtered", "too_old", "discarded")
	c.Args = takes(0, 1, "the id of one delivery, or filters such as --route NAME for many")
	c.RunE = func(c *cobra.Command, args []string) error {
		filters := *s
		filters.Reshape, filters.DryRun = false, false
		filtered := filters != api.Selection{}
		switch {
		case len(args) == 1 && (filtered || s.DryRun):
			return usage("name one delivery, or give filters, not both")
		case len(args) == 0 && !filtered:
			return usage("name a delivery, or give at least one filter; for all the dead ones: --state dead")
		}
		api, err := r.client()
		if err != nil {
			return err
		}
		out := newPage(c.OutOrStdout())
		if len(args) == 1 {
			info, err := one(api, c.Context(), args[0], s.Reshape)
			if err != nil {
				return err
			}
			return printDelivery(out, *asJSON, info)
		}
		n, err := all(api, c.Context(), *s)
		if err != nil {
			return asUsage(err)
		}
		if *asJSON {
			return printJSON(out, map[string]int{"matched": n})
		}
		would := ""
		if s.DryRun {
			would = "would be "
		}
		out.printf("%s %s%s\n", count(n, "delivery"), would, done)
		if n == 0 && none != nil {
			if why := none(api, c.Context(), *s); why != "" {
				out.printf("%s\n", why)
			}
		}
		return nil
	}
	return s
}

// printDelivery says what became of the delivery that was named.
func printDelivery(out page, asJSON bool, info queue.Info) error {
	if asJSON {
		return printJSON(out, info)
	}
	state := string(info.State)
	if info.Reason != "" {
		state += " (" + string(info.Reason) + ")"
	}
	out.printf("%s  %s, route %s\n", info.ID, state, receiver.Escape(info.Route))
	return nil
}

func retryCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "retry ID | --FILTER …",
		Short: "Send deliveries again: one, or all that match",
		Long: `Make deliveries due at once: the one named, or all the dead ones (the delivered
ones with --state delivered) that match every filter given. Attempt numbers go
on, the schedule starts anew, the id and the body stay. With --reshape today's
where and transform make the body anew first; for what is dead for reason
transform they always do.`,
		Example: examples(
			"signalpost retry dlv_01K…",
			"signalpost retry --route crm --reason exhausted --since 24h --dry-run",
			"signalpost retry --reason transform            # after the expression is mended",
			"signalpost retry --state delivered --route crm --since 1h --reshape"),
	}
	s := selectionCommand(c, []string{"dead", "delivered"}, "dead (default) or delivered `STATE`", "due again",
		(*client.Client).Retry, (*client.Client).RetryAll, whyNoRetry)
	c.Flags().BoolVar(&s.Reshape, "reshape", false, "make the bodies anew with today's where and transform")
	return c
}

// whyNoRetry says that the route selected has gone: what it still owes cannot be
// sent again then, and is not counted.
func whyNoRetry(api *client.Client, ctx context.Context, s api.Selection) string {
	if s.Route == "" {
		return ""
	}
	status, err := api.Status(ctx)
	if err != nil {
		return "" // the answer itself has been printed
	}
	for _, r := range status.Routes {
		if r.Name == s.Route && r.State == queue.RouteGone {
			return "route " + receiver.Escape(r.Name) + " has gone: it must be back in the config first"
		}
	}
	return ""
}

func discardCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "discard ID | --FILTER …",
		Short: "Give up deliveries: one, or all that match",
		Long: `Make the delivery named, or all that match every filter given, dead, reason
discarded: they are not sent any more, unless with retry. One whose attempt is
under way is dead when that fails.`,
		Example: examples(
			"signalpost discard dlv_01K…",
			"signalpost discard --route crm --state pending --dry-run",
			"signalpost discard --route old-crm --state held"),
	}
	discard := func(api *client.Client, ctx context.Context, id string, _ bool) (queue.Info, error) {
		return api.Discard(ctx, id)
	}
	selectionCommand(c, []string{"pending", "held", "dead"}, "pending, held or dead `STATE` (default all three)", "discarded",
		discard, (*client.Client).DiscardAll, nil)
	return c
}

func pauseCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "pause ROUTE",
		Short:   "Hold a route: its deliveries are queued, nothing is sent",
		Long:    "Hold a route until resume, also over restarts: its deliveries are queued, nothing\nis sent.",
		Example: examples("signalpost pause crm"),
	}
	return routeCommand(c, (*client.Client).Pause)
}

func resumeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "resume ROUTE",
		Short:   "Let a paused route go on",
		Long:    "Let a route go on that pause holds. One that the config pauses goes on when\npaused is false there.",
		Example: examples("signalpost resume crm"),
	}
	return routeCommand(c, (*client.Client).Resume)
}

func routeCommand(c *cobra.Command, do func(*client.Client, context.Context, string) (api.RouteStatus, error)) *cobra.Command {
	r := remoteFlags(c)
	asJSON := jsonFlag(c)
	c.Args = takes(1, 1, "the name of one route, which signalpost status lists")
	c.ValidArgsFunction = func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return r.completeRoutes(c, args, word)
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		api, err := r.client()
		if err != nil {
			return err
		}
		s, err := do(api, c.Context(), args[0])
		if err != nil {
			return err
		}
		out := newPage(c.OutOrStdout())
		if *asJSON {
			return printJSON(out, s)
		}
		out.printf("%s  %s, %d pending\n", receiver.Escape(s.Name), out.in(stateShade[s.State], string(s.State)), s.Pending)
		return nil
	}
	return c
}
