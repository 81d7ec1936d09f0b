package cli_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"gozen/dom0/cli"
	"gozen/dom0/daemon"
	"gozen/dom0/guesttest"
)

var update = flag.Bool("update", false, "write what commands print into the scripts")

func TestMain(m *testing.M) {
	guesttest.Main()
	testscript.Main(m, map[string]func(){
		"gozen": func() {
			os.Exit(cli.Main(os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
		},
	})
}

// TestScripts runs command lines as an admin types them. Where a script says
// "host", a real daemon serves its API on the loopback interface.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GOZEN_CONFIG", filepath.Join(env.WorkDir, "config"))
			env.Setenv("NO_COLOR", "1")
			env.Setenv("TZ", "UTC")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"host":        startHost,
			"exits":       exits,
			"makebzimage": makeBzImage,
			"makedisk":    makeDisk,
			"feed":        feed,
			"appears":     appears,
		},
	})
}

// startHost is "host DIR": it runs a daemon whose files are below DIR until the
// script ends, and sets $HOST to its address.
func startHost(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: host DIR")
	}
	out := &addressFinder{found: make(chan string, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- daemon.Run(ctx, daemon.Options{Root: ts.MkAbs(args[0]), Listen: "127.0.0.1:0", VMM: "/nonexistent/vmm", Output: out}, nil)
	}()
	select {
	case err := <-ended:
		cancel()
		ts.Fatalf("the daemon ended: %v\n%s", err, out)
	case address := <-out.found:
		ts.Setenv("HOST", address)
	}
	ts.Defer(func() {
		cancel()
		if err := <-ended; err != nil {
			ts.Logf("the daemon ended: %v\n%s", err, out)
		}
	})
}

// addressFinder takes the daemon's log and finds where it listens.
type addressFinder struct {
	mu    sync.Mutex
	log   bytes.Buffer
	found chan string
}

var listens = regexp.MustCompile(`msg="the API listens" address=(\S+)`)

func (f *addressFinder) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log.Write(p)
	if m := listens.FindSubmatch(p); m != nil {
		f.found <- string(m[1])
	}
	return len(p), nil
}

func (f *addressFinder) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.String()
}

// exits is "exits CODE gozen ARGS...": the command must end with that code. Its
// output is for "stdout" and "stderr" as after exec.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	code := 0
	if err != nil {
		m := regexp.MustCompile(`exit status (\d+)`).FindStringSubmatch(err.Error())
		if m == nil {
			ts.Fatalf("%v", err)
		}
		code, _ = strconv.Atoi(m[1])
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// makeDisk is "makedisk FILE SIZE [OFFSET=TEXT...]": a sparse file.
func makeDisk(ts *testscript.TestScript, neg bool, args []string) {
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	defer f.Close()
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(f.Truncate(size))
	for _, arg := range args[2:] {
		at, text, _ := strings.Cut(arg, "=")
		offset, err := strconv.ParseInt(at, 10, 64)
		ts.Check(err)
		_, err = f.WriteAt([]byte(text), offset)
		ts.Check(err)
	}
}

// feed is "feed FIFO BYTES": it writes that many bytes into the pipe and leaves it
// open until the script ends.
func feed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: feed FIFO BYTES")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	// Read and write, because a pipe without a reader cannot be opened for writing.
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR, 0)
	ts.Check(err)
	ts.Defer(func() { f.Close() })
	_, err = f.Write(bytes.Repeat([]byte("x"), n))
	ts.Check(err)
}

// appears is "appears PATTERN": it waits until a file matches, with ! until none
// does.
func appears(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: appears PATTERN")
	}
	for {
		found, err := filepath.Glob(ts.MkAbs(args[0]))
		ts.Check(err)
		if (len(found) > 0) != neg {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// makeBzImage is "makebzimage FILE": the smallest kernel that a host takes, by
// the fields of the Linux boot protocol (Documentation/arch/x86/boot.rst).
func makeBzImage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: makebzimage FILE")
	}
	le := binary.LittleEndian
	b := make([]byte, 2*512+0x400)
	b[0x1f1] = 1                           // setup_sects
	le.PutUint32(b[0x1f4:], 0x400/16)      // syssize
	le.PutUint16(b[0x1fe:], 0xaa55)        // boot_flag
	b[0x200], b[0x201] = 0xeb, 0x6a        // jump
	copy(b[0x202:], "HdrS")                // header
	le.PutUint16(b[0x206:], 0x20f)         // version
	le.PutUint16(b[0x20e:], 0x100)         // kernel_version
	copy(b[0x300:], "6.12.1-test (x)\x00") // where kernel_version points to
	b[0x211] = 1                           // loadflags: LOADED_HIGH
	le.PutUint32(b[0x22c:], 0x7fffffff)    // initrd_addr_max
	le.PutUint16(b[0x236:], 0x7f)          // xloadflags
	le.PutUint32(b[0x238:], 2047)          // cmdline_size
	le.PutUint64(b[0x258:], 16<<20)        // pref_address
	le.PutUint32(b[0x260:], 4<<20)         // init_size
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
}
