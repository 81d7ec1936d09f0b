package modules

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
)

// ErrUnknown is returned for a name that neither a module nor an alias has.
var ErrUnknown = errors.New("no such kernel module in this image")

// Tree describes the modules of one kernel. Its methods may be used from many
// goroutines.
type Tree struct {
	dir     string
	modules map[string]*module
	aliases map[string][]alias // by aliasClass
	options map[string]string  // module parameters, by module

	insert func(path, params string) error

	mu     sync.Mutex // guards loaded, and keeps loads in order
	loaded map[string]bool
}

type module struct {
	path      string // absolute; empty when built into the kernel
	deps      []string
	pre, post []string // wished for, not required
}

type alias struct {
	pattern string
	module  string
}

// Open reads what depmod wrote for the kernel release below root ("/" on a
// host). parameters is the kernel's command line: words of the form
// "module.name=value" are given to that module.
func Open(root, release, parameters string) (*Tree, error) {
	t := &Tree{
		modules: make(map[string]*module),
		aliases: make(map[string][]alias),
		options: parseParameters(parameters),
		insert:  insert,
		loaded:  make(map[string]bool),
	}
	for _, base := range []string{"lib/modules", "usr/lib/modules"} {
		t.dir = filepath.Join(root, base, release)
		if _, err := os.Stat(filepath.Join(t.dir, "modules.dep")); err == nil {
			break
		}
	}
	files := []struct {
		name     string
		required bool
		read     func(io.Reader) error
	}{
		{"modules.dep", true, t.readDependencies},
		{"modules.builtin", false, t.readBuiltin},
		{"modules.alias", false, t.readAliases},
		{"modules.softdep", false, t.readSoftDependencies},
	}
	for _, file := range files {
		err := readFile(filepath.Join(t.dir, file.name), file.read)
		if errors.Is(err, fs.ErrNotExist) && !file.required {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("modules of kernel %s: %w", release, err)
		}
	}
	return t, nil
}

func readFile(name string, read func(io.Reader) error) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := read(f); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// eachLine calls fn with the fields of every line that is no comment.
func eachLine(r io.Reader, fn func(fields []string)) error {
	scan := bufio.NewScanner(r)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		fields := strings.Fields(scan.Text())
		if len(fields) > 0 && !strings.HasPrefix(fields[0], "#") {
			fn(fields)
		}
	}
	return scan.Err()
}

// Name returns the kernel's name for a module: of a file the base name without
// suffix, and always '_' where people write '-'.
func Name(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

func (t *Tree) readDependencies(r io.Reader) error {
	return eachLine(r, func(fields []string) {
		file, ok := strings.CutSuffix(fields[0], ":")
		if !ok {
			return
		}
		m := &module{path: filepath.Join(t.dir, file)}
		for _, dep := range fields[1:] {
			m.deps = append(m.deps, Name(dep))
		}
		t.modules[Name(file)] = m
	})
}

func (t *Tree) readBuiltin(r io.Reader) error {
	return eachLine(r, func(fields []string) {
		t.modules[Name(fields[0])] = &module{}
	})
}

func (t *Tree) readAliases(r io.Reader) error {
	return eachLine(r, func(fields []string) {
		if len(fields) != 3 || fields[0] != "alias" {
			return
		}
		class := aliasClass(fields[1])
		t.aliases[class] = append(t.aliases[class], alias{fields[1], Name(fields[2])})
	})
}

func (t *Tree) readSoftDependencies(r io.Reader) error {
	return eachLine(r, func(fields []string) {
		if len(fields) < 3 || fields[0] != "softdep" {
			return
		}
		m := t.modules[Name(fields[1])]
		if m == nil {
			return
		}
		list := &m.pre
		for _, field := range fields[2:] {
			switch field {
			case "pre:":
				list = &m.pre
			case "post:":
				list = &m.post
			default:
				*list = append(*list, Name(field))
			}
		}
	})
}

// anyClass holds the patterns whose bus part has a wildcard, as "acpi*:PNP0C0C:*".
const anyClass = "*"

// aliasClass is the bus part of an alias: "pci" of "pci:v00008086d…". It keeps a
// lookup from comparing with every alias of every bus.
func aliasClass(text string) string {
	class, _, found := strings.Cut(text, ":")
	switch {
	case strings.ContainsAny(class, "*?["):
		return anyClass
	case !found:
		return ""
	}
	return class
}

func parseParameters(cmdline string) map[string]string {
	out := make(map[string]string)
	for _, word := range strings.Fields(cmdline) {
		key, _, _ := strings.Cut(word, "=")
		name, _, ok := strings.Cut(key, ".")
		if !ok || name == "" {
			continue
		}
		param := word[len(name)+1:]
		name = Name(name)
		if out[name] != "" {
			param = out[name] + " " + param
		}
		out[name] = param
	}
	return out
}

// Find returns the modules that a name or device alias stands for. A module's
// own name wins over aliases.
func (t *Tree) Find(name string) []string {
	if own := Name(name); t.modules[own] != nil {
		return []string{own}
	}
	var out []string
	seen := make(map[string]bool)
	for _, class := range []string{aliasClass(name), anyClass} {
		for _, a := range t.aliases[class] {
			if !seen[a.module] && matches(a.pattern, name) {
				seen[a.module] = true
				out = append(out, a.module)
			}
		}
	}
	return out
}

// matches compares a device's alias with a pattern of shell wildcards.
func matches(pattern, name string) bool {
	// Most patterns differ before their first wildcard.
	literal := pattern
	if i := strings.IndexAny(pattern, "*?["); i >= 0 {
		literal = pattern[:i]
	}
	if !strings.HasPrefix(name, literal) {
		return false
	}
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}
