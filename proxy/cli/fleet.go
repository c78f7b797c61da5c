package cli

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"signalpost/proxy/fleet"
	"signalpost/proxy/term"
)

func fleetCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "fleet",
		Short: "Show the fleet: its sidecars, and which of them has which ledger",
		Long: `Ask the NATS servers of [fleet] for the sidecars of the fleet and its ledgers: the
logs of what each sidecar accepted. A ledger belongs to its sidecar, or to another that
adopted it because its sidecar is gone, or for a moment to nobody. LAG is how many
records it is ahead of what its owner knew within the last second.

With --check each ledger is read whole from NATS, whoever has it, verified, and
compared with the copy of the sidecar that has it: exit 1 if one is damaged.`,
		Example: `  signalpost fleet
  signalpost fleet --check
  signalpost fleet --json | jq '.ledgers[] | select(.state == "nobody")'`,
	}
	ConfigFlag(c)
	jsonFlag(c)
	check := c.Flags().Bool("check", false, "read each ledger from NATS and verify it")
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := loadConfig(c)
		if err != nil {
			return err
		}
		if cfg.Fleet == nil {
			return fmt.Errorf("config %s has no [fleet]: the sidecar is alone", cfg.Path)
		}
		options := fleet.Of(cfg)
		options.Log = slog.New(slog.DiscardHandler)
		all, err := fleet.Look(c.Context(), options, *check)
		if err != nil {
			return err
		}
		report, faults := fleetReport(cfg.Fleet.Name, all)
		out := newOutput(c)
		return cmp.Or(out.show(report, func() {
			printFleet(out.Page, &report)
			if *check && faults == nil {
				out.Printf("\n%s read and verified, no fault found.\n", term.Count(len(report.Ledgers), "ledger"))
			}
		}), faults)
	}
	return c
}

// A fleetShown is what fleet --json prints.
type fleetShown struct {
	Fleet   string        `json:"fleet"`
	Nodes   []fleetNode   `json:"nodes"`
	Ledgers []fleetLedger `json:"ledgers"` // oldest first, without those that have ended
}

type fleetNode struct {
	ID      string `json:"id"`
	Host    string `json:"host"`
	Ledgers int    `json:"ledgers"`
}

type fleetLedger struct {
	ID       string     `json:"id"`
	State    string     `json:"state"` // own, adopted or nobody
	Node     string     `json:"node,omitempty"`
	Host     string     `json:"host,omitempty"`
	Epoch    uint64     `json:"epoch,omitempty"`
	Records  uint64     `json:"records"` // in the log, since the newest snapshot
	Lag      uint64     `json:"lag"`
	Snapshot *time.Time `json:"snapshot,omitempty"`
	Fault    string     `json:"fault,omitempty"` // with --check
}

func fleetReport(name string, all []fleet.LedgerStatus) (r fleetShown, faults error) {
	r = fleetShown{Fleet: name, Nodes: []fleetNode{}, Ledgers: []fleetLedger{}}
	for _, l := range all {
		if l.Ended {
			continue
		}
		shown := fleetLedger{ID: l.ID.String(), State: "nobody", Records: l.Records, Lag: l.Lag}
		if o := l.Owner; o != nil {
			shown.State, shown.Node, shown.Host, shown.Epoch, shown.Snapshot = "adopted", o.Node.String(), o.Host, o.Epoch, o.Snapshot
			if o.Own {
				shown.State = "own"
			}
			i := slices.IndexFunc(r.Nodes, func(n fleetNode) bool { return n.ID == shown.Node })
			if i < 0 {
				i = len(r.Nodes)
				r.Nodes = append(r.Nodes, fleetNode{ID: shown.Node, Host: o.Host})
			}
			r.Nodes[i].Ledgers++
		}
		if l.Fault != nil {
			shown.Fault = l.Fault.Error()
			faults = errors.New("a ledger is damaged: see what to do in the documentation, fleet.md")
		}
		r.Ledgers = append(r.Ledgers, shown)
	}
	return r, faults
}

func printFleet(p term.Page, r *fleetShown) {
	p.Printf("fleet %s: %s, %s\n\n", r.Fleet, term.Count(len(r.Nodes), "sidecar"), term.Count(len(r.Ledgers), "ledger"))
	columns := []term.Column{
		{Name: "LEDGER", Least: 10}, {Name: "STATE", Shade: shadeOf[string]}, {Name: "HOST", Least: 12}, {Name: "NODE", Rank: 4, Least: 10},
		{Name: "EPOCH", Number: true, Rank: 3}, {Name: "RECORDS", Number: true, Rank: 2}, {Name: "LAG", Number: true, Rank: 1}, {Name: "SNAPSHOT", Rank: 2},
	}
	var rows [][]string
	for _, l := range r.Ledgers {
		rows = append(rows, []string{
			l.ID, l.State, cmp.Or(l.Host, "-"), cmp.Or(l.Node, "-"), fmt.Sprint(l.Epoch), fmt.Sprint(l.Records), fmt.Sprint(l.Lag), term.Ago(l.Snapshot, time.Now()),
		})
	}
	p.Table(columns, rows)
	for _, l := range r.Ledgers {
		if l.Fault != "" {
			p.Printf("\n%s\n", p.In(term.Red, term.Wrap(l.Fault, 0)))
		}
	}
}
