package power

import "gozen/hypervisor/platform"

// ResetVector is what stands at platform.ResetVector, where a processor begins
// after power-on and where a BIOS would be: real-mode code that asks for a
// reset. Linux jumps there to reboot when ACPI is hardware-reduced and there is
// no EFI, without looking at the reset register first.
var ResetVector = []byte{
	0xba, byte(platform.PortReset & 0xff), platform.PortReset >> 8, // mov dx, PortReset
	0xb0, platform.ResetValue, // mov al, ResetValue
	0xee,       // out dx, al
	0xf4,       // hlt
	0xeb, 0xfd, // jmp back to hlt
}
