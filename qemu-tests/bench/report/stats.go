package report

import (
	"math"
	"slices"

	"gozen/qemu-tests/bench/measure"
)

// summary sums up the repetitions of one measure for one subject.
type summary struct {
	N                int // repetitions; 0 means not measured, and then nothing else counts
	Median, Min, Max float64
}

// summarise sums up values, all of which must be finite.
func summarise(values []float64) summary {
	n := len(values)
	if n == 0 {
		return summary{}
	}
	v := slices.Clone(values)
	slices.Sort(v)
	// The halves are taken first: the sum of two huge values is no number.
	return summary{N: n, Median: v[(n-1)/2]/2 + v[n/2]/2, Min: v[0], Max: v[n-1]}
}

// scale gives the summary with all values divided by d, and no summary when that
// is no number.
func (s summary) scale(d float64) summary {
	s.Median, s.Min, s.Max = s.Median/d, s.Min/d, s.Max/d
	for _, v := range []float64{s.Median, s.Min, s.Max} {
		if !finite(v) {
			return summary{}
		}
	}
	return s
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// overlaps says whether the ranges of s and t share a value and at least one of
// them is more than a point: a repetition could have turned the order around.
func (s summary) overlaps(t summary) bool {
	return s.Min <= t.Max && t.Min <= s.Max && (s.Min < s.Max || t.Min < t.Max)
}

// quotient is a division that may have no result.
type quotient struct {
	Value float64
	Known bool
}

// ratio divides the median of a by that of b. Two zeros are equal; everything else
// over zero, and everything negative, has no ratio.
func ratio(a, b summary) quotient {
	switch {
	case a.N == 0 || b.N == 0 || a.Median < 0 || b.Median < 0:
		return quotient{}
	case a.Median == b.Median:
		return quotient{1, true}
	case b.Median == 0:
		return quotient{}
	}
	q := a.Median / b.Median
	return quotient{q, !math.IsInf(q, 0)}
}

// reaches says whether v is as good as bound or better.
func reaches(better measure.Direction, v, bound float64) bool {
	if better == measure.HigherIsBetter {
		return v >= bound
	}
	return v <= bound
}

// best finds the peer with the best median; of equals the first. Peers without a
// value do not count. It gives "" when none is left.
func best(better measure.Direction, names []string, of map[string]summary) string {
	found := ""
	for _, name := range names {
		s := of[name]
		if s.N == 0 {
			continue
		}
		if found == "" || !reaches(better, of[found].Median, s.Median) {
			found = name
		}
	}
	return found
}

// state is what became of a target.
type state int

const (
	noTarget state = iota
	met
	missed
	noPeer      // the target is against a peer, and none was measured
	notMeasured // gozen was not measured
)

// verdict compares gozen with the target of a measure.
type verdict struct {
	State state
	// Bound is what gozen's value was held against, in the measure's unit, when
	// State is met or missed; Peer is the peer that set it, "" for a fixed limit.
	Bound float64
	Peer  string
	// By is the distance from a bound that was missed, as a fraction of the bound;
	// not known when the bound is zero.
	By quotient
	// Close means that the repetitions lie on both sides: another run could turn
	// the verdict around.
	Close bool
}

// judge compares own with the target of m. peers are the names in the order that
// settles ties. A measure with both a limit and a ratio has its limit for real
// hardware and its ratio for an emulated host, where absolute values mean nothing.
// Reaching the bound exactly is meeting it.
func judge(m measure.Measure, own summary, peers []string, of map[string]summary, emulated bool) verdict {
	if m.Limit == 0 && m.Ratio == 0 {
		return verdict{}
	}
	if own.N == 0 {
		return verdict{State: notMeasured}
	}
	v := verdict{Bound: m.Limit}
	bound := summary{N: 1, Min: m.Limit, Max: m.Limit}
	if m.Limit == 0 || m.Ratio != 0 && emulated {
		v.Peer = best(m.Better, peers, of)
		if v.Peer == "" {
			return verdict{State: noPeer}
		}
		p := of[v.Peer]
		v.Bound = p.Median * m.Ratio
		bound = summary{N: p.N, Min: p.Min * m.Ratio, Max: p.Max * m.Ratio}
	}
	v.Close = own.overlaps(bound)
	if reaches(m.Better, own.Median, v.Bound) {
		v.State = met
		return v
	}
	v.State = missed
	if v.Bound > 0 {
		by := math.Abs(own.Median-v.Bound) / v.Bound
		v.By = quotient{by, finite(by)}
	}
	return v
}
