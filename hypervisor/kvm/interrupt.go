package kvm

import "fmt"

// Route connects a global system interrupt number with a message-signalled
// interrupt: what the guest's processor gets when the number is raised.
type Route struct {
	GSI  uint32
	Addr uint64 // message address, 0xfeexxxxx
	Data uint32 // message data: vector and delivery mode
}

// IOEvent describes a guest's write that signals an eventfd instead of leaving
// the kernel.
type IOEvent struct {
	Addr      uint64 // guest-physical address, or port
	Len       uint32 // of the write: 1, 2, 4, 8 bytes; 0 for any
	Data      uint64 // value to match, when DataMatch
	DataMatch bool   // only writes of Data
	Port      bool   // a port instead of an address
	FD        int    // eventfd
}

// EnableSplitIRQChip puts the local APICs into the kernel and leaves the I/O
// APIC to this process. The first pins interrupt numbers are the I/O APIC's own:
// routes for them only tell KVM which vectors are level-triggered. It comes
// before the first vCPU.
func (v *VM) EnableSplitIRQChip(pins int) error {
	return v.EnableCap(CapSplitIRQChip, uint64(pins))
}

// SetRouting replaces all routes. It waits for readers of the old ones and is
// slow.
func (v *VM) SetRouting(routes []Route) error {
	h, e := flexible[irqRouting, irqRoutingEntry](len(routes))
	h.Nr = uint32(len(routes))
	for i, r := range routes {
		e[i] = irqRoutingEntry{Gsi: r.GSI, Type: routingMSI, MSI: irqRoutingMSI{
			AddressLo: uint32(r.Addr), AddressHi: uint32(r.Addr >> 32), Data: r.Data,
		}}
	}
	if _, err := ioctlPtr(v.fd, ioctlSetGSIRouting, "KVM_SET_GSI_ROUTING", h); err != nil {
		return fmt.Errorf("%d routes: %w", len(routes), err)
	}
	return nil
}

// AssignIRQFD makes a signal of eventfd fd raise gsi, from within the kernel. A
// signal that is already there is delivered now.
func (v *VM) AssignIRQFD(fd int, gsi uint32) error { return v.irqfd(fd, gsi, 0) }

// DeassignIRQFD undoes AssignIRQFD: when it returns, signals stay in the eventfd.
func (v *VM) DeassignIRQFD(fd int, gsi uint32) error { return v.irqfd(fd, gsi, irqfdDeassign) }

func (v *VM) irqfd(fd int, gsi, flags uint32) error {
	i := irqfd{Fd: uint32(fd), Gsi: gsi, Flags: flags}
	if _, err := ioctlPtr(v.fd, ioctlIRQFD, "KVM_IRQFD", &i); err != nil {
		return fmt.Errorf("eventfd %d, interrupt %d: %w", fd, gsi, err)
	}
	return nil
}

// IOEventFD makes the guest's write e signal e.FD, or with assign false stops
// that; everything in e must be as it was then.
func (v *VM) IOEventFD(e IOEvent, assign bool) error {
	i := ioeventfd{Addr: e.Addr, Len: e.Len, Fd: int32(e.FD)}
	if e.DataMatch {
		i.Flags |= ioeventDataMatch
		i.Datamatch = e.Data
	}
	if e.Port {
		i.Flags |= ioeventPIO
	}
	if !assign {
		i.Flags |= ioeventDeassign
	}
	if _, err := ioctlPtr(v.fd, ioctlIOEventFD, "KVM_IOEVENTFD", &i); err != nil {
		kind := "address"
		if e.Port {
			kind = "port"
		}
		return fmt.Errorf("eventfd %d, %s %#x+%d: %w", e.FD, kind, e.Addr, e.Len, err)
	}
	return nil
}

// SignalMSI delivers a message-signalled interrupt. A message that no processor
// takes (its APIC is off) is lost, as on hardware.
func (v *VM) SignalMSI(addr uint64, data uint32) error {
	m := msi{AddressLo: uint32(addr), AddressHi: uint32(addr >> 32), Data: data}
	_, err := ioctlPtr(v.fd, ioctlSignalMSI, "KVM_SIGNAL_MSI", &m)
	if err != nil {
		return fmt.Errorf("message %#x=%#x: %w", addr, data, err)
	}
	return nil
}
