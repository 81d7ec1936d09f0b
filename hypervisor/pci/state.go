package pci

import "fmt"

// StateVersion is the version of State that Save writes.
const StateVersion = 1

// State is the saved configuration of a bus.
type State struct {
	Version   int             `json:"version"`
	Functions []FunctionState `json:"functions"`
}

// FunctionState is the configuration space of one function.
type FunctionState struct {
	Slot   int    `json:"slot"`
	Config []byte `json:"config"` // the first 256 bytes
}

// Save returns the state of all functions.
func (r *Root) Save() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := State{Version: StateVersion}
	for slot, f := range r.functions {
		if f != nil {
			s.Functions = append(s.Functions, FunctionState{slot, append([]byte(nil), f.config[:legacyConfigSize]...)})
		}
	}
	return s
}

// Restore takes a saved state over a bus with the same functions in the same
// slots. BARs start to answer where they were. Hooks of OnWrite are not called:
// their owners restore themselves afterwards, see Config. On an error nothing
// has changed.
func (r *Root) Restore(s State) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.Version != StateVersion {
		return fmt.Errorf("PCI bus: %w: version %d, want %d", errState, s.Version, StateVersion)
	}
	var seen [MaxSlots]bool
	for _, fs := range s.Functions {
		if fs.Slot < 0 || fs.Slot >= MaxSlots || r.functions[fs.Slot] == nil || seen[fs.Slot] {
			return fmt.Errorf("PCI bus: %w: function in slot %d", errState, fs.Slot)
		}
		seen[fs.Slot] = true
		if err := r.functions[fs.Slot].check(fs.Config); err != nil {
			return err
		}
	}
	for slot, f := range r.functions {
		if (f != nil) != seen[slot] {
			return fmt.Errorf("PCI bus: %w: nothing saved for %s in slot %d", errState, f.name, slot)
		}
	}
	for _, fs := range s.Functions {
		r.functions[fs.Slot].store(0, fs.Config)
	}
	r.decode()
	return nil
}

// Config copies n bytes of the configuration space of an attached function, as
// the guest reads them at off. It takes the root complex's lock.
func (f *Function) Config(off, n int) []byte {
	f.root.mu.Lock()
	defer f.root.mu.Unlock()
	return append([]byte(nil), f.config[off:off+n]...)
}
