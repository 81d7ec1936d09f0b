package kvm

import "fmt"

// ExitReason says why KVM_RUN returned.
type ExitReason uint32

// Exit reasons that an x86 guest can cause, from linux/kvm.h.
//
//abi:check
const (
	ExitUnknown       ExitReason = 0  // KVM_EXIT_UNKNOWN
	ExitException     ExitReason = 1  // KVM_EXIT_EXCEPTION
	ExitIO            ExitReason = 2  // KVM_EXIT_IO
	ExitHypercall     ExitReason = 3  // KVM_EXIT_HYPERCALL
	ExitDebug         ExitReason = 4  // KVM_EXIT_DEBUG
	ExitHLT           ExitReason = 5  // KVM_EXIT_HLT
	ExitMMIO          ExitReason = 6  // KVM_EXIT_MMIO
	ExitIRQWindowOpen ExitReason = 7  // KVM_EXIT_IRQ_WINDOW_OPEN
	ExitShutdown      ExitReason = 8  // KVM_EXIT_SHUTDOWN
	ExitFailEntry     ExitReason = 9  // KVM_EXIT_FAIL_ENTRY
	ExitIntr          ExitReason = 10 // KVM_EXIT_INTR
	ExitSetTPR        ExitReason = 11 // KVM_EXIT_SET_TPR
	ExitTPRAccess     ExitReason = 12 // KVM_EXIT_TPR_ACCESS
	ExitNMI           ExitReason = 16 // KVM_EXIT_NMI
	ExitInternalError ExitReason = 17 // KVM_EXIT_INTERNAL_ERROR
	ExitWatchdog      ExitReason = 21 // KVM_EXIT_WATCHDOG
	ExitSystemEvent   ExitReason = 24 // KVM_EXIT_SYSTEM_EVENT
	ExitIOAPICEOI     ExitReason = 26 // KVM_EXIT_IOAPIC_EOI
	ExitHyperV        ExitReason = 27 // KVM_EXIT_HYPERV
	ExitRDMSR         ExitReason = 29 // KVM_EXIT_X86_RDMSR
	ExitWRMSR         ExitReason = 30 // KVM_EXIT_X86_WRMSR
	ExitDirtyRingFull ExitReason = 31 // KVM_EXIT_DIRTY_RING_FULL
	ExitAPResetHold   ExitReason = 32 // KVM_EXIT_AP_RESET_HOLD
	ExitBusLock       ExitReason = 33 // KVM_EXIT_X86_BUS_LOCK
	ExitXen           ExitReason = 34 // KVM_EXIT_XEN
	ExitNotify        ExitReason = 37 // KVM_EXIT_NOTIFY
	ExitMemoryFault   ExitReason = 39 // KVM_EXIT_MEMORY_FAULT
)

// ExitReasons is one more than the largest ExitReason known.
const ExitReasons = int(ExitMemoryFault) + 1

// exitNames are the names that counters use: KVM's own in lower case.
var exitNames = [ExitReasons]string{
	ExitUnknown:       "unknown",
	ExitException:     "exception",
	ExitIO:            "io",
	ExitHypercall:     "hypercall",
	ExitDebug:         "debug",
	ExitHLT:           "hlt",
	ExitMMIO:          "mmio",
	ExitIRQWindowOpen: "irq_window_open",
	ExitShutdown:      "shutdown",
	ExitFailEntry:     "fail_entry",
	ExitIntr:          "intr",
	ExitSetTPR:        "set_tpr",
	ExitTPRAccess:     "tpr_access",
	ExitNMI:           "nmi",
	ExitInternalError: "internal_error",
	ExitWatchdog:      "watchdog",
	ExitSystemEvent:   "system_event",
	ExitIOAPICEOI:     "ioapic_eoi",
	ExitHyperV:        "hyperv",
	ExitRDMSR:         "x86_rdmsr",
	ExitWRMSR:         "x86_wrmsr",
	ExitDirtyRingFull: "dirty_ring_full",
	ExitAPResetHold:   "ap_reset_hold",
	ExitBusLock:       "x86_bus_lock",
	ExitXen:           "xen",
	ExitNotify:        "notify",
	ExitMemoryFault:   "memory_fault",
}

// String returns KVM's name of the reason in lower case: "io", "mmio", "hlt".
func (r ExitReason) String() string {
	if int(r) < len(exitNames) && exitNames[r] != "" {
		return exitNames[r]
	}
	return fmt.Sprintf("exit_%d", uint32(r))
}

// Kinds of InternalError.
//
//abi:check
const (
	InternalErrorEmulation   = 1 // KVM_INTERNAL_ERROR_EMULATION
	InternalErrorSimulEx     = 2 // KVM_INTERNAL_ERROR_SIMUL_EX
	InternalErrorDeliveryEv  = 3 // KVM_INTERNAL_ERROR_DELIVERY_EV
	InternalErrorUnexpected  = 4 // KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON
	emulationFlagInstruction = 1 // KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES
)

// Kinds of SystemEvent.
//
//abi:check
const (
	SystemEventShutdown = 1 // KVM_SYSTEM_EVENT_SHUTDOWN
	SystemEventReset    = 2 // KVM_SYSTEM_EVENT_RESET
	SystemEventCrash    = 3 // KVM_SYSTEM_EVENT_CRASH
)
