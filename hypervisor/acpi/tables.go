package acpi

import (
	"encoding/binary"
	"fmt"

	"gozen/hypervisor/platform"
)

// Base is where the tables start: the RSDP, where guests without another hint
// look for it (ACPI 6.5, 5.2.5.1). Limit is the address behind the last byte
// that tables may take.
const (
	Base  = 0xe0000
	Limit = 0x100000
)

// Config is what the tables depend on.
type Config struct {
	VCPUs int // 1 to platform.MaxVCPUs, with APIC identifiers from 0
}

// Blob is memory that the guest must find filled.
type Blob struct {
	Name string
	Addr uint64 // guest-physical
	Data []byte
}

// Tables are the tables of a machine.
type Tables struct {
	RSDP  uint64 // guest-physical address of the root pointer
	Blobs []Blob // in rising order of address, inside Base and Limit
}

// Build writes the tables.
func Build(cfg Config) (*Tables, error) {
	if cfg.VCPUs < 1 || cfg.VCPUs > platform.MaxVCPUs {
		return nil, fmt.Errorf("ACPI tables for %d vCPUs: there are 1 to %d", cfg.VCPUs, platform.MaxVCPUs)
	}
	t := &Tables{RSDP: Base}
	next := uint64(Base + 64) // behind the RSDP
	place := func(name string, data []byte) uint64 {
		addr := next
		t.Blobs = append(t.Blobs, Blob{name, addr, data})
		next = (addr + uint64(len(data)) + 63) &^ 63
		return addr
	}
	dsdt := place("DSDT", table("DSDT", 2, dsdtBody(cfg.VCPUs)))
	pointed := []uint64{
		place("FACP", table("FACP", 6, fadtBody(dsdt))),
		place("APIC", table("APIC", 5, madtBody(cfg.VCPUs))),
		place("MCFG", table("MCFG", 1, mcfgBody())),
	}
	var xsdt []byte
	for _, addr := range pointed {
		xsdt = binary.LittleEndian.AppendUint64(xsdt, addr)
	}
	root := place("XSDT", table("XSDT", 1, xsdt))
	if next > Limit {
		return nil, fmt.Errorf("ACPI tables take %d bytes, there are %d", next-Base, Limit-Base)
	}
	t.Blobs = append([]Blob{{"RSDP", Base, rsdp(root)}}, t.Blobs...)
	return t, nil
}

const (
	headerSize = 36
	oemID      = "GOZEN "
	oemTable   = "GOZEN-1 "
	creator    = "GOZN"
)

// table puts the common header in front of a body (ACPI 6.5, 5.2.6).
func table(signature string, revision byte, body []byte) []byte {
	le := binary.LittleEndian
	t := le.AppendUint32([]byte(signature), uint32(headerSize+len(body)))
	t = append(t, revision, 0)
	t = append(t, oemID+oemTable...)
	t = le.AppendUint32(t, 1)
	t = append(t, creator...)
	t = le.AppendUint32(t, 1)
	t = append(t, body...)
	t[9] = checksum(t)
	return t
}

// checksum is the byte that makes the sum of all bytes zero, where it was zero.
func checksum(b []byte) byte {
	var sum byte
	for _, v := range b {
		sum += v
	}
	return -sum
}

// rsdp is the root pointer (5.2.5.3).
func rsdp(xsdt uint64) []byte {
	r := make([]byte, 36)
	copy(r, "RSD PTR ")
	copy(r[9:], oemID)
	r[15] = 2 // revision
	binary.LittleEndian.PutUint32(r[20:], uint32(len(r)))
	binary.LittleEndian.PutUint64(r[24:], xsdt)
	r[8] = checksum(r[:20])
	r[32] = checksum(r)
	return r
}

// Offsets in the FADT (5.2.9), less the header.
const (
	fadtDSDT         = 40 - headerSize
	fadtProfile      = 45 - headerSize
	fadtBootArch     = 109 - headerSize
	fadtFlags        = 112 - headerSize
	fadtResetReg     = 116 - headerSize
	fadtResetValue   = 128 - headerSize
	fadtMinor        = 131 - headerSize
	fadtXDSDT        = 140 - headerSize
	fadtSleepControl = 244 - headerSize
	fadtSleepStatus  = 256 - headerSize
	fadtHypervisor   = 268 - headerSize
	fadtSize         = 276 - headerSize

	profileServer = 4

	// Not there: VGA, ASPM, a real-time clock. The bits for legacy devices and a
	// keyboard controller, which would be there, are clear.
	bootArch = 1<<2 | 1<<4 | 1<<5

	flagWBINVD      = 1 << 0
	flagC1          = 1 << 2
	flagPowerButton = 1 << 4 // no fixed power button: it is a device
	flagSleepButton = 1 << 5
	flagReset       = 1 << 10
	flagReduced     = 1 << 20
)

func fadtBody(dsdt uint64) []byte {
	le := binary.LittleEndian
	f := make([]byte, fadtSize)
	le.PutUint32(f[fadtDSDT:], uint32(dsdt))
	f[fadtProfile] = profileServer
	le.PutUint16(f[fadtBootArch:], bootArch)
	le.PutUint32(f[fadtFlags:], flagWBINVD|flagC1|flagPowerButton|flagSleepButton|flagReset|flagReduced)
	copy(f[fadtResetReg:], bytePort(platform.PortReset))
	f[fadtResetValue] = platform.ResetValue
	f[fadtMinor] = 5
	le.PutUint64(f[fadtXDSDT:], dsdt)
	copy(f[fadtSleepControl:], bytePort(platform.PortSleepControl))
	copy(f[fadtSleepStatus:], bytePort(platform.PortSleepStatus))
	copy(f[fadtHypervisor:], "GOZEN")
	return f
}

// bytePort is the generic address (5.2.3.2) of a port of 8 bits.
func bytePort(port uint64) []byte {
	const systemIO, byteAccess = 1, 1
	return binary.LittleEndian.AppendUint64([]byte{systemIO, 8, 0, byteAccess}, port)
}

// madtBody lists the interrupt controllers (5.2.12).
func madtBody(vcpus int) []byte {
	const localAPIC, ioAPIC, enabled = 0, 1, 1
	le := binary.LittleEndian
	b := le.AppendUint32(nil, platform.LAPICBase)
	b = le.AppendUint32(b, 0) // no pair of 8259s
	for i := range vcpus {
		b = append(b, localAPIC, 8, byte(i), byte(i)) // processor's _UID, APIC identifier
		b = le.AppendUint32(b, enabled)
	}
	b = append(b, ioAPIC, 12, 0, 0)
	b = le.AppendUint32(b, platform.IOAPICBase)
	return le.AppendUint32(b, 0) // its first global system interrupt
}

// mcfgBody says where configuration space is (PCI Firmware Specification 3.3,
// 4.1.2).
func mcfgBody() []byte {
	le := binary.LittleEndian
	b := le.AppendUint64(make([]byte, 8), platform.ECAMBase)
	b = append(b, 0, 0, 0, platform.ECAMBuses-1) // segment 0, first and last bus
	return append(b, 0, 0, 0, 0)
}
