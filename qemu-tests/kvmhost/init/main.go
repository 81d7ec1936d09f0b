// Command init is PID 1 of the kvmhost harness: it loads the modules named in
// /modules.load, in order, runs the lines of /run.list one after another with
// their output on the second serial port, and powers the machine off.
//
// Around each program it prints a marker line that the harness parses.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(); err != nil {
		fmt.Println("kvmhost:", err)
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func run() error {
	for _, m := range []struct{ fstype, dir string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"},
		{"cgroup2", "/sys/fs/cgroup"}, {"devpts", "/dev/pts"},
	} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.fstype, m.dir, m.fstype, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	if err := eachLine("/modules.load", func(line string) error {
		err := loadModule(line)
		if err != nil && !errors.Is(err, unix.EEXIST) {
			fmt.Printf("kvmhost: module %s: %v\n", filepath.Base(line), err)
		}
		return nil
	}); err != nil {
		return err
	}
	os.Setenv("PATH", "/bin:/sbin")
	os.Setenv("HOME", "/tmp")
	os.Setenv("TMPDIR", "/tmp")
	out, err := os.OpenFile("/dev/ttyS1", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	raw(out)
	return eachLine("/run.list", func(line string) error {
		args := strings.Split(line, "\x1f")
		fmt.Fprintf(out, "\x16=== kvmhost begin %s\n", args[0])
		start := time.Now()
		cmd := exec.Command(args[1], args[2:]...)
		cmd.Dir = "/tmp"
		cmd.Stdout, cmd.Stderr = out, out
		status := "ok"
		if err := cmd.Run(); err != nil {
			status = err.Error()
		}
		fmt.Fprintf(out, "\n\x16=== kvmhost end %s %.1fs %s\n", args[0], time.Since(start).Seconds(), status)
		return nil
	})
}

func loadModule(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.FinitModule(int(f.Fd()), "", 0)
}

// raw switches off the terminal's newline translation: the output is data.
func raw(f *os.File) {
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return
	}
	t.Oflag &^= unix.OPOST
	_ = unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t)
}

func eachLine(name string, do func(string) error) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadString('\n')
		if line = strings.TrimSuffix(line, "\n"); line != "" {
			if err := do(line); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
