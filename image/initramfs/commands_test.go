package initramfs

import (
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"
)

// go.mod follows commands.go, so it names all that host.go builds but the shell.
func TestCommandsAreImported(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "commands.go", nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var imported []string
	for _, i := range file.Imports {
		name, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		imported = append(imported, name)
	}
	for _, name := range slices.Concat(debugCommands, guestCommands) {
		if name != uroot+"gosh" && !slices.Contains(imported, name) {
			t.Errorf("commands.go does not import %s", name)
		}
	}
}
