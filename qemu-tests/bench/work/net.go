package work

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"gozen/qemu-tests/bench/measure"
)

// datagramBytes is the size of a datagram, without headers.
const datagramBytes = 64

// Net measures the network to the Servers at an IPv4 address, each measure for
// about that time. The measures are net.PREFIX.*, prefix being "host" or "guest";
// those that the catalogue does not have for the prefix are left out.
//
//	send      MiB/s by TCP to the server, until it has read all
//	receive   MiB/s by TCP from the server
//	latency   mean time of one byte to the server and back, in µs
//	packets   datagrams of 64 bytes that the server received, a second
func Net(prefix string, server netip.Addr, window time.Duration) ([]Value, error) {
	if !server.Is4() {
		return nil, fmt.Errorf("net: %v is not an IPv4 address", server)
	}
	var values []Value
	var errs []error
	for _, part := range []struct {
		name string
		run  func(netip.Addr, time.Duration) (float64, error)
	}{{"send", send}, {"receive", receive}, {"latency", exchange}, {"packets", packets}} {
		name := "net." + prefix + "." + part.name
		if _, ok := measure.Lookup(name); !ok {
			continue
		}
		value, err := part.run(server, window)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			continue
		}
		values = append(values, Value{name, value})
	}
	if len(values)+len(errs) == 0 {
		return nil, fmt.Errorf("net: no measures net.%s.*", prefix)
	}
	return values, errors.Join(errs...)
}

func send(server netip.Addr, window time.Duration) (float64, error) {
	s, err := dial(unix.SOCK_STREAM, netip.AddrPortFrom(server, sinkPort))
	if err != nil {
		return 0, err
	}
	defer s.close()
	buf := make([]byte, streamBuffer)
	var total int
	start := time.Now()
	for time.Since(start) < window {
		n, err := s.Write(buf)
		if err != nil {
			return 0, fmt.Errorf("send: %w", err)
		}
		total += n
	}
	// What is still in buffers is not sent: the server closes when it has read all.
	if err := s.shutdown(unix.SHUT_WR); err != nil {
		return 0, fmt.Errorf("send: %w", err)
	}
	if _, err := s.Read(buf); !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("send: the server did not read to the end: %w", err)
	}
	return rate(total, start), nil
}

func receive(server netip.Addr, window time.Duration) (float64, error) {
	s, err := dial(unix.SOCK_STREAM, netip.AddrPortFrom(server, sourcePort))
	if err != nil {
		return 0, err
	}
	defer s.close()
	buf := make([]byte, streamBuffer)
	// The stream begins before the clock: the first bytes are of its slow start.
	if _, err := s.Read(buf); err != nil {
		return 0, fmt.Errorf("receive: %w", err)
	}
	var total int
	start := time.Now()
	for time.Since(start) < window {
		n, err := s.Read(buf)
		if err != nil {
			return 0, fmt.Errorf("receive: %w", err)
		}
		total += n
	}
	return rate(total, start), nil
}

// rate is in MiB/s.
func rate(bytes int, start time.Time) float64 {
	return float64(bytes) / (1 << 20) / time.Since(start).Seconds()
}

func exchange(server netip.Addr, window time.Duration) (float64, error) {
	s, err := dial(unix.SOCK_STREAM, netip.AddrPortFrom(server, echoPort))
	if err != nil {
		return 0, err
	}
	defer s.close()
	if err := s.noDelay(); err != nil {
		return 0, err
	}
	var b [1]byte
	once := func() error {
		if _, err := s.Write(b[:]); err != nil {
			return fmt.Errorf("request: %w", err)
		}
		if _, err := s.Read(b[:]); err != nil {
			return fmt.Errorf("response: %w", err)
		}
		return nil
	}
	for range 10 { // caches, and the server's first wait
		if err := once(); err != nil {
			return 0, err
		}
	}
	n := 0
	start := time.Now()
	for ; n == 0 || time.Since(start) < window; n++ {
		if err := once(); err != nil {
			return 0, err
		}
	}
	return float64(time.Since(start).Nanoseconds()) / 1e3 / float64(n), nil
}

// packets floods the server from a thread a processor, at most two.
func packets(server netip.Addr, window time.Duration) (float64, error) {
	before, err := received(server)
	if err != nil {
		return 0, err
	}
	var senders sync.WaitGroup
	var stop atomic.Bool
	errs := make([]error, min(2, runtime.GOMAXPROCS(0)))
	start := time.Now()
	for i := range errs {
		senders.Go(func() { errs[i] = flood(server, func(int) bool { return stop.Load() }) })
	}
	time.Sleep(window)
	stop.Store(true)
	senders.Wait()
	took := time.Since(start)
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	after, err := settled(server)
	if err != nil {
		return 0, err
	}
	if after == before {
		return 0, errors.New("the server received no datagram")
	}
	return float64(after-before) / took.Seconds(), nil
}

// SendDatagrams sends n datagrams of 64 bytes to the Servers at an IPv4 address: a
// known number of packets to divide exits by. It returns how many were sent.
func SendDatagrams(server netip.Addr, n int) (int, error) {
	if !server.Is4() || n <= 0 {
		return 0, fmt.Errorf("net: %d datagrams to %v", n, server)
	}
	if err := flood(server, func(sent int) bool { return sent >= n }); err != nil {
		return 0, err
	}
	return n, nil
}

// flood sends datagrams until done says so, which is told how many were sent.
func flood(server netip.Addr, done func(sent int) bool) error {
	s, err := dial(unix.SOCK_DGRAM, netip.AddrPortFrom(server, countPort))
	if err != nil {
		return err
	}
	defer s.close()
	var b [datagramBytes]byte
	for sent := 0; !done(sent); {
		_, err := s.Write(b[:])
		switch {
		case errors.Is(err, unix.ENOBUFS): // the device's queue is full: nothing was sent
		case err != nil:
			return fmt.Errorf("send a datagram: %w", err)
		default:
			sent++
		}
	}
	return nil
}

// received asks the server how many datagrams came.
func received(server netip.Addr) (uint64, error) {
	s, err := dial(unix.SOCK_STREAM, netip.AddrPortFrom(server, countPort))
	if err != nil {
		return 0, err
	}
	defer s.close()
	var b [8]byte
	if _, err := io.ReadFull(s, b[:]); err != nil {
		return 0, fmt.Errorf("the count of datagrams: %w", err)
	}
	return binary.BigEndian.Uint64(b[:]), nil
}

// settled is what received says when no more come.
func settled(server netip.Addr) (uint64, error) {
	last, err := received(server)
	for range 20 {
		if err != nil {
			return 0, err
		}
		time.Sleep(50 * time.Millisecond)
		var now uint64
		if now, err = received(server); now == last {
			break
		}
		last = now
	}
	return last, err
}
