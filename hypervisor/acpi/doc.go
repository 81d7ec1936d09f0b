// Package acpi writes the tables that tell a guest what its machine consists of
// (ACPI Specification 6.5, hardware-reduced).
//
//	RSDP -> XSDT -> FADT -> DSDT   how to sleep and reset; the devices
//	             -> MADT           local APICs and the I/O APIC
//	             -> MCFG           where PCI configuration space is
//
// There is no fixed hardware: no power management timer, no SCI, no legacy
// interrupt controllers and timers, which the FADT says so that a guest does not
// look for them. The power button is a device of its own, notified through a
// Generic Event Device.
//
// The DSDT is machine code for the guest's ACPI interpreter (AML, section 20),
// made by a small encoder that knows the terms used here and no others.
package acpi
