package vmmapi

// Operations of a Request.
const (
	OpPing        = "ping"         // answers with State
	OpPowerButton = "power-button" // presses the ACPI power button
	OpStop        = "stop"         // ends the guest at once; the vmm exits with CodeKilled
	OpStats       = "stats"        // answers with Stats
	OpConsole     = "console"      // the connection becomes the console, raw
	OpEvents      = "events"       // the connection becomes a stream of Event lines
	OpResize      = "resize"       // tells the guest the terminal's size
)

// Request is one line from dom0.
type Request struct {
	Op      string `json:"op"`
	Columns uint16 `json:"columns,omitempty"` // OpResize
	Rows    uint16 `json:"rows,omitempty"`    // OpResize
}

// Response is one line to dom0.
type Response struct {
	Error string `json:"error,omitempty"`
	State string `json:"state,omitempty"` // "starting" or "running"
	Stats *Stats `json:"stats,omitempty"`
}

// Stats are counters since the vmm started.
type Stats struct {
	// VMMExits counts KVM_RUN returns to the vmm, by KVM's exit reason in lower
	// case: "io", "mmio", "hlt", "intr".
	VMMExits map[string]uint64 `json:"vmm_exits"`
	// KVM holds the kernel's binary statistics (KVM_GET_STATS_FD) summed over the
	// vCPUs, under the kernel's own names: "exits", "halt_exits", ….
	KVM map[string]uint64 `json:"kvm"`
	// ExitsAtConsoleOpen is KVM["exits"] when the guest first opened its console
	// port; 0 while it has not.
	ExitsAtConsoleOpen uint64        `json:"exits_at_console_open"`
	Devices            []DeviceStats `json:"devices"`
}

// DeviceStats are the counters of one device.
type DeviceStats struct {
	Name     string            `json:"name"` // "virtio-blk0"
	Counters map[string]uint64 `json:"counters"`
	Error    string            `json:"error,omitempty"` // why the device is in error
}

// Kinds of Event.
const (
	EventRunning     = "running"      // the first vCPU entered the guest
	EventConsole     = "console"      // the guest opened its console for the first time
	EventDeviceError = "device-error" // a device went to NEEDS_RESET; Message says why
	EventPanic       = "panic"        // the guest reported a panic by its pvpanic device
	EventOutcome     = "outcome"      // the guest ended; the last event
)

// Event is one line to dom0. A new connection first gets every event so far.
type Event struct {
	Kind    string   `json:"kind"`
	Device  string   `json:"device,omitempty"`
	Message string   `json:"message,omitempty"`
	Outcome *Outcome `json:"outcome,omitempty"`
}

// Codes of an Outcome, the same words as the API's reason_code.
const (
	CodePowerOff    = "power-off"    // the guest powered itself off
	CodeReset       = "reset"        // the guest asked for a reboot
	CodePanic       = "panic"        // the guest's kernel panicked and said so
	CodeTripleFault = "triple-fault" // a vCPU shut down
	CodeKilled      = "killed"       // dom0 asked for it (OpStop)
	CodeStartFailed = "start-failed" // the guest never ran
	CodeInternal    = "internal-error"
)

// Outcome is how a guest ended.
type Outcome struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Stats   *Stats `json:"stats,omitempty"`
}
