package report

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"gozen/qemu-tests/bench/measure"
)

// Names of subjects that the report treats apart.
const (
	ours = "gozen"
	host = "host" // the same program outside of any guest
)

// model is a run as the renderings show it.
type model struct {
	catalogue []measure.Measure

	Date     time.Time
	Host     []pair // what the run was taken on
	Emulated bool
	Subjects []subject // gozen, peers in alphabetical order, host
	Failures []failure // those that concern no single group
	Groups   []group
	Details  []details
	Tally    tally
	// Repetitions of what was measured: lowest and highest number.
	MinN, MaxN int
	Notes      []string // what of the run could not be used
}

type pair struct{ Name, Value string }

// subject is a VMM, or the host.
type subject struct {
	Name, How string
	Measured  bool
}

// failure is one or more equal failures.
type failure struct {
	Subject, Part, Why string
	Times              int
}

// group is one table.
type group struct {
	Name       string
	Subjects   []string // the columns
	Rows       []row
	Unmeasured []row // measures nobody has a value of
	Failures   []failure
}

// row is one measure.
type row struct {
	measure.Measure
	Cells map[string]cell // by subject; none where nothing was measured
	Best  string          // the best peer, "" if there is none
	Ratio quotient        // gozen's to the best peer
	verdict
}

// cell is what one subject reached.
type cell struct {
	summary
	Values []float64 // the repetitions in the order they were taken
	Ratio  quotient  // gozen's value over this peer's
}

// details is the table of the parts of one measure.
type details struct {
	measure.Measure
	Subjects []string
	Rows     []detail
}

type detail struct {
	Name  string
	Cells map[string]summary
}

// tally counts the verdicts.
type tally struct{ Met, Missed, Close, NoPeer, NotMeasured int }

// Targets is the number of measures that have a target.
func (t tally) Targets() int { return t.Met + t.Missed + t.NoPeer + t.NotMeasured }

type key struct{ measure, subject, detail string }

// build makes the model of a run, in the order of the catalogue. It leaves out what
// is no number or not in the catalogue, and says so in the notes.
func build(catalogue []measure.Measure, run *measure.Run) *model {
	m := &model{catalogue: catalogue, Date: run.Date, Emulated: run.Host["emulated"] == "yes"}
	for _, k := range slices.Sorted(maps.Keys(run.Host)) {
		m.Host = append(m.Host, pair{clean(k), clean(run.Host[k])})
	}
	values := m.collect(run.Samples)
	names := m.subjects(run, values)
	m.failures(run.Failures)
	for _, me := range m.catalogue {
		g := m.group(me.Group)
		r := m.row(me, names, values)
		if len(r.Cells) == 0 {
			g.Unmeasured = append(g.Unmeasured, r)
		} else {
			g.Rows = append(g.Rows, r)
		}
		m.Tally.count(r.verdict)
		if d := detailsOf(me, names, values); len(d.Rows) > 0 {
			m.Details = append(m.Details, d)
		}
	}
	for i := range m.Groups {
		g := &m.Groups[i]
		for _, name := range names {
			if slices.ContainsFunc(g.Rows, func(r row) bool { return r.Cells[name].N > 0 }) {
				g.Subjects = append(g.Subjects, name)
			}
		}
		if len(g.Rows) > 0 && !slices.Contains(g.Subjects, ours) {
			g.Subjects = slices.Insert(g.Subjects, 0, ours)
		}
	}
	return m
}

// collect sorts the usable samples by what they are of.
func (m *model) collect(samples []measure.Sample) map[key][]float64 {
	values := make(map[key][]float64)
	unknown, broken := 0, 0
	for _, s := range samples {
		if !slices.ContainsFunc(m.catalogue, func(me measure.Measure) bool { return me.Name == s.Measure }) {
			unknown++
			continue
		}
		if !finite(s.Value) {
			broken++
			continue
		}
		k := key{s.Measure, named(s.Subject), clean(s.Detail)}
		values[k] = append(values[k], s.Value)
	}
	if unknown > 0 {
		m.Notes = append(m.Notes, fmt.Sprintf("%s of measures that are not in the catalogue left out.", counted(unknown, "sample")))
	}
	if broken > 0 {
		m.Notes = append(m.Notes, fmt.Sprintf("%s left out that are no finite number.", counted(broken, "sample")))
	}
	return values
}

// subjects lists everybody who was asked, measured or failed, and gives the names.
func (m *model) subjects(run *measure.Run, values map[key][]float64) []string {
	how := map[string]string{ours: ""}
	measured := map[string]bool{}
	for k := range values {
		how[k.subject] = ""
		measured[k.subject] = true
	}
	for _, f := range run.Failures {
		how[named(f.Subject)] = ""
	}
	for name, text := range run.Subjects {
		how[named(name)] = clean(text)
	}
	names := slices.SortedFunc(maps.Keys(how), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
	})
	failed := map[string]bool{}
	for _, f := range run.Failures {
		failed[named(f.Subject)] = true
	}
	for _, name := range names {
		m.Subjects = append(m.Subjects, subject{name, how[name], measured[name]})
		if !measured[name] && !failed[name] {
			m.Failures = append(m.Failures, failure{Subject: name, Why: "no sample, and no reason was given", Times: 1})
		}
	}
	return names
}

func rank(name string) int {
	switch name {
	case ours:
		return 0
	case host:
		return 2
	}
	return 1
}

