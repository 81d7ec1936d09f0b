//go:build kvmhost

package vcpu_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"gozen/hypervisor/kvm"
	"gozen/hypervisor/linuxboot"
	"gozen/hypervisor/vcpu"
)

func TestLongModeEntryAndTripleFault(t *testing.T) {
	p := newPorts()
	m := newMachine(t, 1, p,
		0x89, 0xf0, //                                     mov eax, esi
		0x66, 0xba, 0x10, 0x00, //                         mov dx, 0x10
		0xef,                                           // out dx, eax
		0x0f, 0x01, 0x1c, 0x25, 0x00, 0x00, 0x00, 0x00, // lidt [0]   limit 0
		0xcc, //                                           int3
	)
	m.boot(m.long(0x1234567))
	m.resume()
	m.expect(p, write{0x10, 0x1234567})
	err := <-m.ended
	var fatal *vcpu.FatalError
	if !errors.As(err, &fatal) || fatal.Kind != vcpu.FatalTripleFault || fatal.Index != 0 {
		t.Fatalf("ended with %v, want a triple fault of vcpu 0", err)
	}
	if s := err.Error(); !strings.Contains(s, "vcpu 0: triple fault") || !strings.Contains(s, "rip 0x") {
		t.Errorf("message %q lacks what happened or the registers", s)
	}
	<-m.cpus[0].Done()
	if err := m.cpus[0].Pause(); !errors.Is(err, vcpu.ErrStopped) {
		t.Errorf("Pause after the end: %v", err)
	}
	sum := map[string]uint64{}
	m.cpus[0].Exits(sum)
	if sum["io"] != 1 || sum["shutdown"] != 1 {
		t.Errorf("exits %v, want one io and one shutdown", sum)
	}
	m.ok(m.cpus[0].KVMStats(sum))
	if sum["exits"] == 0 {
		t.Errorf("KVM counted no exits: %v", sum)
	}
}

func TestProtectedModeEntry(t *testing.T) {
	p := newPorts()
	m := newMachine(t, 1, p,
		0x89, 0xd8, //             mov eax, ebx
		0x66, 0xba, 0x10, 0x00, // mov dx, 0x10
		0xef,       //             out dx, eax
		0xeb, 0xfe, //             1: jmp 1b
	)
	m.boot(linuxboot.Entry{RBX: 0xabcdef})
	m.resume()
	m.expect(p, write{0x10, 0xabcdef})
}

// The first processor starts the others, which report their APIC identifier.
func TestProcessorsAreStarted(t *testing.T) {
	const n = 4
	p := newPorts()
	m := newMachine(t, n, p,
		0xb9, 0x1b, 0x00, 0x00, 0x00, // mov ecx, 0x1b        IA32_APIC_BASE
		0x0f, 0x32, //                   rdmsr
		0x0d, 0x00, 0x0c, 0x00, 0x00, // or  eax, 0xc00       enable, x2APIC
		0x0f, 0x30, //                   wrmsr
		0xb9, 0x30, 0x08, 0x00, 0x00, // mov ecx, 0x830       interrupt command
		0x31, 0xd2, //                   xor edx, edx
		0xb8, 0x00, 0x45, 0x0c, 0x00, // mov eax, 0xc4500     INIT to all others
		0x0f, 0x30, //                   wrmsr
		0xb8, 0x01, 0x46, 0x0c, 0x00, // mov eax, 0xc4601     start at 0x1000
		0x0f, 0x30, //                   wrmsr
		0xf4,       //                   1: hlt
		0xeb, 0xfd, //                   jmp 1b
	)
	copy(m.memory[apCode:], []byte{
		0x66, 0xb8, 0x01, 0x00, 0x00, 0x00, // mov eax, 1
		0x0f, 0xa2, //                         cpuid
		0x66, 0x89, 0xd8, //                   mov eax, ebx
		0x66, 0xc1, 0xe8, 0x18, //             shr eax, 24
		0xe6, 0x10, //                         out 0x10, al
		0xf4,       //                         1: hlt
		0xeb, 0xfd, //                         jmp 1b
	})
	m.boot(m.long(0))
	m.resume()
	var ids []uint32
	for range n - 1 {
		select {
		case w := <-p.written:
			ids = append(ids, w.value)
		case err := <-m.ended:
			t.Fatal(err)
		}
	}
	slices.Sort(ids)
	if !slices.Equal(ids, []uint32{1, 2, 3}) {
		t.Errorf("processors %v started", ids)
	}
}

