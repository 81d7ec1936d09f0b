package machine

import (
	"fmt"
	"net"

	"gozen/hypervisor/kvm"
	"gozen/hypervisor/virtiopci"
	"gozen/hypervisor/vmmapi"
	"gozen/pvdrivers/block"
	"gozen/pvdrivers/console"
	"gozen/pvdrivers/entropy"
	pvnet "gozen/pvdrivers/net"
	"gozen/pvdrivers/vhost"
	"gozen/pvdrivers/virtio"
	"gozen/pvdrivers/vsock"
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
	for _, add := range []func() error{m.addConsole, m.addEntropy, m.addVsock, m.addDisks, m.addNics} {
		if err := add(); err != nil {
			return err
		}
	}
	return nil
}

func (m *Machine) addConsole() error {
	const name = "virtio-console0"
	c, err := console.New(console.Config{Name: name, Output: &consoleSink{m: m}})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	m.console = c
	return m.addDevice(slotConsole, c)
}

func (m *Machine) addEntropy() error {
	const name = "virtio-rng0"
	e, err := entropy.New(entropy.Config{
		Name: name, Source: m.cfg.Entropy.Source, BytesPerSecond: m.cfg.Entropy.BytesPerSecond,
	})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return m.addDevice(slotEntropy, e)
}

func (m *Machine) addVsock() error {
	v := m.cfg.Vsock
	if v == nil {
		return nil
	}
	const name = "virtio-vsock0"
	d, err := vsock.New(vsock.Config{Name: name, Vhost: vhost.Open(v.Vhost), CID: v.CID})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return m.addDevice(slotVsock, d)
}

func (m *Machine) addDisks() error {
	for i, c := range m.cfg.Disks {
		name := fmt.Sprintf("virtio-blk%d", i)
		d, err := block.New(block.Config{Name: name, FD: c.File, ReadOnly: c.ReadOnly, Serial: c.Serial})
		if err != nil {
			return fmt.Errorf("disk %s: %s: %w", c.Name, name, err)
		}
		if err := m.addDevice(slotDisk+i, d); err != nil {
			return err
		}
	}
	return nil
}

func (m *Machine) addNics() error {
	for i, n := range m.cfg.Nics {
		mac, err := net.ParseMAC(n.MAC)
		if err != nil {
			return fmt.Errorf("network device %d: %w", i, err)
		}
		name := fmt.Sprintf("virtio-net%d", i)
		c := pvnet.Config{Name: name, Tap: n.Tap, MAC: mac, MTU: n.MTU}
		if n.Vhost != 0 {
			c.Vhost = vhost.Open(n.Vhost)
		}
		d, err := pvnet.New(c)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := m.addDevice(slotNic+i, d); err != nil {
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
