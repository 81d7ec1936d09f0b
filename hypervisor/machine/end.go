package machine

import (
	"errors"
	"fmt"
	"sync"

	"gozen/hypervisor/vcpu"
	"gozen/hypervisor/vmmapi"
)

// ending holds the first end that anybody saw.
type ending struct {
	once    sync.Once
	seen    chan struct{} // closed when outcome is set
	outcome vmmapi.Outcome
}

func newEnding() *ending { return &ending{seen: make(chan struct{})} }

// note makes this the outcome unless there is one already, and says whether it
// did.
func (e *ending) note(code, message string) (first bool) {
	e.once.Do(func() {
		e.outcome = vmmapi.Outcome{Code: code, Message: message}
		close(e.seen)
		first = true
	})
	return first
}

// end notes an end and asks every vCPU to stop. It may be called on a vCPU's
// thread.
func (m *Machine) end(code, message string) {
	if !m.ending.note(code, message) {
		return
	}
	for _, v := range m.vcpus {
		v.RequestStop()
	}
}

// Stop ends the guest at once. It does not wait for the end.
func (m *Machine) Stop() { m.end(vmmapi.CodeKilled, "stopped by dom0") }

func (m *Machine) poweredOff() { m.end(vmmapi.CodePowerOff, "the guest switched itself off") }

func (m *Machine) wasReset() { m.end(vmmapi.CodeReset, "the guest reset itself") }

// panicked ends the guest: its kernel has said all it had to say before it
// reported the panic, and would only halt or spin now.
func (m *Machine) panicked() {
	const message = "the guest's kernel panicked; its console says why"
	m.event(vmmapi.Event{Kind: vmmapi.EventPanic, Message: message})
	m.end(vmmapi.CodePanic, message)
}

// crashLoaded lets the guest go on with its crash kernel, which will reset when
// it has saved what it wants.
func (m *Machine) crashLoaded() {
	m.event(vmmapi.Event{Kind: vmmapi.EventPanic, Message: "the guest's kernel panicked and started its crash kernel"})
}

// vcpuEnded turns what a vCPU could not go on from into the outcome.
func (m *Machine) vcpuEnded(_ int, err error) {
	m.end(fatalCode(err), fmt.Sprintf("the guest cannot go on: %v", err))
}

func fatalCode(err error) string {
	var f *vcpu.FatalError
	if errors.As(err, &f) && f.Kind == vcpu.FatalTripleFault {
		return vmmapi.CodeTripleFault
	}
	return vmmapi.CodeInternal
}
