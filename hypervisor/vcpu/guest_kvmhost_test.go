//go:build kvmhost

package vcpu_test

import (
	"encoding/binary"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"gozen/hypervisor/kvm"
	"gozen/hypervisor/linuxboot"
	"gozen/hypervisor/platform"
	"gozen/hypervisor/vcpu"
)

const (
	memorySize = 2 << 20
	apCode     = 0x1000 // where a start-up message with vector 1 starts a processor
	gdtAddr    = 0x8000
	tablesAddr = 0x9000
	codeAddr   = 0x10000
	stackAddr  = 0x20000
)

// machine is a VM with processors and nothing else.
type machine struct {
	t      *testing.T
	sys    *kvm.System
	vm     *kvm.VM
	memory []byte
	msrs   []uint32
	cpuid  []kvm.CPUIDEntry
	cpus   []*vcpu.VCPU
	ended  chan error
}

// newMachine makes a machine of n processors, none of which was booted or
// restored, whose port accesses go to ports.
func newMachine(t *testing.T, n int, ports vcpu.Bus, code ...byte) *machine {
	t.Helper()
	m := &machine{t: t, ended: make(chan error, n)}
	fd, err := unix.Open("/dev/kvm", unix.O_RDWR|unix.O_CLOEXEC, 0)
	m.ok(err)
	m.sys, err = kvm.Open(fd)
	m.ok(err)
	t.Cleanup(func() { m.sys.Close() })
	m.vm, err = m.sys.CreateVM()
	m.ok(err)
	t.Cleanup(func() { m.vm.Close() })
	m.memory, err = unix.Mmap(-1, 0, memorySize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	m.ok(err)
	t.Cleanup(func() { unix.Munmap(m.memory) })
	m.ok(m.vm.SetMemory(0, 0, 0, memorySize, hostAddr(m.memory)))
	m.ok(m.vm.SetIdentityMapAddr(platform.KVMIdentityMap))
	m.ok(m.vm.SetTSSAddr(platform.KVMTSS))
	m.ok(m.vm.EnableSplitIRQChip(platform.IOAPICPins))
	m.msrs, err = m.sys.MSRIndexList()
	m.ok(err)
	m.cpuid, err = m.sys.SupportedCPUID()
	m.ok(err)
	for i := range n {
		v, err := vcpu.New(vcpu.Config{
			VM: m.vm, Index: i, Ports: ports, MMIO: ports, MSRs: m.msrs,
			Ended: func(_ int, err error) { m.ended <- err },
		})
		m.ok(err)
		t.Cleanup(func() { m.ok(v.Close()) })
		m.cpus = append(m.cpus, v)
	}
	copy(m.memory[codeAddr:], code)
	return m
}

func (m *machine) ok(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// boot makes the first processor enter the code at codeAddr as e says, and the
// others wait.
func (m *machine) boot(e linuxboot.Entry) {
	m.t.Helper()
	e.RIP, e.CS, e.DS = codeAddr, 0x10, 0x18
	for i, v := range m.cpus {
		entry := &e
		if i > 0 {
			entry = nil
		}
		m.ok(v.Boot(vcpu.CPUID(m.cpuid, i, len(m.cpus)), entry))
	}
}

// long is an entry in 64-bit mode, with tables that map the first 2 MiB.
func (m *machine) long(rsi uint64) linuxboot.Entry {
	le := binary.LittleEndian
	le.PutUint64(m.memory[gdtAddr+0x10:], 0x00af9b000000ffff)
	le.PutUint64(m.memory[gdtAddr+0x18:], 0x00cf93000000ffff)
	le.PutUint64(m.memory[tablesAddr:], tablesAddr+0x1000|3)
	le.PutUint64(m.memory[tablesAddr+0x1000:], tablesAddr+0x2000|3)
	le.PutUint64(m.memory[tablesAddr+0x2000:], 0|0x83)
	return linuxboot.Entry{Long: true, CR3: tablesAddr, RSI: rsi, GDT: gdtAddr, GDTLimit: 0x1f}
}

func (m *machine) resume() {
	for _, v := range m.cpus {
		v.Resume()
	}
}

// ports is a port bus that hands written values to a channel. Reads of port 0x10
// count up.
type ports struct {
	mu      sync.Mutex
	next    uint32
	written chan write
}

type write struct {
	port  uint64
	value uint32
}

func newPorts() *ports { return &ports{written: make(chan write, 1<<16)} }

func (p *ports) Read(port uint64, b []byte) bool {
	if port != 0x10 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var v [4]byte
	binary.LittleEndian.PutUint32(v[:], p.next)
	copy(b, v[:])
	p.next++
	return true
}

func (p *ports) Write(port uint64, b []byte) bool {
	var v [4]byte
	copy(v[:], b)
	p.written <- write{port, binary.LittleEndian.Uint32(v[:])}
	return true
}

// expect takes the next write, or the guest's end.
func (m *machine) expect(p *ports, want write) {
	m.t.Helper()
	select {
	case got := <-p.written:
		if got != want {
			m.t.Fatalf("port write %+v, want %+v", got, want)
		}
	case err := <-m.ended:
		m.t.Fatalf("guest ended: %v", err)
	}
}
