package virtiopci

import (
	"encoding/json"
	"errors"
	"fmt"
)

// StateVersion is the version of State that Save writes.
const StateVersion = 1

// errState is wrapped by errors of Restore that are the state's fault.
var errState = errors.New("saved state does not fit")

// State is a saved transport with its device. The PCI function's configuration
// space is saved by package pci.
type State struct {
	Version        int             `json:"version"`
	Device         json.RawMessage `json:"device"`
	Offered        uint64          `json:"offered"` // features, for the check at Restore
	Status         uint8           `json:"status"`
	Error          string          `json:"error,omitempty"` // why NEEDS_RESET is set
	DeviceSelect   uint32          `json:"device_select"`
	DriverSelect   uint32          `json:"driver_select"`
	DriverFeatures uint64          `json:"driver_features"`
	QueueSelect    uint16          `json:"queue_select"`
	Generation     uint8           `json:"generation"`
	ISR            uint8           `json:"isr"`
	MSIX           []byte          `json:"msix"` // the table
	ConfigEntry    uint16          `json:"config_entry"`
	ConfigPending  bool            `json:"config_pending"`
	Queues         []QueueState    `json:"queues"`
}

// QueueState is a saved virtqueue.
type QueueState struct {
	Size    uint16 `json:"size"`
	Enabled bool   `json:"enabled"`
	Desc    uint64 `json:"desc"`
	Driver  uint64 `json:"driver"`
	Device  uint64 `json:"device"`
	Avail   uint16 `json:"avail"`   // index that the device takes next
	Used    uint16 `json:"used"`    // index that the device returns next
	Entry   uint16 `json:"entry"`   // MSI-X entry
	Pending bool   `json:"pending"` // an interrupt is held back
}

// Save returns the state of a paused transport and its device.
func (t *Transport) Save() (State, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.paused {
		return State{}, t.wrap(errNotPaused)
	}
	dev, err := t.cfg.Device.Save()
	if err != nil {
		return State{}, t.wrap(fmt.Errorf("save: %w", err))
	}
	s := State{
		Version: StateVersion, Device: dev, Offered: t.offered, Status: t.status,
		DeviceSelect: t.deviceSelect, DriverSelect: t.driverSelect, DriverFeatures: t.driverFeatures,
		QueueSelect: t.queueSelect, Generation: uint8(t.generation.Load()), ISR: uint8(t.isr.Load()),
		MSIX:        append([]byte(nil), t.msix.entries...),
		ConfigEntry: t.config.entry, ConfigPending: t.config.vector.Pending(),
	}
	if err := t.attempt.err(); err != nil {
		s.Error = err.Error()
	}
	for _, q := range t.queues {
		s.Queues = append(s.Queues, QueueState{q.size, q.enabled, q.desc, q.driver, q.device, q.nextAvail, q.nextUsed, q.entry, q.vector.Pending()})
	}
	return s, nil
}

// Restore takes a saved state into a new transport of the same configuration,
// after pci.Root.Restore and before the guest runs. The transport is paused
// afterwards: Resume starts the device. After an error the transport is of no use
// but to be closed.
func (t *Transport) Restore(s State) error {
	control := t.function.Config(t.msixCap+2, 2) // takes the root complex's lock, which comes first
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.checkState(s); err != nil {
		return t.wrap(err)
	}
	if err := t.cfg.Device.Restore(s.Device); err != nil {
		return t.wrap(fmt.Errorf("restore: %w", err))
	}
	t.paused = true
	if s.Error != "" {
		// Known to dom0 and, by the saved interrupt, to the driver.
		t.attempt.set(errors.New(s.Error))
	}
	t.status = s.Status
	t.deviceSelect, t.driverSelect = s.DeviceSelect, s.DriverSelect
	t.driverFeatures, t.queueSelect = s.DriverFeatures, s.QueueSelect
	t.generation.Store(uint32(s.Generation))
	t.isr.Store(uint32(s.ISR))
	copy(t.msix.entries, s.MSIX)
	t.msix.control = uint16(control[0]) | uint16(control[1])<<8
	t.config.entry = s.ConfigEntry
	for i, qs := range s.Queues {
		q := t.queues[i]
		q.size, q.enabled = qs.Size, qs.Enabled
		q.desc, q.driver, q.device, q.entry = qs.Desc, qs.Driver, qs.Device, qs.Entry
		q.nextAvail, q.nextUsed = qs.Avail, qs.Used
		if !q.enabled {
			continue
		}
		if err := t.checkQueue(q); err != nil {
			return t.wrap(fmt.Errorf("%w: queue %d: %w", errState, i, err))
		}
	}
	t.routeAll()
	if s.ConfigPending {
		signal(t.config.vector.FD())
	}
	for i, qs := range s.Queues {
		if qs.Pending {
			signal(t.queues[i].vector.FD())
		}
	}
	return nil
}

// checkState refuses what Save of an equal transport cannot have written.
func (t *Transport) checkState(s State) error {
	switch {
	case s.Version != StateVersion:
		return fmt.Errorf("%w: version %d, want %d", errState, s.Version, StateVersion)
	case s.Offered != t.offered:
		return fmt.Errorf("%w: features %#x were offered, now %#x", errState, s.Offered, t.offered)
	case len(s.Queues) != len(t.queues):
		return fmt.Errorf("%w: %d queues, want %d", errState, len(s.Queues), len(t.queues))
	case len(s.MSIX) != len(t.msix.entries):
		return fmt.Errorf("%w: MSI-X table of %d bytes, want %d", errState, len(s.MSIX), len(t.msix.entries))
	case s.Status&statusNeedsReset != 0 || s.Status&statusDriverOK != 0 && s.Status&statusFeaturesOK == 0:
		return fmt.Errorf("%w: status %#x", errState, s.Status)
	case s.Status&statusFeaturesOK != 0 && s.DriverFeatures&^t.offered != 0:
		return fmt.Errorf("%w: features %#x were not offered", errState, s.DriverFeatures&^t.offered)
	}
	entries := []uint16{s.ConfigEntry}
	for _, q := range s.Queues {
		entries = append(entries, q.Entry)
	}
	for _, e := range entries {
		if e != noVector && int(e) >= t.msix.len() {
			return fmt.Errorf("%w: MSI-X entry %d of %d", errState, e, t.msix.len())
		}
	}
	return nil
}
