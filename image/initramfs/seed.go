package initramfs

import (
	"io"

	"github.com/u-root/mkuimage/cpio"
)

// SeedPath is where a host finds the seed of a second archive.
const SeedPath = "seed/seed.json"

// WriteSeed writes an archive that holds a seed and nothing else. Boot loaders
// give it to the kernel after the initramfs itself. The file is readable by root
// only: it may hold the host's private key.
func WriteSeed(w io.Writer, seed []byte) error {
	a, err := cpio.ArchiveFromRecords([]cpio.Record{
		cpio.Directory("seed", 0o700),
		cpio.StaticFile(SeedPath, string(seed), 0o600),
	})
	if err != nil {
		return err
	}
	return Write(w, a)
}
