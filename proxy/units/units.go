// Package units reads and writes durations and sizes in the one form that the
// config, the API and the commands share. It is a leaf: it imports none of ours.
package units

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Day is 24 hours, whatever a calendar says of them.
const Day = 24 * time.Hour

// What the parsers expect, for the sentence of an error.
const (
	DurationForm = `a duration such as "15s", "24h" or "7d"`
	SizeForm     = `a size, a whole number with B, KiB, MiB, GiB or TiB such as "512KiB"`
)

var (
	withDays  = regexp.MustCompile(`^([0-9]+(?:\.[0-9]*)?|\.[0-9]+)d([0-9.].*)?$`)
	sizeForm  = regexp.MustCompile(`^([0-9]+)(B|KiB|MiB|GiB|TiB)$`)
	sizeUnits = []string{"B", "KiB", "MiB", "GiB", "TiB"}
)

// ParseDuration reads a duration as Go writes it, which may begin with a number
// of days: 1.5d, 1d12h. ok is false if text has another form or is too long.
func ParseDuration(text string) (d time.Duration, ok bool) {
	m := withDays.FindStringSubmatch(text)
	if m == nil {
		d, err := time.ParseDuration(text)
		return d, err == nil
	}
	days, err := strconv.ParseFloat(m[1], 64)
	if days *= float64(Day); err != nil || days >= math.MaxInt64 {
		return 0, false
	}
	d = time.Duration(days)
	if m[2] == "" {
		return d, true
	}
	rest, err := time.ParseDuration(m[2])
	return d + rest, err == nil && rest <= math.MaxInt64-d
}

// FormatDuration writes a duration as Go does, without parts of nothing, or in days if it is whole ones.
func FormatDuration(d time.Duration) string {
	if d >= 2*Day && d%Day == 0 {
		return fmt.Sprintf("%dd", d/Day)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// FormatRate writes a rate, in times a second, in the shortest unit of which it is
// a whole number: 50/s, 90/m, 0.5/h. It is "" for 0.
func FormatRate(perSecond float64) string {
	switch {
	case perSecond == 0:
		return ""
	case perSecond == math.Trunc(perSecond):
		return fmt.Sprintf("%v/s", perSecond)
	case math.Abs(60*perSecond-math.Round(60*perSecond)) < 1e-9:
		return fmt.Sprintf("%v/m", math.Round(60*perSecond))
	}
	return fmt.Sprintf("%.6g/h", 3600*perSecond)
}

// ParseSize reads a whole number of bytes, KiB, MiB, GiB or TiB. ok is false if
// text has another form or is too large.
func ParseSize(text string) (bytes int64, ok bool) {
	m := sizeForm.FindStringSubmatch(text)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	shift := 10 * slices.Index(sizeUnits, m[2])
	if err != nil || n > math.MaxInt64>>shift {
		return 0, false
	}
	return n << shift, true
}

// FormatSize writes a size in the largest unit that it is a whole number of.
func FormatSize(bytes int64) string {
	unit := 0
	for bytes > 0 && bytes%1024 == 0 && unit < len(sizeUnits)-1 {
		bytes, unit = bytes/1024, unit+1
	}
	return fmt.Sprintf("%d%s", bytes, sizeUnits[unit])
}
