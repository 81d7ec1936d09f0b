// Package report turns a run of the benchmark into tables and plots.
//
// The way is always the same. Statistics (stats.go) sum up the repetitions of a
// measure and compare the subjects with nothing but numbers. Build (model.go)
// puts what they say, what failed and what was never tried in the order of the
// catalogue. Then each rendering writes that model without further thought: plain
// text for a terminal, Markdown for the documentation, and HTML with plots.
//
// A run has three to seven repetitions of a measure. That is too few for
// quartiles, which would be made up between two values, and for a standard
// deviation, which needs a distribution nobody knows. So the spread is the lowest
// and the highest value, and nothing is said about significance beyond whether
// two such ranges overlap.
//
// Names, versions and reasons come from consoles of guests: every rendering
// treats them as text of a stranger.
package report
