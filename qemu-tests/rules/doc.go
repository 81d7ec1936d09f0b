// Package rules holds the repository's own rules as tests: who may import whom,
// where unsafe may stand, and that every package tells its story.
package rules
