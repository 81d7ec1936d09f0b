package contexts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"github.com/google/renameio/v2"
)

// ErrNotFound is wrapped by errors about contexts that are not in the store.
var ErrNotFound = errors.New("not found")

// ErrExists is wrapped by Add when the name is taken.
var ErrExists = errors.New("exists already")

// ErrNone is returned by Current when no context was chosen.
var ErrNone = errors.New("no context is in use")

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// CheckName says what is wrong with a context's name, which is also that of a
// directory.
func CheckName(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("context name %q: want 1 to 63 letters, digits, dots, dashes or underscores, beginning with a letter or digit", name)
	}
	return nil
}

// Store is a directory of contexts.
type Store struct {
	// Dir is the directory; it is made when something is first written.
	Dir string
}

// Default returns the store of this user: $GOZEN_CONFIG, or gozen below
// $XDG_CONFIG_HOME or ~/.config.
func Default() (*Store, error) {
	if dir := os.Getenv("GOZEN_CONFIG"); dir != "" {
		return &Store{Dir: dir}, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return nil, fmt.Errorf("no place for the configuration: %w; set GOZEN_CONFIG to a directory", err)
	}
	return &Store{Dir: filepath.Join(dir, "gozen")}, nil
}

// IdentityDir is where the admin's own CA and certificate are kept.
func (s *Store) IdentityDir() string { return filepath.Join(s.Dir, "identity") }

// Path returns the directory of one context.
func (s *Store) Path(name string) string { return filepath.Join(s.Dir, "contexts", name) }

// Add writes a context. With replace, one of the same name is overwritten;
// without, that is ErrExists.
func (s *Store) Add(c *Context, replace bool) error {
	if err := c.Check(); err != nil {
		return err
	}
	dir := s.Path(c.Name)
	if _, err := os.Stat(filepath.Join(dir, "context.json")); err == nil && !replace {
		return fmt.Errorf("context %q %w", c.Name, ErrExists)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("context %q: %w", c.Name, err)
	}
	meta, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("context %q: %w", c.Name, err)
	}
	// context.json comes last: without it the context is not there.
	for _, f := range []struct {
		name string
		data []byte
		mode fs.FileMode
	}{
		{"ca.pem", c.CA, 0o644},
		{"cert.pem", c.Cert, 0o644},
		{"key.pem", c.Key, 0o600},
		{"context.json", append(meta, '\n'), 0o600},
	} {
		path := filepath.Join(dir, f.name)
		if len(f.data) == 0 {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("context %q: %w", c.Name, err)
			}
			continue
		}
		if err := renameio.WriteFile(path, f.data, f.mode, renameio.IgnoreUmask()); err != nil {
			return fmt.Errorf("context %q: %w", c.Name, err)
		}
	}
	return nil
}

// Load reads a context.
func (s *Store) Load(name string) (*Context, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	dir := s.Path(name)
	meta, err := os.ReadFile(filepath.Join(dir, "context.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("context %q %w", name, ErrNotFound)
	}
	c := &Context{}
	if err == nil {
		err = json.Unmarshal(meta, c)
	}
	if err != nil {
		return nil, fmt.Errorf("context %q: %w", name, err)
	}
	c.Name = name
	for _, f := range []struct {
		name     string
		data     *[]byte
		optional bool
	}{{"ca.pem", &c.CA, true}, {"cert.pem", &c.Cert, false}, {"key.pem", &c.Key, false}} {
		*f.data, err = os.ReadFile(filepath.Join(dir, f.name))
		if err != nil && !(f.optional && errors.Is(err, fs.ErrNotExist)) {
			return nil, fmt.Errorf("context %q: %w", name, err)
		}
	}
	return c, c.Check()
}

// Names returns the names of all contexts, sorted.
func (s *Store) Names() ([]string, error) {
	found, err := filepath.Glob(filepath.Join(s.Path("*"), "context.json"))
	if err != nil {
		return nil, err
	}
	names := make([]string, len(found))
	for i, path := range found {
		names[i] = filepath.Base(filepath.Dir(path))
	}
	sort.Strings(names)
	return names, nil
}

// Remove deletes a context, its key included. When it was in use, none is.
func (s *Store) Remove(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if _, err := os.Stat(s.Path(name)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("context %q %w", name, ErrNotFound)
	}
	if current, err := s.Current(); err == nil && current == name {
		if err := os.Remove(filepath.Join(s.Dir, "current")); err != nil {
			return fmt.Errorf("context %q: %w", name, err)
		}
	}
	if err := os.RemoveAll(s.Path(name)); err != nil {
		return fmt.Errorf("context %q: %w", name, err)
	}
	return nil
}

// Current returns the name of the context in use, or ErrNone.
func (s *Store) Current() (string, error) {
	data, err := os.ReadFile(filepath.Join(s.Dir, "current"))
	name := strings.TrimSpace(string(data))
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && name == "":
		return "", ErrNone
	case err != nil:
		return "", fmt.Errorf("current context: %w", err)
	}
	return name, CheckName(name)
}

// Use makes a context the one in use.
func (s *Store) Use(name string) error {
	if _, err := s.Load(name); err != nil {
		return err
	}
	if err := renameio.WriteFile(filepath.Join(s.Dir, "current"), []byte(name+"\n"), 0o600); err != nil {
		return fmt.Errorf("context %q: %w", name, err)
	}
	return nil
}
