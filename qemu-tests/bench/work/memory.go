package work

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Touch writes to each small page of that much memory and gives it back: in a
// guest, that much of its RAM is resident on the host afterwards.
func Touch(mib int) error {
	if mib <= 0 || mib > 1<<20 {
		return fmt.Errorf("touch: %d MiB is not an amount of memory", mib)
	}
	b, err := smallPages(mib << 20)
	if err != nil {
		return fmt.Errorf("touch: %w", err)
	}
	touch(b)
	if err := unix.Munmap(b); err != nil {
		return fmt.Errorf("touch: munmap: %w", err)
	}
	return nil
}
