package kvm

import "structs"

// Regs are the general registers.
//
//abi:check struct kvm_regs
type Regs struct {
	_      structs.HostLayout
	RAX    uint64
	RBX    uint64
	RCX    uint64
	RDX    uint64
	RSI    uint64
	RDI    uint64
	RSP    uint64
	RBP    uint64
	R8     uint64
	R9     uint64
	R10    uint64
	R11    uint64
	R12    uint64
	R13    uint64
	R14    uint64
	R15    uint64
	RIP    uint64
	RFLAGS uint64
}

// Segment is a segment register with its hidden part (Intel SDM volume 3,
// 3.4.3).
//
//abi:check struct kvm_segment
type Segment struct {
	_        structs.HostLayout
	Base     uint64
	Limit    uint32 // in bytes, as the processor has it after scaling
	Selector uint16
	Type     uint8
	Present  uint8
	DPL      uint8
	DB       uint8
	S        uint8
	L        uint8
	G        uint8
	AVL      uint8
	Unusable uint8
	Padding  uint8
}

// DTable is the GDTR or IDTR.
//
//abi:check struct kvm_dtable
type DTable struct {
	_       structs.HostLayout
	Base    uint64
	Limit   uint16
	Padding [3]uint16
}

// SRegs are the special registers.
//
//abi:check struct kvm_sregs
type SRegs struct {
	_                      structs.HostLayout
	CS, DS, ES, FS, GS, SS Segment
	TR, LDT                Segment
	GDT, IDT               DTable
	CR0, CR2, CR3, CR4     uint64
	CR8                    uint64
	EFER                   uint64
	APICBase               uint64
	InterruptBitmap        [4]uint64 // one bit: an external interrupt accepted but not yet delivered
}

// SRegs2 are the special registers with the PDPTEs of a guest that runs in
// 32-bit PAE mode, which the processor holds apart from memory. Unlike SRegs it
// leaves a pending interrupt to Events.
//
//abi:check struct kvm_sregs2
type SRegs2 struct {
	_                      structs.HostLayout
	CS, DS, ES, FS, GS, SS Segment
	TR, LDT                Segment
	GDT, IDT               DTable
	CR0, CR2, CR3, CR4     uint64
	CR8                    uint64
	EFER                   uint64
	APICBase               uint64
	Flags                  uint64    // SRegs2PDPTRsValid
	PDPTRs                 [4]uint64 `abi:"pdptrs"`
}

// SRegs2PDPTRsValid says that SRegs2.PDPTRs are in use.
//
//abi:check
const SRegs2PDPTRsValid = 1 // KVM_SREGS2_FLAGS_PDPTRS_VALID

// FPU is the x87 and SSE state.
//
//abi:check struct kvm_fpu
type FPU struct {
	_          structs.HostLayout
	FPR        [8][16]uint8
	FCW        uint16
	FSW        uint16
	FTWX       uint8 // tag word in FXSAVE's short form
	Pad1       uint8
	LastOpcode uint16
	LastIP     uint64
	LastDP     uint64
	XMM        [16][16]uint8
	MXCSR      uint32
	Pad2       uint32
}

// MSR is a model-specific register and its value.
//
//abi:check struct kvm_msr_entry
type MSR struct {
	_        structs.HostLayout
	Index    uint32
	Reserved uint32 `json:",omitempty"`
	Data     uint64
}

//abi:check struct kvm_msrs
type msrsHeader struct {
	_     structs.HostLayout
	Nmsrs uint32
	Pad   uint32
}

//abi:check struct kvm_msr_list
type msrListHeader struct {
	_     structs.HostLayout
	Nmsrs uint32
}

// CPUIDEntry is what the guest's CPUID instruction answers for one leaf.
//
//abi:check struct kvm_cpuid_entry2
type CPUIDEntry struct {
	_        structs.HostLayout
	Function uint32 // EAX on entry
	Index    uint32 // ECX on entry, when Flags has CPUIDSignificantIndex
	Flags    uint32
	EAX      uint32
	EBX      uint32
	ECX      uint32
	EDX      uint32
	_        [3]uint32
}

// CPUIDSignificantIndex is a flag of CPUIDEntry: the leaf has subleaves.
//
//abi:check
const CPUIDSignificantIndex uint32 = 1 << 0 // KVM_CPUID_FLAG_SIGNIFCANT_INDEX

//abi:check struct kvm_cpuid2
type cpuidHeader struct {
	_       structs.HostLayout
	Nent    uint32
	Padding uint32
}

// LAPIC is the register page of the local APIC (Intel SDM volume 3, 12.4.1).
//
//abi:check struct kvm_lapic_state
type LAPIC struct {
	_    structs.HostLayout
	Regs [1024]uint8
}

