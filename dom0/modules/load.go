package modules

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Load loads everything that a name or alias stands for, with dependencies.
// params are added to those of the kernel command line and go to the named
// modules only. What is loaded already is no error.
func (t *Tree) Load(name string, params ...string) error {
	found := t.Find(name)
	if len(found) == 0 {
		return fmt.Errorf("module %q: %w", name, ErrUnknown)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for _, m := range found {
		if err := t.load(m, strings.Join(params, " "), nil); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// load requires t.mu. stack holds the modules that wait for this one.
func (t *Tree) load(name, params string, stack []string) error {
	if t.loaded[name] {
		return nil
	}
	m := t.modules[name]
	if m == nil {
		return fmt.Errorf("module %s: %w", name, ErrUnknown)
	}
	if m.path == "" {
		t.loaded[name] = true
		return nil
	}
	for _, waiting := range stack {
		if waiting == name {
			return fmt.Errorf("module %s: depends on itself by way of %s", name, strings.Join(stack, ", "))
		}
	}
	stack = append(stack, name)
	for _, dep := range m.pre {
		// A soft dependency that is missing or fails makes the module lesser, not useless.
		_ = t.load(dep, "", stack)
	}
	for _, dep := range m.deps {
		if err := t.load(dep, "", stack); err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
	}
	all := strings.TrimSpace(t.options[name] + " " + params)
	if err := t.insert(m.path, all); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("module %s: %w", name, err)
	}
	t.loaded[name] = true
	for _, dep := range m.post {
		_ = t.load(dep, "", stack)
	}
	return nil
}

// insert gives a module file to the kernel.
func insert(path, params string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if !strings.HasSuffix(path, ".ko") {
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	if err := unix.FinitModule(int(f.Fd()), params, flags); err != nil {
		return os.NewSyscallError("finit_module", err)
	}
	return nil
}

// LoadList loads the modules named in a file, one a line with optional
// parameters, '#' beginning a comment. It goes on after a failure and returns
// all of them. A missing file is an empty list.
func (t *Tree) LoadList(file string) error {
	var errs []error
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if err := t.Load(fields[0], fields[1:]...); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Helper is the program that the kernel runs as /sbin/modprobe when it needs a
// module by name: "modprobe -q -- NAME". It returns the exit status.
func Helper(args []string) int {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		args = args[1:]
	}
	if len(args) == 0 {
		return 1
	}
	t, err := OpenHost()
	if err != nil {
		return 1
	}
	if err := t.Load(args[0], args[1:]...); err != nil {
		return 1
	}
	return 0
}

// OpenHost opens the tree of the running kernel.
func OpenHost() (*Tree, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return nil, os.NewSyscallError("uname", err)
	}
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	return Open("/", unix.ByteSliceToString(uts.Release[:]), string(cmdline))
}
