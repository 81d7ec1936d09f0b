package abi

// A table says what a package's numbers are called in C. It is for packages that
// describe an interface by offsets and bits of their own choice.
type table struct {
	constants map[string]string // Go name to C expression
	structs   map[string]cStruct
	files     []string // every constant in these is in constants or in own
	own       []string // not the kernel's: limits, and what the headers do not name
}

// cStruct is the C counterpart of a Go struct.
type cStruct struct {
	cType  string
	prefix bool              // the C struct goes on
	rename map[string]string // Go field to C field
}

// bit is the feature with the given bit number.
func bit(name string) string { return "1ULL << " + name }

// offset is where a field is in a struct.
func offset(typ, field string) string { return "__builtin_offsetof(struct " + typ + ", " + field + ")" }

var tables = map[string]table{
	"pvdrivers/virtio": {
		constants: map[string]string{
			"IDNet":               "VIRTIO_ID_NET",
			"IDBlock":             "VIRTIO_ID_BLOCK",
			"IDConsole":           "VIRTIO_ID_CONSOLE",
			"IDEntropy":           "VIRTIO_ID_RNG",
			"IDVsock":             "VIRTIO_ID_VSOCK",
			"FeatureIndirectDesc": bit("VIRTIO_RING_F_INDIRECT_DESC"),
			"FeatureEventIdx":     bit("VIRTIO_RING_F_EVENT_IDX"),
			"FeatureVersion1":     bit("VIRTIO_F_VERSION_1"),
			"FeatureAccessPlat":   bit("VIRTIO_F_ACCESS_PLATFORM"),
			"FeatureRingReset":    bit("VIRTIO_F_RING_RESET"),
		},
		files: []string{"device.go"},
	},
	"pvdrivers/virtqueue": {
		constants: map[string]string{
			"descBytes":       "sizeof(struct vring_desc)",
			"availElemBytes":  "sizeof(((struct vring_avail *)0)->ring[0])",
			"usedElemBytes":   "sizeof(struct vring_used_elem)",
			"ringFlags":       offset("vring_avail", "flags"),
			"ringIdx":         offset("vring_used", "idx"),
			"ringElems":       offset("vring_avail", "ring"),
			"flagNoInterrupt": "VRING_AVAIL_F_NO_INTERRUPT",
			"flagNoNotify":    "VRING_USED_F_NO_NOTIFY",
		},
	},
	"pvdrivers/block": {
		constants: map[string]string{
			"featureSegMax":      bit("VIRTIO_BLK_F_SEG_MAX"),
			"featureReadOnly":    bit("VIRTIO_BLK_F_RO"),
			"featureBlkSize":     bit("VIRTIO_BLK_F_BLK_SIZE"),
			"featureFlush":       bit("VIRTIO_BLK_F_FLUSH"),
			"featureTopology":    bit("VIRTIO_BLK_F_TOPOLOGY"),
			"featureMQ":          bit("VIRTIO_BLK_F_MQ"),
			"featureDiscard":     bit("VIRTIO_BLK_F_DISCARD"),
			"featureWriteZeroes": bit("VIRTIO_BLK_F_WRITE_ZEROES"),
			"typeIn":             "VIRTIO_BLK_T_IN",
			"typeOut":            "VIRTIO_BLK_T_OUT",
			"typeFlush":          "VIRTIO_BLK_T_FLUSH",
			"typeGetID":          "VIRTIO_BLK_T_GET_ID",
			"typeDiscard":        "VIRTIO_BLK_T_DISCARD",
			"typeWriteZeroes":    "VIRTIO_BLK_T_WRITE_ZEROES",
			"statusOK":           "VIRTIO_BLK_S_OK",
			"statusIOErr":        "VIRTIO_BLK_S_IOERR",
			"statusUnsupported":  "VIRTIO_BLK_S_UNSUPP",
			"headerBytes":        "sizeof(struct virtio_blk_outhdr)",
			"idBytes":            "VIRTIO_BLK_ID_BYTES",
			"segmentBytes":       "sizeof(struct virtio_blk_discard_write_zeroes)",
			"flagUnmap":          "VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP",
			"configBytes":        offset("virtio_blk_config", "max_secure_erase_sectors"),
		},
		structs: map[string]cStruct{
			"configSpace": {
				cType: "struct virtio_blk_config", prefix: true,
				rename: map[string]string{
					"Cylinders": "geometry.cylinders", "Heads": "geometry.heads", "Sectors": "geometry.sectors", "Writeback": "wce",
				},
			},
		},
		files: []string{"abi.go"},
		own:   []string{"sectorBytes", "queueSize", "maxSegments", "maxRanges", "maxRangeSectors", "rangeAlignment"},
	},
	"pvdrivers/net": {
		constants: map[string]string{
			"featureCsum":      bit("VIRTIO_NET_F_CSUM"),
			"featureGuestCsum": bit("VIRTIO_NET_F_GUEST_CSUM"),
			"featureMTU":       bit("VIRTIO_NET_F_MTU"),
			"featureMAC":       bit("VIRTIO_NET_F_MAC"),
			"featureGuestTSO4": bit("VIRTIO_NET_F_GUEST_TSO4"),
			"featureGuestTSO6": bit("VIRTIO_NET_F_GUEST_TSO6"),
			"featureHostTSO4":  bit("VIRTIO_NET_F_HOST_TSO4"),
			"featureHostTSO6":  bit("VIRTIO_NET_F_HOST_TSO6"),
			"featureMrgRxbuf":  bit("VIRTIO_NET_F_MRG_RXBUF"),
			"featureStatus":    bit("VIRTIO_NET_F_STATUS"),
			"headerBytes":      "sizeof(struct virtio_net_hdr_v1)",
			"headerFlags":      offset("virtio_net_hdr_v1", "flags"),
			"headerGSOType":    offset("virtio_net_hdr_v1", "gso_type"),
			"headerHdrLen":     offset("virtio_net_hdr_v1", "hdr_len"),
			"headerGSOSize":    offset("virtio_net_hdr_v1", "gso_size"),
			"headerCsumStart":  offset("virtio_net_hdr_v1", "csum_start"),
			"headerCsumOffset": offset("virtio_net_hdr_v1", "csum_offset"),
			"headerNumBuffers": offset("virtio_net_hdr_v1", "num_buffers"),
			"flagNeedsCsum":    "VIRTIO_NET_HDR_F_NEEDS_CSUM",
			"flagDataValid":    "VIRTIO_NET_HDR_F_DATA_VALID",
			"gsoNone":          "VIRTIO_NET_HDR_GSO_NONE",
			"gsoTCPv4":         "VIRTIO_NET_HDR_GSO_TCPV4",
			"gsoTCPv6":         "VIRTIO_NET_HDR_GSO_TCPV6",
			"configMAC":        offset("virtio_net_config", "mac"),
			"configStatus":     offset("virtio_net_config", "status"),
			"configMaxPairs":   offset("virtio_net_config", "max_virtqueue_pairs"),
			"configMTU":        offset("virtio_net_config", "mtu"),
			"configBytes":      offset("virtio_net_config", "speed"),
			"statusLinkUp":     "VIRTIO_NET_S_LINK_UP",
			"ethernetHeader":   "sizeof(struct ethhdr)",
			"tunCsum":          "TUN_F_CSUM",
			"tunTSO4":          "TUN_F_TSO4",
			"tunTSO6":          "TUN_F_TSO6",
		},
		structs: map[string]cStruct{
			"ifreq": {cType: "struct ifreq", rename: map[string]string{"name": "ifr_ifrn.ifrn_name", "flags": "ifr_ifru.ifru_flags"}},
		},
		files: []string{"abi.go", "tap.go"},
		own:   []string{"queueReceive", "queueTransmit", "queueCount", "queueSize", "vlanTag", "minFrame", "maxFrame"},
	},
	"pvdrivers/console": {
		constants: map[string]string{
			"featureSize": bit("VIRTIO_CONSOLE_F_SIZE"),
			"configBytes": "sizeof(struct virtio_console_config)",
		},
	},
	"pvdrivers/vsock": {
		constants: map[string]string{
			"featureSeqPacket": bit("VIRTIO_VSOCK_F_SEQPACKET"),
			"configBytes":      "sizeof(struct virtio_vsock_config)",
		},
	},
	"hypervisor/virtiopci": {
		constants: map[string]string{
			"commonSize":             offset("virtio_pci_modern_common_cfg", "admin_queue_index"),
			"regDeviceFeatureSelect": "VIRTIO_PCI_COMMON_DFSELECT",
			"regDeviceFeature":       "VIRTIO_PCI_COMMON_DF",
			"regDriverFeatureSelect": "VIRTIO_PCI_COMMON_GFSELECT",
			"regDriverFeature":       "VIRTIO_PCI_COMMON_GF",
			"regConfigVector":        "VIRTIO_PCI_COMMON_MSIX",
			"regNumQueues":           "VIRTIO_PCI_COMMON_NUMQ",
			"regStatus":              "VIRTIO_PCI_COMMON_STATUS",
			"regGeneration":          "VIRTIO_PCI_COMMON_CFGGENERATION",
			"regQueueSelect":         "VIRTIO_PCI_COMMON_Q_SELECT",
			"regQueueSize":           "VIRTIO_PCI_COMMON_Q_SIZE",
			"regQueueVector":         "VIRTIO_PCI_COMMON_Q_MSIX",
			"regQueueEnable":         "VIRTIO_PCI_COMMON_Q_ENABLE",
			"regQueueNotifyOff":      "VIRTIO_PCI_COMMON_Q_NOFF",
			"regQueueDesc":           "VIRTIO_PCI_COMMON_Q_DESCLO",
			"regQueueDriver":         "VIRTIO_PCI_COMMON_Q_AVAILLO",
			"regQueueDevice":         "VIRTIO_PCI_COMMON_Q_USEDLO",
			"regQueueNotifyData":     "VIRTIO_PCI_COMMON_Q_NDATA",
			"regQueueReset":          "VIRTIO_PCI_COMMON_Q_RESET",
			"statusAcknowledge":      "VIRTIO_CONFIG_S_ACKNOWLEDGE",
			"statusDriver":           "VIRTIO_CONFIG_S_DRIVER",
			"statusDriverOK":         "VIRTIO_CONFIG_S_DRIVER_OK",
			"statusFeaturesOK":       "VIRTIO_CONFIG_S_FEATURES_OK",
			"statusNeedsReset":       "VIRTIO_CONFIG_S_NEEDS_RESET",
			"statusFailed":           "VIRTIO_CONFIG_S_FAILED",
			"isrConfig":              "VIRTIO_PCI_ISR_CONFIG",
			"noVector":               "VIRTIO_MSI_NO_VECTOR",
			"capCommon":              "VIRTIO_PCI_CAP_COMMON_CFG",
			"capNotify":              "VIRTIO_PCI_CAP_NOTIFY_CFG",
			"capISR":                 "VIRTIO_PCI_CAP_ISR_CFG",
			"capDevice":              "VIRTIO_PCI_CAP_DEVICE_CFG",
			"capPCICfg":              "VIRTIO_PCI_CAP_PCI_CFG",
			"msixEntrySize":          "PCI_MSIX_ENTRY_SIZE",
			"msixEnable":             "PCI_MSIX_FLAGS_ENABLE",
			"msixFunctionMask":       "PCI_MSIX_FLAGS_MASKALL",
			"msixEntryMask":          "PCI_MSIX_ENTRY_CTRL_MASKBIT",
		},
		files: []string{"registers.go"},
		own: []string{
			"vendorID", "deviceIDBase", "revision", "barIndex", "barSize", "commonOff", "isrOff", "deviceOff", "notifyOff",
			"tableOff", "pbaOff", "pageSize", "isrSize", "deviceSize", "notifyMultiplier", "maxQueues", "isrQueue",
		},
	},
}
