package quantity

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Binary units in bytes.
const (
	KiB uint64 = 1 << (10 * (iota + 1))
	MiB
	GiB
	TiB
	PiB
	EiB
)

var units = map[string]uint64{
	"": 1, "b": 1,
	"k": KiB, "m": MiB, "g": GiB, "t": TiB, "p": PiB, "e": EiB,
	"kib": KiB, "mib": MiB, "gib": GiB, "tib": TiB, "pib": PiB, "eib": EiB,
	"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12, "pb": 1e15, "eb": 1e18,
}

// maxFraction is the number of digits allowed behind the point: enough for any
// sensible amount, and small enough to compute exactly in 64 bits.
const maxFraction = 6

// ParseBytes reads a size such as "512MiB", "20G", "1.5GiB", "1000000" or "2GB".
// A fraction must come to a whole number of bytes.
func ParseBytes(s string) (uint64, error) {
	text := strings.TrimSpace(s)
	end := strings.IndexFunc(text, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	number, unit := text, ""
	if end >= 0 {
		number, unit = text[:end], strings.TrimSpace(text[end:])
	}
	factor, ok := units[strings.ToLower(unit)]
	if !ok {
		if number == "" {
			return 0, fmt.Errorf("size %q: want a number and a unit, such as 512MiB or 20GiB", s)
		}
		return 0, fmt.Errorf("size %q: unknown unit %q; use KiB, MiB, GiB or TiB", s, unit)
	}
	value, scale, err := decimal(number)
	if err != nil {
		return 0, fmt.Errorf("size %q: %w", s, err)
	}
	hi, lo := bits.Mul64(value, factor)
	if hi >= scale {
		return 0, fmt.Errorf("size %q: more than 16 EiB", s)
	}
	size, rest := bits.Div64(hi, lo, scale)
	if rest != 0 {
		return 0, fmt.Errorf("size %q: not a whole number of bytes", s)
	}
	return size, nil
}

// ParseRate reads a number of bytes a second: a size, with or without "/s".
func ParseRate(s string) (uint64, error) {
	rate, err := ParseBytes(strings.TrimSuffix(strings.TrimSpace(s), "/s"))
	if err != nil {
		return 0, fmt.Errorf("rate of %w", err)
	}
	return rate, nil
}

// ParseCPUs reads a processor share such as "1.5" and returns thousandths of a
// CPU.
func ParseCPUs(s string) (uint32, error) {
	value, scale, err := decimal(strings.TrimSpace(s))
	if err != nil {
		return 0, fmt.Errorf("CPU limit %q: %w", s, err)
	}
	hi, lo := bits.Mul64(value, 1000)
	if hi >= scale {
		return 0, fmt.Errorf("CPU limit %q: too large", s)
	}
	millis, rest := bits.Div64(hi, lo, scale)
	switch {
	case rest != 0:
		return 0, fmt.Errorf("CPU limit %q: at most three digits behind the point", s)
	case millis == 0:
		return 0, fmt.Errorf("CPU limit %q: must be above 0; leave it out for no limit", s)
	case millis > math.MaxUint32:
		return 0, fmt.Errorf("CPU limit %q: too large", s)
	}
	return uint32(millis), nil
}

// decimal reads digits with at most one point and returns value/scale.
func decimal(s string) (value, scale uint64, err error) {
	whole, fraction, point := strings.Cut(s, ".")
	if whole == "" || (point && fraction == "") || strings.Trim(whole+fraction, "0123456789") != "" {
		return 0, 0, fmt.Errorf("%q is not a number", s)
	}
	if len(fraction) > maxFraction {
		return 0, 0, fmt.Errorf("more than %d digits behind the point", maxFraction)
	}
	value, err = strconv.ParseUint(whole+fraction, 10, 64)
	if err != nil {
		return 0, 0, fmt.Errorf("%q is too large", s)
	}
	scale = 1
	for range fraction {
		scale *= 10
	}
	return value, scale, nil
}

// Bytes writes n with a binary unit and at most one decimal, rounded down:
// "64GiB", "11.2GiB", "512B".
func Bytes(n uint64) string {
	const units = "KMGTPE"
	unit := -1
	div := uint64(1)
	for n/div >= 1024 {
		div *= 1024
		unit++
	}
	if unit < 0 {
		return strconv.FormatUint(n, 10) + "B"
	}
	var b strings.Builder
	b.WriteString(strconv.FormatUint(n/div, 10))
	if tenth := n % div * 10 / div; tenth > 0 {
		b.WriteByte('.')
		b.WriteString(strconv.FormatUint(tenth, 10))
	}
	b.WriteByte(units[unit])
	b.WriteString("iB")
	return b.String()
}

// CPUs writes thousandths of a CPU as a decimal number.
func CPUs(millis uint32) string {
	return strconv.FormatFloat(float64(millis)/1000, 'f', -1, 64)
}

// Age writes a duration in its two leading units at most: "12s", "3m", "5h12m",
// "4d3h", "412d". A negative one (clocks differ) is "0s".
func Age(d time.Duration) string {
	seconds := int64(max(d, 0) / time.Second)
	minutes, hours, days := seconds/60, seconds/3600, seconds/86400
	switch {
	case minutes < 1:
		return fmt.Sprintf("%ds", seconds)
	case minutes < 10 && seconds%60 != 0:
		return fmt.Sprintf("%dm%ds", minutes, seconds%60)
	case hours < 1:
		return fmt.Sprintf("%dm", minutes)
	case hours < 10 && minutes%60 != 0:
		return fmt.Sprintf("%dh%dm", hours, minutes%60)
	case days < 1:
		return fmt.Sprintf("%dh", hours)
	case days < 10 && hours%24 != 0:
		return fmt.Sprintf("%dd%dh", days, hours%24)
	}
	return fmt.Sprintf("%dd", days)
}

// Count writes a number with its thousands apart: "1,234,567".
func Count(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	var b strings.Builder
	for i, r := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(r)
	}
	return b.String()
}
