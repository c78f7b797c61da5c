package cli

import (
	"signalpost/proxy/receiver"
	"strings"

	"github.com/spf13/cobra"
)

func sendCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "send [FILE|-]",
		Short: "Post a signal to the running sidecar",
		Long: `Post a signal to the running sidecar: that of a file, of standard input (-), or
the sample with no FILE. A JSON array is a batch; so are lines of JSON, from a
file that ends in .ndjson or .jsonl, or with --ndjson. It is accepted once it is
safe on disk.`,
		Example: examples(
			"signalpost send",
			"signalpost send signal.json --route crm",
			"tail -n 100 signals.ndjson | signalpost send --ndjson -"),
		Args: takes(0, 1, signalFile),
	}
	r := remoteFlags(c)
	asJSON := jsonFlag(c)
	route := c.Flags().String("route", "", "offer it to the route `NAME` alone")
	lines := c.Flags().Bool("ndjson", false, "the input is one signal on each line")
	c.RegisterFlagCompletionFunc("route", r.completeRoutes)
	c.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveDefault) // files
	c.RunE = func(c *cobra.Command, args []string) error {
		api, err := r.client()
		if err != nil {
			return err
		}
		body, err := readSignal(c, args)
		if err != nil {
			return err
		}
		if len(args) > 0 && (strings.HasSuffix(args[0], ".ndjson") || strings.HasSuffix(args[0], ".jsonl")) {
			*lines = true
		}
		signals, raw, err := api.Send(c.Context(), body, *lines, *route)
		if err != nil {
			return err
		}
		out := newPage(c.OutOrStdout())
		if *asJSON {
			_, err := out.Write(append(raw, '\n'))
			return err
		}
		for _, s := range signals {
			if len(s.Deliveries) == 0 {
				out.printf("%s  makes no delivery\n", receiver.Escape(s.ID))
				continue
			}
			out.printf("%s  makes %s\n", receiver.Escape(s.ID), count(len(s.Deliveries), "delivery"))
			for _, d := range s.Deliveries {
				out.printf("  %s  %s\n", receiver.Escape(d.ID), receiver.Escape(d.Route))
			}
		}
		return nil
	}
	return c
}
