package procfs

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// Fields of /proc/PID/status; see proc_pid_status(5).
const (
	Resident        = "VmRSS"   // all resident memory, the program's own pages included
	ResidentPrivate = "RssAnon" // resident memory that belongs to no file
)

// Memory returns a field of /proc/PID/status that is an amount of memory, in
// bytes. The process is a number or "self".
func Memory(process, field string) (uint64, error) {
	path := "/proc/" + process + "/status"
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("memory of a process: %w", err)
	}
	n, ok := parseMemory(text, field)
	if !ok {
		return 0, fmt.Errorf("memory of a process: %s has no %s", path, field)
	}
	return n, nil
}

// parseMemory takes an amount from a text in the form of /proc/PID/status, where
// it is in kB, which means KiB.
func parseMemory(status []byte, field string) (n uint64, ok bool) {
	for line := range bytes.Lines(status) {
		key, rest, _ := bytes.Cut(line, []byte(":"))
		if string(key) != field {
			continue
		}
		words := bytes.Fields(rest)
		if len(words) == 0 {
			return 0, false
		}
		kib, err := strconv.ParseUint(string(words[0]), 10, 54) // fits as bytes
		return kib << 10, err == nil
	}
	return 0, false
}
