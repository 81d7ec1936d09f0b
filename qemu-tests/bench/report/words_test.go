package report

import (
	"math"
	"slices"
	"testing"
)

func TestNumber(t *testing.T) {
	for _, c := range []struct {
		v    float64
		unit string
		want string
	}{
		{0, "ms", "0"}, {1, "ms", "1.00"}, {1.2345, "ms", "1.23"}, {12.345, "ms", "12.3"}, {123.45, "ms", "123"},
		{9.996, "ms", "10.0"}, {99.96, "ms", "100"}, {999.6, "ms", "1,000"}, {1234.5, "ms", "1,230"}, {123456, "ms", "123,000"},
		{0.012345, "", "0.0123"}, {0.0000012345, "", "0.00000123"}, {0.00000012, "", "1.20e-7"},
		{999_999_999, "KiB", "1,000,000,000"}, {1.5e9, "KiB", "1.50e9"}, {math.MaxFloat64, "KiB", "1.80e308"},
		{-1234, "KiB", "−1,230"}, {-0.5, "", "−0.500"}, {-1e12, "", "−1.00e12"},
		{1204, "exits", "1,204"}, {61204, "calls", "61,204"}, {7, "guests", "7"}, {842.5, "exits", "842"}, {12.5, "exits", "12.5"}, {0.021, "exits", "0.0210"},
	} {
		if got := number(c.v, c.unit); got != c.want {
			t.Errorf("number(%v, %q) is %q, want %q", c.v, c.unit, got, c.want)
		}
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		s           summary
		long, short string
	}{
		{summary{}, "", ""},
		{summary{1, 5, 5, 5}, "once", "once"},
		{summary{3, 5, 5, 5}, "", ""},
		{summary{3, 100, 90, 120}, "90.0–120", "−10+20%"},
		{summary{3, 1000, 996, 1004}, "996–1,000", "<1%"},
		{summary{3, 0, 0, 3}, "0–3.00", "0–3.00"},
		{summary{3, 1, 1, math.MaxFloat64}, "1.00–1.80e308", "1.00–1.80e308"},
		{summary{3, 1, -math.MaxFloat64, 1}, "−1.80e308–1.00", "−1.80e308–1.00"},
	} {
		if got := lowHigh(c.s, "ms"); got != c.long {
			t.Errorf("lowHigh(%+v) is %q, want %q", c.s, got, c.long)
		}
		if got := spread(c.s, "ms"); got != c.short {
			t.Errorf("spread(%+v) is %q, want %q", c.s, got, c.short)
		}
	}
}

func TestVerdictWords(t *testing.T) {
	by := func(f float64) verdict { return verdict{State: missed, By: quotient{f, true}} }
	for _, c := range []struct {
		v    verdict
		want string
	}{
		{verdict{}, ""},
		{verdict{State: met}, "met"},
		{verdict{State: met, Close: true}, "met ~"},
		{by(0.0001), "missed by < 0.1 %"},
		{by(0.034), "missed by 3.4 %"},
		{by(0.0999), "missed by 10 %"},
		{by(12.4), "missed by 1,240 %"},
		{verdict{State: missed, Close: true}, "missed ~"},
		{verdict{State: noPeer}, "no peer ran"},
		{verdict{State: notMeasured}, "not measured"},
	} {
		if got := c.v.words(); got != c.want {
			t.Errorf("%+v is %q, want %q", c.v, got, c.want)
		}
	}
}

func TestFold(t *testing.T) {
	for _, c := range []struct {
		s    string
		w    int
		want []string
	}{
		{"", 5, []string{""}},
		{"short", 5, []string{"short"}},
		{"any width", 0, []string{"any width"}},
		{"one two three", 7, []string{"one two", "three"}},
		{"one two", 6, []string{"one", "two"}},
		{"qemu-microvm", 9, []string{"qemu-", "microvm"}},
		{"a -nodefaults", 6, []string{"a", "-nodef", "aults"}},
		{"abcdefghij", 4, []string{"abcd", "efgh", "ij"}},
		{"µµµ µµµ", 4, []string{"µµµ", "µµµ"}},
		{"12\u00a0ms 5", 5, []string{"12\u00a0ms", "5"}},
	} {
		if got := fold(c.s, c.w); !slices.Equal(got, c.want) {
			t.Errorf("fold(%q, %d) is %q, want %q", c.s, c.w, got, c.want)
		}
	}
}

func FuzzFold(f *testing.F) {
	f.Add("one two-three", 4)
	f.Add("-----", 1)
	f.Fuzz(func(t *testing.T, s string, w int) {
		if len(s) > 1000 || w > 1000 {
			return
		}
		for _, line := range fold(s, w) {
			if n := len([]rune(line)); w > 0 && n > w {
				t.Errorf("fold(%q, %d) has a line of %d: %q", s, w, n, line)
			}
		}
	})
}

func TestPlot(t *testing.T) {
	r := row{Cells: map[string]cell{
		"gozen": {summary: summary{3, 50, 40, 60}, Values: []float64{40, 50, 60}},
		"peer":  {summary: summary{1, 100, 100, 100}, Values: []float64{100}},
		"below": {summary: summary{2, -5, -10, 0}, Values: []float64{-10, 0}},
	}, verdict: verdict{State: met, Bound: 75, Peer: "peer"}}
	p := r.Plot([]string{"gozen", "absent", "peer", "below"})
	if len(p.Bars) != 3 {
		t.Fatalf("%d bars, want 3", len(p.Bars))
	}
	full := plotWidth - plotMargin
	ours, peer, below := p.Bars[0], p.Bars[1], p.Bars[2]
	if peer.Width != full || ours.Width != full/2 || below.Width != 0 {
		t.Errorf("bars of 50, 100 and -5 are %v, %v and %v long, want %v, %v and 0", ours.Width, peer.Width, below.Width, full/2, full)
	}
	if !ours.Whisker || ours.Low >= ours.High || peer.Whisker {
		t.Errorf("whiskers: %+v and %+v, want only the first", ours, peer)
	}
	if len(ours.Dots) != 3 || ours.Dots[0] != ours.Low || ours.Dots[2] != ours.High {
		t.Errorf("dots at %v, want from %v to %v", ours.Dots, ours.Low, ours.High)
	}
	if p.Target == nil || p.Target.X <= ours.High || p.Target.X >= peer.Width {
		t.Errorf("target at %+v, want between the two", p.Target)
	}
	zero := row{Cells: map[string]cell{"gozen": {summary: point(0), Values: []float64{0}}}}.Plot([]string{"gozen"})
	if zero.Bars[0].Width != 0 || zero.Target != nil {
		t.Errorf("the plot of nothing is %+v", zero)
	}
}
