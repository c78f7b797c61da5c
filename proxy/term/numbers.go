package term

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Span writes a duration with its two largest units: 5s, 2m49s, 16h36m, 3d4h.
func Span(d time.Duration) string {
	const day = 24 * time.Hour
	two := func(big time.Duration, a string, small time.Duration, b string) string {
		d = d.Round(small)
		text := fmt.Sprintf("%d%s", d/big, a)
		if rest := d % big / small; rest > 0 {
			text += fmt.Sprintf("%d%s", rest, b)
		}
		return text
	}
	switch {
	case d < 0:
		return "-" + Span(-d)
	case d >= 2*day:
		return two(day, "d", time.Hour, "h")
	case d >= time.Hour:
		return two(time.Hour, "h", time.Minute, "m")
	case d >= time.Minute:
		return two(time.Minute, "m", time.Second, "s")
	case d >= 10*time.Second:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return strconv.FormatFloat(d.Round(100*time.Millisecond).Seconds(), 'f', -1, 64) + "s"
	case d >= time.Millisecond || d == 0:
		return d.Round(time.Millisecond).String()
	}
	return fmt.Sprintf("%.1fms", float64(d)/float64(time.Millisecond))
}

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
