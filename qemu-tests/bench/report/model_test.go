package report

import (
	"slices"
	"testing"

	"gozen/qemu-tests/bench/measure"
)

// find gives the row of a measure.
func find(t *testing.T, m *model, name string) row {
	t.Helper()
	for _, g := range m.Groups {
		for _, r := range slices.Concat(g.Rows, g.Unmeasured) {
			if r.Name == name {
				return r
			}
		}
	}
	t.Fatalf("the model has no row %s", name)
	return row{}
}

// An overhead is over the host's median, and only the host's spread is lost.
func TestOverhead(t *testing.T) {
	run := &measure.Run{}
	take(run, "cpu.compute", "host", 50, 100, 400)
	take(run, "cpu.compute", "gozen", 110, 101, 103)
	take(run, "cpu.compute", "qemu-q35", 206)
	r := find(t, build(catalogue, run), "cpu.compute")
	if got, want := r.Cells["gozen"].summary, (summary{3, 1.03, 1.01, 1.1}); got != want {
		t.Errorf("gozen has %+v, want %+v", got, want)
	}
	if !slices.Equal(r.Cells["gozen"].Values, []float64{1.1, 1.01, 1.03}) {
		t.Errorf("gozen's repetitions are %v", r.Cells["gozen"].Values)
	}
	if _, ok := r.Cells["host"]; ok {
		t.Error("the host is compared with itself")
	}
	if r.Ratio != (quotient{0.5, true}) || r.Best != "qemu-q35" {
		t.Errorf("the ratio is %v to %s, want 0.5 to qemu-q35", r.Ratio, r.Best)
	}
	if r.State != missed || r.Bound != 1.02 {
		t.Errorf("on hardware the verdict is %+v, want the limit missed", r.verdict)
	}
	run.Host = map[string]string{"emulated": "yes"}
	if r := find(t, build(catalogue, run), "cpu.compute"); r.State != met || r.Peer != "qemu-q35" || r.Bound != 2.06 {
		t.Errorf("emulated the verdict is %+v, want better than qemu-q35", r.verdict)
	}
}

// Without the host an overhead has no value, but ratios hold.
func TestOverheadWithoutHost(t *testing.T) {
	run := &measure.Run{Host: map[string]string{"emulated": "yes"}}
	take(run, "cpu.compute", "gozen", 103)
	take(run, "cpu.compute", "qemu-q35", 206)
	m := build(catalogue, run)
	r := find(t, m, "cpu.compute")
	if r.Cells["gozen"].N != 0 {
		t.Errorf("gozen has %+v of a host that is not there", r.Cells["gozen"])
	}
	if r.Ratio != (quotient{0.5, true}) || r.State != met {
		t.Errorf("ratio %v and verdict %+v, want 0.5 and met", r.Ratio, r.verdict)
	}
	if len(m.Notes) != 1 {
		t.Errorf("notes are %q, want one about the host", m.Notes)
	}
	run.Host = nil // now the target is the limit, which nothing can be said about
	if r := find(t, build(catalogue, run), "cpu.compute"); r.State == met {
		t.Errorf("verdict %+v about an overhead that is not known", r.verdict)
	}
}

// A target against QEMU does not turn into one against somebody else.
func TestTargetAgainst(t *testing.T) {
	run := &measure.Run{}
	take(run, "disk.raw.read", "gozen", 100)
	take(run, "disk.raw.read", "crosvm", 200)
	if r := find(t, build(catalogue, run), "disk.raw.read"); r.State != noPeer || r.Ratio != (quotient{0.5, true}) {
		t.Errorf("without QEMU: verdict %+v, ratio %v", r.verdict, r.Ratio)
	}
	take(run, "disk.raw.read", "qemu-q35", 90)
	take(run, "disk.raw.read", "qemu-microvm", 80)
	if r := find(t, build(catalogue, run), "disk.raw.read"); r.State != met || r.Peer != "qemu-q35" || r.Best != "crosvm" {
		t.Errorf("with QEMU: verdict %+v, best %s", r.verdict, r.Best)
	}
}

func TestSubjectsInOrder(t *testing.T) {
	run := &measure.Run{Subjects: map[string]string{"kvmtool": "x"}, Failures: []measure.Failure{{Subject: "crosvm", Why: "y"}}}
	take(run, "start.exits", "host", 1)
	take(run, "start.exits", "qemu", 1)
	take(run, "start.exits", "gokvm", 1)
	m := build(catalogue, run)
	var names []string
	for _, s := range m.Subjects {
		names = append(names, s.Name)
	}
	if want := []string{"gozen", "crosvm", "gokvm", "kvmtool", "qemu", "host"}; !slices.Equal(names, want) {
		t.Errorf("subjects are %q, want %q", names, want)
	}
	if got, want := m.Groups[0].Subjects, []string{"gozen", "gokvm", "qemu", "host"}; !slices.Equal(got, want) {
		t.Errorf("columns are %q, want %q", got, want)
	}
	var silent []string // neither measured nor failed
	for _, f := range m.Failures {
		silent = append(silent, f.Subject)
	}
	if want := []string{"gozen", "kvmtool", "crosvm"}; !slices.Equal(silent, want) {
		t.Errorf("failures are of %q, want %q", silent, want)
	}
}

func TestFailuresAreShownOnce(t *testing.T) {
	run := &measure.Run{}
	for range 3 {
		run.Failures = append(run.Failures, measure.Failure{Subject: "a", Part: measure.GroupDisk, Why: "w"}, measure.Failure{Subject: "a", Part: "else", Why: "w"})
	}
	take(run, "start.exits", "gozen", 1)
	m := build(catalogue, run)
	if want := []failure{{"a", "else", "w", 3}}; !slices.Equal(m.Failures, want) {
		t.Errorf("the general failures are %+v, want %+v", m.Failures, want)
	}
	for _, g := range m.Groups {
		want := []failure{}
		if g.Name == measure.GroupDisk {
			want = []failure{{"a", "", "w", 3}}
		}
		if !slices.Equal(g.Failures, want) {
			t.Errorf("failures of %s are %+v, want %+v", g.Name, g.Failures, want)
		}
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                   "plain",
		" a\r\n\tb\x00c ":         "a b c",
		"\x1b[1;31mred\x1b[0m up": "red up",
		"\x1b]0;title\a":          "]0;title",
		"bad\xffbyte":             "bad byte",
		"a\u202eb\u00a0c":         "a b c",
		"µ ≤ ×":                   "µ ≤ ×",
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) is %q, want %q", in, got, want)
		}
	}
}
