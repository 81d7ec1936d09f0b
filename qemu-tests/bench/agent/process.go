package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// threads are the identifiers of a process's threads.
func threads(pid int) map[uint64]bool {
	out := make(map[uint64]bool)
	dirs, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, d := range dirs {
		if id, err := strconv.ParseUint(d.Name(), 10, 64); err == nil {
			out[id] = true
		}
	}
	return out
}

// cpuTime is what the process's threads, the kernel's for it included, used so far
// (proc(5), /proc/PID/schedstat). Threads that ended are missing.
func cpuTime(pid int) time.Duration {
	var sum time.Duration
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		if words := strings.Fields(string(b)); len(words) > 0 {
			ns, _ := strconv.ParseInt(words[0], 10, 64)
			sum += time.Duration(ns)
		}
	}
	return sum
}

// memory is what a VMM has beyond its guest's RAM, in KiB.
type memory struct {
	Private uint64 // its own
	Text    uint64 // read-only parts of files, which all VMMs of a kind share
}

// memoryOf reads /proc/PID/smaps (proc(5)). A mapping of about the size of guest
// RAM is guest RAM, whatever the VMM made it of.
func memoryOf(pid int, ramBytes uint64) (memory, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return memory{}, err
	}
	defer f.Close()
	return parseSmaps(bufio.NewScanner(f), ramBytes)
}

func parseSmaps(in *bufio.Scanner, ramBytes uint64) (memory, error) {
	var m memory
	var guest, text bool
	for in.Scan() {
		words := strings.Fields(in.Text())
		if len(words) < 2 {
			continue
		}
		if from, to, ok := strings.Cut(words[0], "-"); ok && !strings.HasSuffix(words[0], ":") && len(words) >= 5 {
			a, err1 := strconv.ParseUint(from, 16, 64)
			b, err2 := strconv.ParseUint(to, 16, 64)
			if err1 != nil || err2 != nil {
				return m, fmt.Errorf("smaps: %q", in.Text())
			}
			guest = (b-a)*10 >= ramBytes*9
			// A file with a name, mapped read-only. A memfd's name has a colon.
			text = len(words) > 5 && strings.HasPrefix(words[5], "/") && !strings.HasPrefix(words[5], "/memfd:") && words[1][1] == '-'
			continue
		}
		n, err := strconv.ParseUint(words[1], 10, 64)
		if err != nil || guest {
			continue
		}
		switch words[0] {
		case "Rss:":
			if text {
				m.Text += n
			}
		case "Private_Clean:", "Private_Dirty:":
			if !text {
				m.Private += n
			}
		}
	}
	return m, in.Err()
}
