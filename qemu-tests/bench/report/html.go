package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"

	"gozen/qemu-tests/bench/measure"
)

//go:embed report.html.tmpl
var page string

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"date":    date,
	"unit":    unit,
	"value":   value,
	"lowHigh": lowHigh,
	"sum":     func(c cell) summary { return c.summary },
	"titles":  titles,
	"capital": capital,
	"addf":    func(a, b float64) float64 { return a + b },
	"legend":  func(m *model) []string { return append(m.legend(false), m.Notes...) },
	"reps":    func(m *model) string { return capital(m.repetitions()) },
}).Parse(page))

// HTML writes the run as one page that needs nothing else: no script, no font, no
// picture. The error is that of w.
func HTML(w io.Writer, run *measure.Run) error {
	b, err := build(measure.Catalogue, run).html()
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

func (m *model) html() ([]byte, error) {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, m); err != nil {
		return nil, fmt.Errorf("report: HTML: %w", err)
	}
	return b.Bytes(), nil
}

// Verdict gives the words of the row's verdict to the page.
func (r row) Verdict() string { return r.words() }

// Class is the verdict as a class of the page's style.
func (r row) Class() string {
	switch r.State {
	case met:
		return "met"
	case missed:
		return "missed"
	}
	return "open"
}

// What and Reason give the failure to the page.
func (f failure) What() string   { return f.what() }
func (f failure) Reason() string { return f.why() }
