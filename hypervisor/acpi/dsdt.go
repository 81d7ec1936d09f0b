package acpi

import (
	"fmt"

	"gozen/hypervisor/platform"
)

// notifyPressed is what a button's driver is notified of (ACPI 6.5, 5.6.6).
const notifyPressed = 0x80

// dsdtBody is the AML of the machine's devices.
func dsdtBody(vcpus int) []byte {
	devices := []term{
		hostBridge(),
		motherboard(),
		device("PWRB", name("_HID", eisaID("PNP0C0C"))),
		genericEventDevice(),
		device("PVPN", // reports a panic of the guest's kernel
			name("_HID", str("QEMU0001")),
			name("_CRS", resources(ports(platform.PortPVPanic, 1))),
		),
	}
	for i := range vcpus {
		devices = append(devices, device(fmt.Sprintf("C%03X", i),
			name("_HID", str("ACPI0007")),
			name("_UID", integer(uint64(i))), // matches the MADT's
		))
	}
	return join(
		// Soft off: the value for the sleep control register.
		name(`\_S5`, pkg(integer(platform.SleepTypS5), integer(0), integer(0), integer(0))),
		scope(`\_SB`, devices...),
	)
}

func hostBridge() term {
	return device("PCI0",
		name("_HID", eisaID("PNP0A08")),
		name("_CID", eisaID("PNP0A03")),
		name("_SEG", integer(0)),
		name("_BBN", integer(0)),
		name("_UID", integer(0)),
		name("_CRS", resources(
			busNumbers(0, platform.ECAMBuses-1),
			window32(platform.PCIWindow32Base, platform.PCIWindow32Size),
			window64(platform.PCIWindow64Base, platform.PCIWindow64Size),
		)),
		pciControl(),
	)
}

// pciControl is _OSC of the host bridge (PCI Firmware Specification 3.3, 4.5.1):
// the guest may handle natively whatever it asks for.
func pciControl() term {
	const (
		unknownUUID     = 1 << 2
		unknownRevision = 1 << 3
		allControls     = 0x1f // hot-plug of both kinds, PME, AER, capability structure
	)
	pciUUID := uuid(0x33db4d5b, 0x1ff7, 0x401c, [8]byte{0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66})
	return method("_OSC", 4, true,
		dwordField(arg(3), 0, "CDW1"),
		ifThen(equal(arg(0), pciUUID),
			ifThen(not(equal(arg(1), integer(1))),
				or(path("CDW1"), integer(unknownRevision), path("CDW1")),
			),
			dwordField(arg(3), 8, "CDW3"),
			and(path("CDW3"), integer(allControls), path("CDW3")),
		),
		otherwise(
			or(path("CDW1"), integer(unknownUUID), path("CDW1")),
		),
		ret(arg(3)),
	)
}

// motherboard reserves the range of configuration space, which the PCI Firmware
// Specification (4.1.2) wants outside the host bridge's own resources.
func motherboard() term {
	return device("MBRD",
		name("_HID", eisaID("PNP0C02")),
		name("_CRS", resources(fixedMemory(platform.ECAMBase, platform.ECAMSize))),
	)
}

// genericEventDevice turns the interrupt of package power into notifications
// (ACPI 6.5, 5.6.9). Reading the register takes the events.
func genericEventDevice() term {
	return device("GED",
		name("_HID", str("ACPI0013")),
		name("_UID", integer(0)),
		name("_CRS", resources(edgeInterrupt(platform.GEDPin))),
		portRegion("GEDR", platform.PortGED, "PEND"),
		method("_EVT", 1, true,
			store(path("PEND"), local(0)),
			ifThen(and(local(0), integer(platform.GEDPowerButton), term{opZero}),
				notify(`\_SB.PWRB`, notifyPressed),
			),
		),
	)
}
