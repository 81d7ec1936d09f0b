package report

import (
	"strings"
	"unicode/utf8"
)

// width of the text report in characters.
const width = 100

const gap = "  "

// grid is a table of the text report. The first column is on the left, the others
// on the right unless they are listed in left.
type grid struct {
	wrap []int // the widest each column may be; longer cells continue below; 0 is any
	left map[int]bool
	rows [][][]string // row, column, line
}

// row adds a row; each cell is a list of lines.
func (g *grid) row(cells ...[]string) {
	out := make([][]string, len(cells))
	for i, c := range cells {
		for _, line := range c {
			out[i] = append(out[i], fold(line, g.wrap[i])...)
		}
	}
	g.rows = append(g.rows, out)
}

// widths of the columns: of their longest line.
func (g *grid) widths() []int {
	w := make([]int, len(g.wrap))
	w[0] = g.wrap[0] // the same in all tables
	for _, row := range g.rows {
		for i, c := range row {
			for _, line := range c {
				w[i] = max(w[i], utf8.RuneCountInString(line))
			}
		}
	}
	return w
}

// total width of the grid.
func (g *grid) total() int {
	sum := 0
	for _, w := range g.widths() {
		sum += w
	}
	return sum + len(gap)*(len(g.wrap)-1)
}

// String draws the grid, with a rule below its first row.
func (g *grid) String() string {
	var b strings.Builder
	widths := g.widths()
	for n, row := range g.rows {
		lines := 0
		for _, c := range row {
			lines = max(lines, len(c))
		}
		for l := range lines {
			text := ""
			for i, c := range row {
				s := ""
				if l < len(c) {
					s = c[l]
				}
				pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(s))
				if i > 0 {
					text += gap
				}
				if i == 0 || g.left[i] {
					text += s + pad
				} else {
					text += pad + s
				}
			}
			text = strings.ReplaceAll(text, "\u00a0", " ") // has kept words on one line
			b.WriteString(strings.TrimRight(text, " ") + "\n")
		}
		if n == 0 {
			b.WriteString(strings.Repeat("─", g.total()) + "\n")
		}
	}
	return b.String()
}

// fold breaks s into lines of at most w characters, at spaces, after hyphens within
// words, and elsewhere only in a word longer than a line.
func fold(s string, w int) []string {
	if w < 1 || utf8.RuneCountInString(s) <= w {
		return []string{s}
	}
	var lines []string
	r := []rune(s)
	for len(r) > w {
		cut, next := w, w // the line ends before cut, the rest begins at next
		for i := w; i > 0; i-- {
			if r[i] == ' ' {
				cut, next = i, i+1
				break
			}
			if i > 1 && r[i-1] == '-' && r[i-2] != ' ' {
				cut, next = i, i
				break
			}
		}
		lines = append(lines, strings.TrimRight(string(r[:cut]), " "))
		r = r[next:]
	}
	return append(lines, string(r))
}

// paragraph folds s to the width of the report, all lines but the first indented.
func paragraph(first, rest, s string) string {
	lines := fold(s, width-max(utf8.RuneCountInString(first), utf8.RuneCountInString(rest)))
	return first + strings.Join(lines, "\n"+rest) + "\n"
}
