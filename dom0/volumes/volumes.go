package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"gozen/dom0/fault"
	"gozen/dom0/naming"
	"gozen/dom0/quantity"
	"gozen/dom0/state"
	"gozen/dom0/upload"
)

const (
	suffix = ".raw"
	// SectorSize is what a volume's size must be a multiple of, in bytes.
	SectorSize = 512
	// MaxSize is the largest volume, in bytes.
	MaxSize = 16 << 40
)

// Volume is what is known of a volume.
type Volume struct {
	Name           string
	SizeBytes      uint64
	AllocatedBytes uint64 // really taken on the data disk
	CreatedAt      time.Time
	UsedBy         []string // guests that claim it, in order
}

// Use is a guest's wish to have a volume.
type Use struct {
	Volume   string
	ReadOnly bool
}

// Store is the directory of volumes. Its methods may be used from many goroutines.
type Store struct {
	dir   string
	inbox *upload.Inbox

	mu     sync.Mutex
	claims map[string]map[string]bool // volume → guest → for writing
}

// Open opens the directory, creating it if need be, and removes the temporary
// files of uploads that were cut by the daemon's end.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("volumes: %w", err)
	}
	inbox, err := upload.OpenInbox(dir, "volume", suffix)
	if err != nil {
		return nil, fmt.Errorf("volumes: %w", err)
	}
	return &Store{dir: dir, inbox: inbox, claims: make(map[string]map[string]bool)}, nil
}

// Create makes an empty volume. Its space is taken when it is written to.
func (s *Store) Create(name string, size uint64) (Volume, error) {
	if err := checkNew(name, size); err != nil {
		return Volume{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.free(name); err != nil {
		return Volume{}, err
	}
	what := fmt.Sprintf("volume %q", name)
	f, err := os.OpenFile(s.path(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Volume{}, upload.DiskError(what, s.dir, err)
	}
	err = f.Truncate(int64(size))
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = state.SyncDir(s.dir)
	}
	_ = f.Close() // synced, or to be removed
	if err != nil {
		_ = os.Remove(s.path(name))
		return Volume{}, upload.DiskError(what, s.dir, err)
	}
	return s.get(name)
}

// Get returns the volume.
func (s *Store) Get(name string) (Volume, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.get(name)
}

// List returns all volumes in the order of their names.
func (s *Store) List() ([]Volume, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("volumes: %w", err)
	}
	var out []Volume
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok || naming.CheckFile("volume", name) != nil {
			continue
		}
		v, err := s.get(name)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// Delete removes a volume that no guest claims.
func (s *Store) Delete(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.get(name)
	if err != nil {
		return err
	}
	if len(v.UsedBy) > 0 {
		return fault.New(fault.Precondition, "volume %q: used by guest %q: delete the guest first", name, v.UsedBy[0])
	}
	if err := os.Remove(s.path(name)); err != nil {
		return fmt.Errorf("volume %q: %w", name, err)
	}
	return state.SyncDir(s.dir)
}

// Claim gives all the volumes to the guest, or none and says why. A guest claims
// once; a claim for the same guest takes the place of its earlier one.
func (s *Store) Claim(guest string, uses []Use) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := make(map[string]bool)
	for _, u := range uses {
		if _, err := s.get(u.Volume); err != nil {
			return err
		}
		if seen[u.Volume] {
			return fault.New(fault.Invalid, "volume %q: named by two disks of one guest", u.Volume)
		}
		seen[u.Volume] = true
		for other, writes := range s.claims[u.Volume] {
			if other == guest || !writes && u.ReadOnly {
				continue
			}
			how := "which reads it"
			if writes {
				how = "which writes it"
			}
			return fault.New(fault.Precondition, "volume %q: in use by guest %q, %s: a volume is shared only when every guest has it read-only", u.Volume, other, how)
		}
	}
	s.release(guest)
	for _, u := range uses {
		s.claim(guest, u)
	}
	return nil
}

// Restore claims for a guest that is known from before, without checks: what is
// wrong with it shows when the guest is started.
func (s *Store) Restore(guest string, uses []Use) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range uses {
		s.claim(guest, u)
	}
}

// Release gives up every claim of the guest.
func (s *Store) Release(guest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release(guest)
}

