package kernel

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed modules.txt
var modulesTxt string

// When says at what moment a listed module is loaded.
type When string

// Moments at which a module is loaded.
const (
	Boot   When = "boot"   // at every start, in the list's order
	Device When = "device" // when the machine has hardware that an alias names
	Demand When = "demand" // when dom0 asks for it
)

// Module is one line of the list.
type Module struct {
	Name   string // as the kernel says it, with underscores
	When   When
	Reason string
}

// List returns the modules that Gozen's image holds, in the order of the file.
func List() []Module {
	list, err := parseList(modulesTxt)
	if err != nil {
		// The file is compiled in and a test parses it.
		panic(err)
	}
	return list
}

func parseList(text string) ([]Module, error) {
	var list []Module
	seen := make(map[string]bool)
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 3 {
			return nil, fmt.Errorf("modules.txt:%d: want a name, a moment and a reason, got %q", i+1, line)
		}
		m := Module{Name: fields[0], When: When(fields[1]), Reason: strings.Join(fields[2:], " ")}
		switch {
		case m.When != Boot && m.When != Device && m.When != Demand:
			return nil, fmt.Errorf("modules.txt:%d: %s: unknown moment %q, want boot, device or demand", i+1, m.Name, m.When)
		case m.Name != canonical(m.Name):
			return nil, fmt.Errorf("modules.txt:%d: %s: write it with underscores, %q", i+1, m.Name, canonical(m.Name))
		case seen[m.Name]:
			return nil, fmt.Errorf("modules.txt:%d: %s is listed twice", i+1, m.Name)
		}
		seen[m.Name] = true
		list = append(list, m)
	}
	return list, nil
}

// canonical returns a module's name as the kernel says it: file names mix
// hyphens and underscores, the kernel knows underscores only.
func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }
