package acpi

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// AML opcodes (ACPI 6.5, 20.3).
const (
	opZero         = 0x00
	opOne          = 0x01
	opName         = 0x08
	opByte         = 0x0a
	opWord         = 0x0b
	opDWord        = 0x0c
	opString       = 0x0d
	opQWord        = 0x0e
	opScope        = 0x10
	opBuffer       = 0x11
	opPackage      = 0x12
	opMethod       = 0x14
	opDualName     = 0x2e
	opMultiName    = 0x2f
	opExt          = 0x5b
	opRoot         = 0x5c
	opLocal0       = 0x60
	opArg0         = 0x68
	opStore        = 0x70
	opAnd          = 0x7b
	opOr           = 0x7d
	opNotify       = 0x86
	opDWordField   = 0x8a
	opLNot         = 0x92
	opLEqual       = 0x93
	opIf           = 0xa0
	opElse         = 0xa1
	opReturn       = 0xa4
	extOpRegion    = 0x80
	extField       = 0x81
	extDevice      = 0x82
	regionSystemIO = 1
)

// A term is encoded AML.
type term []byte

func join(parts ...term) term {
	var out term
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func op(code byte, args ...term) term { return join(append([]term{{code}}, args...)...) }

// packaged is an opcode followed by a length and what it covers.
func packaged(code term, content ...term) term {
	body := join(content...)
	return join(code, pkgLength(len(body)), body)
}

// pkgLength encodes the length of n bytes of content plus its own (20.2.4).
func pkgLength(n int) term {
	for extra := 0; extra < 4; extra++ {
		if total := n + 1 + extra; extra == 0 && total < 1<<6 || extra > 0 && total < 1<<(4+8*extra) {
			return lengthBytes(total, extra)
		}
	}
	panic(fmt.Sprintf("acpi: AML package of %d bytes", n)) // our own tables are far smaller
}

// lengthBytes encodes v in 1+extra bytes.
func lengthBytes(v, extra int) term {
	if extra == 0 {
		return term{byte(v)}
	}
	t := term{byte(extra<<6 | v&0xf)}
	for v >>= 4; extra > 0; extra-- {
		t = append(t, byte(v))
		v >>= 8
	}
	return t
}

// path encodes a name such as `\_SB.PCI0` or "_HID" (20.2.2).
func path(s string) term {
	var t term
	if strings.HasPrefix(s, `\`) {
		t = term{opRoot}
		s = s[1:]
	}
	segs := strings.Split(s, ".")
	switch len(segs) {
	case 1:
	case 2:
		t = append(t, opDualName)
	default:
		t = append(t, opMultiName, byte(len(segs)))
	}
	for _, seg := range segs {
		t = append(t, nameSeg(seg)...)
	}
	return t
}

func nameSeg(s string) term {
	if len(s) == 0 || len(s) > 4 {
		panic(fmt.Sprintf("acpi: AML name %q", s)) // a mistake in this package
	}
	return term(s + "____"[len(s):])
}

func integer(v uint64) term {
	le := binary.LittleEndian
	switch {
	case v == 0:
		return term{opZero}
	case v == 1:
		return term{opOne}
	case v < 1<<8:
		return term{opByte, byte(v)}
	case v < 1<<16:
		return le.AppendUint16(term{opWord}, uint16(v))
	case v < 1<<32:
		return le.AppendUint32(term{opDWord}, uint32(v))
	}
	return le.AppendUint64(term{opQWord}, v)
}

func str(s string) term { return append(append(term{opString}, s...), 0) }

func buffer(b []byte) term { return packaged(term{opBuffer}, integer(uint64(len(b))), b) }

func pkg(elements ...term) term {
	return packaged(term{opPackage}, append([]term{{byte(len(elements))}}, elements...)...)
}

func name(n string, value term) term { return op(opName, path(n), value) }

func scope(n string, body ...term) term {
	return packaged(term{opScope}, append([]term{path(n)}, body...)...)
}

func device(n string, body ...term) term {
	return packaged(term{opExt, extDevice}, append([]term{path(n)}, body...)...)
}

// method defines a method; serialized ones run one at a time.
func method(n string, args int, serialized bool, body ...term) term {
	flags := byte(args)
	if serialized {
		flags |= 1 << 3
	}
	return packaged(term{opMethod}, append([]term{path(n), {flags}}, body...)...)
}

func ifThen(cond term, body ...term) term {
	return packaged(term{opIf}, append([]term{cond}, body...)...)
}

func otherwise(body ...term) term { return packaged(term{opElse}, body...) }

func local(n int) term { return term{opLocal0 + byte(n)} }
func arg(n int) term   { return term{opArg0 + byte(n)} }

func store(from, to term) term         { return op(opStore, from, to) }
func and(a, b, to term) term           { return op(opAnd, a, b, to) }
func or(a, b, to term) term            { return op(opOr, a, b, to) }
func equal(a, b term) term             { return op(opLEqual, a, b) }
func not(a term) term                  { return op(opLNot, a) }
func ret(v term) term                  { return op(opReturn, v) }
func notify(dev string, v uint64) term { return op(opNotify, path(dev), integer(v)) }

// dwordField names 32 bits of a buffer at a byte offset.
func dwordField(buf term, off uint64, n string) term {
	return op(opDWordField, buf, integer(off), path(n))
}

// portRegion is an operation region of I/O ports with one field of 32 bits that
// is read and written whole.
func portRegion(region string, port uint64, field string) term {
	const dwordAcc = 3 // DWordAcc, NoLock, Preserve
	return join(
		term{opExt, extOpRegion}, path(region), term{regionSystemIO}, integer(port), integer(4),
		packaged(term{opExt, extField}, path(region), term{dwordAcc}, nameSeg(field), lengthBytes(32, 0)),
	)
}

// eisaID packs an identifier such as "PNP0A08" into the integer that it stands
// for (19.3.4, EISAID).
func eisaID(id string) term {
	var digits uint16
	if n, err := fmt.Sscanf(id[3:], "%04X", &digits); n != 1 || err != nil || len(id) != 7 {
		panic(fmt.Sprintf("acpi: EISA identifier %q", id)) // a mistake in this package
	}
	letters := uint16(id[0]-'@')<<10 | uint16(id[1]-'@')<<5 | uint16(id[2]-'@')
	be := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, letters), digits)
	return op(opDWord, be)
}

// uuid encodes a UUID as ToUUID does (19.6.142): the first three groups are
// little-endian.
func uuid(a uint32, b, c uint16, rest [8]byte) term {
	le := binary.LittleEndian
	u := le.AppendUint16(le.AppendUint16(le.AppendUint32(nil, a), b), c)
	return buffer(append(u, rest[:]...))
}
