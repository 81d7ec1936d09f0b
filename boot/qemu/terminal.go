package qemu

import (
	"os"

	"golang.org/x/term"
)

var terminalState *term.State

// SaveTerminal remembers the terminal's settings. QEMU changes them for an
// interactive machine, and leaves them so when it is killed.
func SaveTerminal() {
	if state, err := term.GetState(int(os.Stdin.Fd())); err == nil {
		terminalState = state
	}
}

func restoreTerminal() {
	if terminalState != nil {
		// A terminal that is gone needs no restoring.
		_ = term.Restore(int(os.Stdin.Fd()), terminalState)
	}
}
