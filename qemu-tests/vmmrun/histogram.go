package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const tracing = "/sys/kernel/tracing"

// histograms are what the kernel counts for -histogram: KVM's tracepoint and the
// fields that tell its events apart (Linux Documentation/trace/histogram.rst).
var histograms = []struct{ event, keys string }{
	{"kvm_exit", "exit_reason.hex"},
	{"kvm_msr", "write,ecx.hex"},
	{"kvm_cpuid", "function.hex"},
	{"kvm_pio", "rw,port.hex"},
	{"kvm_mmio", "type,gpa.hex"},
	{"kvm_page_fault", "error_code.hex"},
	{"kvm_hypercall", "nr"},
	{"kvm_cr", "rw,cr,val.hex"},
	{"kvm_inj_virq", "vector.hex"},
}

// startHistograms makes the kernel count KVM's events from now on.
func startHistograms() error {
	if err := unix.Mount("tracefs", tracing, "tracefs", 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("mount %s: %w", tracing, err)
	}
	for _, h := range histograms {
		if err := trigger(h.event, "hist:keys="+h.keys+":sort=hitcount.descending:size=4096"); err != nil {
			return err
		}
	}
	return nil
}

// printHistograms stops the counting and prints what was counted: one line for
// each event and set of fields.
func printHistograms() error {
	for _, h := range histograms {
		if err := trigger(h.event, "hist:keys="+h.keys+":sort=hitcount.descending:size=4096:pause"); err != nil {
			return err
		}
	}
	for _, h := range histograms {
		b, err := os.ReadFile(filepath.Join(tracing, "events/kvm", h.event, "hist"))
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			if strings.HasPrefix(line, "{") {
				fmt.Printf("histogram: %s %s\n", h.event, strings.Join(strings.Fields(line), " "))
			}
		}
	}
	return nil
}

// trigger adds a trigger or changes one that is there. The file must not be
// truncated: that removes all of them.
func trigger(event, command string) error {
	f, err := os.OpenFile(filepath.Join(tracing, "events/kvm", event, "trigger"), os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(command)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("tracepoint kvm:%s: %w", event, err)
	}
	return nil
}
