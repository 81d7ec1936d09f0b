package work

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// generator is the kernel's device for bytes of a hardware generator.
const generator = "/dev/hwrng"

// Entropy reads from the entropy device for that long: entropy.rate in KiB/s.
func Entropy(window time.Duration) ([]Value, error) {
	fd, err := openGenerator()
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	buf := make([]byte, 4096)
	var total int
	start := time.Now()
	for time.Since(start) < window {
		n, err := readGenerator(fd, buf)
		if err != nil {
			return nil, err
		}
		total += n
	}
	return []Value{{"entropy.rate", float64(total) / 1024 / time.Since(start).Seconds()}}, nil
}

func openGenerator() (int, error) {
	fd, err := unix.Open(generator, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w; has the guest an entropy device?", generator, err)
	}
	return fd, nil
}

// readGenerator reads at least one byte.
func readGenerator(fd int, buf []byte) (int, error) {
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, fmt.Errorf("read %s: %w", generator, err)
		case n == 0:
			return 0, fmt.Errorf("read %s: it has ended", generator)
		default:
			return n, nil
		}
	}
}
