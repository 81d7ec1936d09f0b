package acpi

import "encoding/binary"

// Resource descriptors (ACPI 6.5, 6.4).

// resources is a resource template: descriptors and the end tag, whose checksum
// of zero means that there is none.
func resources(descriptors ...[]byte) term {
	var b []byte
	for _, d := range descriptors {
		b = append(b, d...)
	}
	return buffer(append(b, 0x79, 0))
}

// large is a large resource descriptor.
func large(tag byte, body []byte) []byte {
	return append(binary.LittleEndian.AppendUint16([]byte{tag}, uint16(len(body))), body...)
}

const (
	rangeMemory = 0
	rangeBus    = 2

	rangeFixed    = 1<<2 | 1<<3 // both ends are fixed
	memoryWritten = 1           // readable and writable, not cacheable
)

// busNumbers is the range of bus numbers behind a host bridge.
func busNumbers(first, last uint16) []byte {
	b := []byte{rangeBus, rangeFixed, 0}
	for _, v := range []uint16{0, first, last, 0, last - first + 1} {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	return large(0x88, b)
}

// window32 is a range of addresses below 4 GiB that a host bridge forwards.
func window32(base, size uint32) []byte {
	b := []byte{rangeMemory, rangeFixed, memoryWritten}
	for _, v := range []uint32{0, base, base + (size - 1), 0, size} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return large(0x87, b)
}

// window64 is a range of addresses that a host bridge forwards.
func window64(base, size uint64) []byte {
	b := []byte{rangeMemory, rangeFixed, memoryWritten}
	for _, v := range []uint64{0, base, base + (size - 1), 0, size} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return large(0x8a, b)
}

// fixedMemory is a range of addresses that a device occupies.
func fixedMemory(base, size uint32) []byte {
	b := binary.LittleEndian.AppendUint32([]byte{memoryWritten}, base)
	return large(0x86, binary.LittleEndian.AppendUint32(b, size))
}

// ports are I/O ports that a device occupies, decoding all 16 bits.
func ports(first uint16, n byte) []byte {
	b := binary.LittleEndian.AppendUint16([]byte{0x47, 1}, first)
	return append(binary.LittleEndian.AppendUint16(b, first), 1, n)
}

// edgeInterrupt is an edge-triggered, active-high interrupt of one device.
func edgeInterrupt(gsi uint32) []byte {
	const consumerEdge = 1<<0 | 1<<1
	return large(0x89, binary.LittleEndian.AppendUint32([]byte{consumerEdge, 1}, gsi))
}
