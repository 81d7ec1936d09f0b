package qemu

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Accelerator is how the machine's processors run.
type Accelerator struct {
	KVM bool
	// Why says in a few words why it is this one, for people.
	Why string
}

const (
	kvmGetAPIVersion = 0xae00 // KVM_GET_API_VERSION, linux/kvm.h
	kvmAPIVersion    = 12
)

// DetectAccelerator returns KVM where /dev/kvm works and lets guests have
// guests, and software emulation elsewhere.
func DetectAccelerator() Accelerator {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return Accelerator{Why: reason(err)}
	}
	defer f.Close()
	version, err := unix.IoctlRetInt(int(f.Fd()), kvmGetAPIVersion)
	if err != nil || version != kvmAPIVersion {
		return Accelerator{Why: fmt.Sprintf("/dev/kvm has version %d (%v)", version, err)}
	}
	for _, module := range []string{"kvm_amd", "kvm_intel"} {
		nested, err := os.ReadFile("/sys/module/" + module + "/parameters/nested")
		if err != nil {
			continue
		}
		switch strings.TrimSpace(string(nested)) {
		case "1", "Y":
			return Accelerator{KVM: true, Why: "/dev/kvm with nesting"}
		}
		return Accelerator{Why: fmt.Sprintf("nesting is off: load %s with nested=1 to use /dev/kvm", module)}
	}
	return Accelerator{Why: "/dev/kvm says nothing about nesting"}
}

func reason(err error) string {
	switch {
	case os.IsNotExist(err):
		return "there is no /dev/kvm"
	case os.IsPermission(err):
		return "no permission for /dev/kvm: join the group kvm to use it"
	}
	return err.Error()
}

// String says what it is and why.
func (a Accelerator) String() string {
	if a.KVM {
		return "KVM (" + a.Why + ")"
	}
	return "software emulation, slow (" + a.Why + ")"
}

// Arguments are QEMU's for this accelerator.
//
// Software emulation runs one thread a processor. QEMU before 8.1 may then run
// stale code after the kernel patched itself, which ends a host now and then;
// with one thread for all processors it delivers an interrupt to a guest twice
// when it switches. Neither can be worked around: scripts/deps asks for a newer one.
func (a Accelerator) Arguments() []string {
	if a.KVM {
		return []string{"-accel", "kvm", "-cpu", "host"}
	}
	// max has AMD SVM with nested paging.
	return []string{"-accel", "tcg,thread=multi", "-cpu", "max"}
}
