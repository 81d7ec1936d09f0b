package acpi

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

// reader walks AML on its own knowledge of the grammar (ACPI 6.5, 20.2), apart
// from the encoder's, and writes down what it finds. It knows what our DSDT may
// consist of and fails at anything else, at a length that does not add up, and at
// bytes left over.
type reader struct {
	t   *testing.T
	b   []byte
	out *strings.Builder
	in  int // indentation
}

func (r *reader) fail(format string, args ...any) {
	r.t.Helper()
	r.t.Fatalf("AML: "+format+"\nbefore % x\nread so far:\n%s", append(args, r.b[:min(len(r.b), 16)], r.out)...)
}

func (r *reader) take(n int) []byte {
	r.t.Helper()
	if n > len(r.b) {
		r.fail("%d bytes wanted", n)
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) line(format string, args ...any) {
	fmt.Fprintf(r.out, "%s%s\n", strings.Repeat("  ", r.in), fmt.Sprintf(format, args...))
}

// length reads a PkgLength and returns it with the bytes it took.
func (r *reader) length() (n, took int) {
	first := int(r.take(1)[0])
	extra := first >> 6
	if extra == 0 {
		return first & 0x3f, 1
	}
	if first&0x30 != 0 {
		r.fail("reserved bits of a package length")
	}
	n = first & 0xf
	for i, v := range r.take(extra) {
		n |= int(v) << (4 + 8*i)
	}
	return n, 1 + extra
}

// packaged returns a reader of what a package length covers.
func (r *reader) packaged() *reader {
	n, took := r.length()
	if n < took {
		r.fail("package length %d", n)
	}
	return &reader{r.t, r.take(n - took), r.out, r.in + 1}
}

func (r *reader) name() string {
	var s string
	if r.b[0] == '\\' {
		s = string(r.take(1))
	}
	n := 1
	switch r.b[0] {
	case 0x2e:
		r.take(1)
		n = 2
	case 0x2f:
		r.take(1)
		n = int(r.take(1)[0])
	}
	for i := range n {
		seg := r.take(4)
		for j, c := range seg {
			if !(c == '_' || c >= 'A' && c <= 'Z' || j > 0 && c >= '0' && c <= '9') {
				r.fail("name segment %q", seg)
			}
		}
		if i > 0 {
			s += "."
		}
		s += string(seg)
	}
	return s
}

// terms reads to the end.
func (r *reader) terms() {
	for len(r.b) > 0 {
		r.term()
	}
}

func (r *reader) term() {
	switch op := r.take(1)[0]; op {
	case 0x08:
		n := r.name()
		r.line("Name %s = %s", n, r.value())
	case 0x10:
		p := r.packaged()
		r.line("Scope %s", p.name())
		p.terms()
	case 0x14:
		p := r.packaged()
		n, flags := p.name(), p.take(1)[0]
		r.line("Method %s, %d arguments, serialized %v", n, flags&7, flags&8 != 0)
		p.terms()
	case 0x5b:
		r.extended(r.take(1)[0])
	case 0x70:
		from := r.value()
		r.line("Store %s to %s", from, r.value())
	case 0x7b, 0x7d:
		a, b := r.value(), r.value()
		r.line("%s = %s %c %s", r.value(), a, map[byte]rune{0x7b: '&', 0x7d: '|'}[op], b)
	case 0x86:
		dev := r.name()
		r.line("Notify %s of %s", dev, r.value())
	case 0x8a:
		buf, off := r.value(), r.value()
		r.line("CreateDWordField %s at %s as %s", buf, off, r.name())
	case 0xa0:
		p := r.packaged()
		r.line("If %s", p.value())
		p.terms()
	case 0xa1:
		p := r.packaged()
		r.line("Else")
		p.terms()
	case 0xa4:
		r.line("Return %s", r.value())
	default:
		r.fail("opcode %#x", op)
	}
}

func (r *reader) extended(op byte) {
	switch op {
	case 0x80:
		n, space := r.name(), r.take(1)[0]
		r.line("OperationRegion %s, space %d, %s, length %s", n, space, r.value(), r.value())
	case 0x81:
		p := r.packaged()
		n, flags := p.name(), p.take(1)[0]
		field := string(p.take(4))
		bits, _ := p.length()
		if len(p.b) != 0 {
			p.fail("more than one field")
		}
		r.line("Field %s, flags %#x: %s %d bits", n, flags, field, bits)
	case 0x82:
		p := r.packaged()
		r.line("Device %s", p.name())
		p.terms()
	default:
		r.fail("extended opcode %#x", op)
	}
}

// value reads a data object or an expression.
func (r *reader) value() string {
	le := binary.LittleEndian
	switch op := r.b[0]; {
	case op == '\\' || op == '_' || op >= 'A' && op <= 'Z':
		return r.name()
	case op >= 0x60 && op <= 0x67:
		return fmt.Sprintf("Local%d", r.take(1)[0]-0x60)
	case op >= 0x68 && op <= 0x6e:
		return fmt.Sprintf("Arg%d", r.take(1)[0]-0x68)
	}
	switch op := r.take(1)[0]; op {
	case 0, 1:
		return fmt.Sprint(op)
	case 0x0a:
		return fmt.Sprintf("%#x", r.take(1)[0])
	case 0x0b:
		return fmt.Sprintf("%#x", le.Uint16(r.take(2)))
	case 0x0c:
		return fmt.Sprintf("%#x", le.Uint32(r.take(4)))
	case 0x0d:
		end := strings.IndexByte(string(r.b), 0)
		return fmt.Sprintf("%q", r.take(end + 1)[:end])
	case 0x0e:
		return fmt.Sprintf("%#x", le.Uint64(r.take(8)))
	case 0x11:
		p := r.packaged()
		size := p.value()
		if size != fmt.Sprintf("%#x", len(p.b)) {
			r.fail("buffer of size %s with %d bytes", size, len(p.b))
		}
		return fmt.Sprintf("%x", p.b)
	case 0x12:
		p := r.packaged()
		var elements []string
		for range p.take(1)[0] {
			elements = append(elements, p.value())
		}
		if len(p.b) != 0 {
			r.fail("package with more elements than it says")
		}
		return "{" + strings.Join(elements, ", ") + "}"
	case 0x7b:
		a, b := r.value(), r.value()
		if r.take(1)[0] != 0 {
			r.fail("And with a target inside an expression")
		}
		return fmt.Sprintf("(%s & %s)", a, b)
	case 0x92:
		return "not " + r.value()
	case 0x93:
		a, b := r.value(), r.value()
		return fmt.Sprintf("(%s == %s)", a, b)
	default:
		r.fail("opcode %#x in an expression", op)
		return ""
	}
}

func TestPackageLength(t *testing.T) {
	for _, tc := range []struct {
		content int
		want    []byte
	}{
		{0, []byte{1}},
		{62, []byte{63}},
		{63, []byte{0x41, 0x04}}, // 65 with its own two bytes
		{4093, []byte{0x4f, 0xff}},
		{4094, []byte{0x81, 0x00, 0x01}},
		{1<<20 - 4, []byte{0x8f, 0xff, 0xff}},
		{1<<20 - 3, []byte{0xc1, 0x00, 0x00, 0x01}},
	} {
		got := pkgLength(tc.content)
		if string(got) != string(tc.want) {
			t.Errorf("%d bytes: % x, want % x", tc.content, []byte(got), tc.want)
		}
		r := &reader{t: t, b: got, out: &strings.Builder{}}
		if n, took := r.length(); n != tc.content+took {
			t.Errorf("%d bytes: read back as %d with %d", tc.content, n, took)
		}
	}
}

func TestTerms(t *testing.T) {
	for _, tc := range []struct {
		name string
		got  term
		want string
	}{
		{"zero", integer(0), "\x00"},
		{"one", integer(1), "\x01"},
		{"byte", integer(0xff), "\x0a\xff"},
		{"word", integer(0x100), "\x0b\x00\x01"},
		{"dword", integer(0x10000), "\x0c\x00\x00\x01\x00"},
		{"qword", integer(1 << 32), "\x0e\x00\x00\x00\x00\x01\x00\x00\x00"},
		{"short name", path("_SB"), "_SB_"},
		{"rooted pair", path(`\_SB.PCI0`), "\\\x2e_SB_PCI0"},
		{"triple", path("A.B.C"), "\x2f\x03A___B___C___"},
		{"string", str("x"), "\x0dx\x00"},
		{"EISA", eisaID("PNP0A08"), "\x0c\x41\xd0\x0a\x08"},
		{"end tag", resources(), "\x11\x05\x0a\x02\x79\x00"},
	} {
		if string(tc.got) != tc.want {
			t.Errorf("%s: % x, want % x", tc.name, []byte(tc.got), tc.want)
		}
	}
}
