package jail

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// stageName is the name under which the daemon starts itself as the stage.
const stageName = "gozen-jail"

// namespaces that the program gets empty. CLONE_NEWPID makes it the first
// process of its own, and without children it has nobody to reap.
const namespaces = syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS | syscall.CLONE_NEWPID

// Program says what to start, and with what.
type Program struct {
	Exe    *os.File   // the program itself; static, since it finds no library
	Name   string     // its argument 0
	Files  []*os.File // its descriptors from 3 on
	Output *os.File   // its standard output and error
	ID     int        // its user and group
	Cgroup *os.File   // directory of its control group; nil leaves it in the daemon's
	Root   string     // a directory on which the stage, and it alone, sees the empty root
}

// Start starts the program and returns when it runs as such. The caller must
// Wait for the process.
func Start(p Program) (*os.Process, error) {
	report, reportEnd, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("jail: %w", err)
	}
	defer report.Close()
	files := append(append([]*os.File(nil), p.Files...), p.Exe, reportEnd)
	cmd := &exec.Cmd{
		Path:       "/proc/self/exe",
		Args:       []string{stageName, p.Name, strconv.Itoa(p.ID), strconv.Itoa(len(p.Files)), p.Root},
		Env:        []string{"GOTRACEBACK=single"},
		Stdout:     p.Output,
		Stderr:     p.Output,
		ExtraFiles: files,
		Dir:        "/",
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: namespaces,
			Setsid:     true,
		},
	}
	if p.Cgroup != nil {
		cmd.SysProcAttr.UseCgroupFD = true
		cmd.SysProcAttr.CgroupFD = int(p.Cgroup.Fd())
	}
	err = cmd.Start()
	_ = reportEnd.Close() // so that the read below ends with the stage's copy
	if err != nil {
		return nil, fmt.Errorf("jail: start %s: %w", p.Name, err)
	}
	message, err := io.ReadAll(io.LimitReader(report, 4096))
	if err == nil && len(message) == 0 {
		return cmd.Process, nil
	}
	_ = cmd.Process.Kill()
	_, _ = cmd.Process.Wait()
	if err != nil {
		return nil, fmt.Errorf("jail: start %s: %w", p.Name, err)
	}
	return nil, fmt.Errorf("jail: start %s: %s", p.Name, strings.TrimSpace(string(message)))
}

// Main does nothing in a normal start. In the stage it does not return. Call it
// first in main.
func Main() {
	if len(os.Args) == 0 || os.Args[0] != stageName {
		return
	}
	// Output may be watched by nobody, the report is what the daemon reads.
	fmt.Fprintln(os.Stderr, stage(os.Args[1:]))
	os.Exit(125)
}

var errArgs = errors.New("wrong arguments")
