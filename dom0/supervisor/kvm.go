package supervisor

import (
	"errors"
	"os"
	"strings"

	"gozen/dom0/modules"
)

// Names of KVM's modules.
const (
	kvmAMD   = "kvm_amd"
	kvmIntel = "kvm_intel"
)

// loadKVM loads the module for this processor.
func loadKVM(tree *modules.Tree) error {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return err
	}
	name := kvmModule(string(info))
	if name == "" {
		return errors.New("no guests can run: the processor offers no virtualization (AMD SVM or Intel VMX); is it turned off in the firmware's set-up?")
	}
	// A thread that every VM would have to wait for, needed only by processors
	// with a fault that this one says it has not.
	itlb, err := os.ReadFile("/sys/devices/system/cpu/vulnerabilities/itlb_multihit")
	if err == nil && strings.TrimSpace(string(itlb)) == "Not affected" {
		if err := tree.Load("kvm", "nx_huge_pages=never"); err != nil {
			return err
		}
	}
	return tree.Load(name)
}

// kvmModule returns the module for a processor described as in /proc/cpuinfo, or
// "" when it has no virtualization.
func kvmModule(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		key, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(key) != "flags" {
			continue
		}
		for _, flag := range strings.Fields(value) {
			switch flag {
			case "svm":
				return kvmAMD
			case "vmx":
				return kvmIntel
			}
		}
	}
	return ""
}
