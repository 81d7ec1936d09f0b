package vhost

import "structs"

// Requests of ioctl(2), from linux/vhost.h.
//
//abi:check
const (
	ioctlGetFeatures        = 0x8008af00 // VHOST_GET_FEATURES
	ioctlSetFeatures        = 0x4008af00 // VHOST_SET_FEATURES
	ioctlSetOwner           = 0xaf01     // VHOST_SET_OWNER
	ioctlSetMemTable        = 0x4008af03 // VHOST_SET_MEM_TABLE
	ioctlSetVringNum        = 0x4008af10 // VHOST_SET_VRING_NUM
	ioctlSetVringAddr       = 0x4028af11 // VHOST_SET_VRING_ADDR
	ioctlSetVringBase       = 0x4008af12 // VHOST_SET_VRING_BASE
	ioctlGetVringBase       = 0xc008af12 // VHOST_GET_VRING_BASE
	ioctlSetVringKick       = 0x4008af20 // VHOST_SET_VRING_KICK
	ioctlSetVringCall       = 0x4008af21 // VHOST_SET_VRING_CALL
	ioctlSetVringErr        = 0x4008af22 // VHOST_SET_VRING_ERR
	ioctlSetBackendFeatures = 0x4008af25 // VHOST_SET_BACKEND_FEATURES
	ioctlGetBackendFeatures = 0x8008af26 // VHOST_GET_BACKEND_FEATURES
	ioctlNetSetBackend      = 0x4008af30 // VHOST_NET_SET_BACKEND
	ioctlVsockSetGuestCID   = 0x4008af60 // VHOST_VSOCK_SET_GUEST_CID
	ioctlVsockSetRunning    = 0x4004af61 // VHOST_VSOCK_SET_RUNNING
)

// Bit numbers of features that are the kernel's own and are never offered to a
// guest.
//
//abi:check
const (
	bitLogAll       = 26 // VHOST_F_LOG_ALL
	bitNetVirtioHdr = 27 // VHOST_NET_F_VIRTIO_NET_HDR
)

// Feature bits of a vhost instance that mean nothing to a guest's driver.
const (
	// FeatureLogAll makes the kernel log every page it writes.
	FeatureLogAll uint64 = 1 << bitLogAll
	// FeatureNetHeader makes vhost-net itself add and strip the virtio-net header:
	// for taps without IFF_VNET_HDR.
	FeatureNetHeader uint64 = 1 << bitNetVirtioHdr
)

// maxRegions is the number of memory regions that vhost takes unless its module
// parameter max_mem_regions says otherwise.
const maxRegions = 64

// vringState sets or gets one number of a queue.
//
//abi:check struct vhost_vring_state
type vringState struct {
	_     structs.HostLayout
	Index uint32
	Num   uint32
}

// vringFile gives a queue a file descriptor.
//
//abi:check struct vhost_vring_file
type vringFile struct {
	_     structs.HostLayout
	Index uint32
	Fd    int32 // NoFile: none
}

// vringAddr says where a queue is, in addresses of this process.
//
//abi:check struct vhost_vring_addr
type vringAddr struct {
	_             structs.HostLayout
	Index         uint32
	Flags         uint32
	DescUserAddr  uint64
	UsedUserAddr  uint64
	AvailUserAddr uint64
	LogGuestAddr  uint64
}

// memoryRegion maps guest-physical addresses to addresses of this process.
//
//abi:check struct vhost_memory_region
type memoryRegion struct {
	_             structs.HostLayout
	GuestPhysAddr uint64
	MemorySize    uint64
	UserspaceAddr uint64
	FlagsPadding  uint64
}

// memoryTable is the kernel's header with room for as many regions as it takes.
// The kernel reads the first Nregions of them.
//
//abi:check struct vhost_memory
type memoryTable struct {
	_        structs.HostLayout
	Nregions uint32
	Padding  uint32
	Regions  [maxRegions]memoryRegion `abi:"flex"`
}