// failures puts each failure beneath its group, or into the general list.
func (m *model) failures(list []measure.Failure) {
	for _, f := range list {
		n := failure{named(f.Subject), clean(f.Part), clean(f.Why), 1}
		if n.Why == "" {
			n.Why = "no reason was given"
		}
		to := &m.Failures
		if slices.ContainsFunc(m.catalogue, func(me measure.Measure) bool { return me.Group == n.Part }) {
			to = &m.group(n.Part).Failures
			n.Part = ""
		}
		same := func(o failure) bool { return o.Subject == n.Subject && o.Part == n.Part && o.Why == n.Why }
		if i := slices.IndexFunc(*to, same); i >= 0 {
			(*to)[i].Times++
		} else {
			*to = append(*to, n)
		}
	}
}

// group finds the group of that name; the first call makes all of them.
func (m *model) group(name string) *group {
	if m.Groups == nil {
		for _, me := range m.catalogue {
			if !slices.ContainsFunc(m.Groups, func(g group) bool { return g.Name == me.Group }) {
				m.Groups = append(m.Groups, group{Name: me.Group})
			}
		}
	}
	i := slices.IndexFunc(m.Groups, func(g group) bool { return g.Name == name })
	return &m.Groups[i]
}

// row sums up one measure. An overhead is the value over the median of the host's;
// without that the values cannot be shown, but the ratios to peers still hold.
func (m *model) row(me measure.Measure, names []string, values map[key][]float64) row {
	r := row{Measure: me, Cells: map[string]cell{}}
	of := map[string]summary{} // undivided: ratios do not depend on the host
	for _, name := range names {
		of[name] = summarise(values[key{me.Name, name, ""}])
		if n := of[name].N; n > 0 {
			if m.MinN == 0 || n < m.MinN {
				m.MinN = n
			}
			m.MaxN = max(m.MaxN, n)
		}
	}
	divisor := 1.0
	if me.PerHost {
		divisor = of[host].Median // 0 when there is none
	}
	var peers, against []string
	shown := map[string]summary{}
	for _, name := range names {
		s := of[name]
		if s.N == 0 || me.PerHost && name == host {
			continue
		}
		c := cell{summary: s, Values: slices.Clone(values[key{me.Name, name, ""}])}
		if divisor > 0 {
			c.summary = s.scale(divisor)
			for i := range c.Values {
				c.Values[i] /= divisor
			}
		} else {
			c.summary, c.Values = summary{}, nil
		}
		if rank(name) == 1 {
			peers = append(peers, name)
			if strings.HasPrefix(name, me.Against) {
				against = append(against, name)
			}
			c.Ratio = ratio(of[ours], s)
		}
		shown[name] = c.summary
		r.Cells[name] = c
	}
	if me.PerHost && divisor <= 0 && len(r.Cells) > 0 {
		m.Notes = append(m.Notes, fmt.Sprintf("%s: the host has no value to compare with, so there are ratios only.", me.Title))
	}
	r.Best = best(me.Better, peers, of)
	r.Ratio = ratio(of[ours], of[r.Best])
	if divisor > 0 {
		of = shown
	} else if me.Limit != 0 && (me.Ratio == 0 || !m.Emulated) {
		of = nil // a limit on an overhead that is not known
	}
	r.verdict = judge(me, of[ours], against, of, m.Emulated)
	return r
}

func (t *tally) count(v verdict) {
	switch v.State {
	case met:
		t.Met++
	case missed:
		t.Missed++
	case noPeer:
		t.NoPeer++
	case notMeasured:
		t.NotMeasured++
	}
	if v.Close {
		t.Close++
	}
}

// detailsOf makes the table of a measure's parts, largest first. Parts that never
// occurred for anybody are left out.
func detailsOf(me measure.Measure, names []string, values map[key][]float64) details {
	d := details{Measure: me}
	rows := map[string]detail{}
	for k, v := range values {
		if k.measure != me.Name || k.detail == "" {
			continue
		}
		if rows[k.detail].Cells == nil {
			rows[k.detail] = detail{k.detail, map[string]summary{}}
		}
		rows[k.detail].Cells[k.subject] = summarise(v)
	}
	for _, name := range names {
		if slices.ContainsFunc(slices.Collect(maps.Values(rows)), func(x detail) bool { return x.Cells[name].N > 0 }) {
			d.Subjects = append(d.Subjects, name)
		}
	}
	for _, x := range rows {
		if x.largest() != 0 {
			d.Rows = append(d.Rows, x)
		}
	}
	slices.SortFunc(d.Rows, func(a, b detail) int {
		return cmp.Or(cmp.Compare(b.Cells[ours].Median, a.Cells[ours].Median), cmp.Compare(b.largest(), a.largest()), cmp.Compare(a.Name, b.Name))
	})
	return d
}

func (d detail) largest() float64 {
	m := 0.0
	for _, s := range d.Cells {
		m = max(m, s.Max, -s.Min)
	}
	return m
}

// named is the name of a subject, which a broken line may lack.
func named(s string) string { return cmp.Or(clean(s), "(unnamed)") }

// colours are the sequences by which programs on a console change its colours.
var colours = regexp.MustCompile("\x1b\\[[0-9;?]*[ -/]*[@-~]")

// clean makes one printable line of at most 300 characters of s.
func clean(s string) string {
	s = colours.ReplaceAllString(s, "")
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 300 {
		s = string(r[:299]) + "…"
	}
	return s
}
