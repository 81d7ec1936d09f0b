// Package protocol is what the benchmark's launcher asks of the agent that runs
// inside the emulated host: one JSON object a line over TCP, answered by lines of
// package measure and of progress, with a last line that says that the step ended.
package protocol
