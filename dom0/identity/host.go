package identity

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// hostFile holds certificate and key together, so that a power cut between two
// files cannot separate them.
const hostFile = "host.pem"

// LoadOrCreateHost returns the host's own identity kept in dir, which it makes
// at first. A file that cannot be used is kept beside the new one as
// host.pem.broken; the fingerprint is then a new one.
func LoadOrCreateHost(dir string, names []string) (Pair, error) {
	path := filepath.Join(dir, hostFile)
	text, err := os.ReadFile(path)
	switch {
	case err == nil:
		pair := split(text)
		if _, err := pair.TLS(); err == nil {
			return pair, nil
		}
		if err := os.Rename(path, path+".broken"); err != nil {
			return Pair{}, fmt.Errorf("identity: %s holds no certificate and key, and cannot be put aside: %w", path, err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return Pair{}, fmt.Errorf("identity: %w", err)
	}
	pair, err := NewSelfSigned(names)
	if err != nil {
		return Pair{}, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Pair{}, fmt.Errorf("identity: %w", err)
	}
	if err := renameio.WriteFile(path, append(bytes.Clone(pair.CertPEM), pair.KeyPEM...), 0o600); err != nil {
		return Pair{}, fmt.Errorf("identity: keeping the host's certificate: %w", err)
	}
	return pair, nil
}

// split takes a text of PEM blocks apart.
func split(text []byte) Pair {
	var p Pair
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return p
		}
		if block.Type == "CERTIFICATE" {
			p.CertPEM = append(p.CertPEM, pem.EncodeToMemory(block)...)
		} else {
			p.KeyPEM = append(p.KeyPEM, pem.EncodeToMemory(block)...)
		}
		text = rest
	}
}
