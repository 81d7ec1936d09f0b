// Command demo is the init of the demo guest that `make run` starts: a small
// Linux under Debian's kernel that shows what a guest of Gozen has.
//
// It loads the virtio drivers, takes an address by DHCP, says on its console what
// it found, powers off when its power button is pressed, and gives a shell. Any
// Linux does the same with its own tools; nothing here is particular to Gozen.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/u-root/u-root/pkg/kmodule"
	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "demo: this is the init of the demo guest; it runs nowhere else")
		os.Exit(2)
	}
	start := time.Now()
	for _, err := range []error{mounts(), modules("/etc/gozen/modules.load"), watchPowerButton()} {
		if err != nil {
			fmt.Println("demo:", err)
		}
	}
	banner(start)
	keepShell()
}

// mounts gives the guest the kernel's own file systems.
func mounts() error {
	var errs []error
	for _, m := range []struct{ kind, dir string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"},
	} {
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			errs = append(errs, fmt.Errorf("mount %s: %w", m.dir, err))
		}
	}
	return errors.Join(errs...)
}

// modules loads what a file names, one a line, with what they depend on.
func modules(file string) error {
	list, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	prober, err := kmodule.NewProber(kmodule.ProbeOpts{})
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range strings.Fields(string(list)) {
		if err := prober.Probe(name, ""); err != nil {
			errs = append(errs, fmt.Errorf("module %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// banner says what the guest has. The launcher waits for its first line.
func banner(start time.Time) {
	address, err := configure()
	if err != nil {
		address = fmt.Sprintf("none (%v)", err)
	}
	entropy, err := os.ReadFile("/sys/class/misc/hw_random/rng_current")
	if err != nil {
		entropy = []byte("none")
	}
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	uptime, _, _ := strings.Cut(read("/proc/uptime"), " ")
	fmt.Printf("\ndemo guest is up: address %s, /dev/hwrng by %s\n", address, strings.TrimSpace(string(entropy)))
	fmt.Printf("  Linux %s, %s CPUs, %s of memory, %s s after its power-on (%.1f s of it in this init)\n",
		strings.TrimSpace(string(release)), cpus(), memory(), uptime, time.Since(start).Seconds())
	fmt.Printf("  disks: %s\n", names("/sys/block", "vd"))
	fmt.Printf("  a shell follows; try: ip a, pci, cat /proc/interrupts, dmesg, shutdown\n\n")
}

func read(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return "?"
	}
	return strings.TrimSpace(string(text))
}

func cpus() string {
	n := strings.Count(read("/proc/cpuinfo"), "processor\t")
	return fmt.Sprint(n)
}

func memory() string {
	for _, line := range strings.Split(read("/proc/meminfo"), "\n") {
		if size, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			return strings.Join(strings.Fields(size), " ")
		}
	}
	return "?"
}

// names lists the entries of a directory with a prefix.
func names(dir, prefix string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "?"
	}
	var out []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			out = append(out, e.Name())
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, " ")
}

// keepShell runs a shell on the console, a new one when it ends, and reaps all
// other processes: it is PID 1.
func keepShell() {
	for {
		shell, err := startShell("/dev/hvc0")
		if err != nil {
			fmt.Println("demo: shell:", err)
			time.Sleep(5 * time.Second)
			continue
		}
		for {
			pid, err := syscall.Wait4(-1, nil, 0, nil)
			if pid == shell || err != nil && !errors.Is(err, syscall.EINTR) {
				break
			}
		}
	}
}

// startShell starts a shell with a terminal of its own, so that Ctrl-C reaches
// what runs in it.
func startShell(console string) (int, error) {
	tty, err := os.OpenFile(console, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer tty.Close()
	return syscall.ForkExec("/bbin/gosh", []string{"gosh"}, &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{"PATH=/bbin:/bin:/sbin", "HOME=/", "TERM=linux"},
		Files: []uintptr{tty.Fd(), tty.Fd(), tty.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: true},
	})
}
