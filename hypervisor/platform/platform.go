package platform

// Guest-physical address map.
const (
	// ResetVector is where processors begin in real mode, f000:fff0.
	ResetVector = 0xf_fff0

	LowRAMEnd = 0xc000_0000 // RAM below 4 GiB ends here at the latest

	PCIWindow32Base = 0xc000_0000
	PCIWindow32Size = 0x2000_0000

	ECAMBase  = 0xe000_0000
	ECAMBuses = 1 // Linux looks at every slot of every bus it hears of, at an exit each
	ECAMSize  = ECAMBuses << 20

	IOAPICBase = 0xfec0_0000
	IOAPICSize = 0x1000
	LAPICBase  = 0xfee0_0000

	KVMIdentityMap = 0xfffb_c000 // one page
	KVMTSS         = 0xfffb_d000 // three pages

	HighRAMBase = 0x1_0000_0000

	PCIWindow64Base = 0x40_0000_0000
	PCIWindow64Size = 0x20_0000_0000

	// MaxRAM is all that fits between the windows, in bytes.
	MaxRAM = LowRAMEnd + PCIWindow64Base - HighRAMBase
)

// MaxVCPUs is bounded by 8-bit APIC identifiers, of which 255 is broadcast.
const MaxVCPUs = 254

// I/O ports.
const (
	PortSleepControl = 0x600 // ACPI 6.5, 4.8.3.7: SLP_EN and SLP_TYP
	PortSleepStatus  = 0x601
	PortReset        = 0x604 // a write of ResetValue resets
	PortGED          = 0x608 // 32 bits: pending events, cleared by reading
	PortPVPanic      = 0x505 // QEMU's pvpanic specification, ACPI id QEMU0001
	PortEarlySerial  = 0x3f8 // transmit-only 8250, when asked for
)

// Values of those ports.
const (
	ResetValue = 0x01
	SleepTypS5 = 5 // SLP_TYP of the soft-off state

	GEDPowerButton = 1 << 0
)

// I/O APIC.
const (
	IOAPICPins = 5 // as few as can be: Linux reads and writes each one several times at boot, an exit each
	GEDPin     = 4 // global system interrupt of the Generic Event Device, edge
)
