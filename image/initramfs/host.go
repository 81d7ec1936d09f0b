package initramfs

import (
	"fmt"
	"os"
	"strings"

	"github.com/u-root/mkuimage/cpio"

	"gozen/hypervisor/kernel"
)

// Host is the archive of a Gozen host.
//
// The release variant has no shell and no tools. The debug variant has u-root's,
// and a file that makes the supervisor start a shell on the console.
func Host(moduleRoot string, tree *kernel.Tree, version string, debug bool) (Spec, error) {
	mkfs, err := find("mkfs.xfs", "xfsprogs")
	if err != nil {
		return Spec{}, err
	}
	s := Spec{
		ModuleRoot: moduleRoot,
		Programs:   []string{"gozen/dom0/cmd/gozen-init", "gozen/dom0/cmd/gozend", "gozen/hypervisor/cmd/vmm"},
		Init:       "gozen-init",
		Files:      []string{mkfs + ":sbin/mkfs.xfs"},
		Kernel:     tree,
		Modules:    kernel.List(),
		Variables:  "-X gozen/dom0/daemon.Version=" + version,
	}
	if debug {
		s.Busybox = debugCommands
		s.Shell = "gosh"
		s.Records = append(s.Records, cpio.StaticFile("etc/gozen/debug-shell", "/bbin/gosh\n", 0o644))
	}
	return s, nil
}

// Guest is the archive of a small Linux guest: a program as its init, a shell
// and the tools that a look around needs.
func Guest(moduleRoot string, tree *kernel.Tree, program string, modules []string) Spec {
	s := Spec{
		ModuleRoot: moduleRoot,
		Programs:   []string{program},
		Init:       program[strings.LastIndexByte(program, '/')+1:],
		Busybox:    guestCommands,
		Shell:      "gosh",
		Kernel:     tree,
	}
	for _, name := range modules {
		s.Modules = append(s.Modules, kernel.Module{Name: name, When: kernel.Boot})
	}
	return s
}

const uroot = "github.com/u-root/u-root/cmds/core/"

// debugCommands look at a host from inside.
var debugCommands = []string{
	uroot + "cat", uroot + "chmod", uroot + "cp", uroot + "date", uroot + "df", uroot + "dmesg",
	uroot + "du", uroot + "echo", uroot + "find", uroot + "free", uroot + "gosh", uroot + "grep", uroot + "head",
	uroot + "hexdump", uroot + "id", uroot + "insmod", uroot + "ip", uroot + "kill", uroot + "ln", uroot + "ls",
	uroot + "lsmod", uroot + "mkdir", uroot + "more", uroot + "mount", uroot + "mv",
	uroot + "pci", uroot + "pidof", uroot + "ping", uroot + "ps", uroot + "pwd", uroot + "rm", uroot + "rmmod", uroot + "sleep",
	uroot + "strace", uroot + "sync", uroot + "tail", uroot + "tee", uroot + "umount", uroot + "uname", uroot + "wc",
}

// guestCommands are fewer: a small initrd is a fast start.
var guestCommands = []string{
	uroot + "cat", uroot + "date", uroot + "dmesg", uroot + "echo", uroot + "free", uroot + "gosh",
	uroot + "grep", uroot + "head", uroot + "hexdump", uroot + "ip", uroot + "ls", uroot + "lsmod", uroot + "mkdir",
	uroot + "mount", uroot + "pci", uroot + "pidof", uroot + "ping", uroot + "ps", uroot + "shutdown", uroot + "sleep", uroot + "sync",
	uroot + "uname",
}

// find returns the file of a system program, also for users whose PATH lacks the
// administrator's directories.
func find(program, debianPackage string) (string, error) {
	for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/"} {
		if _, err := os.Stat(dir + program); err == nil {
			return dir + program, nil
		}
	}
	return "", fmt.Errorf("%s is missing: install %s (make deps)", program, debianPackage)
}
