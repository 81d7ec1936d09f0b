package supervisor

import (
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// exit is the end of a child that PID 1 started itself.
type exit struct {
	pid    int
	status unix.WaitStatus
}

// children starts processes and reaps all that end, its own and adopted ones.
type children struct {
	mu  sync.Mutex // held while forking, so that a child is known before it is reaped
	own map[int]bool
}

func newChildren() *children {
	return &children{own: make(map[int]bool)}
}

// start runs a program. Its end is told by collect.
func (c *children) start(path string, argv, env []string, files []*os.File, sys *syscall.SysProcAttr) (int, error) {
	fds := make([]uintptr, len(files))
	for i, f := range files {
		fds[i] = f.Fd()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{Dir: "/", Env: env, Files: fds, Sys: sys})
	if err != nil {
		return 0, &os.PathError{Op: "start", Path: path, Err: err}
	}
	c.own[pid] = true
	return pid, nil
}

// collect reaps every process that has ended, and returns those that PID 1
// started. It is called at each SIGCHLD; one signal may stand for many ends.
func (c *children) collect() []exit {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ended []exit
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return ended
		}
		if c.own[pid] {
			delete(c.own, pid)
			ended = append(ended, exit{pid, status})
		}
	}
}

// any tells whether there is a child left, reaping those that ended.
func (c *children) any() bool {
	c.collect()
	err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err == nil
}
