package cli

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"gozen/dom0/cli/failure"
)

// commands calls do for every command.
func commands(cmd *cobra.Command, do func(*cobra.Command)) {
	for _, c := range cmd.Commands() {
		do(c)
		commands(c, do)
	}
}

// Every command has a help with examples that begin with itself.
func TestHelp(t *testing.T) {
	commands((&app{}).root(), func(c *cobra.Command) {
		if c.Name() == "help" {
			return
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short description %q", c.CommandPath(), c.Short)
		}
		if !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("%s: no example shows it", c.CommandPath())
		}
		if c.RunE == nil || c.Args == nil {
			t.Errorf("%s: checks no arguments", c.CommandPath())
		}
		for line := range strings.SplitSeq(c.Long+"\n"+c.Example, "\n") {
			if n := len([]rune(line)); n > 100 {
				t.Errorf("%s: a line of %d characters: %s", c.CommandPath(), n, line)
			}
		}
	})
}

// The page about the CLI knows every command and every exit code.
func TestPage(t *testing.T) {
	data, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	commands((&app{}).root(), func(c *cobra.Command) {
		if c.HasSubCommands() || c.Name() == "help" {
			return
		}
		// The table names the first of a row in full, the others alone.
		row := "| `gozen " + c.Parent().Name() + " "
		if c.Parent().Name() == "gozen" {
			row = "| `gozen "
		}
		found := false
		for line := range strings.SplitSeq(page, "\n") {
			found = found || strings.HasPrefix(line, row) && (strings.Contains(line, "`"+c.Name()+"`") || strings.Contains(line, " "+c.Name()+"`"))
		}
		if !found {
			t.Errorf("docs/cli.md does not name %q", c.CommandPath())
		}
	})
	for _, code := range []int{failure.OK, failure.General, failure.Usage, failure.NotFound, failure.Unreachable,
		failure.Identity, failure.Conflict, failure.Timeout, failure.Interrupted} {
		if !strings.Contains(page, fmt.Sprintf("\n| %d | ", code)) {
			t.Errorf("docs/cli.md does not explain exit code %d", code)
		}
	}
}
