package nstest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inside is set in the environment of the process that runs the tests.
const inside = "GOZEN_NSTEST"

// Main runs the tests in new namespaces and ends the process.
func Main(m *testing.M) {
	if os.Getenv(inside) == "" {
		os.Exit(again())
	}
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func again() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode()
	case err != nil:
		fmt.Fprintf(os.Stderr, "starting the tests in new namespaces: %v\n", err)
		return 1
	}
	return 0
}

// prepare makes the new namespace's own interfaces show in /sys.
func prepare() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("private mounts: %w", err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("sysfs: %w", err)
	}
	return up("lo")
}

func up(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	return netlink.LinkSetUp(link)
}

// Machine is a network namespace that stands for another machine.
type Machine struct {
	ns *os.File
}

// NewMachine makes a machine that has nothing but its loopback interface.
func NewMachine(t *testing.T) *Machine {
	t.Helper()
	var ns *os.File
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		var err error
		if ns, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		return up("lo")
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return &Machine{ns}
}

// Do runs fn on the machine. Sockets that fn opens itself belong to it; fn must
// not start goroutines that open others.
func (m *Machine) Do(t *testing.T, fn func() error) {
	t.Helper()
	if err := m.Try(fn); err != nil {
		t.Fatal(err)
	}
}

// Try is Do for what may fail.
func (m *Machine) Try(fn func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(m.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("setns", err)
		}
		return fn()
	})
}

// onThread runs fn on a thread that ends with it.
func onThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is not used again
		done <- fn()
	}()
	return <-done
}

// Cable connects an interface of the test's own namespace with one of a machine,
// with these names and, if not nil, this MAC address at the machine's end.
func Cable(t *testing.T, name string, m *Machine, peer string, mac []byte) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: peer, PeerHardwareAddr: mac}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatalf("cable %s: %v", name, err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(veth) })
	end, err := netlink.LinkByName(peer)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetNsFd(end, int(m.ns.Fd())); err != nil {
		t.Fatal(err)
	}
	if err := up(name); err != nil {
		t.Fatal(err)
	}
	m.Do(t, func() error { return up(peer) })
}

// Address gives an address to an interface, where it is called.
func Address(name, cidr string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(cidr)
	if err != nil {
		return err
	}
	return netlink.AddrReplace(link, addr)
}

// Gateway makes the default route, where it is called.
func Gateway(via string) error {
	return netlink.RouteReplace(&netlink.Route{Gw: parseIP(via)})
}

func parseIP(text string) net.IP { return net.ParseIP(text).To4() }
