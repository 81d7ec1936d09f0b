package kvm

import "structs"

// runPage is the memory that a vCPU shares with the kernel. The kernel writes
// it before KVM_RUN returns; only ImmediateExit is for another thread to write.
//
//abi:check struct kvm_run
type runPage struct {
	_                          structs.HostLayout
	RequestInterruptWindow     uint8
	ImmediateExit              uint8
	Padding1                   [6]uint8
	ExitReason                 uint32
	ReadyForInterruptInjection uint8
	IfFlag                     uint8
	Flags                      uint16
	CR8                        uint64
	APICBase                   uint64
	Exit                       [32]uint64 `abi:"padding"` // one of the structs below
	KVMValidRegs               uint64
	KVMDirtyRegs               uint64
	Sync                       [256]uint64 `abi:"s"`
}

//abi:check struct kvm_run io
type runIO struct {
	_          structs.HostLayout
	Direction  uint8
	Size       uint8
	Port       uint16
	Count      uint32
	DataOffset uint64 // from the start of the run page
}

//abi:check
const (
	ioIn  = 0 // KVM_EXIT_IO_IN
	ioOut = 1 // KVM_EXIT_IO_OUT
)

//abi:check struct kvm_run mmio
type runMMIO struct {
	_        structs.HostLayout
	PhysAddr uint64
	Data     [8]uint8
	Len      uint32
	IsWrite  uint8
}

//abi:check struct kvm_run hw
type runHardware struct {
	_                  structs.HostLayout
	HardwareExitReason uint64
}

//abi:check struct kvm_run fail_entry
type runFailEntry struct {
	_                          structs.HostLayout
	HardwareEntryFailureReason uint64
	CPU                        uint32
}

//abi:check struct kvm_run internal
type runInternal struct {
	_        structs.HostLayout
	Suberror uint32
	Ndata    uint32
	Data     [16]uint64
}

//abi:check struct kvm_run emulation_failure
type runEmulationFailure struct {
	_         structs.HostLayout
	Suberror  uint32
	Ndata     uint32
	Flags     uint64
	InsnSize  uint8
	InsnBytes [15]uint8
}

//abi:check struct kvm_run system_event
type runSystemEvent struct {
	_     structs.HostLayout
	Type  uint32
	Ndata uint32
	Data  [16]uint64
}

//abi:check struct kvm_run eoi
type runEOI struct {
	_      structs.HostLayout
	Vector uint8
}

//abi:check struct kvm_run memory_fault
type runMemoryFault struct {
	_     structs.HostLayout
	Flags uint64
	Gpa   uint64
	Size  uint64
}
