package report

import (
	"fmt"
	"math"
)

// Measures of a plot in units of its own, about pixels.
const (
	plotWidth  = 400.0
	plotPitch  = 38.0 // from one bar to the next
	plotTop    = 20.0 // from the words above a bar to its middle
	plotBottom = 20.0 // room for the words at the target
	plotMargin = 6.0  // right of the largest value
)

// Plot is the bar chart of a row: positions for the page to draw.
type Plot struct {
	Width, Height float64
	Bars          []Bar
	Target        *Line
	Words         string // the whole plot in words
}

// Bar is one subject: from 0 to its median, with all repetitions.
type Bar struct {
	Name, Value, Class string
	Ratio              string  // gozen's value over it
	Y, Width           float64 // middle, and length
	Low, High          float64 // ends of the whisker
	Whisker            bool
	Dots               []float64
}

// Line is the bound the verdict was made with.
type Line struct {
	X      float64
	Text   string
	Anchor string // end of the text at the line
}

// Plot lays out the row; subjects are the columns of its group. All bars start at
// zero: lengths can be compared.
func (r row) Plot(subjects []string) Plot {
	p := Plot{Width: plotWidth}
	top := 0.0
	for _, name := range subjects {
		if c := r.Cells[name]; c.N > 0 {
			top = max(top, c.Max)
		}
	}
	bound := (r.State == met || r.State == missed) && r.Bound > 0
	if bound {
		top = max(top, r.Bound)
	}
	x := func(v float64) float64 {
		if top <= 0 {
			return 0
		}
		// A tenth of a unit is finer than any screen and keeps the page small.
		return math.Round(max(0, v)/top*(plotWidth-plotMargin)*10) / 10
	}
	y := plotTop
	for _, name := range subjects {
		c := r.Cells[name]
		if c.N == 0 {
			continue
		}
		b := Bar{Name: short(name), Value: number(c.Median, r.Unit), Class: "peer", Y: y, Width: x(c.Median)}
		if c.Ratio.Known {
			b.Ratio = "gozen " + c.Ratio.String() + " ×"
		}
		switch rank(name) {
		case 0:
			b.Class = "ours"
		case 2:
			b.Class = "host"
		}
		if c.N > 1 && c.Min < c.Max {
			b.Whisker, b.Low, b.High = true, x(c.Min), x(c.Max)
		}
		for _, v := range c.Values {
			b.Dots = append(b.Dots, x(v))
		}
		p.Bars = append(p.Bars, b)
		if p.Words != "" {
			p.Words += "; "
		}
		p.Words += b.Name + " " + b.Value
		if s := lowHigh(c.summary, r.Unit); s != "" && c.N > 1 {
			p.Words += " (" + s + ")"
		}
		y += plotPitch
	}
	p.Height = y - plotTop + 4
	if bound {
		l := &Line{X: x(r.Bound), Anchor: "middle", Text: "target " + number(r.Bound, r.Unit)}
		if r.Peer != "" {
			l.Text = fmt.Sprintf("%g × %s", r.Measure.Ratio, r.Peer)
		}
		switch {
		case l.X < plotWidth*0.3:
			l.Anchor = "start"
		case l.X > plotWidth*0.7:
			l.Anchor = "end"
		}
		p.Target = l
		p.Height += plotBottom
		p.Words += "; bound " + number(r.Bound, r.Unit)
	}
	return p
}

// short cuts a name that would run into the number beside it.
func short(name string) string {
	if r := []rune(name); len(r) > 28 {
		return string(r[:27]) + "…"
	}
	return name
}
