package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
)

// dhcp brings the interface up and takes a lease.
func dhcp(args []string) error {
	for _, name := range []string{"lo", args[0]} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	c, err := nclient4.New(args[0], nclient4.WithTimeout(5*time.Second), nclient4.WithRetry(10))
	if err != nil {
		return err
	}
	defer c.Close()
	lease, err := c.Request(ctx)
	if err != nil {
		return err
	}
	return applyLease(args[0], lease.ACK)
}

func applyLease(name string, ack *dhcpv4.DHCPv4) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	addr := &net.IPNet{IP: ack.YourIPAddr, Mask: ack.SubnetMask()}
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: addr}); err != nil {
		return err
	}
	router := "none"
	if r := ack.Router(); len(r) > 0 {
		router = r[0].String()
		if err := netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: r[0]}); err != nil {
			return err
		}
	}
	fmt.Printf("address %s router %s\n", addr, router)
	return nil
}

// ping sends ICMP echo requests until COUNT answers came or the time is up.
func ping(args []string) error {
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	to, err := net.ResolveIPAddr("ip4", args[0])
	if err != nil {
		return err
	}
	conn, err := net.DialIP("ip4:icmp", nil, to)
	if err != nil {
		return err
	}
	defer conn.Close()
	id := os.Getpid() & 0xffff
	buf := make([]byte, 1500)
	for seq := 1; seq <= count; seq++ {
		if _, err := conn.Write(echoRequest(id, seq)); err != nil {
			return err
		}
		if err := conn.SetReadDeadline(time.Now().Add(15 * time.Second)); err != nil {
			return err
		}
		for {
			n, _, err := conn.ReadFromIP(buf) // without the IP header, unlike Read
			if err != nil {
				return fmt.Errorf("%d of %d answered: %w", seq-1, count, err)
			}
			if n >= 8 && buf[0] == 0 && int(buf[6])<<8|int(buf[7]) == seq { // echo reply, RFC 792
				break
			}
		}
	}
	fmt.Printf("answered %d\n", count)
	return nil
}

func echoRequest(id, seq int) []byte {
	p := []byte{8, 0, 0, 0, byte(id >> 8), byte(id), byte(seq >> 8), byte(seq), 'g', 'o', 'z', 'e', 'n', 0}
	sum := 0
	for i := 0; i < len(p); i += 2 {
		sum += int(p[i])<<8 | int(p[i+1])
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	p[2], p[3] = byte(^sum>>8), byte(^sum)
	return p
}

// serve sends every client as much of a fixed pattern as it asks for.
func serve(args []string) error {
	l, err := net.Listen("tcp4", ":"+args[0])
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				var n int64
				if _, err := fmt.Fscanln(conn, &n); err == nil {
					_, _ = io.CopyN(conn, &pattern{}, n)
				}
			}()
		}
	}()
	return nil
}

// fetch asks a serving guest for bytes and checks that the right ones came.
func fetch(args []string) error {
	want, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	conn, err := net.DialTimeout("tcp4", args[0], 30*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	fmt.Fprintln(conn, want)
	got, expect := sha256.New(), sha256.New()
	n, err := io.Copy(got, conn)
	if err != nil {
		return err
	}
	if n != want {
		return fmt.Errorf("%d of %d bytes came", n, want)
	}
	if _, err := io.CopyN(expect, &pattern{}, want); err != nil {
		return err
	}
	if string(got.Sum(nil)) != string(expect.Sum(nil)) {
		return errors.New("the bytes differ from what was sent")
	}
	fmt.Printf("fetched %d\n", n)
	return nil
}

// pattern is a reader of bytes that no shift of itself equals.
type pattern struct{ state uint64 }

func (p *pattern) Read(b []byte) (int, error) {
	for i := range b {
		p.state = p.state*6364136223846793005 + 1442695040888963407 // Knuth's MMIX generator
		b[i] = byte(p.state >> 56)
	}
	return len(b), nil
}
