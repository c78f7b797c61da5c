package units

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"15s": 15 * time.Second, "24h": Day, "7d": 7 * Day, "1.5d": 36 * time.Hour, ".5d": 12 * time.Hour, "1.d": Day,
		"1d12h": 36 * time.Hour, "0.5d30m": 12*time.Hour + 30*time.Minute, "0d": 0, "-5s": -5 * time.Second, "53375d": 53375 * Day, "106751d": 106751 * Day,
	} {
		if got, ok := ParseDuration(text); !ok || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "d", "15", "7 d", "-1d", "+1d", "1h1d", "1d1d", "1d-2h", "1d+2h", "1dh", "1d 2h", "1e3d", "0x1d", "1_0d", ".d",
		"9999999h", "99999999999999999999d", "106752d", "106751d24h", "9999999999999999999999h", "53375d9999999h"} {
		if got, ok := ParseDuration(text); ok {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{"0B": 0, "512KiB": 512 << 10, "1MiB": 1 << 20, "10GiB": 10 << 30, "8388607TiB": 8388607 << 40} {
		if got, ok := ParseSize(text); !ok || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "1", "1MB", "1.5GiB", "-1B", "+1B", "1 KiB", "1kib", "8388608TiB", "99999999999999999999B", "KiB"} {
		if got, ok := ParseSize(text); ok {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}

// What is written is read again as the same.
func TestFormat(t *testing.T) {
	for want, d := range map[string]time.Duration{"1ms": time.Millisecond, "15s": 15 * time.Second, "1m30s": 90 * time.Second,
		"5m": 5 * time.Minute, "24h": Day, "36h": 36 * time.Hour, "7d": 7 * Day, "0s": 0} {
		if got := FormatDuration(d); got != want {
			t.Errorf("%v is written %q, not %q", d, got, want)
		}
	}
	for want, n := range map[string]int64{"0B": 0, "1B": 1, "1000B": 1000, "1KiB": 1024, "1536KiB": 3 << 19, "10GiB": 10 << 30, "4096TiB": 4 << 50} {
		if got := FormatSize(n); got != want {
			t.Errorf("%d is written %q, not %q", n, got, want)
		}
	}
}

// The parsers never panic, and what they read is written in a form they read the same.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"15s", "1.5d", "1d12h", "106751d", "1900992h", "512KiB", "8388607TiB", "d", "-1h"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if d, ok := ParseDuration(text); ok {
			if again, ok := ParseDuration(FormatDuration(d)); !ok || again != d {
				t.Errorf("%q: %v, then %v", text, d, again)
			}
		}
		if n, ok := ParseSize(text); ok {
			if again, ok := ParseSize(FormatSize(n)); !ok || again != n || n < 0 {
				t.Errorf("%q: %v, then %v", text, n, again)
			}
		}
	})
}
