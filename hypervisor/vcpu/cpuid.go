package vcpu

import (
	"cmp"
	"math/bits"
	"slices"

	"gozen/hypervisor/kvm"
)

// CPUID leaves. Intel SDM volume 2, "CPUID"; AMD APM volume 3, appendix E;
// Linux Documentation/virt/kvm/x86/cpuid.rst.
const (
	leafVendor       = 0x0
	leafFeatures     = 0x1
	leafCacheIntel   = 0x4
	leafMonitor      = 0x5
	leafFeatures7    = 0x7
	leafPMU          = 0xa
	leafTopology     = 0xb
	leafSGX          = 0x12
	leafPT           = 0x14
	leafTopologyV2   = 0x1f
	leafKVM          = 0x4000_0000
	leafKVMFeatures  = 0x4000_0001
	leafExtended     = 0x8000_0000
	leafExtFeatures  = 0x8000_0001
	leafExtSizes     = 0x8000_0008
	leafSVM          = 0x8000_000a
	leafCacheAMD     = 0x8000_001d
	leafTopologyAMD  = 0x8000_001e
	leafEncryption   = 0x8000_001f
	leafPMUAMD       = 0x8000_0022
	leafTopologyAMD2 = 0x8000_0026
)

// Bits of leafFeatures.
const (
	ecxMonitor     = 1 << 3
	ecxVMX         = 1 << 5
	ecxPDCM        = 1 << 15
	ecxX2APIC      = 1 << 21
	ecxTSCDeadline = 1 << 24
	ecxHypervisor  = 1 << 31
	edxHTT         = 1 << 28
)

// Bits of leafFeatures7, subleaf 0.
const (
	ebxSGX   = 1 << 2
	ebxPT    = 1 << 25
	ecxSGXLC = 1 << 30
)

// Bits of leafExtFeatures, ECX.
const (
	ecxCmpLegacy = 1 << 1 // more than one core
	ecxSVM       = 1 << 2
	ecxPerfCore  = 1 << 23
	ecxPerfNB    = 1 << 24
	ecxPerfLLC   = 1 << 28
)

// Bits of leafKVMFeatures, EAX.
//
//abi:check
const (
	kvmClock1        = 0  // KVM_FEATURE_CLOCKSOURCE: kvmclock by its old registers
	kvmNoIODelay     = 1  // KVM_FEATURE_NOP_IO_DELAY
	kvmClock         = 3  // KVM_FEATURE_CLOCKSOURCE2
	kvmAsyncPF       = 4  // KVM_FEATURE_ASYNC_PF
	kvmStealTime     = 5  // KVM_FEATURE_STEAL_TIME
	kvmPVEOI         = 6  // KVM_FEATURE_PV_EOI
	kvmPVUnhalt      = 7  // KVM_FEATURE_PV_UNHALT: spinlocks that sleep
	kvmPVTLBFlush    = 9  // KVM_FEATURE_PV_TLB_FLUSH
	kvmAsyncPFExit   = 10 // KVM_FEATURE_ASYNC_PF_VMEXIT
	kvmPVSendIPI     = 11 // KVM_FEATURE_PV_SEND_IPI
	kvmPollControl   = 12 // KVM_FEATURE_POLL_CONTROL
	kvmPVSchedYield  = 13 // KVM_FEATURE_PV_SCHED_YIELD
	kvmAsyncPFInt    = 14 // KVM_FEATURE_ASYNC_PF_INT
	kvmClockIsStable = 24 // KVM_FEATURE_CLOCKSOURCE_STABLE_BIT: no warps between processors
)

// kvmFeatures are the paravirtual features of gozen-1. Left out: extended
// destination ids (APIC identifiers fit 8 bits), and memory encryption's and
// migration's controls, which have no counterpart here.
const kvmFeatures = 1<<kvmClock1 | 1<<kvmNoIODelay | 1<<kvmClock | 1<<kvmAsyncPF | 1<<kvmStealTime | 1<<kvmPVEOI |
	1<<kvmPVUnhalt | 1<<kvmPVTLBFlush | 1<<kvmAsyncPFExit | 1<<kvmPVSendIPI | 1<<kvmPollControl |
	1<<kvmPVSchedYield | 1<<kvmAsyncPFInt | 1<<kvmClockIsStable

// hidden are leaves that gozen-1 does not have: monitor/mwait, performance
// counters, SGX, processor trace, nested virtualization, memory encryption.
var hidden = []uint32{leafMonitor, leafPMU, leafSGX, leafPT, leafSVM, leafEncryption, leafPMUAMD, leafTopologyAMD2}

// topology is where processor cpu of count stands: one package, a core each.
type topology struct {
	cpu, count uint32
	shift      uint32 // bits of the APIC identifier below the package
}

