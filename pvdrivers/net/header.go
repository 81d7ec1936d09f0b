package net

import (
	"encoding/binary"
	"errors"
)

// Why a frame of the guest is dropped.
var (
	errFrameSize = errors.New("frame is too short or too long")
	errHeader    = errors.New("virtio-net header asks for what was not negotiated or makes no sense")
)

// limits are what a driver agreed to, for checking its frames.
type limits struct {
	features uint64
	mtu      int // 0 when not told
}

// fits says whether a frame of n bytes is within the size for its kind. A frame
// that is still to be segmented may be longer than the MTU.
func (l limits) fits(n int, gsoType byte) bool {
	if n < minFrame || n > maxFrame {
		return false
	}
	return gsoType != gsoNone || l.mtu == 0 || n <= ethernetHeader+vlanTag+l.mtu
}

// checkTransmit checks the header h of a frame of n bytes from the guest and
// brings it to the form the tap takes.
func (l limits) checkTransmit(h *[headerBytes]byte, n int) error {
	flags, gsoType := h[headerFlags], h[headerGSOType]
	if !l.fits(n, gsoType) {
		return errFrameSize
	}
	// Data-valid and unknown flags are for the other direction or mean nothing.
	flags &= flagNeedsCsum
	if flags != 0 {
		if l.features&featureCsum == 0 {
			return errHeader
		}
		start := int(binary.LittleEndian.Uint16(h[headerCsumStart:]))
		offset := int(binary.LittleEndian.Uint16(h[headerCsumOffset:]))
		if start+offset+2 > n {
			return errHeader
		}
	}
	var need uint64
	switch gsoType {
	case gsoNone:
	case gsoTCPv4:
		need = featureHostTSO4
	case gsoTCPv6:
		need = featureHostTSO6
	default:
		return errHeader
	}
	if gsoType != gsoNone {
		size := binary.LittleEndian.Uint16(h[headerGSOSize:])
		hdrLen := int(binary.LittleEndian.Uint16(h[headerHdrLen:]))
		// Segments carry their own checksums, so the frame's cannot be complete
		// (virtio 1.2, section 5.1.6.2.1).
		if l.features&need == 0 || flags == 0 || size == 0 || hdrLen > n {
			return errHeader
		}
	}
	h[headerFlags] = flags
	binary.LittleEndian.PutUint16(h[headerNumBuffers:], 0)
	return nil
}

// prepareReceive brings the header of a frame from the tap to the form the guest
// agreed to, for a frame in one buffer. It returns false if the guest did not
// agree to such a frame. The tap makes no others, but may still hold some that it
// made for an earlier driver.
func (l limits) prepareReceive(h []byte) bool {
	var need uint64
	switch h[headerGSOType] {
	case gsoNone:
	case gsoTCPv4:
		need = featureGuestTSO4
	case gsoTCPv6:
		need = featureGuestTSO6
	default:
		return false
	}
	if h[headerFlags]&flagNeedsCsum != 0 {
		need |= featureGuestCsum
	}
	if l.features&need != need {
		return false
	}
	if l.features&featureGuestCsum == 0 {
		h[headerFlags] = 0 // that the kernel checked a checksum is of no interest then
	}
	binary.LittleEndian.PutUint16(h[headerNumBuffers:], 1)
	return true
}