// OpenFile opens a volume's file for a vmm and locks it: alone for writing, or
// shared for reading. The lock lasts until the last copy of the descriptor is
// closed.
func (s *Store) OpenFile(u Use) (*os.File, error) {
	if err := naming.CheckFile("volume", u.Volume); err != nil {
		return nil, err
	}
	flags, lock := os.O_RDWR, int16(unix.F_WRLCK)
	if u.ReadOnly {
		flags, lock = os.O_RDONLY, unix.F_RDLCK
	}
	f, err := os.OpenFile(s.path(u.Volume), flags|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notFound(u.Volume)
	}
	if err != nil {
		return nil, fmt.Errorf("volume %q: %w", u.Volume, err)
	}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: lock})
	if err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return nil, fault.New(fault.Precondition, "volume %q: a vmm has it open still", u.Volume)
		}
		return nil, fmt.Errorf("volume %q: lock: %w", u.Volume, err)
	}
	return f, nil
}

// Upload begins a volume that will come as a stream. The caller must end it with
// Commit or Abort.
func (s *Store) Upload(name string, size uint64) (*Upload, error) {
	if err := checkNew(name, size); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.free(name); err != nil {
		return nil, err
	}
	u, err := s.inbox.Begin(name, size)
	if err != nil {
		return nil, err
	}
	return &Upload{Upload: u, s: s, name: name}, nil
}

// Upload is a volume on its way in. It is for one goroutine.
type Upload struct {
	*upload.Upload
	s    *Store
	name string
}

// Commit makes the volume exist if its SHA-256 is the given one.
func (u *Upload) Commit(sha256 []byte) (Volume, error) {
	if err := u.Upload.Commit(sha256); err != nil {
		return Volume{}, err
	}
	return u.s.Get(u.name)
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name+suffix) }

func (s *Store) get(name string) (Volume, error) {
	if err := naming.CheckFile("volume", name); err != nil {
		return Volume{}, err
	}
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, s.path(name), unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st)
	if errors.Is(err, unix.ENOENT) {
		return Volume{}, notFound(name)
	}
	if err != nil {
		return Volume{}, fmt.Errorf("volume %q: %w", name, err)
	}
	born := st.Btime
	if st.Mask&unix.STATX_BTIME == 0 {
		born = st.Mtime // the closest that a file system without birth times has
	}
	v := Volume{
		Name:           name,
		SizeBytes:      st.Size,
		AllocatedBytes: st.Blocks * 512, // statx(2): blocks of 512 bytes, always
		CreatedAt:      time.Unix(born.Sec, int64(born.Nsec)),
	}
	for guest := range s.claims[name] {
		v.UsedBy = append(v.UsedBy, guest)
	}
	sort.Strings(v.UsedBy)
	return v, nil
}

// free refuses a name that is taken, or will be.
func (s *Store) free(name string) error {
	if err := s.inbox.Free(name); err != nil {
		return err
	}
	_, err := s.get(name)
	switch {
	case err == nil:
		return fault.New(fault.Exists, "volume %q: exists already", name)
	case fault.KindOf(err) != fault.NotFound:
		return err
	}
	return nil
}

func (s *Store) claim(guest string, u Use) {
	if s.claims[u.Volume] == nil {
		s.claims[u.Volume] = make(map[string]bool)
	}
	s.claims[u.Volume][guest] = !u.ReadOnly
}

func (s *Store) release(guest string) {
	for volume, guests := range s.claims {
		delete(guests, guest)
		if len(guests) == 0 {
			delete(s.claims, volume)
		}
	}
}

func notFound(name string) error {
	return fault.New(fault.NotFound, "volume %q: there is none of that name", name)
}

func checkNew(name string, size uint64) error {
	if err := naming.CheckFile("volume", name); err != nil {
		return err
	}
	switch {
	case size == 0:
		return fault.New(fault.Invalid, "volume %q: size 0: a volume needs a size", name)
	case size%SectorSize != 0:
		return fault.New(fault.Invalid, "volume %q: size %d: not a multiple of %d bytes", name, size, SectorSize)
	case size > MaxSize:
		return fault.New(fault.Invalid, "volume %q: size %s: at most %s", name, quantity.Bytes(size), quantity.Bytes(MaxSize))
	}
	return nil
}
