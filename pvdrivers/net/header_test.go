package net

import (
	"encoding/binary"
	"errors"
	"testing"
)

// header makes a virtio-net header.
func header(flags, gsoType byte, hdrLen, gsoSize, csumStart, csumOffset uint16) [headerBytes]byte {
	var h [headerBytes]byte
	h[headerFlags], h[headerGSOType] = flags, gsoType
	binary.LittleEndian.PutUint16(h[headerHdrLen:], hdrLen)
	binary.LittleEndian.PutUint16(h[headerGSOSize:], gsoSize)
	binary.LittleEndian.PutUint16(h[headerCsumStart:], csumStart)
	binary.LittleEndian.PutUint16(h[headerCsumOffset:], csumOffset)
	return h
}

func TestCheckTransmit(t *testing.T) {
	const tso = featureCsum | featureHostTSO4
	for _, c := range []struct {
		name     string
		features uint64
		mtu      int
		h        [headerBytes]byte
		n        int
		want     error
	}{
		{"plain", 0, 0, header(0, 0, 0, 0, 0, 0), 60, nil},
		{"shortest", 0, 0, header(0, 0, 0, 0, 0, 0), minFrame, nil},
		{"too short", 0, 0, header(0, 0, 0, 0, 0, 0), minFrame - 1, errFrameSize},
		{"nothing", 0, 0, header(0, 0, 0, 0, 0, 0), 0, errFrameSize},
		{"longest", 0, 0, header(0, 0, 0, 0, 0, 0), maxFrame, nil},
		{"too long", 0, 0, header(0, 0, 0, 0, 0, 0), maxFrame + 1, errFrameSize},
		{"at the MTU", 0, 1500, header(0, 0, 0, 0, 0, 0), 1518, nil},
		{"above the MTU", 0, 1500, header(0, 0, 0, 0, 0, 0), 1519, errFrameSize},
		{"large above the MTU", tso, 1500, header(1, 1, 54, 1448, 34, 16), 60000, nil},
		{"checksum", featureCsum, 0, header(1, 0, 0, 0, 34, 16), 60, nil},
		{"checksum at the end", featureCsum, 0, header(1, 0, 0, 0, 42, 16), 60, nil},
		{"checksum past the end", featureCsum, 0, header(1, 0, 0, 0, 43, 16), 60, errHeader},
		{"checksum far past", featureCsum, 0, header(1, 0, 0, 0, 0xffff, 0xffff), 60, errHeader},
		{"checksum not negotiated", 0, 0, header(1, 0, 0, 0, 34, 16), 60, errHeader},
		{"TSO not negotiated", featureCsum, 0, header(1, 1, 54, 1448, 34, 16), 9000, errHeader},
		{"TSO6 with TSO4", tso, 0, header(1, 4, 74, 1428, 54, 16), 9000, errHeader},
		{"TSO6", featureCsum | featureHostTSO6, 0, header(1, 4, 74, 1428, 54, 16), 9000, nil},
		{"TSO without checksum", tso, 0, header(0, 1, 54, 1448, 0, 0), 9000, errHeader},
		{"TSO without size", tso, 0, header(1, 1, 54, 0, 34, 16), 9000, errHeader},
		{"TSO header past the end", tso, 0, header(1, 1, 9001, 1448, 34, 16), 9000, errHeader},
		{"ECN", tso, 0, header(1, 0x81, 54, 1448, 34, 16), 9000, errHeader},
		{"UFO", ^uint64(0), 0, header(1, 3, 42, 1480, 34, 6), 9000, errHeader},
		{"USO", ^uint64(0), 0, header(1, 5, 42, 1480, 34, 6), 9000, errHeader},
		{"unknown", ^uint64(0), 0, header(1, 0x7f, 42, 1480, 34, 6), 9000, errHeader},
	} {
		if err := (limits{c.features, c.mtu}).checkTransmit(&c.h, c.n); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestPrepareReceive(t *testing.T) {
	const all = featureGuestCsum | featureGuestTSO4 | featureGuestTSO6
	for _, c := range []struct {
		name     string
		features uint64
		flags    byte
		gsoType  byte
		ok       bool
		want     byte // flags
	}{
		{"plain", 0, 0, gsoNone, true, 0},
		{"checked", 0, flagDataValid, gsoNone, true, 0},
		{"checked, to one who asks", featureGuestCsum, flagDataValid, gsoNone, true, flagDataValid},
		{"open checksum", 0, flagNeedsCsum, gsoNone, false, 0},
		{"open checksum, to one who asks", featureGuestCsum, flagNeedsCsum, gsoNone, true, flagNeedsCsum},
		{"large IPv4", all, flagNeedsCsum, gsoTCPv4, true, flagNeedsCsum},
		{"large IPv6", all, flagNeedsCsum, gsoTCPv6, true, flagNeedsCsum},
		{"large IPv4 to one for IPv6", all &^ featureGuestTSO4, flagNeedsCsum, gsoTCPv4, false, 0},
		{"large IPv6 to one for IPv4", all &^ featureGuestTSO6, flagNeedsCsum, gsoTCPv6, false, 0},
		{"large without checksums", all &^ featureGuestCsum, flagNeedsCsum, gsoTCPv4, false, 0},
		{"unknown", ^uint64(0), flagNeedsCsum, 5, false, 0},
		{"with ECN", ^uint64(0), flagNeedsCsum, 0x80 | gsoTCPv4, false, 0},
	} {
		h := header(c.flags, c.gsoType, 0, 0, 0, 0)
		h[headerNumBuffers], h[headerNumBuffers+1] = 0xee, 0xee // the tap leaves it as it is
		ok := limits{features: c.features}.prepareReceive(h[:])
		if ok != c.ok || ok && (h[headerFlags] != c.want || binary.LittleEndian.Uint16(h[headerNumBuffers:]) != 1) {
			t.Errorf("%s: %v, header % x", c.name, ok, h)
		}
	}
}

// Whatever header passes is within what was negotiated and points into the frame.
func FuzzCheckTransmit(f *testing.F) {
	f.Add(uint64(0), uint16(0), uint32(60), []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	h := header(1, 1, 54, 1448, 34, 16)
	f.Add(uint64(featureCsum|featureHostTSO4), uint16(1500), uint32(9000), h[:])
	f.Fuzz(func(t *testing.T, features uint64, mtu uint16, n uint32, b []byte) {
		var h [headerBytes]byte
		copy(h[:], b)
		if (limits{features, int(mtu)}).checkTransmit(&h, int(n)) != nil {
			return
		}
		if n < minFrame || n > maxFrame {
			t.Fatalf("frame of %d bytes passed", n)
		}
		switch h[headerGSOType] {
		case gsoNone:
			if mtu != 0 && n > uint32(mtu)+18 {
				t.Fatalf("frame of %d bytes passed with MTU %d", n, mtu)
			}
		case gsoTCPv4, gsoTCPv6:
			bit := map[byte]uint64{gsoTCPv4: featureHostTSO4, gsoTCPv6: featureHostTSO6}[h[headerGSOType]]
			if features&bit == 0 || h[headerFlags] != flagNeedsCsum || h[headerGSOSize]|h[headerGSOSize+1] == 0 {
				t.Fatalf("header % x passed with features %#x", h, features)
			}
		default:
			t.Fatalf("header % x passed", h)
		}
		if h[headerFlags] != 0 {
			end := uint32(binary.LittleEndian.Uint16(h[headerCsumStart:])) + uint32(binary.LittleEndian.Uint16(h[headerCsumOffset:])) + 2
			if h[headerFlags] != flagNeedsCsum || features&featureCsum == 0 || end > n {
				t.Fatalf("header % x passed with features %#x", h, features)
			}
		}
	})
}
