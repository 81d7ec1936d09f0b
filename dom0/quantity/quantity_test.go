package quantity

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestParseBytes(t *testing.T) {
	for in, want := range map[string]uint64{
		"0": 0, "512": 512, "512b": 512, "1k": 1024, "1K": 1024, "1KB": 1000, "1kib": 1024,
		"512MiB": 512 * MiB, "512 MiB": 512 * MiB, " 20G ": 20 * GiB, "1.5GiB": GiB + GiB/2,
		"0.5K": 512, "2GB": 2e9, "1.25TiB": TiB + TiB/4, "16777215TiB": 16777215 * TiB,
		"18446744073709551615": math.MaxUint64,
	} {
		got, err := ParseBytes(in)
		if err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"":                     "is not a number",
		"MiB":                  "is not a number",
		"wide":                 "want a number and a unit",
		"12XB":                 `unknown unit "XB"`,
		"16EiB":                "more than 16 EiB",
		"-1":                   "want a number",
		"1.":                   "is not a number",
		".5G":                  "is not a number",
		"1.2.3G":               "is not a number",
		"0.3":                  "not a whole number",
		"1.1234567G":           "digits behind the point",
		"16777216TiB":          "more than 16 EiB",
		"99999999999999999999": "too large",
	} {
		if got, err := ParseBytes(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseBytes(%q) = %d, %v; want an error with %q", in, got, err, want)
		}
	}
}

func TestParseRate(t *testing.T) {
	for in, want := range map[string]uint64{"64KiB/s": 64 * KiB, "1M": MiB} {
		if got, err := ParseRate(in); err != nil || got != want {
			t.Errorf("ParseRate(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	if _, err := ParseRate("fast"); err == nil || !strings.HasPrefix(err.Error(), "rate of size") {
		t.Errorf("ParseRate(fast): %v", err)
	}
}

func TestParseCPUs(t *testing.T) {
	for in, want := range map[string]uint32{"1": 1000, "1.5": 1500, "0.25": 250, "0.001": 1, "64": 64000, "1.500000": 1500} {
		if got, err := ParseCPUs(in); err != nil || got != want {
			t.Errorf("ParseCPUs(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "0", "0.0", "-1", "1.0005", "two", "1e3", "4294967.296", "18446744073709551615"} {
		if got, err := ParseCPUs(in); err == nil {
			t.Errorf("ParseCPUs(%q) = %d; want an error", in, got)
		}
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[uint64]string{
		0:                      "0B",
		512:                    "512B",
		1023:                   "1023B",
		1024:                   "1KiB",
		1536:                   "1.5KiB",
		48 << 20:               "48MiB",
		64 << 30:               "64GiB",
		11<<30 + 256<<20:       "11.2GiB",
		1<<30 - 1:              "1023.9MiB",
		16 << 40:               "16TiB",
		1<<64 - 1:              "15.9EiB",
		MiB - 1:                "1023.9KiB",
		12<<30 + 825<<20:       "12.8GiB",
		1<<30 + (1<<30)/10 + 1: "1.1GiB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestWriting(t *testing.T) {
	const day = 24 * time.Hour
	for in, want := range map[time.Duration]string{
		-time.Hour: "0s", 0: "0s", 59 * time.Second: "59s", time.Minute: "1m", 90 * time.Second: "1m30s",
		600 * time.Second: "10m", 59*time.Minute + 59*time.Second: "59m", time.Hour: "1h",
		5*time.Hour + 12*time.Minute: "5h12m", 12*time.Hour + 12*time.Minute: "12h", day: "1d",
		4*day + 3*time.Hour: "4d3h", 412*day + time.Hour: "412d",
	} {
		if got := Age(in); got != want {
			t.Errorf("Age(%s) = %q; want %q", in, got, want)
		}
	}
	for in, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := Count(in); got != want {
			t.Errorf("Count(%d) = %q; want %q", in, got, want)
		}
	}
	for in, want := range map[uint32]string{1500: "1.5", 1000: "1", 250: "0.25", 1: "0.001"} {
		if got := CPUs(in); got != want {
			t.Errorf("CPUs(%d) = %q; want %q", in, got, want)
		}
	}
}

// Whatever Bytes writes, ParseBytes reads, and never as more than it was.
func FuzzParseBytes(f *testing.F) {
	for _, s := range []string{"512MiB", "1.5G", "0", "16777216TiB", "1.000001TB", "..", "9e9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseBytes(s)
		if err != nil {
			return
		}
		again, err := ParseBytes(Bytes(n))
		if err != nil {
			// A tenth of a binary unit need not be a whole number of bytes.
			if strings.Contains(err.Error(), "whole number") {
				return
			}
			t.Fatalf("ParseBytes(Bytes(%d)): %v", n, err)
		}
		if again > n {
			t.Fatalf("%q is %d, written as %s, which is %d", s, n, Bytes(n), again)
		}
	})
}

func FuzzParseCPUs(f *testing.F) {
	for _, s := range []string{"1.5", "0", "0.0001", "4294967.295"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		millis, err := ParseCPUs(s)
		if err != nil {
			return
		}
		if again, err := ParseCPUs(CPUs(millis)); err != nil || again != millis {
			t.Fatalf("%q is %d, written as %s, read as %d, %v", s, millis, CPUs(millis), again, err)
		}
	})
}