// echo reads port 0x10 and writes what it got to port 0x11, for ever.
var echo = []byte{
	0x0f, 0x20, 0xe0, //             mov rax, cr4
	0x0d, 0x00, 0x02, 0x00, 0x00, // or  eax, 0x200       OSFXSR: SSE
	0x0f, 0x22, 0xe0, //             mov cr4, rax
	0x66, 0xba, 0x10, 0x00, //       mov dx, 0x10
	0xed,       //                   1: in eax, dx
	0xff, 0xc2, //                   inc edx
	0xef,       //                   out dx, eax
	0xff, 0xca, //                   dec edx
	0x48, 0xff, 0xc1, //             inc rcx
	0x66, 0x48, 0x0f, 0x6e, 0xd9, // movq xmm3, rcx
	0xeb, 0xf0, //                   jmp 1b
}

// Whenever a processor is paused, what it was doing is complete: no value is lost
// and none comes twice.
func TestPauseCompletesExits(t *testing.T) {
	p := newPorts()
	m := newMachine(t, 1, p, echo...)
	m.boot(m.long(0))
	v := m.cpus[0]
	next := uint32(0)
	for range 100 {
		v.Resume()
		m.expect(p, write{0x11, next}) // it has run
		next++
		m.ok(v.Pause())
		for len(p.written) > 0 {
			m.expect(p, write{0x11, next})
			next++
		}
		s, err := v.Save()
		m.ok(err)
		// Of the read that was under way the value is in EAX, or it has not begun.
		if got, want := uint32(s.Regs.RAX), p.next-1; got != want {
			t.Fatalf("paused at rip %#x with eax %d, the bus gave %d", s.Regs.RIP, got, want)
		}
	}
}

func TestKickStorm(t *testing.T) {
	p := newPorts()
	m := newMachine(t, 2, p,
		0x48, 0xff, 0xc1, //       1: inc rcx
		0xeb, 0xfb, //             jmp 1b
	)
	m.boot(m.long(0))
	m.resume()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 100 {
				v := m.cpus[i%2]
				switch i % 5 {
				case 0:
					v.RequestPause()
				case 1, 3:
					v.Resume()
				default:
					v.Kick()
				}
			}
		})
	}
	wg.Wait()
	for _, v := range m.cpus { // both still obey: the second waits to be started
		m.ok(v.Pause())
		v.Resume()
		m.ok(v.Pause())
	}
	before, err := m.cpus[0].Save()
	m.ok(err)
	if before.Regs.RIP < codeAddr || before.Regs.RIP > codeAddr+5 {
		t.Errorf("rip %#x", before.Regs.RIP)
	}
	for _, v := range m.cpus {
		v.Resume()
		v.Stop()
		v.Stop()
		v.Kick()
		if _, err := v.Save(); !errors.Is(err, vcpu.ErrStopped) {
			t.Errorf("Save after Stop: %v", err)
		}
	}
	select {
	case err := <-m.ended:
		t.Errorf("a stopped processor ended with %v", err)
	default:
	}
}

// stopper is a port whose write stops the processor, as the power-off port does.
type stopper struct {
	*ports
	stop func()
}

func (s *stopper) Write(port uint64, b []byte) bool {
	s.ports.Write(port, b)
	s.stop()
	return true
}

func TestStopFromTheBus(t *testing.T) {
	s := &stopper{ports: newPorts()}
	m := newMachine(t, 1, s,
		0xe6, 0x10, //             1: out 0x10, al
		0xeb, 0xfc, //             jmp 1b
	)
	s.stop = m.cpus[0].RequestStop
	m.boot(m.long(0))
	m.resume()
	<-m.cpus[0].Done()
	if n := len(s.written); n != 1 {
		t.Errorf("%d port writes, the first should have been the last", n)
	}
}

func TestRunningProcessorHasNoState(t *testing.T) {
	p := newPorts()
	m := newMachine(t, 1, p, echo...)
	m.boot(m.long(0))
	m.resume()
	m.expect(p, write{0x11, 0})
	if _, err := m.cpus[0].Save(); !errors.Is(err, vcpu.ErrRunning) {
		t.Errorf("Save of a running processor: %v", err)
	}
	// The ports take what comes until the machine is gone.
	m.cpus[0].Stop()
}

