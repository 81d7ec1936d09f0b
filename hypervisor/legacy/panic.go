package legacy

// PanicPorts is the number of I/O ports of a Panic.
const PanicPorts = 1

// Events of the pvpanic device.
const (
	panicked    = 1 << 0
	crashLoaded = 1 << 1 // the guest panicked and goes on with its crash kernel
)

// PanicConfig is what a Panic reports to. The functions run on the vCPU that
// reported.
type PanicConfig struct {
	Panicked    func()
	CrashLoaded func()
}

// Panic is the pvpanic device. It implements bus.Handler over PanicPorts ports
// and has no state.
type Panic struct{ cfg PanicConfig }

// NewPanic returns the device.
func NewPanic(cfg PanicConfig) *Panic { return &Panic{cfg} }

// Read implements bus.Handler: the events that are understood.
func (*Panic) Read(_ uint64, p []byte) {
	clear(p)
	p[0] = panicked | crashLoaded
}

// Write implements bus.Handler: the events that happened.
func (d *Panic) Write(_ uint64, p []byte) {
	if p[0]&panicked != 0 {
		d.cfg.Panicked()
	}
	if p[0]&crashLoaded != 0 {
		d.cfg.CrashLoaded()
	}
}
