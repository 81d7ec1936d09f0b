package vmmapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// MaxConfigBytes bounds an encoded Config.
const MaxConfigBytes = 1 << 20

// SealedConfig returns a memfd with the encoded Config, sealed against every
// change, to be handed to the vmm as descriptor ConfigFD.
func SealedConfig(c *Config) (_ *os.File, err error) {
	b, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode vmm configuration: %w", err)
	}
	fd, err := unix.MemfdCreate("vmm-config", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("vmm configuration: memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "vmm-config")
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	if _, err := f.Write(b); err != nil {
		return nil, fmt.Errorf("write vmm configuration: %w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("rewind vmm configuration: %w", err)
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return nil, fmt.Errorf("seal vmm configuration: %w", err)
	}
	return f, nil
}

// ReadConfig decodes a Config. A field it does not know is an error: it would be
// a promise of dom0's that this vmm does not keep.
func ReadConfig(r io.Reader) (*Config, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxConfigBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read vmm configuration: %w", err)
	}
	if len(b) > MaxConfigBytes {
		return nil, fmt.Errorf("vmm configuration: more than %d bytes", MaxConfigBytes)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	c := new(Config)
	if err := d.Decode(c); err != nil {
		return nil, fmt.Errorf("decode vmm configuration: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("decode vmm configuration: something follows it")
	}
	return c, nil
}
