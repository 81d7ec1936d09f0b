package guests

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The files that a vmm can write are in a directory of their own, the outbox. On
// a host it is a small file system, so that a vmm that was taken over by its
// guest can fill it and nothing else.
const (
	outbox        = "vmm"
	outboxOptions = "size=4m,nr_inodes=16,mode=700"
)

// openOutbox makes the outbox of a guest, if it is not there, and room in it for
// a new vmm: the one before may have filled it.
func (m *Manager) openOutbox(g *guest) error {
	dir := filepath.Join(g.dir, outbox)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	for _, name := range []string{outcomeFile, logFile} {
		if err := os.Remove(filepath.Join(g.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("run directory: %w", err)
		}
	}
	if !m.opt.Confine {
		return nil
	}
	there, err := isMount(dir)
	if err != nil || there {
		return err
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("vmm", dir, "tmpfs", flags, outboxOptions); err != nil {
		return fmt.Errorf("run directory: mount %s: %w", dir, err)
	}
	return nil
}

// removeRunDir removes a guest's run directory and the file system in it.
func removeRunDir(dir string) error {
	box := filepath.Join(dir, outbox)
	there, err := isMount(box)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if there {
		if err := unix.Unmount(box, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", box, err)
		}
	}
	return os.RemoveAll(dir)
}

// isMount tells whether a file system is mounted at dir: it is another than that
// of the directory above.
func isMount(dir string) (bool, error) {
	var in, above unix.Stat_t
	if err := unix.Stat(dir, &in); err != nil {
		return false, fmt.Errorf("%s: %w", dir, err)
	}
	if err := unix.Stat(filepath.Dir(dir), &above); err != nil {
		return false, fmt.Errorf("%s: %w", filepath.Dir(dir), err)
	}
	return in.Dev != above.Dev, nil
}
