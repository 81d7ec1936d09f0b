package supervisor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gozen/dom0/initctl"

	"github.com/google/go-cmp/cmp"
)

func TestBackoff(t *testing.T) {
	var b backoff
	var got []time.Duration
	for _, ran := range []time.Duration{0, 0, 0, time.Second, 0, 0, 0, 0, time.Minute, 0} {
		got = append(got, b.next(ran))
	}
	ms := time.Millisecond
	want := []time.Duration{500 * ms, 1000 * ms, 2000 * ms, 4000 * ms, 8000 * ms, 16000 * ms, 30000 * ms, 30000 * ms, 500 * ms, 1000 * ms}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("delays (-want +got):\n%s", diff)
	}
}

// TestMountOrder checks that nothing is mounted before what it lies in.
func TestMountOrder(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range mounts {
		for _, parent := range []string{"/proc", "/sys", "/dev", "/run"} {
			if strings.HasPrefix(m.target, parent+"/") && !seen[parent] {
				t.Errorf("%s comes before %s", m.target, parent)
			}
		}
		seen[m.target] = true
	}
}

func TestQuietWanted(t *testing.T) {
	for cmdline, want := range map[string]bool{"console=ttyS0 quiet": true, "": true, "debug": false, "a loglevel=7": false, "ignore_loglevel x": false, "nodebug": true} {
		if got := quietWanted(cmdline); got != want {
			t.Errorf("%q: %v", cmdline, got)
		}
	}
}

func TestKVMModule(t *testing.T) {
	for info, want := range map[string]string{
		"processor\t: 0\nflags\t\t: fpu svm nx\n": kvmAMD,
		"flags\t\t: fpu vmx\n":                    kvmIntel,
		"flags\t\t: fpu vmxx svmy\n":              "",
		"model name\t: svm\n":                     "",
	} {
		if got := kvmModule(info); got != want {
			t.Errorf("%q: %q, want %q", info, got, want)
		}
	}
}

func inputEvent(typ, code uint16, value int32) []byte {
	ev := make([]byte, inputEventSize)
	binary.NativeEndian.PutUint16(ev[16:], typ)
	binary.NativeEndian.PutUint16(ev[18:], code)
	binary.NativeEndian.PutUint32(ev[20:], uint32(value))
	return ev
}

func TestPowerPresses(t *testing.T) {
	stream := bytes.Join([][]byte{
		inputEvent(evKey, keyPower, 1), // pressed
		inputEvent(0, 0, 0),
		inputEvent(evKey, keyPower, 0), // released
		inputEvent(evKey, 30, 1),       // another key
		inputEvent(2, keyPower, 1),     // no key
		inputEvent(evKey, keyPower, 2), // repeated
		inputEvent(evKey, keyPower, 1),
		{1, 2, 3}, // cut short
	}, nil)
	n := 0
	powerPresses(bytes.NewReader(stream), func() { n++ })
	if n != 2 {
		t.Errorf("%d presses, want 2", n)
	}
}

// TestControl talks to the socket as the daemon does.
func TestControl(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "init.sock")
	ln, err := listen(path)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var got []initctl.Request
	c := &control{uid: uint32(os.Getuid()), handle: func(r initctl.Request) error {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r)
		if r.Op == initctl.OpReboot {
			return errors.New("going down already")
		}
		return nil
	}}
	served := make(chan error, 1)
	go func() { served <- c.serve(ln) }()
	client := initctl.Client{Path: path}
	ctx := t.Context()
	if err := client.Banner(ctx, "two\nlines"); err != nil {
		t.Error(err)
	}
	if err := client.PowerOff(ctx); err != nil {
		t.Error(err)
	}
	if err := client.Reboot(ctx); err == nil || !strings.Contains(err.Error(), "going down already") {
		t.Errorf("reboot: %v", err)
	}
	if err := client.Banner(ctx, strings.Repeat("x", initctl.MaxLine)); err == nil {
		t.Error("a banner too long was accepted")
	}
	want := []initctl.Request{{Op: initctl.OpBanner, Text: "two\nlines"}, {Op: initctl.OpPowerOff}, {Op: initctl.OpReboot}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	for _, line := range []string{"nonsense\n", `{"op":"dance"}` + "\n", strings.Repeat("z", 2*initctl.MaxLine)} {
		if answer := raw(t, path, line); !strings.Contains(answer, "error") {
			t.Errorf("%.20q is answered by %q", line, answer)
		}
	}
	// The socket of an earlier PID 1 is no obstacle, and its mode keeps others out.
	ln.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
	again, err := listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestControlRefusesOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "init.sock")
	ln, err := listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c := &control{uid: uint32(os.Getuid()) + 1, handle: func(initctl.Request) error {
		t.Error("carried out")
		return nil
	}}
	go func() { _ = c.serve(ln) }()
	if err := (initctl.Client{Path: path}).PowerOff(t.Context()); err == nil || !strings.Contains(err.Error(), "may not") {
		t.Errorf("error is %v", err)
	}
}

// raw sends text and returns the answer.
func raw(t *testing.T, path, text string) string {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The other side may answer and close before it has read everything.
	_, _ = io.WriteString(conn, text)
	answer, err := io.ReadAll(conn)
	if err != nil && len(answer) == 0 {
		t.Fatal(err)
	}
	return string(answer)
}

// FuzzParseRequest checks that only documented requests are carried out.
func FuzzParseRequest(f *testing.F) {
	f.Add([]byte(`{"op":"poweroff"}`))
	f.Add([]byte(`{"op":"banner","text":"x"}`))
	f.Add([]byte(`{"op":"reboot","text":"x"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		req, err := parseRequest(line)
		if err != nil {
			return
		}
		switch req.Op {
		case initctl.OpBanner, initctl.OpPowerOff, initctl.OpReboot:
		default:
			t.Fatalf("%+v", req)
		}
	})
}
