package kvm

import "fmt"

// Cap is an extension of KVM that can be asked for and some of which can be
// enabled.
type Cap uint32

// Extensions in use, from linux/kvm.h.
//
//abi:check
const (
	CapNrVCPUs                Cap = 9   // KVM_CAP_NR_VCPUS
	CapNrMemSlots             Cap = 10  // KVM_CAP_NR_MEMSLOTS
	CapIRQFD                  Cap = 32  // KVM_CAP_IRQFD
	CapIOEventFD              Cap = 36  // KVM_CAP_IOEVENTFD
	CapAdjustClock            Cap = 39  // KVM_CAP_ADJUST_CLOCK
	CapVCPUEvents             Cap = 41  // KVM_CAP_VCPU_EVENTS
	CapDebugRegs              Cap = 50  // KVM_CAP_DEBUGREGS
	CapXCRs                   Cap = 56  // KVM_CAP_XCRS
	CapTSCControl             Cap = 60  // KVM_CAP_TSC_CONTROL
	CapGetTSCKHz              Cap = 61  // KVM_CAP_GET_TSC_KHZ
	CapMaxVCPUs               Cap = 66  // KVM_CAP_MAX_VCPUS
	CapTSCDeadlineTimer       Cap = 72  // KVM_CAP_TSC_DEADLINE_TIMER
	CapKVMClockCtrl           Cap = 76  // KVM_CAP_KVMCLOCK_CTRL
	CapSignalMSI              Cap = 77  // KVM_CAP_SIGNAL_MSI
	CapReadOnlyMem            Cap = 81  // KVM_CAP_READONLY_MEM
	CapIOEventFDNoLength      Cap = 100 // KVM_CAP_IOEVENTFD_NO_LENGTH
	CapSplitIRQChip           Cap = 121 // KVM_CAP_SPLIT_IRQCHIP
	CapIOEventFDAnyLength     Cap = 122 // KVM_CAP_IOEVENTFD_ANY_LENGTH
	CapMaxVCPUID              Cap = 128 // KVM_CAP_MAX_VCPU_ID
	CapX2APICAPI              Cap = 129 // KVM_CAP_X2APIC_API
	CapImmediateExit          Cap = 136 // KVM_CAP_IMMEDIATE_EXIT
	CapX86DisableExits        Cap = 143 // KVM_CAP_X86_DISABLE_EXITS
	CapExceptionPayload       Cap = 164 // KVM_CAP_EXCEPTION_PAYLOAD
	CapManualDirtyLogProtect2 Cap = 168 // KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2
	CapHaltPoll               Cap = 182 // KVM_CAP_HALT_POLL
	CapEnforcePVFeature       Cap = 190 // KVM_CAP_ENFORCE_PV_FEATURE_CPUID
	CapSRegs2                 Cap = 200 // KVM_CAP_SREGS2
	CapBinaryStatsFD          Cap = 203 // KVM_CAP_BINARY_STATS_FD
	CapXSave2                 Cap = 208 // KVM_CAP_XSAVE2
	CapPreFaultMemory         Cap = 236 // KVM_CAP_PRE_FAULT_MEMORY
	CapX86TripleFaultEvent    Cap = 218 // KVM_CAP_X86_TRIPLE_FAULT_EVENT
)

// Exits that CapX86DisableExits can leave to the guest.
//
//abi:check
const (
	DisableExitsMWAIT  uint64 = 1 << 0 // KVM_X86_DISABLE_EXITS_MWAIT
	DisableExitsHLT    uint64 = 1 << 1 // KVM_X86_DISABLE_EXITS_HLT
	DisableExitsPause  uint64 = 1 << 2 // KVM_X86_DISABLE_EXITS_PAUSE
	DisableExitsCState uint64 = 1 << 3 // KVM_X86_DISABLE_EXITS_CSTATE
)

// required are the extensions without which Open fails. Gozen's own kernel has
// them all.
var required = []struct {
	cap  Cap
	name string
}{
	{CapIRQFD, "KVM_CAP_IRQFD"},
	{CapIOEventFD, "KVM_CAP_IOEVENTFD"},
	{CapIOEventFDAnyLength, "KVM_CAP_IOEVENTFD_ANY_LENGTH"},
	{CapAdjustClock, "KVM_CAP_ADJUST_CLOCK"},
	{CapVCPUEvents, "KVM_CAP_VCPU_EVENTS"},
	{CapDebugRegs, "KVM_CAP_DEBUGREGS"},
	{CapXCRs, "KVM_CAP_XCRS"},
	{CapGetTSCKHz, "KVM_CAP_GET_TSC_KHZ"},
	{CapTSCDeadlineTimer, "KVM_CAP_TSC_DEADLINE_TIMER"},
	{CapKVMClockCtrl, "KVM_CAP_KVMCLOCK_CTRL"},
	{CapSignalMSI, "KVM_CAP_SIGNAL_MSI"},
	{CapReadOnlyMem, "KVM_CAP_READONLY_MEM"},
	{CapSplitIRQChip, "KVM_CAP_SPLIT_IRQCHIP"},
	{CapX2APICAPI, "KVM_CAP_X2APIC_API"},
	{CapImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"},
	{CapEnforcePVFeature, "KVM_CAP_ENFORCE_PV_FEATURE_CPUID"},
	{CapSRegs2, "KVM_CAP_SREGS2"},
	{CapBinaryStatsFD, "KVM_CAP_BINARY_STATS_FD"},
	{CapXSave2, "KVM_CAP_XSAVE2"},
}

func (c Cap) String() string {
	for _, r := range required {
		if r.cap == c {
			return r.name
		}
	}
	return fmt.Sprintf("KVM_CAP %d", uint32(c))
}
