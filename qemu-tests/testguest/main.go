package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/u-root/u-root/pkg/kmodule"
	"golang.org/x/sys/unix"
)

// A command gets its words and prints its output.
type command struct {
	usage string
	min   int // least number of words after the name
	run   func(args []string) error
}

var commands map[string]command

func main() {
	commands = map[string]command{
		"echo":     {"TEXT…", 0, func(a []string) error { fmt.Println(strings.Join(a, " ")); return nil }},
		"info":     {"", 0, info},
		"dhcp":     {"INTERFACE", 1, dhcp},
		"ping":     {"ADDRESS COUNT", 2, ping},
		"serve":    {"PORT", 1, serve},
		"fetch":    {"ADDRESS:PORT BYTES", 2, fetch},
		"write":    {"DEVICE FIRST COUNT SEED", 4, diskWrite},
		"verify":   {"DEVICE FIRST COUNT SEED", 4, diskVerify},
		"stream":   {"DEVICE SEED: write and sync block after block, for ever", 2, diskStream},
		"discard":  {"DEVICE OFFSET LENGTH", 3, diskDiscard},
		"zero":     {"DEVICE OFFSET LENGTH", 3, diskZero},
		"entropy":  {"BYTES", 1, entropy},
		"rings":    {"PCI-ADDRESS far|loop|index|huge: hand hostile rings to a device", 2, rings},
		"probe":    {"PCI-ADDRESS: is the device in error?", 1, probe},
		"memory":   {"MIB: touch that much memory", 1, touch},
		"panic":    {"", 0, func([]string) error { return os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0) }},
		"poweroff": {"", 0, func([]string) error { return reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) }},
		"reboot":   {"", 0, func([]string) error { return reboot(unix.LINUX_REBOOT_CMD_RESTART) }},
	}
	// The first word of the guest's userspace: the host counts exits until here.
	fmt.Println("testguest: started")
	if err := setup(); err != nil {
		fmt.Println("testguest: setup:", err)
	}
	go watchPowerButton()
	fmt.Println("testguest: ready")
	r := bufio.NewReader(os.Stdin)
	for {
		line, err := r.ReadString('\n')
		if err != nil && err != io.EOF {
			fmt.Println("testguest: console:", err)
		}
		if words := strings.Fields(line); len(words) > 0 {
			obey(words)
		}
	}
}

func obey(words []string) {
	c, ok := commands[words[0]]
	if !ok {
		var names []string
		for n := range commands {
			names = append(names, n)
		}
		sort.Strings(names)
		fmt.Printf("error: no command %q; there are %s\n", words[0], strings.Join(names, ", "))
		return
	}
	if len(words)-1 < c.min {
		fmt.Printf("error: usage: %s %s\n", words[0], c.usage)
		return
	}
	if err := c.run(words[1:]); err != nil {
		fmt.Printf("error: %s: %v\n", words[0], err)
		return
	}
	fmt.Println("ok")
}

func setup() error {
	for _, m := range []struct{ fstype, dir string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"},
	} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.fstype, m.dir, m.fstype, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	rawConsole()
	list, err := os.ReadFile("/etc/gozen/modules.load")
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(list)) {
		if err := kmodule.Probe(name, ""); err != nil && !errors.Is(err, unix.EEXIST) {
			fmt.Printf("testguest: module %s: %v\n", name, err)
		}
	}
	return nil
}

// rawConsole switches off echo, so that a test reads only answers.
func rawConsole() {
	t, err := unix.IoctlGetTermios(0, unix.TCGETS)
	if err != nil {
		return
	}
	t.Lflag &^= unix.ECHO | unix.ECHONL
	_ = unix.IoctlSetTermios(0, unix.TCSETS, t)
}

func reboot(how int) error {
	unix.Sync()
	return unix.Reboot(how)
}

// info prints facts a test compares with what the API says.
func info([]string) error {
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		return err
	}
	fmt.Printf("memory %d\n", uint64(si.Totalram)*uint64(si.Unit))
	online, _ := os.ReadFile("/sys/devices/system/cpu/online")
	fmt.Printf("cpus %s", online)
	clock, _ := os.ReadFile("/sys/devices/system/clocksource/clocksource0/current_clocksource")
	fmt.Printf("clocksource %s", clock)
	rng, _ := os.ReadFile("/sys/class/misc/hw_random/rng_current")
	fmt.Printf("rng %s", rng)
	blocks, _ := filepath.Glob("/sys/block/vd*")
	for _, b := range blocks {
		size, _ := os.ReadFile(b + "/size")
		serial, _ := os.ReadFile(b + "/serial")
		ro, _ := os.ReadFile(b + "/ro")
		fmt.Printf("disk %s sectors=%s serial=%s ro=%s\n", filepath.Base(b),
			strings.TrimSpace(string(size)), strings.TrimSpace(string(serial)), strings.TrimSpace(string(ro)))
	}
	if cid, err := vsockCID(); err == nil {
		fmt.Printf("vsock %d\n", cid)
	}
	devices, _ := filepath.Glob("/sys/bus/pci/devices/*")
	for _, d := range devices {
		id, _ := os.ReadFile(d + "/device")
		fmt.Printf("pci %s %s\n", filepath.Base(d), strings.TrimSpace(string(id)))
	}
	return nil
}

func vsockCID() (int, error) {
	f, err := os.Open("/dev/vsock")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	const getLocalCID = 0x7b9 // IOCTL_VM_SOCKETS_GET_LOCAL_CID, linux/vm_sockets.h
	n, err := unix.IoctlGetUint32(int(f.Fd()), getLocalCID)
	return int(n), err
}
