package net

// Feature bits (virtio 1.2, section 5.1.3).
const (
	featureCsum      uint64 = 1 << 0  // the host completes checksums
	featureGuestCsum uint64 = 1 << 1  // the guest takes incomplete checksums
	featureMTU       uint64 = 1 << 3  // configuration space has an MTU
	featureMAC       uint64 = 1 << 5  // configuration space has an address
	featureGuestTSO4 uint64 = 1 << 7  // the guest takes large TCP/IPv4 frames
	featureGuestTSO6 uint64 = 1 << 8  // the guest takes large TCP/IPv6 frames
	featureHostTSO4  uint64 = 1 << 11 // the host segments TCP/IPv4
	featureHostTSO6  uint64 = 1 << 12 // the host segments TCP/IPv6
	featureMrgRxbuf  uint64 = 1 << 15 // a received frame may fill several buffers
	featureStatus    uint64 = 1 << 16 // configuration space has a link status
)

// Queues (virtio 1.2, section 5.1.2).
const (
	queueReceive  = 0
	queueTransmit = 1
	queueCount    = 2
	queueSize     = 256
)

// The header before each frame, struct virtio_net_hdr_v1 (virtio 1.2, section
// 5.1.6), by the offsets of its fields.
const (
	headerBytes = 12

	headerFlags      = 0 // 8 bits
	headerGSOType    = 1 // 8 bits
	headerHdrLen     = 2
	headerGSOSize    = 4
	headerCsumStart  = 6
	headerCsumOffset = 8
	headerNumBuffers = 10
)

// Values of headerFlags.
const (
	flagNeedsCsum = 1
	flagDataValid = 2
)

// Values of headerGSOType.
const (
	gsoNone  = 0
	gsoTCPv4 = 1
	gsoTCPv6 = 4
)

// Sizes of frames in bytes, without the virtio-net header.
const (
	ethernetHeader = 14
	vlanTag        = 4
	minFrame       = ethernetHeader
	// maxFrame is the largest IP packet in a tagged frame.
	maxFrame = ethernetHeader + vlanTag + 65535
)

// Configuration space (virtio 1.2, section 5.1.4) by the offsets of its fields.
const (
	configMAC      = 0
	configStatus   = 6
	configMaxPairs = 8
	configMTU      = 10
	configBytes    = 12

	statusLinkUp = 1
)
