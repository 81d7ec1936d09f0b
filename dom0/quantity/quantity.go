package quantity

import (
	"strconv"
	"strings"
)

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
