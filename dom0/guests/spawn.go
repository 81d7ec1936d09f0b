package guests

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"gozen/dom0/cgroup"
	"gozen/dom0/fault"
	"gozen/dom0/jail"
	"gozen/dom0/undo"
	"gozen/dom0/upload"
	"gozen/dom0/volumes"
	"gozen/hypervisor/platform"
	"gozen/hypervisor/vmmapi"
)

const (
	// firstUID is the user of the vmm in slot 0.
	firstUID = 100_000
	// firstCID is the vsock context identifier of the guest in slot 0; those below
	// have fixed meanings (vsock(7)).
	firstCID = 3
	// maxSlots bounds how many guests run at once.
	maxSlots = 10_000

	// vmmOverhead is what a vmm may use beyond guest memory: its own memory, the
	// kernel's for it, and the pages of its disks that are being written. The
	// tables that map guest memory grow with it: 8 bytes a page, twice.
	vmmOverhead      = 96 << 20
	overheadFraction = 128
	// vmmPromise is what of that is reserved when memory is given out; the rest is
	// memory that the kernel can take back.
	vmmPromise = 16 << 20

	// vmmThreads is how many threads a vmm may have beyond its vCPUs.
	vmmThreads = 128

	groupTimeout = 10 * time.Second
)

// spawner is one attempt to start a guest's vmm.
type spawner struct {
	m   *Manager
	g   *guest
	cfg vmmapi.Config
	rec vmmRecord

	undo  undo.Stack // takes the attempt back
	files []*os.File // the vmm's descriptors from vmmapi.FirstFD on
	close []*os.File // the daemon's copies of everything opened here
}

// spawn starts a vmm for the guest. With keepLog the console's log goes on from
// what is there. On failure nothing is left of the attempt. A vmm that ended
// again at once, for its kernel is damaged for example, is no failure of spawn.
func (m *Manager) spawn(ctx context.Context, g *guest, slot int, keepLog bool) (_ *vm, err error) {
	s := &spawner{m: m, g: g, rec: vmmRecord{Slot: slot, StartedAt: m.opt.Clock.Now()}}
	defer func() {
		for _, f := range s.close {
			_ = f.Close()
		}
		s.undo.Run()
	}()
	if err := m.openOutbox(g); err != nil {
		return nil, err
	}
	s.cfg = vmmapi.Config{
		Platform:    vmmapi.Platform,
		Name:        g.name,
		ID:          g.id,
		VCPUs:       int(g.spec.Vcpus),
		MemoryBytes: g.spec.MemoryBytes,
		Cmdline:     platform.CommandLine(g.spec.Cmdline),
		EarlySerial: g.spec.EarlySerial,
	}
	for _, step := range []func() error{
		s.openHost,
		s.openImages,
		func() error { return s.openConsole(keepLog) },
		s.openDisks,
		s.openNics,
		s.openVsock,
		s.openOutcome,
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	v, err := s.start()
	if err != nil {
		return nil, err
	}
	s.undo.Add(func() {
		v.kill()
		<-v.ended
		v.close()
	})
	if err := v.save(); err != nil {
		return nil, err
	}
	s.undo.Add(func() { _ = os.Remove(filepath.Join(g.dir, vmmFile)) })
	s.undo.Release()
	err = v.connect(ctx)
	if err == nil {
		err = g.console.attach(ctx, v)
	}
	if err != nil {
		// How it ended is for the guest's loop to find out.
		g.log.Error("the vmm does not answer", "err", err)
		v.endOrKill()
	}
	return v, nil
}

// give hands a descriptor to the vmm and returns its number there.
func (s *spawner) give(f *os.File) int {
	s.close = append(s.close, f)
	s.files = append(s.files, f)
	return vmmapi.FirstFD + len(s.files) - 1
}

// openHost opens what every guest needs of the host: KVM, memory, entropy.
func (s *spawner) openHost() error {
	kvm, err := os.OpenFile(s.m.opt.KVM, os.O_RDWR, 0)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fault.New(fault.Unavailable, "this host cannot run guests: it has no %s: turn on virtualization (SVM or VT-x) in the firmware, or nesting in the hypervisor below", s.m.opt.KVM)
		}
		return fmt.Errorf("KVM: %w", err)
	}
	s.cfg.KVM = s.give(kvm)
	fd, err := unix.MemfdCreate("guest-"+s.g.name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return fmt.Errorf("guest memory: memfd_create: %w", err)
	}
	memory := os.NewFile(uintptr(fd), "guest memory")
	s.cfg.Memory = s.give(memory)
	s.rec.MemoryFD = s.cfg.Memory
	if err := memory.Truncate(int64(s.cfg.MemoryBytes)); err != nil {
		return fmt.Errorf("guest memory: %w", err)
	}
	// Its size is fixed: a mapping that reaches beyond the end would kill the vmm.
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return fmt.Errorf("guest memory: seal: %w", err)
	}
	random, err := os.Open("/dev/urandom")
	if err != nil {
		return fmt.Errorf("entropy: %w", err)
	}
	s.cfg.Entropy = vmmapi.Entropy{Source: s.give(random), BytesPerSecond: s.g.spec.Entropy.BytesPerSecond}
	return nil
}

