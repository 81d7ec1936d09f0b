package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// progress says what happens, with the seconds since the start.
type progress struct {
	start time.Time
	// raw: QEMU set the terminal to raw mode, where a line feed only goes down.
	raw bool
}

func newProgress(raw bool) progress { return progress{start: time.Now(), raw: raw} }

func (p progress) say(format string, args ...any) {
	fmt.Fprintf(p.console(os.Stdout), "[%6.1f s] %s\n", time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
}

// console returns a writer for text with plain line feeds.
func (p progress) console(w io.Writer) io.Writer {
	if !p.raw {
		return w
	}
	return carriage{w}
}

// carriage writes a carriage return before each line feed.
type carriage struct{ w io.Writer }

func (c carriage) Write(p []byte) (int, error) {
	if _, err := c.w.Write(bytes.ReplaceAll(p, []byte("\n"), []byte("\r\n"))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// indent moves every line of a text to the right.
func indent(text string) string {
	text = strings.TrimRight(strings.ReplaceAll(text, "\r", ""), "\n")
	return "    " + strings.ReplaceAll(text, "\n", "\n    ")
}