// MPState says whether a vCPU runs, waits to be started, or is halted.
type MPState uint32

// Values of MPState.
//
//abi:check
const (
	MPRunnable      MPState = 0 // KVM_MP_STATE_RUNNABLE
	MPUninitialized MPState = 1 // KVM_MP_STATE_UNINITIALIZED
	MPInitReceived  MPState = 2 // KVM_MP_STATE_INIT_RECEIVED
	MPHalted        MPState = 3 // KVM_MP_STATE_HALTED
	MPSIPIReceived  MPState = 4 // KVM_MP_STATE_SIPI_RECEIVED
	MPAPResetHold   MPState = 9 // KVM_MP_STATE_AP_RESET_HOLD
)

//abi:check struct kvm_mp_state
type mpState struct {
	_       structs.HostLayout
	MPState uint32
}

// Flags of Events: which of its parts VCPU.SetEvents sets.
//
//abi:check
const (
	EventsNMIPending  uint32 = 0x01 // KVM_VCPUEVENT_VALID_NMI_PENDING
	EventsSIPIVector  uint32 = 0x02 // KVM_VCPUEVENT_VALID_SIPI_VECTOR
	EventsShadow      uint32 = 0x04 // KVM_VCPUEVENT_VALID_SHADOW
	EventsSMM         uint32 = 0x08 // KVM_VCPUEVENT_VALID_SMM
	EventsPayload     uint32 = 0x10 // KVM_VCPUEVENT_VALID_PAYLOAD
	EventsTripleFault uint32 = 0x20 // KVM_VCPUEVENT_VALID_TRIPLE_FAULT
)

// Events are exceptions, interrupts, NMIs and SMIs that are on their way into
// the guest.
//
//abi:check struct kvm_vcpu_events
type Events struct {
	_                     structs.HostLayout
	ExceptionInjected     uint8  `abi:"exception.injected"`
	ExceptionNr           uint8  `abi:"exception.nr"`
	ExceptionHasErrorCode uint8  `abi:"exception.has_error_code"`
	ExceptionPending      uint8  `abi:"exception.pending"`
	ExceptionErrorCode    uint32 `abi:"exception.error_code"`
	InterruptInjected     uint8  `abi:"interrupt.injected"`
	InterruptNr           uint8  `abi:"interrupt.nr"`
	InterruptSoft         uint8  `abi:"interrupt.soft"`
	InterruptShadow       uint8  `abi:"interrupt.shadow"`
	NMIInjected           uint8  `abi:"nmi.injected"`
	NMIPending            uint8  `abi:"nmi.pending"`
	NMIMasked             uint8  `abi:"nmi.masked"`
	NMIPad                uint8  `abi:"nmi.pad"`
	SIPIVector            uint32
	Flags                 uint32
	SMM                   uint8     `abi:"smi.smm"`
	SMIPending            uint8     `abi:"smi.pending"`
	SMMInsideNMI          uint8     `abi:"smi.smm_inside_nmi"`
	LatchedInit           uint8     `abi:"smi.latched_init"`
	TripleFaultPending    uint8     `abi:"triple_fault.pending"`
	Reserved              [26]uint8 `json:"-"`
	ExceptionHasPayload   uint8
	ExceptionPayload      uint64
}

// DebugRegs are the debug registers.
//
//abi:check struct kvm_debugregs
type DebugRegs struct {
	_        structs.HostLayout
	DB       [4]uint64
	DR6      uint64
	DR7      uint64
	Flags    uint64
	Reserved [9]uint64 `json:"-"`
}

// xsave is the extended state that every host has; more follows it where
// processors have more.
//
//abi:check struct kvm_xsave
type xsave struct {
	_      structs.HostLayout
	Region [1024]uint32
}

// XCR is an extended control register.
//
//abi:check struct kvm_xcr
type XCR struct {
	_        structs.HostLayout
	Xcr      uint32
	Reserved uint32
	Value    uint64
}

// XCRs are the extended control registers, of which processors have one:
// XCR0.
//
//abi:check struct kvm_xcrs
type XCRs struct {
	_       structs.HostLayout
	NrXcrs  uint32
	Flags   uint32
	Xcrs    [16]XCR
	Padding [16]uint64 `json:"-"`
}

// Translation is how the guest's page tables translate an address.
//
//abi:check struct kvm_translation
type Translation struct {
	_               structs.HostLayout
	LinearAddress   uint64
	PhysicalAddress uint64
	Valid           uint8
	Writeable       uint8
	Usermode        uint8
	Pad             [5]uint8
}

//abi:check struct kvm_pre_fault_memory
type preFaultMemory struct {
	_       structs.HostLayout
	Gpa     uint64
	Size    uint64 // bytes
	Flags   uint64
	Padding [5]uint64
}
