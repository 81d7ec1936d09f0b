package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
)

// ErrNoModule means that a kernel has no module of a name.
var ErrNoModule = errors.New("the kernel has no such module")

// Tree is the module directory of one kernel: lib/modules/RELEASE.
type Tree struct {
	Dir     string
	Release string
	files   map[string]string // canonical name to path below Dir
	builtin map[string]bool
	loaded  map[string]*File // files read so far
}

// File is one module of a Tree.
type File struct {
	Name    string // canonical
	Path    string // below the Tree's directory, without compression suffix: "kernel/fs/xfs/xfs.ko"
	Info    Info
	Content []byte // the ELF object, decompressed
}

// Open reads the index of an unpacked kernel package; root is the directory
// that holds lib/modules, and must hold one kernel only.
func Open(root string) (*Tree, error) {
	dirs, err := filepath.Glob(filepath.Join(root, "lib/modules/*"))
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", root, err)
	}
	if len(dirs) != 1 {
		return nil, fmt.Errorf("kernel %s: want one directory below lib/modules, found %d; run make kernel", root, len(dirs))
	}
	t := &Tree{
		Dir:     dirs[0],
		Release: filepath.Base(dirs[0]),
		files:   make(map[string]string),
		builtin: make(map[string]bool),
		loaded:  make(map[string]*File),
	}
	err = filepath.WalkDir(filepath.Join(t.Dir, "kernel"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if name, ok := moduleName(p); ok {
			rel, err := filepath.Rel(t.Dir, p)
			if err != nil {
				return err
			}
			t.files[name] = rel
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", root, err)
	}
	list, err := os.ReadFile(filepath.Join(t.Dir, "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", root, err)
	}
	for _, line := range strings.Fields(string(list)) {
		if name, ok := moduleName(line); ok {
			t.builtin[name] = true
		}
	}
	return t, nil
}

// moduleName returns the canonical name of the module in a file.
func moduleName(file string) (string, bool) {
	base, _, ok := strings.Cut(path.Base(file), ".ko")
	return canonical(base), ok
}

// Builtin reports whether the kernel itself contains the module.
func (t *Tree) Builtin(name string) bool { return t.builtin[canonical(name)] }

// Load returns a module, decompressed. The error wraps ErrNoModule when the
// kernel has none of that name.
func (t *Tree) Load(name string) (*File, error) {
	name = canonical(name)
	if f := t.loaded[name]; f != nil {
		return f, nil
	}
	rel, ok := t.files[name]
	if !ok {
		return nil, fmt.Errorf("module %s: %w (kernel %s)", name, ErrNoModule, t.Release)
	}
	content, err := ReadModule(filepath.Join(t.Dir, rel))
	if err != nil {
		return nil, err
	}
	info, err := ParseInfo(content)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", name, err)
	}
	base, _, _ := strings.Cut(rel, ".ko")
	f := &File{Name: name, Path: base + ".ko", Info: info, Content: content}
	t.loaded[name] = f
	return f, nil
}

// Closure returns the named modules and all that they depend on, each after its
// dependencies. Modules that the kernel contains are left out. A missing
// module is an error, unless it is only wanted (a soft dependency).
func (t *Tree) Closure(names []string) ([]*File, error) {
	var order []*File
	state := make(map[string]int) // 1: being visited, 2: done
	var visit func(name string, chain []string) error
	visit = func(name string, chain []string) error {
		name = canonical(name)
		if state[name] == 2 || t.builtin[name] {
			return nil
		}
		chain = append(chain, name)
		if state[name] == 1 {
			return fmt.Errorf("modules depend on each other: %s", strings.Join(chain, " -> "))
		}
		state[name] = 1
		f, err := t.Load(name)
		if err != nil {
			return fmt.Errorf("%s: %w", strings.Join(chain, " -> "), err)
		}
		for _, dep := range f.Info.Depends {
			if err := visit(dep, chain); err != nil {
				return err
			}
		}
		for _, dep := range f.Info.PreSoft {
			if _, ok := t.files[dep]; !ok || state[dep] == 1 {
				continue
			}
			if err := visit(dep, chain); err != nil {
				return err
			}
		}
		state[name] = 2
		order = append(order, f)
		return nil
	}
	for _, name := range names {
		if err := visit(name, nil); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// Index is the content of the files by which a module loader finds its way, for
// a set of modules; names as depmod gives them.
type Index struct {
	Dep     string // modules.dep
	Alias   string // modules.alias
	Softdep string // modules.softdep
	Builtin string // modules.builtin
}

// NewIndex makes the index of a closure.
func (t *Tree) NewIndex(files []*File) Index {
	paths := make(map[string]string, len(files))
	sorted := append([]*File(nil), files...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].Path < sorted[j].Path })
	for _, f := range sorted {
		paths[f.Name] = f.Path
	}
	var dep, alias, soft, builtin strings.Builder
	for _, f := range sorted {
		dep.WriteString(f.Path + ":")
		for _, name := range f.Info.Depends {
			if p, ok := paths[name]; ok {
				dep.WriteString(" " + p)
			}
		}
		dep.WriteByte('\n')
		for _, pattern := range f.Info.Aliases {
			fmt.Fprintf(&alias, "alias %s %s\n", pattern, f.Name)
		}
		if len(f.Info.PreSoft) > 0 {
			fmt.Fprintf(&soft, "softdep %s pre: %s\n", f.Name, strings.Join(f.Info.PreSoft, " "))
		}
	}
	names := make([]string, 0, len(t.builtin))
	for name := range t.builtin {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		// The directory says nothing to a loader, which looks at the last element only.
		fmt.Fprintf(&builtin, "kernel/%s.ko\n", name)
	}
	return Index{Dep: dep.String(), Alias: alias.String(), Softdep: soft.String(), Builtin: builtin.String()}
}
