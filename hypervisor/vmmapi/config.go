package vmmapi

// Descriptors with a fixed number in a vmm process.
const (
	ConfigFD  = 3 // sealed memfd with the Config in JSON
	ControlFD = 4 // listening Unix stream socket
	FirstFD   = 5 // first descriptor that Config may name
)

// Platform is the only virtual platform so far. A change of what a guest can
// see makes a new one.
const Platform = "gozen-1"

// Config describes a guest completely. A descriptor field holds a number in the
// vmm's descriptor table.
type Config struct {
	Platform string `json:"platform"`
	Name     string `json:"name"`
	ID       string `json:"id"` // 32 hexadecimal digits
	VCPUs    int    `json:"vcpus"`

	KVM int `json:"kvm"` // /dev/kvm

	MemoryBytes uint64 `json:"memory_bytes"`
	Memory      int    `json:"memory"` // memfd of MemoryBytes, for MAP_SHARED

	Kernel  int    `json:"kernel"`           // regular file, read-only
	Initrd  int    `json:"initrd,omitempty"` // regular file, read-only; 0 when none
	Cmdline string `json:"cmdline"`

	Console Console `json:"console"`
	Disks   []Disk  `json:"disks,omitempty"`
	Nics    []Nic   `json:"nics,omitempty"`
	Entropy Entropy `json:"entropy"`
	Vsock   *Vsock  `json:"vsock,omitempty"`

	Outcome int `json:"outcome"` // empty file, opened for writing

	// EarlySerial gives the guest a transmit-only 8250 at port 0x3f8.
	EarlySerial bool `json:"early_serial,omitempty"`
}

// Console is the virtio console.
type Console struct {
	Ring int `json:"ring"` // a Ring file, read and write
}

// Disk is a virtio block device over a file or block device.
type Disk struct {
	File     int    `json:"file"` // opened O_RDWR, or O_RDONLY when ReadOnly
	ReadOnly bool   `json:"read_only,omitempty"`
	Serial   string `json:"serial"` // at most 20 bytes
	Name     string `json:"name"`   // for messages only
}

// Nic is a virtio network device on a tap.
type Nic struct {
	Tap   int    `json:"tap"`             // /dev/net/tun after TUNSETIFF (IFF_TAP|IFF_NO_PI|IFF_VNET_HDR)
	Vhost int    `json:"vhost,omitempty"` // /dev/vhost-net; 0 selects the vmm's own data path
	MAC   string `json:"mac"`
	MTU   uint16 `json:"mtu,omitempty"`
}

// Entropy is the virtio entropy device.
type Entropy struct {
	Source         int    `json:"source"` // /dev/urandom
	BytesPerSecond uint64 `json:"bytes_per_second"`
}

// Vsock is the virtio socket device, run by the kernel's vhost-vsock.
type Vsock struct {
	Vhost int    `json:"vhost"` // /dev/vhost-vsock
	CID   uint32 `json:"cid"`   // 3 and up
}
