package irq

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"gozen/hypervisor/kvm"
	"gozen/hypervisor/platform"
)

// maxGSI is one more than the largest interrupt number KVM takes
// (KVM_MAX_IRQ_ROUTES of the kernel).
const maxGSI = 4096

// Messages go to the local APICs: Intel SDM volume 3, 12.11.1.
const (
	messageBase = platform.LAPICBase
	messageMask = 0xffff_ffff_fff0_0000
)

var (
	// ErrMessage is returned for a message address that is no local APIC's. Nothing
	// is delivered for it.
	ErrMessage = errors.New("message address is not a local APIC's")
	// ErrNoVectors is returned when KVM's interrupt numbers are used up.
	ErrNoVectors = errors.New("no interrupt number is free")
)

// Kernel is the part of *kvm.VM that a Router steers.
type Kernel interface {
	SetRouting([]kvm.Route) error
	AssignIRQFD(fd int, gsi uint32) error
	DeassignIRQFD(fd int, gsi uint32) error
}

// Router holds the interrupt routes of a guest. Its methods and those of its
// vectors may be used from many goroutines.
type Router struct {
	kernel Kernel

	mu      sync.Mutex
	vectors map[uint32]*Vector // by interrupt number
	next    uint32             // numbers from here on were never used
	free    []uint32           // numbers that are free again
	routes  []kvm.Route        // scratch
}

// NewRouter returns a Router for a guest without any routes. Interrupt numbers
// below platform.IOAPICPins belong to the I/O APIC.
func NewRouter(vm Kernel) *Router {
	return &Router{kernel: vm, vectors: make(map[uint32]*Vector), next: platform.IOAPICPins}
}

// Vector is one interrupt of a device.
type Vector struct {
	router *Router
	gsi    uint32
	fd     int

	// Below: under router.mu.
	wanted message // what the guest programmed last
	routed message // what KVM's table has for gsi
	live   bool    // the eventfd is connected: unmasked
	closed bool
}

// message is a message-signalled interrupt. A zero address is none.
type message struct {
	addr uint64
	data uint32
}

// NewVector returns a masked Vector.
func (r *Router) NewVector() (*Vector, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("interrupt vector: eventfd: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	v := &Vector{router: r, fd: fd}
	switch {
	case len(r.free) > 0:
		v.gsi = r.free[len(r.free)-1]
		r.free = r.free[:len(r.free)-1]
	case r.next < maxGSI:
		v.gsi = r.next
		r.next++
	default:
		_ = unix.Close(fd)
		return nil, ErrNoVectors
	}
	r.vectors[v.gsi] = v
	return v, nil
}

// publish replaces KVM's table with what is wanted.
func (r *Router) publish() error {
	r.routes = r.routes[:0]
	for gsi := uint32(platform.IOAPICPins); gsi < r.next; gsi++ {
		if v := r.vectors[gsi]; v != nil && v.wanted.addr != 0 {
			r.routes = append(r.routes, kvm.Route{GSI: gsi, Addr: v.wanted.addr, Data: v.wanted.data})
		}
	}
	if err := r.kernel.SetRouting(r.routes); err != nil {
		return fmt.Errorf("interrupt routes: %w", err)
	}
	for _, v := range r.vectors {
		v.routed = v.wanted
	}
	return nil
}
