// Package measure says what the benchmark measures and holds what it found.
//
// The catalogue lists every measure: its name, its unit, which direction is
// better, and the target if there is one. A Sample is one value of one measure for
// one subject (a VMM, or the host itself), taken in one repetition; a Run is all
// samples of one run of the benchmark with what they were taken on. Programs in
// the emulated host and in guests print samples as lines; the launcher collects
// them and package report makes tables of them.
package measure
