package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"signalpost/proxy/api"
	"signalpost/proxy/client"
	"signalpost/proxy/term"
	"signalpost/proxy/units"
	"signalpost/queue"
)

func statsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "stats",
		Short: "Show what each route took, delivered and failed, with small charts",
		Long: `Show how much each route accepted and delivered, how many attempts failed and
why, and how many deliveries died, exactly, also beyond the retention of the log:
minutes are kept for 48 hours, hours for 90 days. P50, P95 and P99 are the times
that attempts took in the slowest step. Each chart is scaled to its highest
column, which max names; · is none, ░ is before the statistics began.`,
		Example: `  signalpost stats                               # 24 hours
  signalpost stats --route 'crm-*' --since 1h
  signalpost stats --since 30d --step 1d --json`,
	}
	query := queryFlags(c, []queryFlag{
		{"route", "", "only the route `NAME`; * and ? stand for others"},
		{"since", "", "from `TIME` on: RFC 3339, or a duration back such as 15m, 24h (default), 30d"},
		{"until", "", "up to `TIME` (default now)"},
		{"step", "", "`DURATION` of a point: 1m, 5m, 15m, 1h, 6h, 1d (default: what makes at most 1500 points)"},
	})
	oneOf(c, "step", "1m", "5m", "15m", "1h", "6h", "1d")
	return remote(c, func(ctx context.Context, sidecar *client.Client, out output, _ []string) error {
		var stats api.Stats
		filter := query()
		err := asUsage(sidecar.Get(ctx, "/stats?"+filter.Encode(), &stats))
		if err == nil && len(stats.Series) == 0 {
			_, err = knownRoutes(ctx, sidecar, filter.Get("route"))
		}
		if err != nil {
			return err
		}
		return out.show(stats, func() { printStats(out.Page, stats, time.Now()) })
	})
}

// printStats prints the totals of each route, then its charts.
func printStats(p term.Page, stats api.Stats, now time.Time) {
	var rows [][]string
	var times []time.Time // of all points
	for _, s := range stats.Series {
		var counts [4]int64
		var slowest [3]*float64
		for _, at := range s.Points {
			times = append(times, at.Time)
			for i, n := range [...]int64{at.Accepted, at.Delivered, failed(at), at.Dead} {
				counts[i] += n
			}
			for i, ms := range [...]*float64{at.P50, at.P95, at.P99} {
				slowest[i] = slower(slowest[i], ms)
			}
		}
		row := []string{s.Route}
		for _, n := range counts {
			row = append(row, fmt.Sprint(n))
		}
		for _, ms := range slowest {
			took := "-"
			if ms != nil {
				took = term.Span(time.Duration(*ms * float64(time.Millisecond)))
			}
			row = append(row, took)
		}
		rows = append(rows, row)
	}
	if len(times) == 0 {
		p.Printf("nothing is recorded of this time\n")
		return
	}
	slices.SortFunc(times, time.Time.Compare)
	times = slices.CompactFunc(times, time.Time.Equal)
	p.Table([]term.Column{{Name: "ROUTE", Least: 12}, {Name: "ACCEPTED", Number: true, Rank: 2}, {Name: "DELIVERED", Number: true}, {Name: "FAILED", Number: true},
		{Name: "DEAD", Number: true, Rank: 1}, {Name: "P50", Number: true, Rank: 4}, {Name: "P95", Number: true, Rank: 3}, {Name: "P99", Number: true, Rank: 5}}, rows)

	// Each column of a chart is so many points.
	points := (len(times)-1)/(cmp.Or(p.Width, term.Columns)-24) + 1
	step, _ := units.ParseDuration(stats.Step)
	p.Printf("\n%s\n", p.In(term.Dim, fmt.Sprintf("from %s to %s, a column is %s", clock(times[0], now), clock(times[len(times)-1].Add(step), now), term.Span(time.Duration(points)*step))))
	for _, s := range stats.Series {
		if slices.ContainsFunc(s.Points, func(at api.Point) bool { return at.Delivered+failed(at)+at.Dead > 0 }) {
			printCharts(p, s, times, points)
		}
	}
}

// slower is the larger of two times, of which there may be none.
func slower(a, b *float64) *float64 {
	if a == nil || b != nil && *b > *a {
		return b
	}
	return a
}

func failed(at api.Point) (n int64) {
	for _, count := range at.Failed {
		n += count
	}
	return n
}

// printCharts prints how much a route delivered, and how much failed, why, and died.
func printCharts(p term.Page, s api.Series, times []time.Time, points int) {
	classes := map[queue.Class]int64{}
	for _, at := range s.Points {
		for class, n := range at.Failed {
			classes[class] += n
		}
	}
	var why []string
	for _, class := range slices.SortedFunc(maps.Keys(classes), func(a, b queue.Class) int { return cmp.Or(cmp.Compare(classes[b], classes[a]), cmp.Compare(a, b)) }) {
		if classes[class] > 0 {
			why = append(why, fmt.Sprintf("%s %d", class, classes[class]))
		}
	}
	p.Printf("\n%s\n", p.In(term.Bold, s.Route))
	for _, row := range []struct {
		name  string
		shade term.Shade
		count func(api.Point) int64
	}{
		{"delivered", term.Green, func(at api.Point) int64 { return at.Delivered }},
		{"failed", term.Yellow, failed},
		{"dead", term.Red, func(at api.Point) int64 { return at.Dead }},
	} {
		chart, highest := chart(s.Points, times, points, row.count)
		if highest > 0 {
			p.Printf("  %s %s max %d\n", term.Fit(row.name, 9), p.In(row.shade, chart), highest)
		}
	}
	if len(why) > 0 {
		p.Printf("  why       %s\n", term.Wrap(strings.Join(why, ", "), 12))
	}
}

// chart draws what count says of the points, so many to a column.
func chart(series []api.Point, times []time.Time, points int, count func(api.Point) int64) (chart string, highest int64) {
	columns := make([]int64, (len(times)-1)/points+1)
	for i := range columns {
		columns[i] = -1 // unknown
	}
	for _, at := range series {
		i, _ := slices.BinarySearchFunc(times, at.Time, time.Time.Compare)
		columns[i/points] = max(columns[i/points], 0) + count(at)
		highest = max(highest, columns[i/points])
	}
	for _, n := range columns {
		switch {
		case n < 0:
			chart += "░"
		case n == 0:
			chart += "·"
		default:
			chart += string([]rune("▁▂▃▄▅▆▇█")[(n*8-1)/highest])
		}
	}
	return chart, highest
}
