package seccomp

import (
	"encoding/binary"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// verdict runs the filter on a call. The kernel loads numbers of the machine's
// order and the simulator those of the network's, so the data is swapped.
func verdict(t *testing.T, f Filter, arch, call uint32, args ...uint64) bool {
	t.Helper()
	raw, err := f.program()
	if err != nil {
		t.Fatal(err)
	}
	insns, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("the program cannot be disassembled")
	}
	// The simulator knows the verdict as a length and wants no more than an int32.
	for i, in := range insns {
		switch in {
		case bpf.Instruction(allow):
			insns[i] = bpf.RetConstant{Val: 1}
		case bpf.Instruction(kill):
			insns[i] = bpf.RetConstant{Val: 0}
		}
	}
	vm, err := bpf.NewVM(insns)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 64)
	binary.BigEndian.PutUint32(data[dataCall:], call)
	binary.BigEndian.PutUint32(data[dataArch:], arch)
	for i, a := range args {
		binary.BigEndian.PutUint32(data[dataArgs+8*i:], uint32(a))
		binary.BigEndian.PutUint32(data[dataArgs+8*i+4:], uint32(a>>32))
	}
	n, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return n != 0
}

func TestFilter(t *testing.T) {
	f := append(Filter{
		{Call: unix.SYS_IOCTL, Arg: 1, Values: []uint32{0xae80, 0x4008ae6a}},
		{Call: unix.SYS_MMAP, Arg: 2, Without: unix.PROT_EXEC},
		{Call: unix.SYS_PRCTL, Values: []uint32{}},
	}, Allow(unix.SYS_READ, unix.SYS_PREAD64)...)
	const x64 = unix.AUDIT_ARCH_X86_64
	for _, tc := range []struct {
		name string
		arch uint32
		call uint32
		args []uint64
		want bool
	}{
		{"plain", x64, unix.SYS_READ, nil, true},
		{"the last", x64, unix.SYS_PREAD64, []uint64{1, 2, 3, 4}, true},
		{"not in the list", x64, unix.SYS_OPENAT, nil, false},
		{"of another architecture", unix.AUDIT_ARCH_I386, unix.SYS_READ, nil, false},
		{"of x32", x64, x32Bit | unix.SYS_READ, nil, false},
		{"the first value", x64, unix.SYS_IOCTL, []uint64{7, 0xae80}, true},
		{"the second value", x64, unix.SYS_IOCTL, []uint64{7, 0x4008ae6a}, true},
		{"another value", x64, unix.SYS_IOCTL, []uint64{7, 0xae01}, false},
		{"the value in another argument", x64, unix.SYS_IOCTL, []uint64{0xae80, 7}, false},
		{"a value with more bits", x64, unix.SYS_IOCTL, []uint64{7, 1<<32 | 0xae80}, false},
		// An argument that is the number of an allowed call allows nothing.
		{"a value that is a call", x64, unix.SYS_IOCTL, []uint64{7, unix.SYS_PREAD64}, false},
		{"without the bit", x64, unix.SYS_MMAP, []uint64{0, 0, unix.PROT_READ | unix.PROT_WRITE}, true},
		{"with the bit", x64, unix.SYS_MMAP, []uint64{0, 0, unix.PROT_READ | unix.PROT_EXEC}, false},
		{"with a high bit", x64, unix.SYS_MMAP, []uint64{0, 0, 1 << 40}, false},
		{"no value is good", x64, unix.SYS_PRCTL, []uint64{0}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := verdict(t, f, tc.arch, tc.call, tc.args...); got != tc.want {
				t.Errorf("allowed: %v, want %v", got, tc.want)
			}
		})
	}
}

func TestImpossibleRules(t *testing.T) {
	for name, r := range map[string]Rule{
		"argument":       {Arg: 6, Without: 1},
		"both":           {Values: []uint32{1}, Without: 1},
		"too many":       {Values: make([]uint32, maxValues+1)},
		"x32":            {Call: x32Bit},
		"argument below": {Arg: -1, Without: 1},
	} {
		if _, err := (Filter{r}).program(); err == nil {
			t.Errorf("%s: compiled", name)
		}
	}
}
