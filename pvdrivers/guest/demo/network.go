package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"time"

	"github.com/u-root/u-root/pkg/dhclient"
	"github.com/vishvananda/netlink"
)

const (
	linkTimeout  = 10 * time.Second
	leaseTimeout = 5 * time.Second // of one try
	leaseTries   = 6
)

// configure brings the guest's first network interface up and gives it the
// address, route and name servers that the host's DHCP server offers.
func configure() (string, error) {
	log.SetOutput(io.Discard) // the library's progress messages
	loopback, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(loopback)
	}
	if err != nil {
		return "", fmt.Errorf("loopback: %w", err)
	}
	links, err := dhclient.Interfaces("^eth")
	if err != nil || len(links) == 0 {
		return "", errors.New("the guest has no network interface")
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaseTries*leaseTimeout+linkTimeout)
	defer cancel()
	config := dhclient.Config{Timeout: leaseTimeout, Retries: leaseTries}
	var last error
	for result := range dhclient.SendRequests(ctx, links[:1], true, false, config, linkTimeout) {
		if result.Err != nil {
			last = result.Err
			continue
		}
		if err := result.Lease.Configure(); err != nil {
			return "", fmt.Errorf("%s: %w", result.Interface.Attrs().Name, err)
		}
		addrs, err := netlink.AddrList(result.Interface, netlink.FAMILY_V4)
		if err != nil || len(addrs) == 0 {
			return "", fmt.Errorf("%s: no address after DHCP (%v)", result.Interface.Attrs().Name, err)
		}
		return addrs[0].IP.String(), nil
	}
	return "", fmt.Errorf("DHCP on %s: %w", links[0].Attrs().Name, last)
}
