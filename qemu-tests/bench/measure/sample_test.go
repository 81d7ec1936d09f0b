package measure

import (
	"math"
	"strings"
	"testing"
)

func TestLinesComeBack(t *testing.T) {
	var run Run
	sample := Sample{Measure: "start.exits", Subject: "gozen", Value: 842.5, Detail: "EPT \"x\"\n"}
	failure := Failure{Subject: "gokvm", Part: GroupDisk, Why: "no disk\r\n@sample {}"}
	for _, line := range []string{sample.Line(), "  " + failure.Line() + "\r\n"} {
		if strings.Contains(strings.TrimSpace(line), "\n") {
			t.Fatalf("%q is more than a line", line)
		}
		if ok, err := run.ParseLine(line); !ok || err != nil {
			t.Fatalf("%q: %v, %v", line, ok, err)
		}
	}
	if len(run.Samples) != 1 || run.Samples[0] != sample {
		t.Errorf("samples are %+v, want %+v", run.Samples, sample)
	}
	if len(run.Failures) != 1 || run.Failures[0] != failure {
		t.Errorf("failures are %+v, want %+v", run.Failures, failure)
	}
}

// What is no number cannot travel as a sample: it arrives as a failure.
func TestNoNumberIsAFailure(t *testing.T) {
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		var run Run
		line := Sample{Measure: "start.exits", Subject: "gozen", Value: v}.Line()
		if ok, err := run.ParseLine(line); !ok || err != nil {
			t.Fatalf("%q: %v, %v", line, ok, err)
		}
		if len(run.Samples) != 0 || len(run.Failures) != 1 || run.Failures[0].Why == "" {
			t.Errorf("%q gives %+v", line, run)
		}
	}
}

func TestParseLineRefuses(t *testing.T) {
	for _, c := range []struct {
		line string
		ours bool
	}{
		{"", false},
		{"[    0.0] Linux version", false},
		{"x @sample {}", false},
		{"@sampled", false},
		{"@sample {}", true},
		{`@sample {"m":"no.such","s":"gozen","v":1}`, true},
		{`@sample {"m":"start.exits","s":"gozen","v":1e999}`, true},
		{`@sample {"m":"start.exits","s":"gozen","v":"1"}`, true},
		{`@sample {"m":"start.exits"} {}`, true},
		{"@failure", false},
		{"@failure [", true},
	} {
		var run Run
		ok, err := run.ParseLine(c.line)
		if ok != c.ours || ok == (err == nil) {
			t.Errorf("%q: ok is %v, want %v; error %v", c.line, ok, c.ours, err)
		}
		if len(run.Samples)+len(run.Failures) != 0 {
			t.Errorf("%q gives %+v", c.line, run)
		}
	}
}

func TestCatalogue(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range Catalogue {
		if seen[m.Name] {
			t.Errorf("%s is in the catalogue twice", m.Name)
		}
		seen[m.Name] = true
		if got, ok := Lookup(m.Name); !ok || got != m {
			t.Errorf("Lookup(%q) is %+v, %v", m.Name, got, ok)
		}
		if m.Group == "" || m.Title == "" {
			t.Errorf("%s lacks a group or a title", m.Name)
		}
		if (m.Target != "") != (m.Limit != 0 || m.Ratio != 0) {
			t.Errorf("%s has a target in words or in numbers, but not in both", m.Name)
		}
		if m.Against != "" && m.Ratio == 0 {
			t.Errorf("%s is against %s, but without a ratio", m.Name, m.Against)
		}
	}
}

// A guest's console may hold anything. What is accepted must be in the catalogue,
// finite, and the same after another journey.
func FuzzParseLine(f *testing.F) {
	f.Add(Sample{Measure: "start.exits", Subject: "gozen", Value: 842}.Line())
	f.Add(Sample{Measure: "cpu.fork", Subject: "host", Value: -1.5e-300, Detail: "d"}.Line())
	f.Add(Failure{Subject: "gokvm", Part: GroupDisk, Why: "no disk"}.Line())
	f.Add(`@sample {"m":"start.exits","s":"\ud800","v":1e308,"v":2}`)
	f.Add("@failure null")
	f.Add("@sample ")
	f.Fuzz(func(t *testing.T, line string) {
		var run Run
		ok, err := run.ParseLine(line)
		got := len(run.Samples) + len(run.Failures)
		if want := ok && err == nil; want != (got == 1) || got > 1 {
			t.Fatalf("ok %v, error %v, and %+v", ok, err, run)
		}
		var again Run
		for _, s := range run.Samples {
			if _, known := Lookup(s.Measure); !known || math.IsNaN(s.Value) || math.IsInf(s.Value, 0) {
				t.Fatalf("accepted %+v", s)
			}
			if _, err := again.ParseLine(s.Line()); err != nil || len(again.Samples) != 1 || again.Samples[0] != s {
				t.Fatalf("%+v comes back as %+v, %v", s, again, err)
			}
		}
		for _, v := range run.Failures {
			if _, err := again.ParseLine(v.Line()); err != nil || len(again.Failures) != 1 || again.Failures[0] != v {
				t.Fatalf("%+v comes back as %+v, %v", v, again, err)
			}
		}
	})
}
