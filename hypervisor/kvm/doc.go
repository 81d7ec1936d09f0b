// Package kvm binds Linux's KVM, as described in
// Documentation/virt/kvm/api.rst of Linux 6.12, for x86-64.
//
// It is thin on purpose: a method is one ioctl, takes and gives Go types, and
// names the ioctl in its error. What to do with it is told in hypervisor/vcpu,
// hypervisor/irq and hypervisor/machine.
//
//   - System is /dev/kvm: what the kernel and the processor can do.
//   - VM is a guest: memory slots, interrupt routes, event descriptors, clock.
//   - VCPU is one processor: its registers, the page it shares with the kernel,
//     and Run.
//   - Stats reads the kernel's own counters of a VM or VCPU.
//
// VM and VCPU belong to the address space of the process that made them; another
// process that holds their descriptors gets EIO. So dom0 hands the vmm nothing
// but /dev/kvm.
//
// # Signals
//
// Every ioctl but KVM_RUN is repeated when a signal interrupts it. KVM_RUN is
// not: EINTR is how a vCPU is asked to come out, and with immediate_exit set a
// repeated call would spin for ever. See VCPU.Run.
//
// # Layout
//
// Structs that the kernel reads or writes carry structs.HostLayout and a
// comment "abi:check" that names their C type; constants carry their C name at
// the end of the line. The tests of hypervisor/abi compare all of them with the
// kernel's headers, and fail for one that has no such comment.
package kvm
