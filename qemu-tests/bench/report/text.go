package report

import (
	"io"
	"strings"
	"unicode/utf8"

	"gozen/qemu-tests/bench/measure"
)

// Text writes the run as plain text of at most 100 columns, for a terminal. The
// error is that of w.
func Text(w io.Writer, run *measure.Run) error {
	_, err := io.WriteString(w, build(measure.Catalogue, run).text())
	return err
}

func (m *model) text() string {
	var b strings.Builder
	b.WriteString("GOZEN BESIDE ITS PEERS\n")
	b.WriteString(date(m.Date) + ", " + m.repetitions() + "\n")
	b.WriteString(paragraph("", "", m.Tally.String()) + "\n")

	b.WriteString("Machine\n" + pairs(m.Host) + "\n")
	var how []pair
	for _, s := range m.Subjects {
		text := s.How
		if text == "" {
			text = none
		}
		how = append(how, pair{s.Name, text})
	}
	b.WriteString("Subjects, and how they were started\n" + pairs(how) + "\n")
	if len(m.Failures) > 0 {
		b.WriteString("What could not run\n")
		for _, f := range m.Failures {
			b.WriteString(paragraph("  ", "    ", f.Subject+" ("+f.what()+"): "+f.why()))
		}
		b.WriteString("\n")
	}
	for _, g := range m.Groups {
		b.WriteString(g.text() + "\n")
	}
	for _, d := range m.Details {
		b.WriteString(d.text() + "\n")
	}
	b.WriteString("How to read this\n")
	for _, s := range append(m.legend(true), m.Notes...) {
		b.WriteString(paragraph("  ", "  ", s))
	}
	return b.String()
}

// pairs writes names and texts in two columns.
func pairs(list []pair) string {
	if len(list) == 0 {
		return "  not known\n"
	}
	w := 0
	for _, p := range list {
		w = max(w, min(20, utf8.RuneCountInString(p.Name)))
	}
	var b strings.Builder
	for _, p := range list {
		pad := strings.Repeat(" ", max(0, w-utf8.RuneCountInString(p.Name)))
		b.WriteString(paragraph("  "+p.Name+pad+gap, "  "+strings.Repeat(" ", w)+gap, p.Value))
	}
	return b.String()
}

// Widths at which the columns of a table wrap.
const (
	titleWidth   = 34
	titleNarrow  = 26 // when that saves a second table
	subjectWidth = 11 // of headings; values are never broken
	targetWidth  = 18
)

func (g group) text() string {
	var b strings.Builder
	b.WriteString(strings.ToUpper(g.Name) + "\n")
	if len(g.Rows) == 0 {
		b.WriteString("  Nothing of this was measured.\n")
	} else {
		b.WriteString(tables(g.Subjects, g.grid))
		if len(g.Unmeasured) > 0 {
			b.WriteString(paragraph("  ", "  ", "Not measured: "+titles(g.Unmeasured)+"."))
		}
	}
	for _, f := range g.Failures {
		b.WriteString(paragraph("  ", "    ", f.Subject+" could not run: "+f.why()))
	}
	return b.String()
}

func titles(rows []row) string {
	var out []string
	for _, r := range rows {
		out = append(out, r.Title)
	}
	return strings.Join(out, "; ")
}

// maker makes the table of these subjects, with titles of this width; the first
// table of a group may say more than those that continue it.
type maker func(names []string, title int, first bool) *grid

// tables draws as few tables as fit into the width of the report. The first
// subject is in each of them.
func tables(names []string, table maker) string {
	for _, title := range []int{titleWidth, titleNarrow} {
		if t := table(names, title, true); t.total() <= width {
			return t.String()
		}
	}
	var out []string
	block := names[:1:1]
	for _, name := range names[1:] {
		wider := append(block[:len(block):len(block)], name)
		if len(block) > 1 && table(wider, titleWidth, len(out) == 0).total() > width {
			out = append(out, table(block, titleWidth, len(out) == 0).String())
			wider = []string{names[0], name}
		}
		block = wider
	}
	return strings.Join(append(out, table(block, titleWidth, len(out) == 0).String()), "\n")
}

// grid of these columns; the first table has the ratio and the target as well.
func (g group) grid(names []string, title int, first bool) *grid {
	t := newGrid(title, names)
	head := headings("", names)
	if first {
		t.wrap = append(t.wrap, 0, targetWidth)
		t.left = map[int]bool{len(t.wrap) - 1: true}
		head = append(head, []string{"ratio"}, []string{"target"})
	}
	t.row(head...)
	for _, r := range g.Rows {
		line := [][]string{{r.Title + ", " + unit(r.Measure)}}
		for _, name := range names {
			c := r.Cells[name].summary
			mark := " "
			if name == r.Best && c.N > 0 {
				mark = "*"
			}
			lines := []string{value(c, r.Unit) + mark}
			if s := spread(c, r.Unit); s != "" {
				lines = append(lines, s+" ")
			}
			line = append(line, lines)
		}
		if first {
			target := []string{r.words()}
			if r.Target != "" {
				target = append(target, r.Target)
			}
			line = append(line, []string{r.Ratio.String()}, target)
		}
		t.row(line...)
	}
	return t
}

// grid of the parts of a measure.
func (d details) grid(names []string, title int, _ bool) *grid {
	t := newGrid(title, names)
	t.row(headings("reason", names)...)
	for _, x := range d.Rows {
		line := [][]string{{x.Name}}
		for _, name := range names {
			line = append(line, []string{value(x.Cells[name], d.Unit) + " "})
		}
		t.row(line...)
	}
	return t
}

func newGrid(title int, names []string) *grid {
	return &grid{wrap: append([]int{title}, make([]int, len(names))...)}
}

// headings of the columns, with room for the mark of the best peer.
func headings(title string, names []string) [][]string {
	out := [][]string{{title}}
	for _, name := range names {
		lines := fold(name, subjectWidth)
		for i := range lines {
			lines[i] += " "
		}
		out = append(out, lines)
	}
	return out
}

func (d details) text() string {
	return paragraph("", "  ", "BY REASON: "+d.Title+", "+unit(d.Measure)) + tables(d.Subjects, d.grid)
}
