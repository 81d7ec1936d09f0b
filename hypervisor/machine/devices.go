package machine

import (
	"fmt"

	"gozen/hypervisor/kvm"
	"gozen/hypervisor/virtiopci"
	"gozen/hypervisor/vmmapi"
	"gozen/pvdrivers/block"
	"gozen/pvdrivers/console"
	"gozen/pvdrivers/entropy"
	"gozen/pvdrivers/virtio"
)

// First PCI slot of each kind of device.
const (
	slotConsole = 1
	slotEntropy = 2
	slotVsock   = 3
	slotDisk    = 4
	slotNic     = slotDisk + vmmapi.MaxDisks
)

// addDevices puts all virtio devices on the bus.
func (m *Machine) addDevices() error {
	cfg := m.cfg
	c, err := console.New(console.Config{Name: "virtio-console0", Output: &consoleSink{m: m}})
	if err != nil {
		return err
	}
	m.console = c
	if err := m.addDevice(slotConsole, c); err != nil {
		return err
	}
	e, err := entropy.New(entropy.Config{Name: "virtio-rng0", Source: cfg.Entropy.Source, BytesPerSecond: cfg.Entropy.BytesPerSecond})
	if err != nil {
		return err
	}
	if err := m.addDevice(slotEntropy, e); err != nil {
		return err
	}
	for i, d := range cfg.Disks {
		dev, err := block.New(block.Config{Name: fmt.Sprintf("virtio-blk%d", i), FD: d.File, ReadOnly: d.ReadOnly, Serial: d.Serial})
		if err != nil {
			return fmt.Errorf("disk %s: %w", d.Name, err)
		}
		if err := m.addDevice(slotDisk+i, dev); err != nil {
			return err
		}
	}
	return nil
}

// addDevice puts a device into a slot and takes it over, also when it fails.
func (m *Machine) addDevice(slot int, d virtio.Device) error {
	t, err := virtiopci.New(virtiopci.Config{
		Device:    d,
		Memory:    m.memory,
		NewVector: func() (virtiopci.Vector, error) { return m.router.NewVector() },
		Doorbell: func(addr uint64, fd int, on bool) error {
			return m.vm.IOEventFD(kvm.IOEvent{Addr: addr, FD: fd}, on)
		},
		OnError: func(err error) {
			m.event(vmmapi.Event{Kind: vmmapi.EventDeviceError, Device: d.Name(), Message: err.Error()})
		},
	})
	if err != nil {
		_ = d.Close()
		return err
	}
	m.transports = append(m.transports, t)
	m.onClose(t.Close)
	return m.root.Attach(slot, t.Function())
}

// consoleSink takes the console's output and notes the first of it.
type consoleSink struct{ m *Machine }

func (s *consoleSink) Write(p []byte) (int, error) {
	s.m.consoleOpened()
	return s.m.opts.Console.Write(p)
}
