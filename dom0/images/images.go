package images

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"

	"gozen/dom0/fault"
	"gozen/dom0/naming"
	"gozen/dom0/quantity"
	"gozen/dom0/state"
	"gozen/dom0/upload"
	"gozen/hypervisor/linuxboot"
)

// Kind is what an image is for.
type Kind string

// The kinds of image.
const (
	Kernel Kind = "kernel"
	Initrd Kind = "initrd"
)

const (
	suffix = ".img"
	// MaxSize is the largest image, in bytes. Guests load images into memory.
	MaxSize = 4 << 30
)

// Image is what is known of an image.
type Image struct {
	Name      string
	Kind      Kind
	SizeBytes uint64
	SHA256    []byte
	Format    string // for kernels: what it is, for people
	CreatedAt time.Time
	UsedBy    []string // guests that claim it, in order
}

// record is an Image's durable form.
type record struct {
	Kind      Kind      `json:"kind"`
	SizeBytes uint64    `json:"size_bytes"`
	SHA256    []byte    `json:"sha256"`
	Format    string    `json:"format,omitempty"`
	CreatedAt time.Time `json:"created_at"`
}

// Store is the directory of images. Its methods may be used from many goroutines.
type Store struct {
	dir     string
	records *state.Store[record]
	inbox   *upload.Inbox

	mu     sync.Mutex
	images map[string]*record
	claims map[string]map[string]bool // image → guests
}

// Open opens the directory, creating it if need be, and removes the contents of
// images that never came to exist.
func Open(dir string, log *slog.Logger) (*Store, error) {
	records, err := state.Open[record](filepath.Join(dir, "records"), log)
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	s := &Store{dir: dir, records: records, claims: make(map[string]map[string]bool)}
	s.images, err = records.Load(func(name string, r *record) error {
		if err := naming.CheckFile("image", name); err != nil {
			return err
		}
		if r.Kind != Kernel && r.Kind != Initrd {
			return fmt.Errorf("kind %q", r.Kind)
		}
		st, err := os.Stat(s.path(name))
		if err != nil {
			return err
		}
		if uint64(st.Size()) != r.SizeBytes {
			return fmt.Errorf("content has %d bytes, the record says %d", st.Size(), r.SizeBytes)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	if s.inbox, err = upload.OpenInbox(dir, "image", suffix); err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), suffix)
		if ok && s.images[name] == nil {
			log.Warn("removing the content of an image without a record", "image", name)
			if err := os.Remove(s.path(name)); err != nil {
				return nil, fmt.Errorf("images: %w", err)
			}
		}
	}
	return s, nil
}

// Get returns the image.
func (s *Store) Get(name string) (Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.get(name)
}

