package work

import (
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// loopback is an address of this process: the servers' ports are fixed, and other
// runs of the tests have them at other addresses.
var loopback = netip.AddrFrom4([4]byte{127, byte(os.Getpid() >> 16), byte(os.Getpid() >> 8), byte(os.Getpid())})

func TestNet(t *testing.T) {
	s, err := Serve(loopback)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	values, err := Net("host", loopback, 20*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	checkValues(t, values, "net.host.send", "net.host.receive", "net.host.latency", "net.host.packets")
	values, err = Net("guest", loopback, 20*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	checkValues(t, values, "net.guest.send", "net.guest.latency")

	before := s.Received()
	sent, err := SendDatagrams(loopback, 100)
	if sent != 100 || err != nil {
		t.Errorf("%d, %v", sent, err)
	}
	// Loopback delivers before it returns; the server counts when it gets to run.
	after, err := settled(loopback)
	if err != nil {
		t.Fatal(err)
	}
	if got := after - before; got == 0 || got > 100 {
		t.Errorf("%d of 100 datagrams counted", got)
	}
}

func TestServeTwice(t *testing.T) {
	s, err := Serve(loopback)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Serve(loopback); err == nil {
		t.Error("two servers on the same ports")
	}
	s.Close()
	// All ports are free again, even with connections that were open.
	s, err = Serve(loopback)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

// Close ends connections that a client keeps open.
func TestCloseWithOpenConnections(t *testing.T) {
	s, err := Serve(loopback)
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range []uint16{sinkPort, sourcePort, echoPort} {
		c, err := dial(unix.SOCK_STREAM, netip.AddrPortFrom(loopback, port))
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
	}
	s.Close()
}

func TestNetErrors(t *testing.T) {
	six := netip.IPv6Loopback()
	if _, err := Serve(six); err == nil {
		t.Error("served on IPv6")
	}
	if _, err := Net("host", six, time.Millisecond); err == nil {
		t.Error("measured IPv6")
	}
	if _, err := SendDatagrams(six, 1); err == nil {
		t.Error("sent by IPv6")
	}
	if _, err := SendDatagrams(loopback, 0); err == nil {
		t.Error("sent no datagrams")
	}
	if _, err := Net("moon", loopback, time.Millisecond); err == nil {
		t.Error("measured what the catalogue does not have")
	}
	// Nobody serves there.
	if values, err := Net("host", loopback, time.Millisecond); err == nil || len(values) > 0 {
		t.Errorf("%v, %v without a server", values, err)
	}
}