// A guest that was saved goes on in another machine where it was.
func TestStateRoundTrip(t *testing.T) {
	const n = 2
	p := newPorts()
	m := newMachine(t, n, p, echo...)
	m.boot(m.long(0))
	next := uint32(0)
	for range 5 {
		m.resume()
		m.expect(p, write{0x11, next})
		next++
		for _, v := range m.cpus {
			m.ok(v.Pause())
		}
		for len(p.written) > 0 {
			m.expect(p, write{0x11, next})
			next++
		}
		states := make([]vcpu.State, n)
		for i, v := range m.cpus {
			s, err := v.Save()
			m.ok(err)
			b, err := json.Marshal(s)
			m.ok(err)
			m.ok(json.Unmarshal(b, &states[i]))
			if !reflect.DeepEqual(&states[i], s) {
				t.Fatalf("vcpu %d: state changed on its way through JSON", i)
			}
		}
		if states[1].MPState != kvm.MPUninitialized {
			t.Errorf("the second processor has MP state %d, want one that waits", states[1].MPState)
		}

		into := newMachine(t, n, p)
		copy(into.memory, m.memory)
		for i, v := range into.cpus {
			m.ok(v.Restore(&states[i]))
			again, err := v.Save()
			m.ok(err)
			sameState(t, &states[i], again)
			// KVM gives all processors the time stamp counter of the first.
			if was, is := msr(&states[0], msrTSC), msr(again, msrTSC); is < was {
				t.Errorf("vcpu %d: time stamp counter went from %d back to %d", i, was, is)
			}
		}
		for _, v := range m.cpus {
			v.Stop()
		}
		m = into
	}
}

// Registers that go with time.
const (
	msrTSC       = 0x10
	msrTSCAdjust = 0x3b
)

func msr(s *vcpu.State, index uint32) uint64 {
	for _, m := range s.MSRs {
		if m.Index == index {
			return m.Data
		}
	}
	return 0
}

// sameState fails unless b is a, but for time.
func sameState(t *testing.T, a, b *vcpu.State) {
	t.Helper()
	if len(a.MSRs) != len(b.MSRs) || len(a.CPUID) != len(b.CPUID) {
		t.Fatalf("%d MSRs and %d CPUID leaves became %d and %d", len(a.MSRs), len(a.CPUID), len(b.MSRs), len(b.CPUID))
	}
	for i, m := range a.MSRs {
		if m.Index != msrTSC && m.Index != msrTSCAdjust && m != b.MSRs[i] {
			t.Errorf("vcpu %d: MSR %#x was %#x, is %#x", a.Index, m.Index, m.Data, b.MSRs[i].Data)
		}
	}
	x, y := *a, *b
	x.MSRs, y.MSRs = nil, nil
	if !reflect.DeepEqual(x, y) {
		t.Errorf("vcpu %d: state\n%+v\nbecame\n%+v", a.Index, x, y)
	}
}

