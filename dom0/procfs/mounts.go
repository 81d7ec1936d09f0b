package procfs

import (
	"fmt"
	"os"
	"strings"
)

// Mount is a file system that this process can reach.
type Mount struct {
	Source string // a device file, or a word for what has none
	Point  string
	Type   string // "xfs", "tmpfs", …
}

// Mounts returns what is mounted in this process's namespace, in the order of
// mounting; see proc_pid_mounts(5).
func Mounts() ([]Mount, error) {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, fmt.Errorf("mounts: %w", err)
	}
	return parseMounts(string(text)), nil
}

func parseMounts(text string) []Mount {
	var out []Mount
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		out = append(out, Mount{Source: unescape(fields[0]), Point: unescape(fields[1]), Type: fields[2]})
	}
	return out
}

// unescape undoes the octal escapes of /proc/mounts.
func unescape(text string) string {
	if !strings.Contains(text, `\`) {
		return text
	}
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) {
			var c byte
			ok := true
			for _, d := range []byte(text[i+1 : i+4]) {
				ok = ok && d >= '0' && d <= '7'
				c = c<<3 | (d - '0')
			}
			if ok {
				out.WriteByte(c)
				i += 3
				continue
			}
		}
		out.WriteByte(text[i])
	}
	return out.String()
}
