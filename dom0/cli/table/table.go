package table

import (
	"io"
	"strings"
	"unicode/utf8"
)

// gap is the number of spaces between two columns.
const gap = 2

// Column describes one column.
type Column struct {
	// Title is written in the heading line.
	Title string
	// Right aligns numbers.
	Right bool
	// Min is the width in characters down to which the column may be shortened when
	// the table is too wide; 0 means never.
	Min int
	// Paint, when not nil, colours a cell. It must not change the visible width.
	Paint func(string) string
}

// Table collects rows and writes them at once.
type Table struct {
	columns []Column
	rows    [][]string
}

// New returns an empty table.
func New(columns ...Column) *Table { return &Table{columns: columns} }

// Row appends a row. Missing cells are empty; an empty cell is written as "-".
func (t *Table) Row(cells ...string) {
	row := make([]string, len(t.columns))
	copy(row, cells)
	for i, cell := range row {
		row[i] = clean(cell)
		if row[i] == "" {
			row[i] = "-"
		}
	}
	t.rows = append(t.rows, row)
}

// Len returns the number of rows.
func (t *Table) Len() int { return len(t.rows) }

// Write writes the heading and all rows. Lines are at most width characters wide
// where the columns' minimum widths allow; width 0 shortens nothing.
func (t *Table) Write(w io.Writer, width int) error {
	widths := t.widths(width)
	var b strings.Builder
	titles := make([]string, len(t.columns))
	for i, c := range t.columns {
		titles[i] = c.Title
	}
	t.line(&b, widths, titles, false)
	for _, row := range t.rows {
		t.line(&b, widths, row, true)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t *Table) line(b *strings.Builder, widths []int, cells []string, paint bool) {
	for i, cell := range cells {
		text := shorten(cell, widths[i])
		padding := strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(text)))
		if paint && t.columns[i].Paint != nil {
			text = t.columns[i].Paint(text)
		}
		last := i == len(cells)-1
		switch {
		case t.columns[i].Right:
			b.WriteString(padding + text)
		case last:
			b.WriteString(text)
		default:
			b.WriteString(text + padding)
		}
		if !last {
			b.WriteString(strings.Repeat(" ", gap))
		}
	}
	b.WriteByte('\n')
}

// widths returns the natural width of every column, then takes what is too much
// from the widest column that may give, one character at a time, so that columns
// of like width are shortened alike.
func (t *Table) widths(limit int) []int {
	widths := make([]int, len(t.columns))
	total := gap * (len(t.columns) - 1)
	for i, c := range t.columns {
		widths[i] = utf8.RuneCountInString(c.Title)
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
		total += widths[i]
	}
	for limit > 0 && total > limit {
		widest := -1
		for i, c := range t.columns {
			floor := max(c.Min, utf8.RuneCountInString(c.Title))
			if c.Min == 0 || widths[i] <= floor {
				continue
			}
			if widest < 0 || widths[i] > widths[widest] {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
		total--
	}
	return widths
}

// shorten cuts s to width characters, the last of them an ellipsis.
func shorten(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	runes := []rune(s)
	return string(runes[:max(0, width-1)]) + "…"
}

// clean takes out what would break the layout or steer the terminal: the host
// passes on text that guests wrote.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n' || r == '\r':
			return ' '
		case r < ' ' || (r >= 0x7f && r < 0xa0) || r == utf8.RuneError:
			return '?'
		}
		return r
	}, s)
}
