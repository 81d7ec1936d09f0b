package supervisor

import (
	"os"
	"testing"
	"time"
)

// TestMain is also the program that the tests below start.
func TestMain(m *testing.M) {
	switch os.Getenv("SUPERVISOR_TEST_CHILD") {
	case "exit":
		os.Exit(7)
	case "wait":
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func startSelf(t *testing.T, c *children, what string, stdin *os.File) int {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pid, err := c.start(self, []string{self}, []string{"SUPERVISOR_TEST_CHILD=" + what}, []*os.File{stdin, os.Stdout, os.Stderr}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// await reaps until the child has ended.
func await(t *testing.T, c *children, pid int) exit {
	t.Helper()
	for {
		for _, e := range c.collect() {
			if e.pid == pid {
				return e
			}
			t.Fatalf("child %d was reported, %d expected", e.pid, pid)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestChildren(t *testing.T) {
	c := newChildren()
	if c.any() {
		t.Fatal("there are children before any was started")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	waiting := startSelf(t, c, "wait", r)
	ending := startSelf(t, c, "exit", r)
	if e := await(t, c, ending); e.status.ExitStatus() != 7 || describe(e.status) != "exit status 7" {
		t.Errorf("status %v", e.status)
	}
	if !c.any() {
		t.Error("the waiting child is not seen")
	}
	w.Close()
	if e := await(t, c, waiting); e.status.ExitStatus() != 0 {
		t.Errorf("status %v", e.status)
	}
	if c.any() {
		t.Error("there are children left")
	}
	if _, err := c.start("/there/is/no/such/program", nil, nil, nil, nil); err == nil {
		t.Error("a missing program was started")
	}
}
