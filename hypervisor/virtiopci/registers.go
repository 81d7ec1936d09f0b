package virtiopci

// Vendor and device numbers (virtio 1.2, 4.1.2).
const (
	vendorID     = 0x1af4
	deviceIDBase = 0x1040 // plus the virtio device type
	revision     = 1
)

// Layout of the BAR: a page each.
const (
	barIndex = 0
	barSize  = 0x8000

	commonOff = 0x0000
	isrOff    = 0x1000
	deviceOff = 0x2000
	notifyOff = 0x3000
	tableOff  = 0x4000
	pbaOff    = 0x5000
	pageSize  = 0x1000

	commonSize       = 0x3c // struct virtio_pci_common_cfg up to queue_reset
	isrSize          = 1
	deviceSize       = pageSize
	notifyMultiplier = 4 // bytes between the notification registers of two queues
)

// maxQueues keeps the MSI-X table and the notification registers inside their
// pages: one table entry a queue and one for the configuration.
const maxQueues = pageSize/msixEntrySize - 1

// Fields of the common configuration (virtio 1.2, 4.1.4.3).
const (
	regDeviceFeatureSelect = 0x00 // 32 bits, read-write
	regDeviceFeature       = 0x04 // 32 bits
	regDriverFeatureSelect = 0x08 // 32 bits, read-write
	regDriverFeature       = 0x0c // 32 bits, read-write
	regConfigVector        = 0x10 // 16 bits, read-write
	regNumQueues           = 0x12 // 16 bits
	regStatus              = 0x14 // 8 bits, read-write
	regGeneration          = 0x15 // 8 bits
	regQueueSelect         = 0x16 // 16 bits, read-write
	regQueueSize           = 0x18 // 16 bits, read-write
	regQueueVector         = 0x1a // 16 bits, read-write
	regQueueEnable         = 0x1c // 16 bits, read-write
	regQueueNotifyOff      = 0x1e // 16 bits
	regQueueDesc           = 0x20 // 64 bits, read-write
	regQueueDriver         = 0x28 // 64 bits, read-write
	regQueueDevice         = 0x30 // 64 bits, read-write
	regQueueNotifyData     = 0x38 // 16 bits
	regQueueReset          = 0x3a // 16 bits, not offered
)

// Device status (virtio 1.2, 2.1).
const (
	statusAcknowledge = 1
	statusDriver      = 2
	statusDriverOK    = 4
	statusFeaturesOK  = 8
	statusNeedsReset  = 64
	statusFailed      = 128
)

// Bits of the ISR byte (virtio 1.2, 4.1.4.5).
const (
	isrQueue  = 1
	isrConfig = 2
)

// noVector is VIRTIO_MSI_NO_VECTOR.
const noVector = 0xffff

// Types of virtio's PCI capabilities (virtio 1.2, 4.1.4).
const (
	capCommon = 1
	capNotify = 2
	capISR    = 3
	capDevice = 4
	capPCICfg = 5
)

// MSI-X (PCI Local Bus Specification 3.0, 6.8.2).
const (
	msixEntrySize = 16

	msixEnable       = 1 << 15 // message control
	msixFunctionMask = 1 << 14
	msixEntryMask    = 1 << 0 // vector control
)
