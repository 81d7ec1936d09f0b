package acpi

import (
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"gozen/hypervisor/platform"
)

var update = flag.Bool("update", false, "write testdata/dsdt.txt anew")

// memory is the guest's view of the tables.
type memory struct {
	t     *testing.T
	blobs []Blob
}

func build(t *testing.T, vcpus int) (*Tables, memory) {
	t.Helper()
	tables, err := Build(Config{VCPUs: vcpus})
	if err != nil {
		t.Fatal(err)
	}
	return tables, memory{t, tables.Blobs}
}

func (m memory) at(addr uint64) []byte {
	m.t.Helper()
	for _, b := range m.blobs {
		if b.Addr == addr {
			return b.Data
		}
	}
	m.t.Fatalf("nothing at %#x", addr)
	return nil
}

func sum(b []byte) (s byte) {
	for _, v := range b {
		s += v
	}
	return s
}

// walk finds the tables as a guest does, checks what is common to them, and
// returns them by signature.
func walk(t *testing.T, tables *Tables, m memory) map[string][]byte {
	t.Helper()
	le := binary.LittleEndian
	root := m.at(tables.RSDP)
	if string(root[:8]) != "RSD PTR " || sum(root[:20]) != 0 || sum(root) != 0 || root[15] != 2 || int(le.Uint32(root[20:])) != len(root) || le.Uint32(root[16:]) != 0 {
		t.Errorf("root pointer % x", root)
	}
	if tables.RSDP%16 != 0 {
		t.Errorf("root pointer at %#x, where nobody finds it", tables.RSDP)
	}
	found := map[string][]byte{}
	visit := func(addr uint64) []byte {
		b := m.at(addr)
		sig := string(b[:4])
		if int(le.Uint32(b[4:])) != len(b) {
			t.Errorf("%s: length %d, has %d bytes", sig, le.Uint32(b[4:]), len(b))
		}
		if sum(b) != 0 {
			t.Errorf("%s: checksum", sig)
		}
		found[sig] = b
		return b
	}
	xsdt := visit(le.Uint64(root[24:]))
	for off := 36; off < len(xsdt); off += 8 {
		visit(le.Uint64(xsdt[off:]))
	}
	visit(le.Uint64(found["FACP"][140:]))
	if len(found)+1 != len(tables.Blobs) {
		t.Errorf("%d tables found of %d", len(found)+1, len(tables.Blobs))
	}
	return found
}

func TestTables(t *testing.T) {
	for _, vcpus := range []int{1, 2, 16, platform.MaxVCPUs} {
		t.Run(fmt.Sprint(vcpus), func(t *testing.T) {
			tables, m := build(t, vcpus)
			end := uint64(Base)
			for _, b := range tables.Blobs {
				if b.Addr < end || b.Addr%16 != 0 {
					t.Errorf("%s at %#x overlaps or is not aligned", b.Name, b.Addr)
				}
				end = b.Addr + uint64(len(b.Data))
			}
			if end > Limit {
				t.Errorf("tables end at %#x", end)
			}
			found := walk(t, tables, m)
			checkMADT(t, found["APIC"], vcpus)
			r := &reader{t: t, b: found["DSDT"][36:], out: &strings.Builder{}}
			r.terms()
			if n := strings.Count(r.out.String(), `"ACPI0007"`); n != vcpus {
				t.Errorf("%d processor devices", n)
			}
		})
	}
	for _, vcpus := range []int{-1, 0, platform.MaxVCPUs + 1} {
		if _, err := Build(Config{VCPUs: vcpus}); err == nil {
			t.Errorf("tables for %d vCPUs", vcpus)
		}
	}
}

func checkMADT(t *testing.T, b []byte, vcpus int) {
	t.Helper()
	le := binary.LittleEndian
	if le.Uint32(b[36:]) != platform.LAPICBase || le.Uint32(b[40:]) != 0 {
		t.Errorf("MADT: local APICs at %#x, flags %#x", le.Uint32(b[36:]), le.Uint32(b[40:]))
	}
	cpus, chips := 0, 0
	for p := b[44:]; len(p) > 0; p = p[p[1]:] {
		switch {
		case p[0] == 0 && p[1] == 8:
			if p[2] != byte(cpus) || p[3] != byte(cpus) || le.Uint32(p[4:]) != 1 {
				t.Errorf("MADT: processor %d is % x", cpus, p[:8])
			}
			cpus++
		case p[0] == 1 && p[1] == 12:
			if le.Uint32(p[4:]) != platform.IOAPICBase || le.Uint32(p[8:]) != 0 {
				t.Errorf("MADT: I/O APIC is % x", p[:12])
			}
			chips++
		default:
			t.Fatalf("MADT: structure of type %d with %d bytes", p[0], p[1])
		}
	}
	if cpus != vcpus || chips != 1 {
		t.Errorf("MADT: %d processors, %d I/O APICs", cpus, chips)
	}
}

func TestFADT(t *testing.T) {
	tables, m := build(t, 1)
	b := walk(t, tables, m)["FACP"]
	le := binary.LittleEndian
	if len(b) != 276 || b[8] != 6 || b[131] != 5 {
		t.Fatalf("FADT of %d bytes, revision %d.%d", len(b), b[8], b[131])
	}
	if got := le.Uint32(b[112:]); got != 1<<0|1<<2|1<<4|1<<5|1<<10|1<<20 {
		t.Errorf("flags %#x", got)
	}
	if got := le.Uint16(b[109:]); got != 1<<2|1<<4|1<<5 {
		t.Errorf("boot architecture %#x", got)
	}
	if a, x := uint64(le.Uint32(b[40:])), le.Uint64(b[140:]); a != x {
		t.Errorf("DSDT at %#x and at %#x", a, x)
	}
	for off, port := range map[int]uint64{116: platform.PortReset, 244: platform.PortSleepControl, 256: platform.PortSleepStatus} {
		if b[off] != 1 || b[off+1] != 8 || b[off+2] != 0 || b[off+3] != 1 || le.Uint64(b[off+4:]) != port {
			t.Errorf("register at %d: % x", off, b[off:off+12])
		}
	}
	if b[128] != platform.ResetValue {
		t.Errorf("reset value %#x", b[128])
	}
	// Fixed hardware there is none.
	if s := sum(b[46:109]) | sum(b[148:244]); s != 0 {
		t.Error("fields of fixed hardware are set")
	}
}

func TestMCFG(t *testing.T) {
	tables, m := build(t, 1)
	b := walk(t, tables, m)["MCFG"]
	le := binary.LittleEndian
	if len(b) != 60 || le.Uint64(b[44:]) != platform.ECAMBase || le.Uint16(b[52:]) != 0 || b[54] != 0 || int(b[55]) != platform.ECAMBuses-1 {
		t.Errorf("MCFG % x", b[36:])
	}
}

// TestDSDT holds the devices to the list in testdata: a change of it is a change
// of the platform.
func TestDSDT(t *testing.T) {
	tables, m := build(t, 2)
	r := &reader{t: t, b: walk(t, tables, m)["DSDT"][36:], out: &strings.Builder{}}
	r.terms()
	const golden = "testdata/dsdt.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(r.out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if r.out.String() != string(want) {
		t.Errorf("the DSDT holds\n%s\nwant\n%s", r.out, want)
	}
}
