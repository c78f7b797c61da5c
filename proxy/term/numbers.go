package term

import (
	"fmt"
	"strings"
	"time"
)

// Span writes a duration with its two largest units: 5s, 2m49s, 16h36m, 3d4h.
func Span(d time.Duration) string {
	unit := time.Millisecond
	switch {
	case d < 0:
		return "-" + Span(-d)
	case d >= 48*time.Hour:
		d = d.Round(time.Hour)
		return noZero.Replace(fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour))
	case d >= time.Hour:
		unit = time.Minute
	case d >= 10*time.Second:
		unit = time.Second
	case d >= time.Second:
		unit = 100 * time.Millisecond
	case d > 0 && d < time.Millisecond:
		return fmt.Sprintf("%.1fms", float64(d)/float64(time.Millisecond))
	}
	return noZero.Replace(d.Round(unit).String())
}

var noZero = strings.NewReplacer("d0h", "d", "h0m0s", "h", "m0s", "m")

// Ago writes how long ago a time was; - for none.
func Ago(t *time.Time, now time.Time) string {
	if t == nil {
		return "-"
	}
	return Span(now.Sub(*t).Truncate(time.Second)) + " ago"
}

// Size writes a number of bytes in binary units, as the config does.
func Size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f /= 1024
		i++
	}
	if i == 0 || f >= 100 {
		return fmt.Sprintf("%.0f %s", f, units[i])
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// Count writes a number of things: 1 route, 2 routes, 3 deliveries.
func Count(n int, thing string) string {
	switch {
	case n == 1:
		return "1 " + thing
	case strings.HasSuffix(thing, "y"):
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(thing, "y"))
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
