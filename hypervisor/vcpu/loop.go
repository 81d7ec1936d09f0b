package vcpu

import (
	"golang.org/x/sys/unix"

	"gozen/hypervisor/kvm"
)

// run enters the guest again and again until something else than running is
// wanted (nil) or the guest cannot go on. It is the hot path: it allocates
// nothing unless the guest ends.
func (v *VCPU) run() error {
	// First clear, then look: whoever wants something else after this look sets
	// immediate_exit again, and Run returns at once.
	v.kvm.ClearExit()
	if v.want.Load() != wantRun {
		return nil
	}
	for {
		err := v.kvm.Run()
		if err == nil {
			if err := v.serve(); err != nil {
				return err
			}
			continue
		}
		switch err {
		case unix.EINTR:
			v.count(kvm.ExitIntr)
			// Here, and only here, KVM has completed what an exit asked for.
			v.kvm.ClearExit()
			if v.want.Load() != wantRun {
				return nil
			}
		case unix.EAGAIN:
			// A processor that waits to be started was woken.
		default:
			return v.fatalRun(err)
		}
	}
}

// serve does what the guest's exit asks for.
func (v *VCPU) serve() error {
	reason := v.kvm.ExitReason()
	v.count(reason)
	switch reason {
	case kvm.ExitIO:
		v.serveIO()
	case kvm.ExitMMIO:
		v.serveMMIO()
	case kvm.ExitIntr, kvm.ExitIRQWindowOpen, kvm.ExitIOAPICEOI:
		// Nothing to do. The I/O APIC has edge-triggered pins only and needs no
		// end of interrupt.
	case kvm.ExitShutdown:
		return v.fatal(FatalTripleFault, "triple fault")
	case kvm.ExitInternalError:
		return v.fatal(FatalInternal, v.kvm.InternalError().String())
	case kvm.ExitFailEntry:
		return v.fatalEntry()
	case kvm.ExitSystemEvent:
		return v.fatalSystemEvent()
	default:
		return v.fatalExit(reason)
	}
	return nil
}

// serveIO serves one or, for the string instructions, several port accesses.
func (v *VCPU) serveIO() {
	e := v.kvm.IO()
	port, size := uint64(e.Port), int(e.Size)
	for data := e.Data; len(data) >= size && size > 0; data = data[size:] {
		p := data[:size:size]
		switch {
		case !e.In:
			v.cfg.Ports.Write(port, p)
		case !v.cfg.Ports.Read(port, p):
			ones(p)
		}
	}
}

func (v *VCPU) serveMMIO() {
	e := v.kvm.MMIO()
	switch {
	case e.Write:
		v.cfg.MMIO.Write(e.Addr, e.Data)
	case !v.cfg.MMIO.Read(e.Addr, e.Data):
		ones(e.Data)
	}
}

// ones fills p with what a read returns where nobody answers.
func ones(p []byte) {
	for i := range p {
		p[i] = 0xff
	}
}

func (v *VCPU) count(r kvm.ExitReason) {
	v.exits[min(int(r), kvm.ExitReasons)].Add(1)
}

// Exits adds the exits so far to sum, under KVM's names of the reasons in lower
// case: "io", "mmio", "intr" for signals.
func (v *VCPU) Exits(sum map[string]uint64) {
	for i := range v.exits {
		n := v.exits[i].Load()
		switch {
		case n == 0:
		case i == kvm.ExitReasons:
			sum["other"] += n
		default:
			sum[kvm.ExitReason(i).String()] += n
		}
	}
}

// KVMStats adds the kernel's own counters of this processor to sum, under the
// kernel's names: "exits", "halt_exits".
func (v *VCPU) KVMStats(sum map[string]uint64) error {
	v.statsMu.Lock()
	defer v.statsMu.Unlock()
	if v.released {
		return ErrStopped
	}
	return v.stats.AddTo(sum)
}
