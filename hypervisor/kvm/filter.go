package kvm

// GuestRequests are the ioctl requests that a guest needs from its start to its
// end, once it has been built: what a system call filter has to let through.
// Those that build a VM are not among them.
func GuestRequests() []uint32 {
	return []uint32{
		ioctlRun,
		// Each time a vCPU is resumed.
		ioctlKVMClockCtrl,
		// Interrupts and doorbells follow what the guest's drivers set up.
		ioctlSetGSIRouting, ioctlIRQFD, ioctlSignalMSI, ioctlIOEventFD,
		// Registers of a vCPU that cannot go on, for the message.
		ioctlGetRegs, ioctlGetSRegs,
	}
}