// List returns all images in the order of their names.
func (s *Store) List() []Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Image, 0, len(s.images))
	for name := range s.images {
		if i, err := s.get(name); err == nil {
			out = append(out, i)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// Delete removes an image that no guest claims.
func (s *Store) Delete(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.get(name)
	if err != nil {
		return err
	}
	if len(i.UsedBy) > 0 {
		return fault.New(fault.Precondition, "image %q: used by guest %q: delete the guest first", name, i.UsedBy[0])
	}
	if err := s.records.Delete(name); err != nil {
		return fmt.Errorf("image %q: %w", name, err)
	}
	delete(s.images, name)
	if err := os.Remove(s.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("image %q: %w", name, err)
	}
	return nil
}

// Claim lets the guest have the kernel and the initrd, which may be empty. It
// refuses an image that is not there or of the other kind.
func (s *Store) Claim(guest, kernel, initrd string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, want := range []struct {
		name string
		kind Kind
	}{{kernel, Kernel}, {initrd, Initrd}} {
		if want.name == "" {
			continue
		}
		i, err := s.get(want.name)
		if err != nil {
			return err
		}
		if i.Kind != want.kind {
			return fault.New(fault.Invalid, "image %q: is of kind %s, named as the guest's %s", want.name, i.Kind, want.kind)
		}
	}
	s.release(guest)
	s.claim(guest, kernel, initrd)
	return nil
}

// Restore claims for a guest that is known from before, without checks.
func (s *Store) Restore(guest, kernel, initrd string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claim(guest, kernel, initrd)
}

// Release gives up every claim of the guest.
func (s *Store) Release(guest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release(guest)
}

// OpenFile opens an image's content for reading.
func (s *Store) OpenFile(name string) (*os.File, error) {
	if _, err := s.Get(name); err != nil {
		return nil, err
	}
	f, err := os.Open(s.path(name))
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", name, err)
	}
	return f, nil
}

// Upload begins an image that will come as a stream. The caller must end it with
// Commit or Abort.
func (s *Store) Upload(name string, kind Kind, size uint64) (*Upload, error) {
	if err := naming.CheckFile("image", name); err != nil {
		return nil, err
	}
	switch {
	case kind != Kernel && kind != Initrd:
		return nil, fault.New(fault.Invalid, "image %q: say whether it is a kernel or an initrd", name)
	case size == 0:
		return nil, fault.New(fault.Invalid, "image %q: is empty", name)
	case size > MaxSize:
		return nil, fault.New(fault.Invalid, "image %q: size %s: at most %s", name, quantity.Bytes(size), quantity.Bytes(MaxSize))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.inbox.Free(name); err != nil {
		return nil, err
	}
	if s.images[name] != nil {
		return nil, fault.New(fault.Exists, "image %q: exists already", name)
	}
	u, err := s.inbox.Begin(name, size)
	if err != nil {
		return nil, err
	}
	return &Upload{Upload: u, s: s, name: name, rec: record{Kind: kind, SizeBytes: size}}, nil
}

// Upload is an image on its way in. It is for one goroutine.
type Upload struct {
	*upload.Upload
	s    *Store
	name string
	rec  record
}

// Commit makes the image exist if its SHA-256 is the given one and, for a
// kernel, if guests can be started from it.
func (u *Upload) Commit(sha256 []byte) (Image, error) {
	if err := u.Verify(sha256); err != nil {
		return Image{}, err
	}
	if u.rec.Kind == Kernel {
		info, err := linuxboot.Inspect(u.File(), int64(u.rec.SizeBytes))
		if err != nil {
			return Image{}, fault.New(fault.Invalid, "image %q: not a kernel that a guest can be started from: %w", u.name, err)
		}
		u.rec.Format = info.Format()
	}
	u.rec.SHA256, u.rec.CreatedAt = sha256, time.Now().UTC()
	s := u.s
	s.mu.Lock()
	defer s.mu.Unlock()
	// What a deletion could not remove has no record and must not stand in the way.
	if err := os.Remove(s.path(u.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Image{}, fmt.Errorf("image %q: %w", u.name, err)
	}
	if err := u.Upload.Commit(sha256); err != nil {
		return Image{}, err
	}
	if err := s.records.Put(u.name, &u.rec); err != nil {
		_ = os.Remove(s.path(u.name))
		return Image{}, upload.DiskError(fmt.Sprintf("image %q", u.name), s.dir, err)
	}
	s.images[u.name] = &u.rec
	return s.get(u.name)
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name+suffix) }

func (s *Store) get(name string) (Image, error) {
	r := s.images[name]
	if r == nil {
		return Image{}, fault.New(fault.NotFound, "image %q: there is none of that name", name)
	}
	i := Image{Name: name, Kind: r.Kind, SizeBytes: r.SizeBytes, SHA256: r.SHA256, Format: r.Format, CreatedAt: r.CreatedAt}
	for guest := range s.claims[name] {
		i.UsedBy = append(i.UsedBy, guest)
	}
	sort.Strings(i.UsedBy)
	return i, nil
}

func (s *Store) claim(guest string, names ...string) {
	for _, name := range names {
		if name == "" {
			continue
		}
		if s.claims[name] == nil {
			s.claims[name] = make(map[string]bool)
		}
		s.claims[name][guest] = true
	}
}

func (s *Store) release(guest string) {
	for name, guests := range s.claims {
		delete(guests, guest)
		if len(guests) == 0 {
			delete(s.claims, name)
		}
	}
}
