package supervisor

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is one file system of the running host.
type mount struct {
	target   string
	source   string
	fstype   string
	flags    uintptr
	data     []string // options to try, best first
	optional bool
}

const noProgs = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// mounts are made in this order.
var mounts = []mount{
	{target: "/proc", source: "proc", fstype: "proc", flags: noProgs},
	{target: "/sys", source: "sysfs", fstype: "sysfs", flags: noProgs},
	{target: "/dev", source: "dev", fstype: "devtmpfs", flags: unix.MS_NOSUID | unix.MS_NOEXEC, data: []string{"mode=0755"}},
	{target: "/dev/pts", source: "devpts", fstype: "devpts", flags: unix.MS_NOSUID | unix.MS_NOEXEC, data: []string{"gid=0,mode=620,ptmxmode=000"}},
	{target: "/run", source: "run", fstype: "tmpfs", flags: noProgs, data: []string{"mode=0755,size=25%"}},
	{target: "/tmp", source: "tmp", fstype: "tmpfs", flags: noProgs, data: []string{"mode=1777,size=10%"}},
	// favordynmods makes starting a process in a cgroup cheap, which is what
	// KVM_CREATE_VM's worker threads and every new vmm wait for.
	{target: "/sys/fs/cgroup", source: "cgroup2", fstype: "cgroup2", flags: noProgs, data: []string{"nsdelegate,favordynmods", "nsdelegate", ""}},
	{target: "/sys/firmware/efi/efivars", source: "efivarfs", fstype: "efivarfs", flags: noProgs | unix.MS_RDONLY, optional: true},
}

// mountAll mounts what is not mounted yet and goes on after a failure.
func mountAll(list []mount) error {
	var errs []error
	for _, m := range list {
		if err := m.do(); err != nil && !m.optional {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (m mount) do() error {
	if !m.optional {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	options := m.data
	if len(options) == 0 {
		options = []string{""}
	}
	var err error
	for _, data := range options {
		err = unix.Mount(m.source, m.target, m.fstype, m.flags, data)
		if err == nil || errors.Is(err, unix.EBUSY) {
			return nil // EBUSY: mounted already, as devtmpfs may be by the kernel
		}
	}
	return fmt.Errorf("mount %s (%s): %w", m.target, m.fstype, err)
}

// sysctls are settings of the kernel that the host wants from the start. The
// network's are made by the daemon, which knows the network.
var sysctls = []struct{ name, value string }{
	{"kernel/panic", "10"},
	{"kernel/panic_on_oops", "1"},
	{"kernel/printk_devkmsg", "on"},
	{"kernel/dmesg_restrict", "1"},
	{"kernel/kptr_restrict", "2"},
	{"kernel/unprivileged_bpf_disabled", "1"},
	{"kernel/yama/ptrace_scope", "2"},
	{"fs/protected_fifos", "2"},
	{"fs/protected_regular", "2"},
	{"fs/protected_hardlinks", "1"},
	{"fs/protected_symlinks", "1"},
	{"fs/suid_dumpable", "0"},
	{"vm/panic_on_oom", "0"},
}

// quietPrintk lets errors of the kernel through to the console, not its notes.
const quietPrintk = "4 4 1 7"

// hugeGuests lets files in memory have pages of 2 MiB where asked for: guest
// memory is one, and its vmm asks.
const hugeGuests = "/sys/kernel/mm/transparent_hugepage/shmem_enabled"

// setSysctls makes all settings that this kernel knows.
func setSysctls(quiet bool) {
	_ = os.WriteFile(hugeGuests, []byte("advise"), 0)
	for _, s := range sysctls {
		_ = os.WriteFile("/proc/sys/"+s.name, []byte(s.value), 0)
	}
	if quiet {
		_ = os.WriteFile("/proc/sys/kernel/printk", []byte(quietPrintk), 0)
	}
}

// quietWanted tells whether the kernel's notes are to be kept off the console:
// always, unless its command line says something about them.
func quietWanted(cmdline string) bool {
	for _, word := range strings.Fields(cmdline) {
		if word == "debug" || word == "ignore_loglevel" || strings.HasPrefix(word, "loglevel=") {
			return false
		}
	}
	return true
}
