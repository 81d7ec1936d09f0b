package report

import (
	"math"
	"testing"

	"gozen/qemu-tests/bench/measure"
)

func TestSummarise(t *testing.T) {
	for _, c := range []struct {
		name   string
		values []float64
		want   summary
	}{
		{"none", nil, summary{}},
		{"one", []float64{7}, summary{1, 7, 7, 7}},
		{"two", []float64{9, 4}, summary{2, 6.5, 4, 9}},
		{"odd, out of order", []float64{5, 100, 1}, summary{3, 5, 1, 100}},
		{"even, with equals", []float64{2, 2, 8, 2, 4, 9}, summary{6, 3, 2, 9}},
		{"negative", []float64{-3, 0, -1}, summary{3, -1, -3, 0}},
		{"huge", []float64{math.MaxFloat64, math.MaxFloat64}, summary{2, math.MaxFloat64, math.MaxFloat64, math.MaxFloat64}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := summarise(c.values); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
	values := []float64{3, 1, 2}
	summarise(values)
	if values[0] != 3 || values[1] != 1 {
		t.Errorf("the values are now %v: their order is that of the repetitions", values)
	}
}

func TestScale(t *testing.T) {
	s := summary{3, 10, 5, 20}
	if got, want := s.scale(5), (summary{3, 2, 1, 4}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := s.scale(math.SmallestNonzeroFloat64); got.N != 0 {
		t.Errorf("an overflow gives %+v, want no summary", got)
	}
}

// point is a summary of equal repetitions.
func point(v float64) summary { return summary{3, v, v, v} }

func TestRatio(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b summary
		want quotient
	}{
		{"plain", point(3), point(4), quotient{0.75, true}},
		{"medians, not extremes", summary{3, 6, 1, 100}, summary{3, 3, 2, 3}, quotient{2, true}},
		{"zero over something", point(0), point(4), quotient{0, true}},
		{"two zeros", point(0), point(0), quotient{1, true}},
		{"over zero", point(1), point(0), quotient{}},
		{"own missing", summary{}, point(1), quotient{}},
		{"other missing", point(1), summary{}, quotient{}},
		{"both missing", summary{}, summary{}, quotient{}},
		{"negative", point(-1), point(2), quotient{}},
		{"overflow", point(math.MaxFloat64), point(0.5), quotient{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := ratio(c.a, c.b); got.Known != c.want.Known || got.Known && got.Value != c.want.Value {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestBest(t *testing.T) {
	of := map[string]summary{"a": point(3), "b": point(1), "c": point(1), "d": point(3), "none": {}}
	for _, c := range []struct {
		name   string
		better measure.Direction
		names  []string
		want   string
	}{
		{"lowest, first of equals", measure.LowerIsBetter, []string{"a", "b", "c"}, "b"},
		{"highest, first of equals", measure.HigherIsBetter, []string{"b", "a", "d"}, "a"},
		{"without a value", measure.LowerIsBetter, []string{"none", "unheard", "d"}, "d"},
		{"nobody", measure.LowerIsBetter, []string{"none"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := best(c.better, c.names, of); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	peers := []string{"a", "b"}
	two := map[string]summary{"a": {3, 200, 190, 210}, "b": {3, 100, 90, 110}}
	lower := measure.LowerIsBetter
	higher := measure.HigherIsBetter
	missedBy := func(bound float64, peer string, by float64, close bool) verdict {
		return verdict{State: missed, Bound: bound, Peer: peer, By: quotient{by, true}, Close: close}
	}
	for _, c := range []struct {
		name     string
		m        measure.Measure
		own      summary
		of       map[string]summary
		emulated bool
		want     verdict
	}{
		{"no target", measure.Measure{}, point(1), two, false, verdict{}},
		{"not measured", measure.Measure{Limit: 5}, summary{}, two, false, verdict{State: notMeasured}},
		{"limit met", measure.Measure{Limit: 5}, point(4), nil, false, verdict{State: met, Bound: 5}},
		{"limit reached exactly", measure.Measure{Limit: 5}, point(5), nil, false, verdict{State: met, Bound: 5}},
		{"limit missed", measure.Measure{Limit: 5}, point(6), nil, false, missedBy(5, "", 0.2, false)},
		{"limit within the spread", measure.Measure{Limit: 5}, summary{3, 6, 4, 7}, nil, false, missedBy(5, "", 0.2, true)},
		{"limit from below missed", measure.Measure{Limit: 5, Better: higher}, point(4), nil, false, missedBy(5, "", 0.2, false)},
		{"ratio met", measure.Measure{Ratio: 0.7, Better: lower}, point(60), two, false, verdict{State: met, Bound: 70, Peer: "b"}},
		{"ratio missed", measure.Measure{Ratio: 0.5, Better: lower}, point(60), two, false, missedBy(50, "b", 0.2, false)},
		{"ratio within both spreads", measure.Measure{Ratio: 1}, summary{3, 95, 90, 98}, two, false, verdict{State: met, Bound: 100, Peer: "b", Close: true}},
		{"ratio of a rate met", measure.Measure{Ratio: 1, Better: higher}, point(250), two, false, verdict{State: met, Bound: 200, Peer: "a"}},
		{"ratio of a rate missed", measure.Measure{Ratio: 1, Better: higher}, point(150), two, false, missedBy(200, "a", 0.25, false)},
		{"no peer", measure.Measure{Ratio: 1}, point(150), nil, false, verdict{State: noPeer}},
		{"limit needs no peer", measure.Measure{Limit: 2, Ratio: 1}, point(1), nil, false, verdict{State: met, Bound: 2}},
		{"both, on hardware the limit", measure.Measure{Limit: 2, Ratio: 1}, point(4), two, false, missedBy(2, "", 1, false)},
		{"both, emulated the ratio", measure.Measure{Limit: 2, Ratio: 1}, point(4), two, true, verdict{State: met, Bound: 100, Peer: "b"}},
		{"limit alone holds emulated too", measure.Measure{Limit: 2}, point(4), two, true, missedBy(2, "", 1, false)},
		{"peer at zero, missed", measure.Measure{Ratio: 1}, point(4), map[string]summary{"a": point(0)}, false, verdict{State: missed, Peer: "a"}},
		{"both at zero", measure.Measure{Ratio: 1}, point(0), map[string]summary{"a": point(0)}, false, verdict{State: met, Peer: "a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := judge(c.m, c.own, peers, c.of, c.emulated)
			if math.Abs(got.By.Value-c.want.By.Value) < 1e-12 {
				got.By.Value = c.want.By.Value
			}
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}
