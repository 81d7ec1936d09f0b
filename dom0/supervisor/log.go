package supervisor

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// maxRecord is the longest line kept: the kernel refuses records of 1 KiB.
const maxRecord = 900

// flushTimeout is how long the way down waits for a slow console.
const flushTimeout = 2 * time.Second

// logger writes lines to the kernel's log, where they stand between the
// kernel's own, and to the console for the person in front of it. A slow or
// stuck console never holds anybody up: lines for it are dropped and counted.
type logger struct {
	kmsg    io.Writer // may be nil
	console chan entry
	dropped atomic.Uint64
}

// entry is a line for the console, or a mark that all before it is written.
type entry struct {
	text string
	mark chan<- struct{}
}

// newLogger starts the goroutine that writes to the console.
func newLogger(kmsg, console io.Writer) *logger {
	l := &logger{kmsg: kmsg, console: make(chan entry, 256)}
	go guard(func() {
		for e := range l.console {
			if e.mark != nil {
				close(e.mark)
				continue
			}
			if n := l.dropped.Swap(0); n > 0 {
				fmt.Fprintf(console, "gozen: (%d lines left out)\r\n", n)
			}
			_, _ = io.WriteString(console, e.text+"\r\n")
		}
	})
	return l
}

// Printf writes PID 1's own message, one log line a line.
func (l *logger) Printf(format string, args ...any) {
	for text := range strings.Lines(fmt.Sprintf(format, args...)) {
		l.line("gozen: " + text)
	}
}

// flush waits until the console has shown everything, but not for ever.
func (l *logger) flush() {
	mark := make(chan struct{})
	limit := time.After(flushTimeout)
	select {
	case l.console <- entry{mark: mark}:
	case <-limit:
		return
	}
	select {
	case <-mark:
	case <-limit:
	}
}

// line writes one line to both places.
func (l *logger) line(text string) {
	text = clean(text)
	if l.kmsg != nil {
		// <6> is "information" of the facility "kernel"; the console does not
		// repeat it because of kernel.printk.
		_, _ = io.WriteString(l.kmsg, "<6>"+text+"\n")
	}
	select {
	case l.console <- entry{text: text}:
	default:
		l.dropped.Add(1)
	}
}

// clean cuts a line to its greatest length and takes control characters out: a
// log line must not move a terminal's cursor.
func clean(text string) string {
	text = strings.TrimRight(text, "\r\n")
	if len(text) > maxRecord {
		text = text[:maxRecord] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == '\ufffd' {
			return '?'
		}
		return r
	}, text)
}

// copyLines logs every line of r until it ends.
func (l *logger) copyLines(r io.Reader, prefix string) {
	br := bufio.NewReaderSize(r, 4096)
	for {
		text, err := br.ReadSlice('\n')
		if len(text) > 0 {
			l.line(prefix + string(text))
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

// activeConsole returns the device of the kernel's preferred console, of a text
// in the form of /sys/class/tty/console/active: the last one named.
func activeConsole(active string) string {
	fields := strings.Fields(active)
	if len(fields) == 0 {
		return "/dev/console"
	}
	return "/dev/" + fields[len(fields)-1]
}

// openKmsg returns the kernel's log for writing, or nil.
func openKmsg() io.Writer {
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return nil
	}
	return f
}
