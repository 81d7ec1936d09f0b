package legacy

import (
	"fmt"
	"io"
	"sync"
)

// SerialPorts is the number of I/O ports of a Serial.
const SerialPorts = 8

// Registers of the 8250 (PC16550D datasheet, 8.0).
const (
	regData        = 0 // transmit; low divisor byte while the latch is open
	regIntrEnable  = 1 // high divisor byte while the latch is open
	regIntrID      = 2
	regLineControl = 3
	regModemCtl    = 4
	regLineStatus  = 5
	regModemStatus = 6
	regScratch     = 7

	latchOpen = 1 << 7 // line control

	intrNone       = 1 << 0
	lineEmpty      = 1<<5 | 1<<6 // holding and shift register
	modemConnected = 1<<4 | 1<<5 | 1<<7
	modemCtlBits   = 0x1f
)

// Serial is a transmit-only 8250. It implements bus.Handler over SerialPorts
// ports.
type Serial struct {
	mu      sync.Mutex
	out     io.Writer
	line    uint8
	modem   uint8
	scratch uint8
	divisor [2]uint8
}

// NewSerial returns a port that transmits to out. Errors of out are ignored, as
// by a cable without anyone at its end.
func NewSerial(out io.Writer) *Serial {
	return &Serial{out: out, divisor: [2]uint8{1, 0}} // 115,200 baud
}

// Read implements bus.Handler. Each port is a byte wide.
func (s *Serial) Read(off uint64, p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range p {
		p[i] = s.register(off + uint64(i))
	}
}

func (s *Serial) register(off uint64) uint8 {
	switch off {
	case regData, regIntrEnable:
		if s.line&latchOpen != 0 {
			return s.divisor[off]
		}
	case regIntrID:
		return intrNone
	case regLineControl:
		return s.line
	case regModemCtl:
		return s.modem
	case regLineStatus:
		return lineEmpty
	case regModemStatus:
		return modemConnected
	case regScratch:
		return s.scratch
	}
	return 0
}

// Write implements bus.Handler. It takes bytes only.
func (s *Serial) Write(off uint64, p []byte) {
	if len(p) != 1 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch off {
	case regData, regIntrEnable:
		if s.line&latchOpen != 0 {
			s.divisor[off] = p[0]
		} else if off == regData {
			_, _ = s.out.Write(p)
		}
	case regLineControl:
		s.line = p[0]
	case regModemCtl:
		s.modem = p[0] & modemCtlBits
	case regScratch:
		s.scratch = p[0]
	}
}

// StateVersion is the version of State that Save writes.
const StateVersion = 1

// State is a saved Serial.
type State struct {
	Version int      `json:"version"`
	Line    uint8    `json:"line"`
	Modem   uint8    `json:"modem"`
	Scratch uint8    `json:"scratch"`
	Divisor [2]uint8 `json:"divisor"`
}

// Save returns the state.
func (s *Serial) Save() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return State{StateVersion, s.line, s.modem, s.scratch, s.divisor}
}

// Restore takes a saved state.
func (s *Serial) Restore(st State) error {
	if st.Version != StateVersion || st.Modem&^modemCtlBits != 0 {
		return fmt.Errorf("serial port: saved state does not fit: version %d, modem control %#x", st.Version, st.Modem)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line, s.modem, s.scratch, s.divisor = st.Line, st.Modem, st.Scratch, st.Divisor
	return nil
}
