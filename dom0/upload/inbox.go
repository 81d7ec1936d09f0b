package upload

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"gozen/dom0/fault"
)

// Inbox is a directory that things of one kind are uploaded into, each under a
// name of its own. Its methods may be used from many goroutines.
type Inbox struct {
	dir, kind, suffix string

	mu     sync.Mutex
	coming map[string]bool // names that uploads under way will take
}

// OpenInbox opens the directory, which must be there, and removes the temporary
// files of uploads that nobody will finish. kind names the things in errors, as
// in "volume"; a thing's file has its name and the suffix.
func OpenInbox(dir, kind, suffix string) (*Inbox, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("remove unfinished uploads: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, fmt.Errorf("remove unfinished upload: %w", err)
			}
		}
	}
	return &Inbox{dir: dir, kind: kind, suffix: suffix, coming: make(map[string]bool)}, nil
}

// Free refuses a name that an upload under way will take. Whoever lets nobody
// Begin meanwhile, and looks after this whether there is such a thing, can be
// sure of the name.
func (b *Inbox) Free(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.free(name)
}

func (b *Inbox) free(name string) error {
	if b.coming[name] {
		return fault.New(fault.Exists, "%s: an upload of that name is under way", b.what(name))
	}
	return nil
}

// Begin starts the upload of a thing of size bytes. The caller must end it with
// Commit or Abort, which gives the name free.
func (b *Inbox) Begin(name string, size uint64) (*Upload, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.free(name); err != nil {
		return nil, err
	}
	u, err := newUpload(b, name, size)
	if err != nil {
		return nil, err
	}
	b.coming[name] = true
	return u, nil
}

// came ends what Begin began.
func (b *Inbox) came(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.coming, name)
}

func (b *Inbox) what(name string) string { return fmt.Sprintf("%s %q", b.kind, name) }
