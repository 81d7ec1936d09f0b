package kvm

// apiVersion is the only version of the interface there will be.
//
//abi:check
const apiVersion = 12 // KVM_API_VERSION

// Requests of ioctl(2), from linux/kvm.h.
//
//abi:check
const (
	// Of /dev/kvm.
	ioctlGetAPIVersion     = 0xae00     // KVM_GET_API_VERSION
	ioctlCreateVM          = 0xae01     // KVM_CREATE_VM
	ioctlGetMSRIndexList   = 0xc004ae02 // KVM_GET_MSR_INDEX_LIST
	ioctlCheckExtension    = 0xae03     // KVM_CHECK_EXTENSION
	ioctlGetVCPUMmapSize   = 0xae04     // KVM_GET_VCPU_MMAP_SIZE
	ioctlGetSupportedCPUID = 0xc008ae05 // KVM_GET_SUPPORTED_CPUID

	// Of a VM.
	ioctlCreateVCPU          = 0xae41     // KVM_CREATE_VCPU
	ioctlGetDirtyLog         = 0x4010ae42 // KVM_GET_DIRTY_LOG
	ioctlSetUserMemoryRegion = 0x4020ae46 // KVM_SET_USER_MEMORY_REGION
	ioctlSetTSSAddr          = 0xae47     // KVM_SET_TSS_ADDR
	ioctlSetIdentityMapAddr  = 0x4008ae48 // KVM_SET_IDENTITY_MAP_ADDR
	ioctlSetGSIRouting       = 0x4008ae6a // KVM_SET_GSI_ROUTING
	ioctlIRQFD               = 0x4020ae76 // KVM_IRQFD
	ioctlIOEventFD           = 0x4040ae79 // KVM_IOEVENTFD
	ioctlSetClock            = 0x4030ae7b // KVM_SET_CLOCK
	ioctlGetClock            = 0x8030ae7c // KVM_GET_CLOCK
	ioctlEnableCap           = 0x4068aea3 // KVM_ENABLE_CAP
	ioctlSignalMSI           = 0x4020aea5 // KVM_SIGNAL_MSI
	ioctlClearDirtyLog       = 0xc018aec0 // KVM_CLEAR_DIRTY_LOG

	// Of a VM or a vCPU.
	ioctlGetStatsFD = 0xaece // KVM_GET_STATS_FD

	// Of a vCPU.
	ioctlRun            = 0xae80     // KVM_RUN
	ioctlGetRegs        = 0x8090ae81 // KVM_GET_REGS
	ioctlSetRegs        = 0x4090ae82 // KVM_SET_REGS
	ioctlGetSRegs       = 0x8138ae83 // KVM_GET_SREGS
	ioctlSetSRegs       = 0x4138ae84 // KVM_SET_SREGS
	ioctlTranslate      = 0xc018ae85 // KVM_TRANSLATE
	ioctlGetMSRs        = 0xc008ae88 // KVM_GET_MSRS
	ioctlSetMSRs        = 0x4008ae89 // KVM_SET_MSRS
	ioctlGetFPU         = 0x81a0ae8c // KVM_GET_FPU
	ioctlSetFPU         = 0x41a0ae8d // KVM_SET_FPU
	ioctlGetLAPIC       = 0x8400ae8e // KVM_GET_LAPIC
	ioctlSetLAPIC       = 0x4400ae8f // KVM_SET_LAPIC
	ioctlSetCPUID2      = 0x4008ae90 // KVM_SET_CPUID2
	ioctlGetCPUID2      = 0xc008ae91 // KVM_GET_CPUID2
	ioctlGetMPState     = 0x8004ae98 // KVM_GET_MP_STATE
	ioctlSetMPState     = 0x4004ae99 // KVM_SET_MP_STATE
	ioctlNMI            = 0xae9a     // KVM_NMI
	ioctlSetupMCE       = 0x4008ae9c // KVM_X86_SETUP_MCE
	ioctlGetVCPUEvents  = 0x8040ae9f // KVM_GET_VCPU_EVENTS
	ioctlSetVCPUEvents  = 0x4040aea0 // KVM_SET_VCPU_EVENTS
	ioctlGetDebugRegs   = 0x8080aea1 // KVM_GET_DEBUGREGS
	ioctlSetDebugRegs   = 0x4080aea2 // KVM_SET_DEBUGREGS
	ioctlSetTSCKHz      = 0xaea2     // KVM_SET_TSC_KHZ
	ioctlGetTSCKHz      = 0xaea3     // KVM_GET_TSC_KHZ
	ioctlSetXSave       = 0x5000aea5 // KVM_SET_XSAVE
	ioctlGetXCRs        = 0x8188aea6 // KVM_GET_XCRS
	ioctlSetXCRs        = 0x4188aea7 // KVM_SET_XCRS
	ioctlKVMClockCtrl   = 0xaead     // KVM_KVMCLOCK_CTRL
	ioctlGetSRegs2      = 0x8140aecc // KVM_GET_SREGS2
	ioctlSetSRegs2      = 0x4140aecd // KVM_SET_SREGS2
	ioctlPreFaultMemory = 0xc040aed5 // KVM_PRE_FAULT_MEMORY
	ioctlGetXSave2      = 0x9000aecf // KVM_GET_XSAVE2
)