func (s *spawner) openImages() error {
	kernel, err := s.m.opt.Images.OpenFile(s.g.spec.Kernel)
	if err != nil {
		return fmt.Errorf("kernel: %w", err)
	}
	s.cfg.Kernel = s.give(kernel)
	if s.g.spec.Initrd == "" {
		return nil
	}
	initrd, err := s.m.opt.Images.OpenFile(s.g.spec.Initrd)
	if err != nil {
		return fmt.Errorf("initrd: %w", err)
	}
	s.cfg.Initrd = s.give(initrd)
	return nil
}

func (s *spawner) openConsole(keepLog bool) error {
	ring, err := s.g.console.reset(keepLog)
	if err != nil {
		return fmt.Errorf("console log: %w", err)
	}
	s.cfg.Console.Ring = s.give(ring)
	return nil
}

func (s *spawner) openDisks() error {
	for i, d := range s.g.spec.Disks {
		f, err := s.m.opt.Volumes.OpenFile(volumes.Use{Volume: d.Volume, ReadOnly: d.ReadOnly})
		if err != nil {
			return fmt.Errorf("disk %d: %w", i, err)
		}
		s.cfg.Disks = append(s.cfg.Disks, vmmapi.Disk{File: s.give(f), ReadOnly: d.ReadOnly, Serial: d.Serial, Name: d.Volume})
	}
	return nil
}

func (s *spawner) openNics() error {
	for i, n := range s.g.spec.Nics {
		network, err := s.m.network()
		if err != nil {
			return fmt.Errorf("NIC %d: %w", i, err)
		}
		mac, err := net.ParseMAC(n.Mac)
		if err != nil {
			return fmt.Errorf("NIC %d: %w", i, err)
		}
		name := tapName(s.rec.Slot, i)
		f, err := network.NewTap(name, mac)
		if err != nil {
			return fmt.Errorf("NIC %d: %w", i, err)
		}
		// The tap itself goes with its last descriptor.
		s.undo.Add(func() { network.Remove(name) })
		nic := vmmapi.Nic{Tap: s.give(f), MAC: n.Mac}
		if !n.Userspace {
			vhost, err := openOptional("/dev/vhost-net")
			if err != nil {
				return fmt.Errorf("NIC %d: %w", i, err)
			}
			if vhost != nil {
				nic.Vhost = s.give(vhost)
			}
		}
		s.cfg.Nics = append(s.cfg.Nics, nic)
		s.rec.Taps = append(s.rec.Taps, tap{Name: name, MAC: n.Mac, Vhost: nic.Vhost != 0})
	}
	return nil
}

// tapName names a tap within the 15 characters that Linux allows.
func tapName(slot, nic int) string { return fmt.Sprintf("gzt%dn%d", slot, nic) }

func (s *spawner) openVsock() error {
	if !s.g.spec.Vsock {
		return nil
	}
	f, err := openOptional("/dev/vhost-vsock")
	if err != nil {
		return fmt.Errorf("vsock: %w", err)
	}
	if f == nil {
		return fault.New(fault.Unavailable, "vsock: the host's kernel has no /dev/vhost-vsock: create the guest without vsock")
	}
	s.rec.CID = firstCID + uint32(s.rec.Slot)
	s.cfg.Vsock = &vmmapi.Vsock{Vhost: s.give(f), CID: s.rec.CID}
	return nil
}

