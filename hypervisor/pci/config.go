package pci

// Offsets in type 0 configuration space (PCI Local Bus Specification 3.0, 6.1).
const (
	regVendorID     = 0x00 // 16 bits
	regDeviceID     = 0x02 // 16 bits
	regCommand      = 0x04 // 16 bits
	regStatus       = 0x06 // 16 bits
	regRevision     = 0x08 // 8 bits
	regClass        = 0x09 // 24 bits
	regBAR          = 0x10 // six of 32 bits
	regSubVendorID  = 0x2c // 16 bits
	regSubsystemID  = 0x2e // 16 bits
	regCapabilities = 0x34 // 8 bits
	regInterrupt    = 0x3c // line: 8 bits that only software uses
	headerSize      = 0x40

	legacyConfigSize = 0x100  // capabilities fit in here
	ConfigSize       = 0x1000 // bytes of configuration space of a function
)

// Bits of the command register.
const (
	CommandMemory      = 1 << 1  // BARs are decoded
	CommandBusMaster   = 1 << 2  // the function may access memory and signal MSI-X
	CommandIntxDisable = 1 << 10 // no effect: there are no interrupt pins
)

const statusCapabilities = 1 << 4 // the capability list is present

// Bits of a memory BAR.
const (
	barType64       = 0b10 << 1
	barPrefetchable = 1 << 3
	barFlags        = 0xf
	numBARs         = 6
)

// Capability IDs (PCI Code and ID Assignment Specification).
const (
	CapVendor = 0x09
	CapMSIX   = 0x11
)

// Layout of a bus in ECAM.
const (
	MaxSlots         = 32
	functionsPerSlot = 8
	busSize          = MaxSlots * functionsPerSlot * ConfigSize
)
