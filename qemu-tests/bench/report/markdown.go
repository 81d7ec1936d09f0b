package report

import (
	"fmt"
	"io"
	"os"
	"strings"

	"gozen/qemu-tests/bench/measure"
)

// The lines around the generated part of a page.
const (
	Begin = "<!-- begin of the benchmark's results: written by make bench -->"
	End   = "<!-- end of the benchmark's results -->"
)

// Markdown writes the run as part of a page: a second-level heading, and third
// level ones below it. The error is that of w.
func Markdown(w io.Writer, run *measure.Run) error {
	_, err := io.WriteString(w, build(measure.Catalogue, run).markdown())
	return err
}

// Update replaces the part between the lines Begin and End in the page at path by
// the results of run. It is an error if the page lacks one of them or has one of
// them twice; the page then stays as it is.
func Update(path string, run *measure.Run) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("report: page of results: %w", err)
	}
	out, err := replace(string(page), build(measure.Catalogue, run).markdown())
	if err != nil {
		return fmt.Errorf("report: %s: %w", path, err)
	}
	return writeFile(path, []byte(out))
}

func replace(page, part string) (string, error) {
	for _, mark := range []string{Begin, End} {
		if n := strings.Count(page, mark); n != 1 {
			return "", fmt.Errorf("the line %q is there %d times; it marks where results go and must be there once", mark, n)
		}
	}
	head, rest, _ := strings.Cut(page, Begin)
	_, tail, found := strings.Cut(rest, End)
	if !found {
		return "", fmt.Errorf("the line %q stands before %q", End, Begin)
	}
	return head + Begin + "\n\n" + strings.TrimSpace(part) + "\n\n" + End + tail, nil
}

func (m *model) markdown() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("## Results of %s\n", date(m.Date))
	line("%s; %s\n", escape(capital(m.repetitions())), m.Tally.String())
	line("| machine | |\n| --- | --- |")
	for _, p := range m.Host {
		line("| %s | %s |", escape(p.Name), escape(p.Value))
	}
	line("\n| subject | how it was started |\n| --- | --- |")
	for _, s := range m.Subjects {
		how := escape(s.How)
		if how == "" {
			how = none
		}
		line("| %s | %s |", escape(s.Name), how)
	}
	if len(m.Failures) > 0 {
		line("\n### What could not run\n\n| subject | part | why |\n| --- | --- | --- |")
		for _, f := range m.Failures {
			line("| %s | %s | %s |", escape(f.Subject), escape(f.what()), escape(f.why()))
		}
	}
	for _, g := range m.Groups {
		line("\n### %s\n", escape(g.Name))
		b.WriteString(g.markdown())
	}
	for _, d := range m.Details {
		line("\n### By reason: %s\n", escape(d.Title))
		b.WriteString(d.markdown())
	}
	line("\n### How to read the tables\n")
	for _, s := range append(m.legend(false), m.Notes...) {
		line("- %s", escape(s))
	}
	return b.String()
}

func (g group) markdown() string {
	var b strings.Builder
	if len(g.Rows) == 0 {
		b.WriteString("Nothing of this was measured.\n")
	} else {
		head := []string{"measure", "unit"}
		for _, name := range g.Subjects {
			head = append(head, escape(name))
		}
		head = append(head, "ratio", "target", "verdict")
		b.WriteString(tableRow(head) + "| --- | --- |" + strings.Repeat(" ---: |", len(g.Subjects)+1) + " --- | --- |\n")
		for _, r := range g.Rows {
			line := []string{escape(r.Title), unit(r.Measure)}
			for _, name := range g.Subjects {
				c := r.Cells[name].summary
				text := value(c, r.Unit)
				if name == r.Best && c.N > 0 {
					text += `\*`
				}
				if s := lowHigh(c, r.Unit); s != "" {
					text += " (" + s + ")"
				}
				line = append(line, text)
			}
			b.WriteString(tableRow(append(line, r.Ratio.String(), escape(r.Target), escape(r.words()))))
		}
		if len(g.Unmeasured) > 0 {
			fmt.Fprintf(&b, "\nNot measured: %s.\n", escape(titles(g.Unmeasured)))
		}
	}
	for i, f := range g.Failures {
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "- %s could not run: %s\n", escape(f.Subject), escape(f.why()))
	}
	return b.String()
}

func (d details) markdown() string {
	head := []string{"reason, " + unit(d.Measure)}
	for _, name := range d.Subjects {
		head = append(head, escape(name))
	}
	out := tableRow(head) + "| --- |" + strings.Repeat(" ---: |", len(d.Subjects)) + "\n"
	for _, x := range d.Rows {
		line := []string{escape(x.Name)}
		for _, name := range d.Subjects {
			line = append(line, value(x.Cells[name], d.Unit))
		}
		out += tableRow(line)
	}
	return out
}

func tableRow(cells []string) string {
	return strings.TrimRight("| "+strings.Join(cells, " | ")+" |", " ") + "\n"
}

// escape makes text of a stranger plain text of Markdown, in a table as well.
var escape = strings.NewReplacer(
	`\`, `\\`, "|", `\|`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "~", `\~`,
	"<", "&lt;", ">", "&gt;", "&", "&amp;",
).Replace

func capital(s string) string {
	r := []rune(s)
	if len(r) == 0 {
		return s
	}
	return strings.ToUpper(string(r[:1])) + string(r[1:])
}
