package jail

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gozen/dom0/procfs"
)

// firstFD is the first descriptor after the standard ones.
const firstFD = 3

// limits of the program besides those of its control group. Zero bytes may be
// locked: what is shared with devices is pinned by the kernel's own account.
var limits = []struct {
	what  int
	value uint64
}{
	{unix.RLIMIT_CORE, 0},
	{unix.RLIMIT_MEMLOCK, 0},
	{unix.RLIMIT_NOFILE, 1024},
}

// stage empties the room and becomes the program. It returns only with an error,
// which it has reported.
func stage(args []string) (err error) {
	// Capabilities, users and no_new_privs are a thread's own until it executes
	// the program; all steps must be this thread's.
	runtime.LockOSThread()
	if len(args) != 4 {
		return errArgs
	}
	name, root := args[0], args[3]
	id, err1 := strconv.Atoi(args[1])
	files, err2 := strconv.Atoi(args[2])
	if err1 != nil || err2 != nil || id <= 0 {
		return errArgs
	}
	exe, reportFD := firstFD+files, firstFD+files+1
	unix.CloseOnExec(exe)
	unix.CloseOnExec(reportFD)
	report := os.NewFile(uintptr(reportFD), "report")
	defer func() { fmt.Fprintln(report, err) }()

	for _, l := range limits {
		if err := unix.Setrlimit(l.what, &unix.Rlimit{Cur: l.value, Max: l.value}); err != nil {
			return fmt.Errorf("resource limit %d: %w", l.what, err)
		}
	}
	if err := emptyRoot(root); err != nil {
		return err
	}
	if err := dropRights(id); err != nil {
		return err
	}
	return fmt.Errorf("execute: %w", execute(exe, []string{name}, os.Environ()))
}

// emptyRoot makes an empty read-only file system the root of this mount
// namespace and detaches every other one.
func emptyRoot(at string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	// Detached from below, in the reverse order of mounting. The root itself
	// cannot go: a host that runs from its initramfs has nothing under it to
	// pivot to. It is covered instead, and chroot leaves it unreachable.
	mounts, err := procfs.Mounts()
	if err != nil {
		return err
	}
	for _, mount := range slices.Backward(mounts) {
		m := mount.Point
		if m == "/" || strings.HasPrefix(at+"/", m+"/") {
			continue // needed to reach the new root; covered with the old one
		}
		if err := unix.Unmount(m, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("detach %s: %w", m, err)
		}
	}
	const flags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("none", at, "tmpfs", flags, "size=4k,nr_inodes=1,mode=555"); err != nil {
		return fmt.Errorf("mount the empty root: %w", err)
	}
	if err := unix.Chdir(at); err != nil {
		return fmt.Errorf("enter the empty root: %w", err)
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the empty root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change to the empty root: %w", err)
	}
	return unix.Chdir("/")
}

// dropRights makes this thread the user and group id, without any capability
// and without a way to get one.
func dropRights(id int) error {
	for c := uintptr(0); ; c++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if err == unix.EINVAL && c > 0 {
			break // past the last capability that this kernel knows
		}
		if err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	// Raw calls: the Go wrappers would change every thread, and only this one
	// lives on in the program.
	for _, call := range []struct {
		name       string
		nr         uintptr
		a1, a2, a3 uintptr
	}{
		{"setgroups", unix.SYS_SETGROUPS, 0, 0, 0},
		{"setresgid", unix.SYS_SETRESGID, uintptr(id), uintptr(id), uintptr(id)},
		{"setresuid", unix.SYS_SETRESUID, uintptr(id), uintptr(id), uintptr(id)},
	} {
		if _, _, errno := unix.RawSyscall(call.nr, call.a1, call.a2, call.a3); errno != 0 {
			return fmt.Errorf("%s: %w", call.name, errno)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	return nil
}
