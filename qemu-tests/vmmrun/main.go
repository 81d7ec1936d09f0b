// Command vmmrun runs a guest in a vmm without dom0, for development: it opens
// what dom0 would open, starts vmm, shows the guest's console on standard output
// and prints how the guest ended.
//
//	vmmrun -vmm ./vmm -kernel bzImage -initrd initrd.cpio -append "console=hvc0"
//
// It needs root, or rights to /dev/kvm and the devices named. The exit status is
// 0 when the guest ended with the outcome that -expect names.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gozen/hypervisor/platform"
	"gozen/hypervisor/vmmapi"
)

type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// defaultCmdline is what dom0 gives a guest that asks for nothing.
var defaultCmdline = platform.CommandLine("console=hvc0")

type options struct {
	vmm, kernel, initrd string
	cmdline             list
	vcpus               int
	memoryMiB           uint64
	disks, taps         list
	vhost               bool
	cid                 uint
	earlySerial         bool
	entropyRate         uint64
	expect              string
	timeout             time.Duration
	button              time.Duration
	input               string
	histogram           bool
}

func main() {
	var o options
	flag.StringVar(&o.vmm, "vmm", "vmm", "`path` of the vmm")
	flag.StringVar(&o.kernel, "kernel", "", "bzImage or vmlinux `file`")
	flag.StringVar(&o.initrd, "initrd", "", "initrd `file`")
	flag.Var(&o.cmdline, "append", "`words` of the kernel command line (repeatable; default "+defaultCmdline+")")
	flag.IntVar(&o.vcpus, "vcpus", 1, "number of vCPUs")
	flag.Uint64Var(&o.memoryMiB, "memory", 256, "guest memory in `MiB`")
	flag.Var(&o.disks, "disk", "disk `file`, read-only with :ro behind it (repeatable)")
	flag.Var(&o.taps, "tap", "`name` of a tap, made if absent (repeatable)")
	flag.BoolVar(&o.vhost, "vhost", true, "network by vhost-net")
	flag.UintVar(&o.cid, "cid", 0, "vsock context `id`; 0 for no vsock")
	flag.BoolVar(&o.earlySerial, "early-serial", false, "transmit-only serial port")
	flag.Uint64Var(&o.entropyRate, "entropy", 1<<20, "`bytes` per second of entropy")
	flag.StringVar(&o.expect, "expect", vmmapi.CodePowerOff, "`code` of the outcome for exit status 0")
	flag.DurationVar(&o.timeout, "timeout", 5*time.Minute, "stop the guest after this `time`")
	flag.DurationVar(&o.button, "button", 0, "press the power button after this `time`")
	flag.StringVar(&o.input, "input", "", "`line` to type into the console once the guest has opened it")
	flag.BoolVar(&o.histogram, "histogram", false, "print what KVM's tracepoints counted until the guest opened its console")
	flag.Parse()
	if o.cmdline == nil {
		o.cmdline = list{defaultCmdline}
	}
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "vmmrun:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	dir, err := os.MkdirTemp("", "vmmrun-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	g := &guest{dir: dir}
	defer g.close()
	if err := g.configure(o); err != nil {
		return err
	}
	if o.histogram {
		if err := startHistograms(); err != nil {
			return err
		}
	}
	outcome, err := g.run(o)
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(outcome, "", "  ")
	if err != nil {
		return err
	}
	fmt.Printf("\nvmmrun: %s\n", b)
	if outcome.Code != o.expect {
		return fmt.Errorf("the guest ended with %q, not %q", outcome.Code, o.expect)
	}
	return nil
}

// guest is what dom0 would keep of a guest.
type guest struct {
	dir     string
	cfg     vmmapi.Config
	files   []*os.File // from vmmapi.FirstFD on
	ring    *vmmapi.Ring
	outcome *os.File
}

func (g *guest) close() {
	for _, f := range g.files {
		_ = f.Close()
	}
}

// pass hands f to the vmm and returns its number there.
func (g *guest) pass(f *os.File) int {
	g.files = append(g.files, f)
	return vmmapi.FirstFD + len(g.files) - 1
}

func (g *guest) open(path string, flag int) (int, error) {
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return 0, err
	}
	return g.pass(f), nil
}

