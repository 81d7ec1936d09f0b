package writecache

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// qemuIO gives commands to QEMU's own client and closes the disk.
func qemuIO(t *testing.T, socket string, commands ...string) {
	t.Helper()
	args := []string{"-f", "raw", "-t", "writeback"}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	out, err := exec.Command("qemu-io", append(args, "nbd+unix:///?socket="+socket)...).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("fail")) {
		t.Fatalf("qemu-io %q: %v\n%s", commands, err, out)
	}
}

// QEMU's client reads what it wrote, and its flush makes it durable.
func TestWithQEMU(t *testing.T) {
	file, socket := newFile(t), filepath.Join(t.TempDir(), "s")
	d, err := Start(file, socket, 1)
	if err != nil {
		t.Fatal(err)
	}
	qemuIO(t, socket, "write -P 1 0 8k", "read -P 1 0 8k", "write -z 512 512", "read -P 0 512 512", "discard 4k 4k", "flush", "write -f -P 2 12k 512", "read -P 2 12k 512")
	o, err := d.Cut(0)
	if err != nil || o.Flushes == 0 {
		t.Fatalf("the cut: %+v, %v; want at least one flush", o, err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i, tag := range sectors(t, b) {
		want := byte(0)
		switch {
		case i == 0 || i > 1 && i < 8:
			want = 1
		case i == 24:
			want = 2
		}
		if tag != want {
			t.Errorf("sector %d has %d, want %d", i, tag, want)
		}
	}
}

// A cut closes what clients have open and can be repeated; the disk starts again
// from its file.
func TestCutEndsSessions(t *testing.T) {
	file, socket := newFile(t), filepath.Join(t.TempDir(), "s")
	d, err := Start(file, socket, 1)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ones := bytes.Repeat([]byte{1}, BlockBytes)
	if _, err := conn.Write(append(bytes.Clone(chosen), command(cmdWrite, 0, 0, BlockBytes, ones)...)); err != nil {
		t.Fatal(err)
	}
	start, err := converse(d.cache, chosen, disconnect)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, len(start)+16)); err != nil { // with the answer to the write
		t.Fatal(err)
	}
	o, err := d.Cut(0)
	if err != nil || o != (Outcome{Lost: 1}) {
		t.Errorf("the cut: %+v, %v; want one block lost", o, err)
	}
	if n, err := io.Copy(io.Discard, conn); err != nil || n != 0 {
		t.Errorf("after the cut the client got %d bytes, %v; want the end", n, err)
	}
	if o, err := d.Cut(1); err != nil || o != (Outcome{}) {
		t.Errorf("the second cut: %+v, %v", o, err)
	}
	again, err := Start(file, socket, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Cut(0); err != nil {
		t.Error(err)
	}
}

// The chosen flush is not answered and does nothing; those before are, and those
// with nothing to do do not count.
func TestStallAtFlush(t *testing.T) {
	file, socket := newFile(t), filepath.Join(t.TempDir(), "s")
	d, err := Start(file, socket, 1)
	if err != nil {
		t.Fatal(err)
	}
	stalled := d.StallAtFlush(2)
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	write := func(block uint64) []byte {
		return command(cmdWrite, 0, block*BlockBytes, BlockBytes, bytes.Repeat([]byte{byte(block)}, BlockBytes))
	}
	flush := command(cmdFlush, 0, 0, 0, nil)
	if _, err := conn.Write(bytes.Join([][]byte{chosen, flush, write(1), flush, flush, write(2), flush, write(3)}, nil)); err != nil {
		t.Fatal(err)
	}
	<-stalled
	o, err := d.Cut(0)
	if want := (Outcome{Lost: 1, Flushes: 3}); err != nil || o != want {
		t.Errorf("the cut: %+v, %v; want %+v", o, err, want)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i, tag := range sectors(t, b) {
		want := byte(0)
		if i/8 == 1 {
			want = 1
		}
		if tag != want {
			t.Errorf("sector %d has %d, want %d", i, tag, want)
		}
	}
}

func TestStartRefuses(t *testing.T) {
	odd := filepath.Join(t.TempDir(), "odd")
	if err := os.WriteFile(odd, make([]byte, BlockBytes+512), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ file, socket string }{
		"no file":          {"/nonexistent", "s"},
		"not whole blocks": {odd, "s"},
		"no directory":     {newFile(t), "none/s"},
	} {
		t.Run(name, func(t *testing.T) {
			if d, err := Start(c.file, filepath.Join(t.TempDir(), c.socket), 1); err == nil {
				_, _ = d.Cut(0)
				t.Error("it was started")
			}
		})
	}
}
