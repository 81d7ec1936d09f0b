package kvm

import "structs"

// Flags of VM.SetMemory.
//
//abi:check
const (
	MemLogDirtyPages uint32 = 1 << 0 // KVM_MEM_LOG_DIRTY_PAGES
	MemReadOnly      uint32 = 1 << 1 // KVM_MEM_READONLY
)

//abi:check
const (
	irqfdDeassign       = 1 << 0 // KVM_IRQFD_FLAG_DEASSIGN
	ioeventDataMatch    = 1 << 0 // KVM_IOEVENTFD_FLAG_DATAMATCH
	ioeventPIO          = 1 << 1 // KVM_IOEVENTFD_FLAG_PIO
	ioeventDeassign     = 1 << 2 // KVM_IOEVENTFD_FLAG_DEASSIGN
	routingMSI          = 2      // KVM_IRQ_ROUTING_MSI
	manualProtectEnable = 1 << 0 // KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE
)

// Flags of ClockData.
//
//abi:check
const (
	ClockTSCStable uint32 = 2      // KVM_CLOCK_TSC_STABLE
	ClockRealtime  uint32 = 1 << 2 // KVM_CLOCK_REALTIME
	ClockHostTSC   uint32 = 1 << 3 // KVM_CLOCK_HOST_TSC
)

//abi:check struct kvm_userspace_memory_region
type userspaceMemoryRegion struct {
	_             structs.HostLayout
	Slot          uint32
	Flags         uint32
	GuestPhysAddr uint64
	MemorySize    uint64 // bytes; 0 removes the slot
	UserspaceAddr uint64
}

//abi:check struct kvm_dirty_log
type dirtyLog struct {
	_           structs.HostLayout
	Slot        uint32
	Padding1    uint32
	DirtyBitmap uint64 // address in this process
}

//abi:check struct kvm_clear_dirty_log
type clearDirtyLog struct {
	_           structs.HostLayout
	Slot        uint32
	NumPages    uint32
	FirstPage   uint64
	DirtyBitmap uint64 // address in this process
}

//abi:check struct kvm_enable_cap
type enableCap struct {
	_     structs.HostLayout
	Cap   uint32
	Flags uint32
	Args  [4]uint64
	Pad   [64]uint8
}

//abi:check struct kvm_irqfd
type irqfd struct {
	_          structs.HostLayout
	Fd         uint32
	Gsi        uint32
	Flags      uint32
	Resamplefd uint32
	Pad        [16]uint8
}

//abi:check struct kvm_ioeventfd
type ioeventfd struct {
	_         structs.HostLayout
	Datamatch uint64
	Addr      uint64
	Len       uint32
	Fd        int32
	Flags     uint32
	Pad       [36]uint8
}

//abi:check struct kvm_irq_routing_msi
type irqRoutingMSI struct {
	_         structs.HostLayout
	AddressLo uint32
	AddressHi uint32
	Data      uint32
	Devid     uint32
}

//abi:check struct kvm_irq_routing_entry
type irqRoutingEntry struct {
	_     structs.HostLayout
	Gsi   uint32
	Type  uint32
	Flags uint32
	Pad   uint32
	MSI   irqRoutingMSI `abi:"u.msi"`
	_     [16]uint8     // the union is as large as its largest member
}

//abi:check struct kvm_irq_routing
type irqRouting struct {
	_     structs.HostLayout
	Nr    uint32
	Flags uint32
}

//abi:check struct kvm_msi
type msi struct {
	_         structs.HostLayout
	AddressLo uint32
	AddressHi uint32
	Data      uint32
	Flags     uint32
	Devid     uint32
	Pad       [12]uint8
}

// ClockData is the guest's kvmclock.
//
//abi:check struct kvm_clock_data
type ClockData struct {
	_        structs.HostLayout
	Clock    uint64 // nanoseconds
	Flags    uint32 // of which of the following are valid
	Pad0     uint32
	Realtime uint64 // host's CLOCK_REALTIME at the same moment, nanoseconds
	HostTSC  uint64 // host's time stamp counter at the same moment
	Pad      [4]uint32
}