// CPUID returns what processor cpu of count answers to the CPUID instruction:
// what the host and KVM support, less what gozen-1 leaves out, with the
// identifiers and the topology of this processor: one package of count cores
// with one thread each, all sharing the last cache.
func CPUID(supported []kvm.CPUIDEntry, cpu, count int) []kvm.CPUIDEntry {
	t := topology{cpu: uint32(cpu), count: uint32(count), shift: uint32(bits.Len(uint(count - 1)))}
	amd := isAMD(supported)
	var out []kvm.CPUIDEntry
	maxBasic := uint32(0)
	for _, e := range supported {
		switch {
		case slices.Contains(hidden, e.Function):
			continue
		case e.Function == leafTopology || e.Function == leafTopologyV2:
			continue // made below
		case e.Function > leafKVMFeatures && e.Function < leafExtended:
			continue // other hypervisors' leaves, which KVM can imitate
		}
		switch e.Function {
		case leafVendor:
			maxBasic = e.EAX
		case leafFeatures:
			t.features(&e)
		case leafCacheIntel:
			t.cacheIntel(&e)
		case leafFeatures7:
			if e.Index == 0 {
				e.EBX &^= ebxSGX | ebxPT
				e.ECX &^= ecxSGXLC
			}
		case leafKVM:
			e.EAX = leafKVMFeatures
		case leafKVMFeatures:
			e.EAX &= kvmFeatures
			if isEmulated(supported) {
				e.EAX &^= 1 << kvmPVEOI
			}
			e.EDX = 0 // no hint that processors are never preempted
		case leafExtended:
			e.EAX = min(e.EAX, leafTopologyAMD2-1)
		case leafExtFeatures:
			t.extFeatures(&e, amd)
		case leafExtSizes:
			if amd {
				// ECX[7:0] cores less one, ECX[15:12] bits of the identifier.
				e.ECX = e.ECX&^0xf0ff | (t.count - 1) | t.shift<<12
			}
		case leafCacheAMD:
			t.cacheAMD(&e)
		case leafTopologyAMD:
			// EAX: identifier; EBX[7:0]: core, [15:8]: threads of a core less one; ECX:
			// node 0 of one.
			e.EAX, e.EBX, e.ECX, e.EDX = t.cpu, t.cpu&0xff, 0, 0
		}
		out = append(out, e)
	}
	for _, leaf := range []uint32{leafTopology, leafTopologyV2} {
		if leaf <= maxBasic {
			out = append(out, t.levels(leaf)...)
		}
	}
	slices.SortStableFunc(out, func(a, b kvm.CPUIDEntry) int {
		return cmp.Or(cmp.Compare(a.Function, b.Function), cmp.Compare(a.Index, b.Index))
	})
	return out
}

// isAMD says whether the vendor is AMD or Hygon, whose leaves are alike.
func isAMD(entries []kvm.CPUIDEntry) bool {
	for _, e := range entries {
		if e.Function == leafVendor {
			const auth, hygo = 0x68747541, 0x6f677948 // "Auth", "Hygo" of AuthenticAMD, HygonGenuine
			return e.EBX == auth || e.EBX == hygo
		}
	}
	return false
}

// isEmulated says whether the host's processor is QEMU's software CPU. It is the
// only one of AMD's first 64-bit family (15, K8) that has nested paging.
//
// After it injected an interrupt, that CPU may deliver it once more if another
// thread stops it before the guest's next exit (helper_vmrun leaves the
// exception index set). Linux survives that until its handler took a lock. A
// guest without PV EOI writes the end of interrupt first of all, which is an
// exit; with PV EOI, guests hung in their timer handlers now and then.
func isEmulated(entries []kvm.CPUIDEntry) bool {
	if !isAMD(entries) {
		return false
	}
	for _, e := range entries {
		if e.Function == leafFeatures {
			const family, k8 = 0xff<<20 | 0xf<<8, 0xf << 8 // extended and base family
			return e.EAX&family == k8
		}
	}
	return false
}

func (t topology) features(e *kvm.CPUIDEntry) {
	e.ECX &^= ecxMonitor | ecxVMX | ecxPDCM
	e.ECX |= ecxX2APIC | ecxTSCDeadline | ecxHypervisor
	e.EDX &^= edxHTT
	if t.count > 1 {
		e.EDX |= edxHTT
	}
	// EBX[31:24] identifier, EBX[23:16] identifiers of the package.
	e.EBX = e.EBX&0xffff | min(uint32(1)<<t.shift, 255)<<16 | t.cpu<<24
}

func (t topology) extFeatures(e *kvm.CPUIDEntry, amd bool) {
	if !amd {
		return
	}
	e.ECX &^= ecxSVM | ecxPerfCore | ecxPerfNB | ecxPerfLLC | ecxCmpLegacy
	if t.count > 1 {
		e.ECX |= ecxCmpLegacy
	}
}

// cacheIntel gives the last cache to all cores and the others to one each.
// EAX[31:26]: identifiers of cores less one; EAX[25:14]: identifiers that share
// this cache less one.
func (t topology) cacheIntel(e *kvm.CPUIDEntry) {
	if e.EAX&0x1f == 0 {
		return // past the last cache
	}
	ids := uint32(1)<<t.shift - 1
	e.EAX &= 0x3fff
	e.EAX |= min(ids, 0x3f) << 26
	if e.EAX>>5&7 >= 3 {
		e.EAX |= ids << 14
	}
}

// cacheAMD is cacheIntel for AMD's leaf, which has no count of cores. EAX[25:14]:
// threads that share this cache less one.
func (t topology) cacheAMD(e *kvm.CPUIDEntry) {
	if e.EAX&0x1f == 0 {
		return
	}
	e.EAX &= 0x3fff
	if e.EAX>>5&7 >= 3 {
		e.EAX |= (t.count - 1) << 14
	}
}

// levels are the subleaves of the extended topology leaves: threads of a core,
// cores of a package, and the end.
func (t topology) levels(leaf uint32) []kvm.CPUIDEntry {
	const (
		levelThread = 1 << 8
		levelCore   = 2 << 8
	)
	level := func(index, shift, n, kind uint32) kvm.CPUIDEntry {
		return kvm.CPUIDEntry{
			Function: leaf, Index: index, Flags: kvm.CPUIDSignificantIndex,
			EAX: shift, EBX: n, ECX: kind | index, EDX: t.cpu,
		}
	}
	return []kvm.CPUIDEntry{
		level(0, 0, 1, levelThread),
		level(1, t.shift, t.count, levelCore),
		level(2, 0, 0, 0),
	}
}
