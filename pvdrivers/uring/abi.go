package uring

import "structs"

// Flags of io_uring_setup.
//
//abi:check
const (
	setupDisabled     = 1 << 6  // IORING_SETUP_R_DISABLED
	setupSubmitAll    = 1 << 7  // IORING_SETUP_SUBMIT_ALL
	setupSingleIssuer = 1 << 12 // IORING_SETUP_SINGLE_ISSUER
	setupDeferTaskrun = 1 << 13 // IORING_SETUP_DEFER_TASKRUN
)

// Features that io_uring_setup reports.
//
//abi:check
const (
	featureSingleMmap = 1 << 0 // IORING_FEAT_SINGLE_MMAP
	featureNoDrop     = 1 << 1 // IORING_FEAT_NODROP
)

// Where io_uring_setup's descriptor is mapped from.
//
//abi:check
const (
	offsetRings   = 0          // IORING_OFF_SQ_RING
	offsetEntries = 0x10000000 // IORING_OFF_SQES
)

// Requests of io_uring_register.
//
//abi:check
const (
	registerRestrictions = 11 // IORING_REGISTER_RESTRICTIONS
	registerEnable       = 12 // IORING_REGISTER_ENABLE_RINGS
	registerMaxWorkers   = 19 // IORING_REGISTER_IOWQ_MAX_WORKERS
)

// restrictionOp says that a restriction allows an operation.
//
//abi:check
const restrictionOp = 1 // IORING_RESTRICTION_SQE_OP

// Operations.
//
//abi:check
const (
	opReadv      = 1 // IORING_OP_READV
	opWritev     = 2 // IORING_OP_WRITEV
	opFsync      = 3 // IORING_OP_FSYNC
	opPollAdd    = 6 // IORING_OP_POLL_ADD
	opPollRemove = 7 // IORING_OP_POLL_REMOVE
)

// Flags of operations and completions.
//
//abi:check
const (
	fsyncData     = 1 << 0 // IORING_FSYNC_DATASYNC
	pollMultishot = 1 << 0 // IORING_POLL_ADD_MULTI
	completedMore = 1 << 1 // IORING_CQE_F_MORE
)

// EnterFlags is the only value of the flags, argument 3, that a Ring gives to
// io_uring_enter.
//
//abi:check
const EnterFlags = 1 << 0 // IORING_ENTER_GETEVENTS

// sqOffsets says where the submission queue's parts are.
//
//abi:check struct io_sqring_offsets
type sqOffsets struct {
	_           structs.HostLayout
	Head        uint32
	Tail        uint32
	RingMask    uint32
	RingEntries uint32
	Flags       uint32
	Dropped     uint32
	Array       uint32
	Resv1       uint32
	UserAddr    uint64
}

// cqOffsets says where the completion queue's parts are.
//
//abi:check struct io_cqring_offsets
type cqOffsets struct {
	_           structs.HostLayout
	Head        uint32
	Tail        uint32
	RingMask    uint32
	RingEntries uint32
	Overflow    uint32
	Cqes        uint32
	Flags       uint32
	Resv1       uint32
	UserAddr    uint64
}

// params is what io_uring_setup reads and fills.
//
//abi:check struct io_uring_params
type params struct {
	_            structs.HostLayout
	SqEntries    uint32
	CqEntries    uint32
	Flags        uint32
	SqThreadCpu  uint32
	SqThreadIdle uint32
	Features     uint32
	WqFd         uint32
	Resv         [3]uint32
	SqOff        sqOffsets
	CqOff        cqOffsets
}

// submission is one operation to do.
//
//abi:check struct io_uring_sqe
type submission struct {
	_           structs.HostLayout
	Opcode      uint8
	Flags       uint8
	Ioprio      uint16
	Fd          int32
	Off         uint64
	Addr        uint64
	Len         uint32
	OpFlags     uint32 `abi:"rw_flags"`
	UserData    uint64
	BufIndex    uint16
	Personality uint16
	FileIndex   uint32
	Addr3       uint64
	Pad         uint64 `abi:"__pad2"`
}

// completion is one operation done.
//
//abi:check struct io_uring_cqe
type completion struct {
	_        structs.HostLayout
	UserData uint64
	Res      int32
	Flags    uint32
}

// restriction allows one thing.
//
//abi:check struct io_uring_restriction
type restriction struct {
	_      structs.HostLayout
	Opcode uint16
	SqeOp  uint8
	Resv   uint8
	Resv2  [3]uint32
}
