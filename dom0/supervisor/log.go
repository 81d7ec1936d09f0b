package supervisor

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxRecord is the longest line kept: the kernel refuses records of 1 KiB.
const maxRecord = 900

// flushTimeout is how long the way down waits for a slow console.
const flushTimeout = 2 * time.Second

// logger writes lines to the kernel's log, where they stand between the
// kernel's own, and to every console for the person in front of it: a machine may
// have a screen and a serial port, and only one of them is looked at. A slow or
// stuck console holds nobody up, neither PID 1 nor the other consoles: lines for
// it are dropped and counted.
type logger struct {
	kmsg     io.Writer // may be nil
	consoles []*console
}

// console is one place where a person may read.
type console struct {
	out     io.Writer
	queue   chan entry
	dropped atomic.Uint64
}

// entry is a line for a console, or a mark that all before it is written.
type entry struct {
	text string
	mark chan<- struct{}
}

// newLogger starts a goroutine a console, which writes to it.
func newLogger(kmsg io.Writer, consoles ...io.Writer) *logger {
	l := &logger{kmsg: kmsg}
	for _, out := range consoles {
		c := &console{out: out, queue: make(chan entry, 256)}
		l.consoles = append(l.consoles, c)
		go guard(c.write)
	}
	return l
}

// write shows what is queued, for ever.
func (c *console) write() {
	for e := range c.queue {
		if e.mark != nil {
			close(e.mark)
			continue
		}
		if n := c.dropped.Swap(0); n > 0 {
			fmt.Fprintf(c.out, "gozen: (%d lines left out)\r\n", n)
		}
		// A console that fails has nobody who could be told.
		_, _ = io.WriteString(c.out, e.text+"\r\n")
	}
}

// Printf writes PID 1's own message, one log line a line.
func (l *logger) Printf(format string, args ...any) {
	for text := range strings.Lines(fmt.Sprintf(format, args...)) {
		l.line("gozen: " + text)
	}
}

// flush waits until all consoles have shown everything, but not for ever.
func (l *logger) flush() {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	var all sync.WaitGroup
	for _, c := range l.consoles {
		all.Go(func() { c.flush(ctx) })
	}
	all.Wait()
}

func (c *console) flush(ctx context.Context) {
	mark := make(chan struct{})
	select {
	case c.queue <- entry{mark: mark}:
	case <-ctx.Done():
		return
	}
	select {
	case <-mark:
	case <-ctx.Done():
	}
}

// line writes one line everywhere.
func (l *logger) line(text string) {
	text = clean(text)
	if l.kmsg != nil {
		// <6> is "information" of the facility "kernel"; the console does not
		// repeat it because of kernel.printk.
		_, _ = io.WriteString(l.kmsg, "<6>"+text+"\n")
	}
	for _, c := range l.consoles {
		select {
		case c.queue <- entry{text: text}:
		default:
			c.dropped.Add(1)
		}
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

// openKmsg returns the kernel's log for writing, or nil.
func openKmsg() io.Writer {
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return nil
	}
	return f
}
