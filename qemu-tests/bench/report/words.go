package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"gozen/qemu-tests/bench/measure"
)

// Words and numbers that all renderings share.

const none = "–"

// number writes v with three significant digits and separated thousands. Counts
// are exact where they are whole: a count of 1,004 is not 1,000.
func number(v float64, unit string) string {
	whole := unit == "exits" || unit == "calls" || unit == "guests"
	abs := math.Abs(v)
	switch {
	case v == 0:
		return "0"
	case abs >= 1e9 || abs < 1e-6:
		s := strconv.FormatFloat(v, 'e', 2, 64) // 1.23e+09
		mantissa, exp, _ := strings.Cut(s, "e")
		n, err := strconv.Atoi(exp)
		if err != nil {
			return s
		}
		return strings.Replace(mantissa, "-", "−", 1) + "e" + strconv.Itoa(n)
	case whole && (abs >= 100 || v == math.Trunc(v)):
		return separate(strconv.FormatFloat(v, 'f', 0, 64))
	}
	return separate(digits(v))
}

// digits writes v with three significant digits.
func digits(v float64) string {
	s := strconv.FormatFloat(v, 'e', 2, 64)
	rounded, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return s
	}
	_, exp, _ := strings.Cut(s, "e")
	n, err := strconv.Atoi(exp)
	if err != nil {
		return s
	}
	return strconv.FormatFloat(rounded, 'f', max(0, 2-n), 64)
}

// separate puts commas between thousands.
func separate(s string) string {
	head, tail, dot := strings.Cut(s, ".")
	sign := ""
	if strings.HasPrefix(head, "-") {
		sign, head = "−", head[1:]
	}
	for i := len(head) - 3; i > 0; i -= 3 {
		head = head[:i] + "," + head[i:]
	}
	if dot {
		head += "." + tail
	}
	return sign + head
}

// value writes a median, or that there is none.
func value(s summary, unit string) string {
	if s.N == 0 {
		return none
	}
	return number(s.Median, unit)
}

// lowHigh writes the lowest and highest value; "" when they look the same.
func lowHigh(s summary, unit string) string {
	if s.N == 0 {
		return ""
	}
	if s.N == 1 {
		return "once"
	}
	low, high := number(s.Min, unit), number(s.Max, unit)
	if low == high {
		return ""
	}
	return low + "–" + high
}

// spread is the short form of lowHigh: how far the lowest and the highest value
// are from the median, in per cent of it.
func spread(s summary, unit string) string {
	text := lowHigh(s, unit)
	if text == "" || s.N == 1 || s.Median <= 0 {
		return text
	}
	low, high := (s.Median-s.Min)/s.Median*100, (s.Max-s.Median)/s.Median*100
	switch {
	case !finite(low) || !finite(high) || max(low, high) > 1e5:
		return text
	case max(low, high) < 0.5:
		return "<1%"
	}
	return fmt.Sprintf("−%s+%s%%", separate(strconv.FormatFloat(low, 'f', 0, 64)), separate(strconv.FormatFloat(high, 'f', 0, 64)))
}

func (q quotient) String() string {
	if !q.Known {
		return none
	}
	return number(q.Value, "")
}

// percent writes a fraction with two significant digits: 0.3 %, 16 %, 1,240 %.
func percent(f float64) string {
	p := f * 100
	switch {
	case p < 0.1:
		return "< 0.1 %"
	case p < 9.95:
		return strconv.FormatFloat(p, 'f', 1, 64) + " %"
	}
	return number(math.Round(p), "exits") + " %"
}

// words of a verdict: what the table says.
func (v verdict) words() string {
	mark := ""
	if v.Close {
		mark = " ~"
	}
	switch v.State {
	case met:
		return "met" + mark
	case missed:
		if !v.By.Known {
			return "missed" + mark
		}
		return "missed by " + percent(v.By.Value) + mark
	case noPeer:
		return "no peer ran"
	case notMeasured:
		return "not measured"
	}
	return ""
}

// unit with an arrow to the better side.
func unit(m measure.Measure) string {
	arrow := "↓"
	if m.Better == measure.HigherIsBetter {
		arrow = "↑"
	}
	if m.Unit == "" {
		return arrow
	}
	return m.Unit + "\u00a0" + arrow
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return number(float64(n), "exits") + " " + what + "s"
}

// why is the reason of a failure, and how often it was given.
func (f failure) why() string {
	if f.Times > 1 {
		return fmt.Sprintf("%s (%d times)", f.Why, f.Times)
	}
	return f.Why
}

// what is the part of the benchmark that could not run.
func (f failure) what() string {
	if f.Part == "" {
		return "all"
	}
	return f.Part
}

func date(t time.Time) string {
	if t.IsZero() {
		return "date not known"
	}
	return t.UTC().Format("2 January 2006, 15:04 UTC")
}

// repetitions of the run in words.
func (m *model) repetitions() string {
	switch {
	case m.MaxN == 0:
		return "nothing was measured"
	case m.MinN == m.MaxN:
		return counted(m.MaxN, "repetition")
	}
	return fmt.Sprintf("%d to %d repetitions", m.MinN, m.MaxN)
}

// String tells the verdicts in one sentence.
func (t tally) String() string {
	s := fmt.Sprintf("%d of %s met, %d missed", t.Met, counted(t.Targets(), "target"), t.Missed)
	if t.Close > 0 {
		s += fmt.Sprintf(" (%d of these within the spread)", t.Close)
	}
	if t.NoPeer > 0 {
		s += fmt.Sprintf(", %d without a peer", t.NoPeer)
	}
	if t.NotMeasured > 0 {
		s += fmt.Sprintf(", %d not measured", t.NotMeasured)
	}
	return s + "."
}

// legend explains the tables, one paragraph a string. short is for the text form,
// which has room for the spread in per cent only.
func (m *model) legend(short bool) []string {
	out := []string{}
	if m.Emulated {
		out = append(out, "The host is emulated: every instruction is slower, and some far more than others. "+
			"Absolute times and rates mean nothing; only ratios within this run do, and counts, which do not depend on speed.")
	}
	out = append(out, "The arrow at the unit shows the better side: ↓ lower, ↑ higher.")
	of := "lowest–highest value"
	if short {
		of = "lowest and highest value in per cent from the median"
	}
	out = append(out,
		"A value is the median of the repetitions, with the spread ("+of+") beside it. "+
			"Nothing stands there when all repetitions look the same, and “once” when there was only one. "+
			"Three to seven repetitions are too few for quartiles or a deviation, so none are given. "+
			none+" is no value.",
		"ratio is gozen's median over that of the best peer, which is marked with *. "+
			"Where lower is better a ratio below 1 is in gozen's favour, where higher is better one above 1. The host is no peer.",
		"“× host” is the median of the host's own run of the same program, without any VMM, as 1; the host's spread is not part of it.",
		"A target is judged by medians. ~ marks a verdict within the spread: the repetitions lie on both sides of the bound, and another run could turn it around. "+
			"“of QEMU” is the better of QEMU's machines.")
	return out
}