func TestRestoreRefuses(t *testing.T) {
	p := newPorts()
	m := newMachine(t, 2, p, echo...)
	m.boot(m.long(0))
	s, err := m.cpus[0].Save()
	m.ok(err)
	for name, change := range map[string]func(*vcpu.State){
		"version":        func(s *vcpu.State) { s.Version++ },
		"other vcpu":     func(s *vcpu.State) { s.Index = 1 },
		"short APIC":     func(s *vcpu.State) { s.LAPIC = s.LAPIC[:10] },
		"short extended": func(s *vcpu.State) { s.XSave = s.XSave[:10] },
		"unknown MSR":    func(s *vcpu.State) { s.MSRs = append(slices.Clone(s.MSRs), kvm.MSR{Index: 0x1_0000, Data: 1}) },
		"control bits":   func(s *vcpu.State) { s.SRegs.CR4 = 1 << 63 },
	} {
		bad := *s
		change(&bad)
		if err := m.cpus[0].Restore(&bad); err == nil || !strings.HasPrefix(err.Error(), "restore") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The timer that a guest has armed rings in the machine it is restored into.
func TestRestoreKeepsTimer(t *testing.T) {
	p := newPorts()
	m := newMachine(t, 1, p,
		0xb9, 0x1b, 0x00, 0x00, 0x00, // mov ecx, 0x1b        IA32_APIC_BASE
		0x0f, 0x32, //                   rdmsr
		0x0d, 0x00, 0x0c, 0x00, 0x00, // or  eax, 0xc00       enable, x2APIC
		0x0f, 0x30, //                   wrmsr
		0x31, 0xd2, //                   xor edx, edx
		0xb9, 0x0f, 0x08, 0x00, 0x00, // mov ecx, 0x80f       spurious vector
		0xb8, 0xff, 0x01, 0x00, 0x00, // mov eax, 0x1ff       APIC on
		0x0f, 0x30, //                   wrmsr
		0xb9, 0x32, 0x08, 0x00, 0x00, // mov ecx, 0x832       timer
		0xb8, 0x30, 0x00, 0x04, 0x00, // mov eax, 0x40030     deadline mode, vector 0x30
		0x0f, 0x30, //                   wrmsr
		0x0f, 0xae, 0xf0, //             mfence
		0x0f, 0x31, //                   rdtsc
		0x83, 0xc2, 0x01, //             add edx, 1           4 billion cycles on
		0xb9, 0xe0, 0x06, 0x00, 0x00, // mov ecx, 0x6e0       deadline
		0x0f, 0x30, //                   wrmsr
		0xe6, 0x10, //                   out 0x10, al
		0xfb,       //                   sti
		0xf4,       //                   1: hlt
		0xeb, 0xfd, //                   jmp 1b
	)
	// A gate for vector 0x30 in the descriptor table at 0xc000, and its handler.
	handler := []byte{
		0x66, 0xba, 0x12, 0x00, // mov dx, 0x12
		0xef,       //             out dx, eax
		0xeb, 0xfe, //             1: jmp 1b
	}
	const idt, at = 0xc000, 0x11000
	copy(m.memory[at:], handler)
	copy(m.memory[idt+16*0x30:], []byte{at & 0xff, at >> 8 & 0xff, 0x10, 0, 0, 0x8e, at >> 16, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	m.boot(m.long(0))
	m.resume()
	w := <-p.written
	if w.port != 0x10 {
		t.Fatalf("%+v", w)
	}
	m.ok(m.cpus[0].Pause())
	s, err := m.cpus[0].Save()
	m.ok(err)
	s.SRegs.IDT = kvm.DTable{Base: idt, Limit: 0xfff}
	s.Regs.RSP = stackAddr

	into := newMachine(t, 1, p)
	copy(into.memory, m.memory)
	into.ok(into.cpus[0].Restore(s))
	into.resume()
	select {
	case w := <-p.written:
		if w.port != 0x12 {
			t.Errorf("%+v, want the timer's handler", w)
		}
	case err := <-into.ended:
		t.Fatal(err)
	}
}

func TestRunDoesNotAllocate(t *testing.T) {
	const exits = 3000
	p := &sink{}
	m := newMachine(t, 1, p,
		0xe6, 0x10, //                               1: out 0x10, al
		0xe4, 0x11, //                               in al, 0x11
		0xa2, 0, 0, 0x20, 0, 0, 0, 0, 0, //          mov [0x200000], al
		0xeb, 0xf1, //                               jmp 1b
	)
	// The tables map 2 MiB; memory ends there, and so does the slot: map the next 2
	// MiB too, where nobody is.
	e := m.long(0)
	m.memory[tablesAddr+0x2000+8], m.memory[tablesAddr+0x2000+10] = 0x83, 0x20
	m.boot(e)
	p.arm(exits)
	allocs := testing.AllocsPerRun(1, func() {
		m.resume()
		<-p.full
		m.ok(m.cpus[0].Pause())
		p.arm(exits)
	})
	// Pause and the like may allocate a little; the exits may not.
	if allocs > exits/30 {
		t.Errorf("%v allocations in %d exits", allocs, exits)
	}
}

// sink takes accesses and signals full after the number it was armed with.
type sink struct {
	mu   sync.Mutex
	left int
	full chan struct{}
}

func (s *sink) arm(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left, s.full = n, make(chan struct{})
}

func (s *sink) Read(uint64, []byte) bool { return s.take() }

func (s *sink) Write(uint64, []byte) bool { return s.take() }

func (s *sink) take() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left--
	if s.left == 0 {
		close(s.full)
	}
	return true
}
