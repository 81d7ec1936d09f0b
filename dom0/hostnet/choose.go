package hostnet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"gozen/dom0/netif"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// settle is how long other interfaces may still appear after the first one with
// carrier, so that the choice does not depend on which driver was quickest.
const settle = time.Second

// choose waits for the interface to use.
func (u *Uplink) choose(ctx context.Context) (netlink.Link, error) {
	updates, stop, err := watchLinks()
	if err != nil {
		return nil, err
	}
	defer stop()
	var settled <-chan time.Time
	// An interface that was just set up has no carrier for a moment: that is not
	// worth a word.
	grace, late := time.After(settle), false
	for {
		links, err := netif.Retry(netlink.LinkList)
		if err != nil {
			return nil, fmt.Errorf("listing interfaces: %w", err)
		}
		best := u.best(links)
		switch {
		case best == nil:
			settled = nil
			if late {
				u.problem(u.wanting(links))
			}
		case u.cfg.Network.Interface != "":
			return best, nil
		case settled == nil:
			settled = time.After(settle)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-settled:
			return best, nil
		case <-grace:
			late = true
		case _, ok := <-updates:
			if !ok {
				return nil, errors.New("the kernel's messages about interfaces ended")
			}
		}
	}
}

// best sets all interfaces in question up, and returns the first with carrier in
// the order of their places in the machine, or nil.
func (u *Uplink) best(links []netlink.Link) netlink.Link {
	var best netlink.Link
	var bestPlace string
	for _, link := range links {
		attrs := link.Attrs()
		place := attrs.Name
		if named := u.cfg.Network.Interface; named != "" {
			if attrs.Name != named {
				continue
			}
		} else if place = devicePlace(attrs.Name); place == "" {
			continue
		}
		if attrs.RawFlags&unix.IFF_UP == 0 {
			// Carrier shows only on interfaces that are up.
			if err := netlink.LinkSetUp(link); err != nil {
				u.cfg.Log.Warn("interface cannot be set up", "interface", attrs.Name, "error", err)
			}
		}
		if hasCarrier(attrs) && (best == nil || place < bestPlace) {
			best, bestPlace = link, place
		}
	}
	return best
}

// wanting says what is missing.
func (u *Uplink) wanting(links []netlink.Link) string {
	found := 0
	for _, link := range links {
		name := link.Attrs().Name
		if name == u.cfg.Network.Interface {
			return fmt.Sprintf("interface %s has no carrier; is the cable plugged in?", name)
		}
		if devicePlace(name) != "" {
			found++
		}
	}
	switch {
	case u.cfg.Network.Interface != "":
		return fmt.Sprintf("there is no interface %s; take network.interface out of the seed to use the first with carrier", u.cfg.Network.Interface)
	case found == 0:
		return "no network interface found; its driver may be missing in this image"
	}
	return fmt.Sprintf("none of the %d network interfaces has carrier; is a cable plugged in?", found)
}

// devicePlace returns where the device behind an interface is, as a path of
// sysfs, which sorts by bus and slot; "" for interfaces without a device.
func devicePlace(name string) string {
	place, err := filepath.EvalSymlinks(filepath.Join("/sys/class/net", name, "device"))
	if err != nil {
		return ""
	}
	return place
}

func hasCarrier(attrs *netlink.LinkAttrs) bool {
	return attrs.RawFlags&unix.IFF_UP != 0 && attrs.RawFlags&unix.IFF_RUNNING != 0
}

// watchLinks subscribes to changes of interfaces.
func watchLinks() (updates <-chan netlink.LinkUpdate, stop func(), err error) {
	ch := make(chan netlink.LinkUpdate, 64)
	done := make(chan struct{})
	err = netlink.LinkSubscribeWithOptions(ch, done, netlink.LinkSubscribeOptions{
		ErrorCallback: func(error) {}, // the channel is closed then, which is seen
	})
	if err != nil {
		return nil, nil, fmt.Errorf("watching interfaces: %w", err)
	}
	return ch, func() {
		close(done)
		// The sender may be waiting for room in the channel; it ends with its socket.
		go func() {
			for range ch {
			}
		}()
	}, nil
}

// awaitLoss returns why an interface cannot be used any more.
func awaitLoss(ctx context.Context, name string) error {
	updates, stop, err := watchLinks()
	if err != nil {
		return err
	}
	defer stop()
	for {
		link, err := netif.ByName(name)
		if err != nil {
			return err
		}
		if !hasCarrier(link.Attrs()) {
			return errors.New("carrier lost; is the cable plugged in?")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case _, ok := <-updates:
			if !ok {
				return errors.New("the kernel's messages about interfaces ended")
			}
		}
	}
}

// SetHostname gives the host its name.
func SetHostname(name string) error {
	if name == "" {
		return nil
	}
	return os.NewSyscallError("sethostname", unix.Sethostname([]byte(name)))
}
