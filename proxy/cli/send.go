package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"

	"github.com/spf13/cobra"

	"signalpost/proxy/client"
	"signalpost/proxy/term"
)

func sendCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "send [FILE|-]",
		Short: "Post a signal to the running sidecar",
		Long: `Post a signal to the running sidecar, from a file or from standard input (-). With
no FILE it posts the sample signal. A JSON array is a batch; so are lines of JSON, from a
file that ends in .ndjson or .jsonl, or with --ndjson. It is accepted once it is
safe on disk.`,
		Example: `  signalpost send
  signalpost send signal.json --route crm
  tail -n 100 signals.ndjson | signalpost send --ndjson -`,
	}
	takesSignal(c)
	route := c.Flags().String("route", "", "offer it to the route `NAME` alone")
	lines := c.Flags().Bool("ndjson", false, "the input is one signal on each line")
	return remote(c, func(ctx context.Context, api *client.Client, out output, args []string) error {
		body, err := readSignal(c, args)
		if err != nil {
			return err
		}
		if len(args) > 0 && (strings.HasSuffix(args[0], ".ndjson") || strings.HasSuffix(args[0], ".jsonl")) {
			*lines = true
		}
		if d := json.NewDecoder(bytes.NewReader(body)); !*lines && d.Decode(new(any)) == nil && d.Decode(new(any)) == nil {
			return usage("the input holds several JSON documents: with --ndjson each line is a signal, and so is each element of a JSON array")
		}
		signals, answer, err := api.Send(ctx, client.Signals{Body: body, Lines: *lines, Route: *route})
		if err != nil {
			return err
		}
		if out.json {
			return out.JSON(json.RawMessage(answer), "")
		}
		unmatched := false
		for _, s := range signals {
			if len(s.Deliveries) == 0 {
				unmatched = true
				out.Printf("%s  makes no delivery\n", s.ID)
				continue
			}
			out.Printf("%s  makes %s\n", s.ID, term.Count(len(s.Deliveries), "delivery"))
			for _, d := range s.Deliveries {
				out.Printf("  %s  %s\n", d.ID, d.Route)
			}
		}
		if name := strings.Join(args, ""); unmatched && len(signals) == 1 {
			out.Printf("Why not: %s\n", strings.TrimSpace("signalpost try "+name))
		} else if unmatched {
			out.Printf("Why not: signalpost try FILE, with one such signal in it\n")
		}
		return nil
	})
}