func (g *guest) configure(o options) error {
	var id [16]byte
	_, _ = rand.Read(id[:])
	g.cfg = vmmapi.Config{
		Platform: vmmapi.Platform, Name: "vmmrun", ID: hex.EncodeToString(id[:]), VCPUs: o.vcpus,
		MemoryBytes: o.memoryMiB << 20, Cmdline: o.cmdline.String(), EarlySerial: o.earlySerial,
	}
	c := &g.cfg
	var err error
	if c.KVM, err = g.open("/dev/kvm", os.O_RDWR); err != nil {
		return err
	}
	// As dom0 does, for the whole host; without it the guest only runs slower.
	if err := os.WriteFile("/sys/kernel/mm/transparent_hugepage/shmem_enabled", []byte("advise"), 0); err != nil {
		fmt.Fprintln(os.Stderr, "vmmrun: guest memory without huge pages:", err)
	}
	fd, err := unix.MemfdCreate("guest-memory", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("memfd_create: %w", err)
	}
	memory := os.NewFile(uintptr(fd), "guest memory")
	c.Memory = g.pass(memory)
	if err := memory.Truncate(int64(c.MemoryBytes)); err != nil {
		return err
	}
	if c.Kernel, err = g.open(o.kernel, os.O_RDONLY); err != nil {
		return err
	}
	if o.initrd != "" {
		if c.Initrd, err = g.open(o.initrd, os.O_RDONLY); err != nil {
			return err
		}
	}
	ring, err := os.Create(filepath.Join(g.dir, "console.ring"))
	if err != nil {
		return err
	}
	c.Console.Ring = g.pass(ring)
	if g.ring, err = vmmapi.CreateRing(ring, vmmapi.DefaultRingBytes); err != nil {
		return err
	}
	for i, disk := range o.disks {
		path, readOnly := strings.CutSuffix(disk, ":ro")
		flag := os.O_RDWR
		if readOnly {
			flag = os.O_RDONLY
		}
		fd, err := g.open(path, flag)
		if err != nil {
			return err
		}
		c.Disks = append(c.Disks, vmmapi.Disk{File: fd, ReadOnly: readOnly, Serial: fmt.Sprintf("disk%d", i), Name: filepath.Base(path)})
	}
	if err := g.addNics(o); err != nil {
		return err
	}
	c.Entropy.BytesPerSecond = o.entropyRate
	if c.Entropy.Source, err = g.open("/dev/urandom", os.O_RDONLY); err != nil {
		return err
	}
	if o.cid != 0 {
		fd, err := g.open("/dev/vhost-vsock", os.O_RDWR)
		if err != nil {
			return err
		}
		c.Vsock = &vmmapi.Vsock{Vhost: fd, CID: uint32(o.cid)}
	}
	if g.outcome, err = os.Create(filepath.Join(g.dir, "outcome.json")); err != nil {
		return err
	}
	c.Outcome = g.pass(g.outcome)
	return nil
}

func (g *guest) addNics(o options) error {
	for i, name := range o.taps {
		tap, err := openTap(name)
		if err != nil {
			return err
		}
		nic := vmmapi.Nic{Tap: g.pass(tap), MAC: fmt.Sprintf("52:54:00:00:00:%02x", i+1)}
		if o.vhost {
			if nic.Vhost, err = g.open("/dev/vhost-net", os.O_RDWR); err != nil {
				return err
			}
		}
		g.cfg.Nics = append(g.cfg.Nics, nic)
	}
	return nil
}

func openTap(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	// Not through os.File: the descriptor must stay blocking until the vmm decides.
	req, err := unix.NewIfreq(name)
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("tap %s: TUNSETIFF: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (g *guest) run(o options) (*vmmapi.Outcome, error) {
	socket := filepath.Join(g.dir, "control.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	control, err := l.File()
	if err != nil {
		return nil, err
	}
	defer control.Close()
	config, err := vmmapi.SealedConfig(&g.cfg)
	if err != nil {
		return nil, err
	}
	defer config.Close()

	cmd := exec.Command(o.vmm)
	cmd.ExtraFiles = append([]*os.File{config, control}, g.files...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	started := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	// From here on only the vmm listens: a connection after its end is refused.
	_ = l.Close()
	_ = control.Close()

	ctx, cancel := context.WithTimeout(context.Background(), o.timeout)
	defer cancel()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		g.watch(ctx, socket, o, started)
	}()
	select {
	case err = <-exited:
	case <-ctx.Done():
		fmt.Fprintln(os.Stderr, "vmmrun: time is up: stopping the guest")
		_ = cmd.Process.Signal(unix.SIGTERM)
		err = <-exited
	}
	<-watched
	fmt.Printf("\nvmmrun: %v after %v, %s\n", cmd.ProcessState, time.Since(started).Round(time.Millisecond), resources(cmd.ProcessState))
	if err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			return nil, err
		}
	}
	if _, err := g.outcome.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	outcome, err := vmmapi.ReadOutcome(g.outcome)
	if err == nil && outcome == nil {
		err = errors.New("the vmm left no outcome")
	}
	return outcome, err
}

func resources(s *os.ProcessState) string {
	return fmt.Sprintf("user %v, system %v", s.UserTime().Round(time.Millisecond), s.SystemTime().Round(time.Millisecond))
}

// watch prints events and the console, and does what the flags ask for, until
// the vmm is gone.
func (g *guest) watch(ctx context.Context, socket string, o options, started time.Time) {
	c, err := vmmapi.Dial(ctx, socket)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmmrun:", err)
		return
	}
	defer c.Close()
	console, err := c.Console(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmmrun:", err)
		return
	}
	defer console.Close()
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		_, _ = io.Copy(os.Stdout, console)
	}()
	if o.button > 0 {
		time.AfterFunc(o.button, func() {
			if _, err := c.Do(ctx, vmmapi.Request{Op: vmmapi.OpPowerButton}); err != nil {
				fmt.Fprintln(os.Stderr, "vmmrun:", err)
			}
		})
	}
	events, err := c.Events(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmmrun:", err)
		return
	}
	defer events.Close()
	for {
		e, err := events.Next()
		if err != nil {
			break
		}
		fmt.Fprintf(os.Stderr, "vmmrun: +%v %s %s %s\n", time.Since(started).Round(time.Millisecond), e.Kind, e.Device, e.Message)
		if e.Kind == vmmapi.EventConsole && o.histogram {
			if err := printHistograms(); err != nil {
				fmt.Fprintln(os.Stderr, "vmmrun:", err)
			}
		}
		if e.Kind == vmmapi.EventConsole && o.input != "" {
			_, _ = io.WriteString(console, strings.TrimSuffix(o.input, "\n")+"\n")
		}
	}
	<-shown
}
