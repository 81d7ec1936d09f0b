#include "textflag.h"

// On amd64 a plain load has acquire order and a plain store release order; an
// exchange with memory is a full barrier. The functions are calls for the
// compiler, so it neither merges nor moves them.

// func load16(p *uint16) uint16
TEXT ·load16(SB), NOSPLIT, $0-10
	MOVQ	p+0(FP), AX
	MOVW	(AX), CX
	MOVW	CX, ret+8(FP)
	RET

// func store16(p *uint16, v uint16)
TEXT ·store16(SB), NOSPLIT, $0-10
	MOVQ	p+0(FP), AX
	MOVW	v+8(FP), CX
	MOVW	CX, (AX)
	RET

// func exchange16(p *uint16, v uint16)
TEXT ·exchange16(SB), NOSPLIT, $0-10
	MOVQ	p+0(FP), AX
	MOVW	v+8(FP), CX
	XCHGW	CX, (AX)
	RET

// func load128(p *byte) (lo, hi uint64)
TEXT ·load128(SB), NOSPLIT, $0-24
	MOVQ	p+0(FP), AX
	MOVQ	(AX), CX
	MOVQ	8(AX), DX
	MOVQ	CX, lo+8(FP)
	MOVQ	DX, hi+16(FP)
	RET

// func store64(p *uint64, v uint64)
TEXT ·store64(SB), NOSPLIT, $0-16
	MOVQ	p+0(FP), AX
	MOVQ	v+8(FP), CX
	MOVQ	CX, (AX)
	RET
