#include "textflag.h"

// System call numbers: asm/unistd_64.h. The kernel keeps all registers but AX, CX
// and R11.
#define SYS_READ	$0
#define SYS_WRITE	$1
#define SYS_SIGACTION	$13
#define SYS_CLONE	$56
#define SYS_WAIT4	$61
#define SYS_PRCTL	$157
#define SYS_EXIT_GROUP	$231

#define SIGILL		$4
#define SIGKILL		$9
#define PR_SET_PDEATHSIG	$1
#define WALL		$0x40000000

// FORK forks like fork(2), but the child's end raises no signal.
#define FORK \
	XORL	DI, DI; \
	XORL	SI, SI; \
	XORL	DX, DX; \
	XORL	R10, R10; \
	XORL	R8, R8; \
	MOVL	SYS_CLONE, AX; \
	SYSCALL

// EXIT ends a child. It needs no stack.
#define EXIT \
	XORL	DI, DI; \
	MOVL	SYS_EXIT_GROUP, AX; \
	SYSCALL; \
	INT	$3

// func cpuid(leaf, subleaf uint32) (eax, ebx, ecx, edx uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-24
	MOVL	leaf+0(FP), AX
	MOVL	subleaf+4(FP), CX
	CPUID
	MOVL	AX, eax+8(FP)
	MOVL	BX, ebx+12(FP)
	MOVL	CX, ecx+16(FP)
	MOVL	DX, edx+20(FP)
	RET

// func hypercall(n int, number uint64, intel bool) int64
TEXT ·hypercall(SB), NOSPLIT, $0-32
	MOVQ	n+0(FP), R12
	MOVBLZX	intel+16(FP), R13
	XORL	AX, AX
	JMP	check
again:
	MOVQ	number+8(FP), AX
	XORL	BX, BX
	XORL	CX, CX
	XORL	DX, DX
	XORL	SI, SI
	TESTL	R13, R13
	JZ	amd
	BYTE	$0x0f; BYTE $0x01; BYTE $0xc1	// VMCALL
	JMP	answered
amd:
	BYTE	$0x0f; BYTE $0x01; BYTE $0xd9	// VMMCALL
answered:
	DECQ	R12
check:
	TESTQ	R12, R12
	JG	again
	MOVQ	AX, ret+24(FP)
	RET

// func outb(port uint16, value uint8)
TEXT ·outb(SB), NOSPLIT, $0-3
	MOVW	port+0(FP), DX
	MOVB	value+2(FP), AX
	OUTB
	RET

// func outw(port uint16, value uint16)
TEXT ·outw(SB), NOSPLIT, $0-4
	MOVW	port+0(FP), DX
	MOVW	value+2(FP), AX
	OUTW
	RET

// func load16(p *byte) uint16
TEXT ·load16(SB), NOSPLIT, $0-10
	MOVQ	p+0(FP), DI
	MOVW	(DI), AX
	MOVW	AX, ret+8(FP)
	RET

// func load32(p *byte) uint32
TEXT ·load32(SB), NOSPLIT, $0-12
	MOVQ	p+0(FP), DI
	MOVL	(DI), AX
	MOVL	AX, ret+8(FP)
	RET

// func store16(p *byte, v uint16)
TEXT ·store16(SB), NOSPLIT, $0-10
	MOVQ	p+0(FP), DI
	MOVW	v+8(FP), AX
	MOVW	AX, (DI)
	RET

// func store32(p *byte, v uint32)
TEXT ·store32(SB), NOSPLIT, $0-12
	MOVQ	p+0(FP), DI
	MOVL	v+8(FP), AX
	MOVL	AX, (DI)
	RET

// func forkAndWait() int
TEXT ·forkAndWait(SB), NOSPLIT, $0-8
	FORK
	TESTQ	AX, AX
	JNZ	parent
	EXIT
parent:
	JL	done
	MOVQ	AX, DI
	XORL	SI, SI
	MOVL	WALL, DX
	XORL	R10, R10
	MOVL	SYS_WAIT4, AX
	SYSCALL
done:
	MOVQ	AX, ret+0(FP)
	RET

// func forkEcho(in, out int, buf *byte) int
TEXT ·forkEcho(SB), NOSPLIT, $0-32
	FORK
	TESTQ	AX, AX
	JNZ	parent
	MOVL	PR_SET_PDEATHSIG, DI
	MOVL	SIGKILL, SI
	MOVL	SYS_PRCTL, AX
	SYSCALL
	MOVQ	buf+16(FP), SI
	MOVL	$1, DX
again:
	MOVQ	in+0(FP), DI
	MOVL	SYS_READ, AX
	SYSCALL
	CMPQ	AX, $1
	JNE	end
	MOVQ	out+8(FP), DI
	MOVL	SYS_WRITE, AX
	SYSCALL
	CMPQ	AX, $1
	JEQ	again
end:
	EXIT
parent:
	MOVQ	AX, ret+24(FP)
	RET

// func pingPong(in, out int, buf *byte, n int) int
TEXT ·pingPong(SB), NOSPLIT, $0-40
	MOVQ	buf+16(FP), SI
	MOVL	$1, DX
	MOVQ	n+24(FP), R12
	JMP	check
again:
	MOVQ	out+8(FP), DI
	MOVL	SYS_WRITE, AX
	SYSCALL
	CMPQ	AX, $1
	JNE	done
	MOVQ	in+0(FP), DI
	MOVL	SYS_READ, AX
	SYSCALL
	CMPQ	AX, $1
	JNE	done
	DECQ	R12
check:
	TESTQ	R12, R12
	JG	again
done:
	MOVQ	R12, ret+32(FP)
	RET

// func forkHypercall(action *[4]uint64, number uint64, intel bool) int
TEXT ·forkHypercall(SB), NOSPLIT, $0-32
	FORK
	TESTQ	AX, AX
	JNZ	parent
	MOVL	SIGILL, DI
	MOVQ	action+0(FP), SI
	XORL	DX, DX
	MOVL	$8, R10	// size of the kernel's signal set
	MOVL	SYS_SIGACTION, AX
	SYSCALL
	MOVQ	number+8(FP), AX
	XORL	BX, BX
	XORL	CX, CX
	XORL	DX, DX
	XORL	SI, SI
	MOVBLZX	intel+16(FP), R13
	TESTL	R13, R13
	JZ	amd
	BYTE	$0x0f; BYTE $0x01; BYTE $0xc1	// VMCALL
	JMP	end
amd:
	BYTE	$0x0f; BYTE $0x01; BYTE $0xd9	// VMMCALL
end:
	EXIT
parent:
	MOVQ	AX, ret+24(FP)
	RET
