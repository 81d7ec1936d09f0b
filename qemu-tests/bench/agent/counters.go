package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

const (
	tracing  = "/sys/kernel/tracing"
	kvmStats = "/sys/kernel/debug/kvm"
)

// exits is how often the guest of a process left the processor's guest mode so far
// (the kernel's Documentation/virt/kvm/api.rst, KVM_GET_STATS_FD; here by debugfs,
// which shows the same counters of any process). A directory is named after the
// thread that made the virtual machine.
func exits(pid int) (uint64, error) {
	var dirs []string
	for id := range threads(pid) {
		of, _ := filepath.Glob(fmt.Sprintf("%s/%d-*", kvmStats, id))
		dirs = append(dirs, of...)
	}
	if len(dirs) == 0 {
		return 0, fmt.Errorf("process %d has no virtual machine", pid)
	}
	var sum uint64
	for _, dir := range dirs {
		b, err := os.ReadFile(filepath.Join(dir, "exits"))
		if err != nil {
			return 0, err
		}
		n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 0, 64)
		if err != nil {
			return 0, fmt.Errorf("%s/exits: %w", dir, err)
		}
		sum += n
	}
	return sum, nil
}

// A histogram is a tracepoint whose events the kernel counts by a field
// (Documentation/trace/histogram.rst).
type histogram struct{ event, key string }

var (
	exitReasons = histogram{"kvm/kvm_exit", "exit_reason"}
	userExits   = histogram{"kvm/kvm_userspace_exit", "reason"}
	systemCalls = histogram{"raw_syscalls/sys_enter", "common_pid"}
)

// write gives the tracepoint a command.
func (h histogram) write(command string) error {
	// Without O_TRUNC, which would remove all triggers.
	f, err := os.OpenFile(filepath.Join(tracing, "events", h.event, "trigger"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(command)
	return errors.Join(err, f.Close())
}

func (h histogram) trigger(suffix string) error {
	return h.write(fmt.Sprintf("hist:keys=%s:size=4096%s", h.key, suffix))
}

// begin counts from now on, from zero.
func (h histogram) begin() error {
	_ = h.remove()
	if err := h.trigger(""); err != nil {
		return fmt.Errorf("tracepoint %s: %w", h.event, err)
	}
	return nil
}

func (h histogram) remove() error { return h.write("!hist:keys=" + h.key) }

// pause stops the counting; read is then consistent.
func (h histogram) pause() error { return h.trigger(":pause") }

// entry is a line of a histogram: { exit_reason: 114 } hitcount: 453
var entry = regexp.MustCompile(`^\{\s*\w+:\s*(\d+)\s*\}\s*hitcount:\s*(\d+)`)

// read returns the counts by key.
func (h histogram) read() (map[uint64]uint64, error) {
	b, err := os.ReadFile(filepath.Join(tracing, "events", h.event, "hist"))
	if err != nil {
		return nil, err
	}
	return parseHistogram(string(b)), nil
}

// callsOf is how many system calls a process's threads made since systemCalls began.
func callsOf(pid int) (uint64, error) {
	calls, err := systemCalls.read()
	if err != nil {
		return 0, err
	}
	var sum uint64
	for id := range threads(pid) {
		sum += calls[id]
	}
	return sum, nil
}

func parseHistogram(text string) map[uint64]uint64 {
	out := make(map[uint64]uint64)
	for line := range strings.Lines(text) {
		if m := entry.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			key, _ := strconv.ParseUint(m[1], 10, 64)
			count, _ := strconv.ParseUint(m[2], 10, 64)
			out[key] += count
		}
	}
	return out
}

// reasonNames are words for exit reasons, in groups: SVM's (AMD APM volume 2,
// appendix C) and VMX's (Intel SDM volume 3, appendix C).
func reasonName(amd bool, reason uint64) string {
	if amd {
		switch {
		case reason <= 0x1f:
			return "control register"
		case reason <= 0x3f:
			return "debug register"
		case reason <= 0x5f:
			return "exception"
		}
		switch reason {
		case 0x60, 0x61, 0x62:
			return "interrupt of the host"
		case 0x64:
			return "interrupt window"
		case 0x72:
			return "CPUID"
		case 0x77:
			return "PAUSE"
		case 0x78:
			return "HLT"
		case 0x7b:
			return "port"
		case 0x7c:
			return "MSR"
		case 0x81:
			return "hypercall"
		case 0x400:
			return "memory"
		}
		return fmt.Sprintf("other (%#x)", reason)
	}
	switch reason {
	case 0:
		return "exception"
	case 1:
		return "interrupt of the host"
	case 7:
		return "interrupt window"
	case 10:
		return "CPUID"
	case 12:
		return "HLT"
	case 18:
		return "hypercall"
	case 28:
		return "control register"
	case 29:
		return "debug register"
	case 30:
		return "port"
	case 31, 32:
		return "MSR"
	case 40:
		return "PAUSE"
	case 48, 49:
		return "memory"
	case 52:
		return "preemption timer"
	}
	return fmt.Sprintf("other (%d)", reason)
}

// isAMD tells which table of exit reasons holds.
func isAMD() bool {
	b, _ := os.ReadFile("/proc/cpuinfo")
	return strings.Contains(string(b), " svm ")
}
