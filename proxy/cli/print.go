package cli

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// columns is the width everything for people is made for.
const columns = 80

// A shade is a colour as a terminal knows it.
type shade string

const (
	bold   shade = "\x1b[1m"
	dim    shade = "\x1b[2m"
	red    shade = "\x1b[31m"
	green  shade = "\x1b[32m"
	yellow shade = "\x1b[33m"
	blue   shade = "\x1b[34m"
)

// A page is where text for people goes.
type page struct {
	io.Writer
	colour bool
}

// newPage writes to w, in colour if it is a terminal whose user did not set NO_COLOR.
func newPage(w io.Writer) page {
	colour := false
	if f, ok := w.(*os.File); ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" {
		info, err := f.Stat()
		colour = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return page{w, colour}
}

// in shades text.
func (p page) in(s shade, text string) string {
	if !p.colour || text == "" {
		return text
	}
	return string(s) + text + "\x1b[0m"
}

func (p page) printf(format string, args ...any) { fmt.Fprintf(p, format, args...) }

// table prints rows under a heading, each column as wide as it must be; those
// named right are numbers. The last column is as long as its text.
func (p page) table(heading []string, right map[int]bool, rows [][]string) {
	widths := make([]int, len(heading))
	for _, row := range append([][]string{heading}, rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], width(cell))
		}
	}
	line := func(row []string) string {
		var b strings.Builder
		for i, cell := range row {
			if i > 0 {
				b.WriteString("  ")
			}
			pad := strings.Repeat(" ", widths[i]-width(cell))
			if right[i] {
				b.WriteString(pad + cell)
			} else {
				b.WriteString(cell + pad)
			}
		}
		return strings.TrimRight(b.String(), " ")
	}
	p.printf("%s\n", p.in(dim, line(heading)))
	for _, row := range rows {
		p.printf("%s\n", line(row))
	}
}

// wrap breaks text between words so that no line is longer than columns where
// that can be, and indents all of them.
func wrap(text string, indent int) string {
	var b strings.Builder
	margin := strings.Repeat(" ", indent)
	b.WriteString(margin)
	at := indent
	for i, word := range strings.Fields(text) {
		if i > 0 && at+1+width(word) > columns {
			b.WriteString("\n" + margin)
			at = indent
		} else if i > 0 {
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += width(word)
	}
	return b.String()
}

// cut shortens text to so many columns.
func cut(text string, most int) string {
	if width(text) <= most {
		return text
	}
	return string([]rune(text)[:max(most-1, 0)]) + "…"
}

// fit cuts or fills text to so many columns.
func fit(text string, columns int) string {
	text = cut(text, columns)
	return text + strings.Repeat(" ", columns-width(text))
}

func width(text string) int { return utf8.RuneCountInString(text) }

// span writes a duration with its two largest units: 5s, 2m49s, 16h36m, 3d4h.
func span(d time.Duration) string {
	if d < 0 {
		return "-" + span(-d)
	}
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
	default:
		return fmt.Sprintf("%.1fms", float64(d)/float64(time.Millisecond))
	}
}

// ago writes how long ago a time was; - for none.
func ago(t *time.Time, now time.Time) string {
	if t == nil {
		return "-"
	}
	return span(now.Sub(*t).Truncate(time.Second)) + " ago"
}

// size writes a number of bytes in binary units, as the config does.
func size(n int64) string {
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

// count writes a number of things: 1 route, 2 routes, 3 deliveries.
func count(n int, thing string) string {
	switch {
	case n == 1:
		return "1 " + thing
	case strings.HasSuffix(thing, "y"):
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(thing, "y"))
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