func (s *spawner) openOutcome() error {
	f, err := create(filepath.Join(s.g.dir, outcomeFile))
	if err != nil {
		return fmt.Errorf("outcome: %w", err)
	}
	s.cfg.Outcome = s.give(f)
	return nil
}

// start makes the control socket, the sealed configuration, the control group
// and the process.
func (s *spawner) start() (*vm, error) {
	path := filepath.Join(s.g.dir, controlFile)
	_ = os.Remove(path) // of the vmm before
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	listener.SetUnlinkOnClose(false)
	s.undo.Add(func() { _ = os.Remove(path) })
	// The daemon's copies are closed, so that a connection to a vmm that is gone
	// is refused instead of waiting for ever.
	control, err := listener.File()
	_ = listener.Close()
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	s.close = append(s.close, control)

	config, err := vmmapi.SealedConfig(&s.cfg)
	if err != nil {
		return nil, err
	}
	s.close = append(s.close, config)

	vmm, err := os.Open(s.m.opt.VMM)
	if err != nil {
		return nil, fmt.Errorf("vmm program: %w", err)
	}
	s.close = append(s.close, vmm)
	output, err := create(filepath.Join(s.g.dir, logFile))
	if err != nil {
		return nil, fmt.Errorf("vmm log: %w", err)
	}
	s.close = append(s.close, output)

	program := jail.Program{
		Exe:    vmm,
		Name:   "vmm",
		Files:  slices.Concat([]*os.File{config, control}, s.files),
		Output: output,
		ID:     firstUID + s.rec.Slot,
		Root:   s.m.opt.RunDir,
	}
	if s.m.opt.Cgroups != nil {
		group, err := s.m.opt.Cgroups.Create(s.g.id, s.limits())
		if err != nil {
			return nil, err
		}
		s.undo.Add(func() {
			if err := group.Remove(groupTimeout); err != nil {
				s.g.log.Warn("cannot remove the control group of a failed start", "err", err)
			}
		})
		dir, err := group.OpenDir()
		if err != nil {
			return nil, err
		}
		s.close = append(s.close, dir)
		program.Cgroup = dir
	}
	child, err := s.m.opt.Start(program)
	if err != nil {
		return nil, err
	}
	s.rec.PID = child.Pid
	if s.rec.StartTick, err = startTick(child.Pid); err != nil {
		_ = child.Kill()
		_, _ = child.Wait()
		return nil, fmt.Errorf("the vmm ended at once: %s", s.lastWords())
	}
	v, err := watch(s.g.dir, s.rec, child, s.g.log)
	if err != nil {
		_ = child.Kill()
		_, _ = child.Wait()
		return nil, err
	}
	return v, nil
}

func (s *spawner) limits() cgroup.Limits {
	memory := s.g.spec.MemoryBytes
	cpu := uint64(s.g.spec.CpuLimitMillis)
	if cpu == 0 {
		// The vCPUs, and one CPU for the backends beside them.
		cpu = (uint64(s.g.spec.Vcpus) + 1) * 1000
	}
	return cgroup.Limits{
		MemoryBytes: memory + vmmOverhead + memory/overheadFraction,
		CPUMillis:   cpu,
		PIDs:        uint64(s.g.spec.Vcpus) + vmmThreads,
	}
}

// lastWords is what a vmm that failed to start left behind.
func (s *spawner) lastWords() string {
	if o := readOutcome(s.g.dir); o != nil {
		return o.Message
	}
	if tail := logTail(s.g.dir); tail != "" {
		return "it printed: " + Clip(tail)
	}
	return "it left no word"
}

// create makes an empty file, in the place of one that is there. A new file, so
// that a vmm of before that still has the old one cannot write to it.
func create(path string) (*os.File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, upload.DiskError("run directory", filepath.Dir(path), err)
	}
	return f, nil
}

// openOptional opens a device that the kernel may lack; it returns nil then.
func openOptional(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		return nil, nil
	}
	return f, err
}
