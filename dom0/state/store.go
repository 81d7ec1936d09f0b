package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
)

const (
	suffix     = ".json"
	tempPrefix = "." // renameio names its temporary files so; no key begins with it
	brokenDir  = "broken"
	// maxRecord bounds a record's file in bytes; no honest record comes near.
	maxRecord = 4 << 20
)

// Store is a directory of records of one type. Its methods may be used from many
// goroutines, but writes of one key must be ordered by the caller.
type Store[T any] struct {
	dir string
	log *slog.Logger
}

// Open opens the directory, creating it if need be, and removes what an
// interrupted write left.
func Open[T any](dir string, log *slog.Logger) (*Store[T], error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state %s: %w", dir, err)
	}
	s := &Store[T]{dir: dir, log: log}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("state %s: %w", dir, err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				log.Warn("cannot remove the rest of an interrupted write", "file", e.Name(), "err", err)
			}
		}
	}
	return s, nil
}

// Load reads every record. check, if not nil, judges each; a record that cannot
// be read or is refused by check is quarantined.
func (s *Store[T]) Load(check func(key string, v *T) error) (map[string]*T, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("state %s: %w", s.dir, err)
	}
	records := make(map[string]*T)
	for _, e := range entries {
		key, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok || e.IsDir() || strings.HasPrefix(key, ".") {
			continue
		}
		v, err := s.read(key)
		if err == nil && check != nil {
			err = check(key, v)
		}
		if err != nil {
			s.quarantine(e.Name(), err)
			continue
		}
		records[key] = v
	}
	return records, nil
}

// Put writes the record durably. After an error the old record is still there.
func (s *Store[T]) Put(key string, v *T) error {
	b, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		return fmt.Errorf("state %s: encode %q: %w", s.dir, key, err)
	}
	b = append(b, '\n')
	f, err := renameio.NewPendingFile(s.path(key), renameio.WithTempDir(s.dir), renameio.WithPermissions(0o600))
	if err != nil {
		return fmt.Errorf("state %s: write %q: %w", s.dir, key, err)
	}
	defer f.Cleanup() // does nothing once the file took its name
	if _, err := f.Write(b); err != nil {
		return fmt.Errorf("state %s: write %q: %w", s.dir, key, err)
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("state %s: write %q: %w", s.dir, key, err)
	}
	return SyncDir(s.dir)
}

// Delete removes the record durably. A record that is not there is no error.
func (s *Store[T]) Delete(key string) error {
	if err := os.Remove(s.path(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("state %s: delete %q: %w", s.dir, key, err)
	}
	return SyncDir(s.dir)
}

func (s *Store[T]) path(key string) string { return filepath.Join(s.dir, key+suffix) }

func (s *Store[T]) read(key string) (*T, error) {
	f, err := os.Open(s.path(key))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxRecord {
		return nil, fmt.Errorf("larger than %d bytes", maxRecord)
	}
	return Decode[T](b)
}

// Decode reads one JSON value strictly: an unknown field, or anything after the
// value, is an error.
func Decode[T any](b []byte) (*T, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	v := new(T)
	if err := d.Decode(v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON value")
	}
	return v, nil
}

// quarantine moves a file out of the way under a name that is still free.
func (s *Store[T]) quarantine(name string, reason error) {
	broken := filepath.Join(s.dir, brokenDir)
	to := filepath.Join(broken, fmt.Sprintf("%s.%d", name, time.Now().UnixNano()))
	err := os.MkdirAll(broken, 0o700)
	if err == nil {
		err = os.Rename(filepath.Join(s.dir, name), to)
	}
	if err != nil {
		s.log.Error("broken state file ignored; it could not be moved away", "file", filepath.Join(s.dir, name), "reason", reason, "err", err)
		return
	}
	s.log.Error("broken state file moved away", "file", filepath.Join(s.dir, name), "to", to, "reason", reason)
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}
