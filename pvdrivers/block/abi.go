package block

import "structs"

// Feature bits (virtio 1.2, section 5.2.3).
const (
	featureSegMax      uint64 = 1 << 2
	featureReadOnly    uint64 = 1 << 5
	featureBlkSize     uint64 = 1 << 6
	featureFlush       uint64 = 1 << 9
	featureTopology    uint64 = 1 << 10
	featureMQ          uint64 = 1 << 12
	featureDiscard     uint64 = 1 << 13
	featureWriteZeroes uint64 = 1 << 14
)

// Request types (virtio 1.2, section 5.2.6).
const (
	typeIn          = 0
	typeOut         = 1
	typeFlush       = 4
	typeGetID       = 8
	typeDiscard     = 11
	typeWriteZeroes = 13
)

// Status bytes (virtio 1.2, section 5.2.6).
const (
	statusOK          = 0
	statusIOErr       = 1
	statusUnsupported = 2
)

const (
	sectorBytes  = 512 // unit of every sector number
	headerBytes  = 16  // type, reserved, sector
	idBytes      = 20  // answer to typeGetID
	segmentBytes = 16  // one range of a discard or write-zeroes request
	flagUnmap    = 1   // of such a range: its blocks may be deallocated
)

// Limits told to the driver.
const (
	queueSize = 256
	// maxSegments leaves room for the header and the status byte in a chain.
	maxSegments = queueSize - 2
	// maxRanges and maxRangeSectors bound one discard or write-zeroes request.
	maxRanges       = 16
	maxRangeSectors = 1 << 22 // 2 GiB
	// rangeAlignment is a file system's usual block in sectors. A discard of less
	// frees nothing.
	rangeAlignment = 8
)

// configSpace is struct virtio_blk_config up to write_zeroes_may_unmap and its
// padding (virtio 1.2, section 5.2.4). It is read by the driver only.
type configSpace struct {
	_ structs.HostLayout

	Capacity               uint64 // sectors
	SizeMax                uint32
	SegMax                 uint32
	Cylinders              uint16
	Heads                  uint8
	Sectors                uint8
	BlkSize                uint32 // bytes
	PhysicalBlockExp       uint8  // physical block in logical ones, power of two
	AlignmentOffset        uint8
	MinIOSize              uint16 // logical blocks
	OptIOSize              uint32 // logical blocks
	Writeback              uint8
	_                      uint8
	NumQueues              uint16
	MaxDiscardSectors      uint32
	MaxDiscardSeg          uint32
	DiscardSectorAlignment uint32
	MaxWriteZeroesSectors  uint32
	MaxWriteZeroesSeg      uint32
	WriteZeroesMayUnmap    uint8
	_                      [3]uint8
}

// configBytes is the size of configSpace in its wire form.
const configBytes = 60
