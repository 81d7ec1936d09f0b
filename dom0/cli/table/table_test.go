package table

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func render(t *testing.T, tab *Table, width int) string {
	t.Helper()
	var b strings.Builder
	if err := tab.Write(&b, width); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func guests() *Table {
	tab := New(
		Column{Title: "NAME", Min: 8},
		Column{Title: "STATE"},
		Column{Title: "MEMORY", Right: true},
		Column{Title: "REASON", Min: 12},
	)
	tab.Row("web", "running", "512MiB")
	tab.Row("a-database-with-a-long-name", "crashed", "1.5GiB", "the kernel panicked: VFS: unable to mount root fs")
	tab.Row("épsilon", "stopped", "64MiB", "power-off\nwith \x1b[31mcolour")
	return tab
}

func TestNaturalWidth(t *testing.T) {
	want := `NAME                         STATE    MEMORY  REASON
web                          running  512MiB  -
a-database-with-a-long-name  crashed  1.5GiB  the kernel panicked: VFS: unable to mount root fs
épsilon                      stopped   64MiB  power-off with ?[31mcolour
`
	if diff := cmp.Diff(want, render(t, guests(), 0)); diff != "" {
		t.Error(diff)
	}
}

func TestShortened(t *testing.T) {
	want := `NAME                      STATE    MEMORY  REASON
web                       running  512MiB  -
a-database-with-a-long-…  crashed  1.5GiB  the kernel panicked: VF…
épsilon                   stopped   64MiB  power-off with ?[31mcol…
`
	got := render(t, guests(), 67)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, line := range strings.Split(got, "\n") {
		if n := utf8.RuneCountInString(line); n > 67 {
			t.Errorf("%d characters: %q", n, line)
		}
	}
}

// Columns without a minimum keep their text, and a minimum is a minimum.
func TestTooNarrow(t *testing.T) {
	lines := strings.Split(render(t, guests(), 10), "\n")
	if want := "a-datab…  crashed  1.5GiB  the kernel …"; lines[2] != want {
		t.Errorf("got %q, want %q", lines[2], want)
	}
}

func TestPaintKeepsAlignment(t *testing.T) {
	tab := New(Column{Title: "STATE", Paint: func(s string) string { return "<" + s + ">" }}, Column{Title: "N", Right: true})
	tab.Row("up", "1")
	tab.Row("stopped", "22")
	want := "STATE     N\n<up>        1\n<stopped>  22\n"
	if got := render(t, tab, 0); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
