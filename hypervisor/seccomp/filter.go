package seccomp

import (
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Filter is the list of allowed system calls. Rules are tried in their order.
type Filter []Rule

// Rule allows one system call of x86-64.
type Rule struct {
	Call uint32 // its number, unix.SYS_…
	// If Values is not nil, argument number Arg has to be one of them.
	Arg    int // 0 to 5
	Values []uint32
	// If Without is not 0, argument number Arg must have none of these bits. With
	// either condition its upper 32 bits must be zero.
	Without uint32
}

// Allow returns rules that allow calls with any arguments.
func Allow(calls ...uint32) Filter {
	f := make(Filter, len(calls))
	for i, c := range calls {
		f[i].Call = c
	}
	return f
}

// Offsets in struct seccomp_data (linux/seccomp.h).
const (
	dataCall = 0
	dataArch = 4
	dataArgs = 16 // 8 bytes each, little-endian
)

// Verdicts of a filter (linux/seccomp.h).
const (
	retKillProcess = 0x8000_0000 // SECCOMP_RET_KILL_PROCESS
	retAllow       = 0x7fff_0000 // SECCOMP_RET_ALLOW
)

// x32Bit marks the calls of the x32 interface, which have the same architecture
// number but are none of ours. No rule has it, so they all die.
const x32Bit = 0x4000_0000

// maxValues keeps a rule short enough for a jump across it.
const maxValues = 100

var (
	kill  = bpf.RetConstant{Val: retKillProcess}
	allow = bpf.RetConstant{Val: retAllow}
)

// program compiles the filter.
func (f Filter) program() ([]bpf.RawInstruction, error) {
	out := []bpf.Instruction{
		bpf.LoadAbsolute{Off: dataArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AUDIT_ARCH_X86_64, SkipTrue: 1},
		kill,
	}
	for _, r := range f {
		body, err := r.body()
		if err != nil {
			return nil, err
		}
		out = append(out,
			bpf.LoadAbsolute{Off: dataCall, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: r.Call, SkipFalse: uint8(len(body))},
		)
		out = append(out, body...)
	}
	return bpf.Assemble(append(out, kill))
}

// body is what follows when the call is the rule's. It always ends in a verdict.
func (r Rule) body() ([]bpf.Instruction, error) {
	if r.Call&x32Bit != 0 || r.Arg < 0 || r.Arg > 5 || len(r.Values) > maxValues || r.Values != nil && r.Without != 0 {
		return nil, fmt.Errorf("system call filter: impossible rule %+v", r)
	}
	if r.Values == nil && r.Without == 0 {
		return []bpf.Instruction{allow}, nil
	}
	arg := uint32(dataArgs + 8*r.Arg)
	body := []bpf.Instruction{
		bpf.LoadAbsolute{Off: arg + 4, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
		kill,
		bpf.LoadAbsolute{Off: arg, Size: 4},
	}
	if r.Without != 0 {
		return append(body, bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: r.Without, SkipFalse: 1}, kill, allow), nil
	}
	for _, v := range r.Values {
		body = append(body, bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipFalse: 1}, allow)
	}
	return append(body, kill), nil
}
