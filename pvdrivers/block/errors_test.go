package block

import (
	"bytes"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"gozen/pvdrivers/virtqueue/vqtest"
)

func TestUnanswerableRequestsPutTheDeviceInError(t *testing.T) {
	for name, bufs := range map[string]func(r *rig) []vqtest.Buffer{
		"short header": func(r *rig) []vqtest.Buffer {
			return []vqtest.Buffer{{Addr: r.header, Len: headerBytes - 1}, {Addr: r.status, Len: 1, Writable: true}}
		},
		"no status": func(r *rig) []vqtest.Buffer { return []vqtest.Buffer{{Addr: r.header, Len: headerBytes}} },
		"outside memory": func(*rig) []vqtest.Buffer {
			return []vqtest.Buffer{{Addr: 1 << 40, Len: headerBytes}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{}, 0)
			r.q.Add(bufs(r)...)
			r.q.Kick()
			<-r.tr.Failed()
			r.dev.Reset()
			r.q.Restart()
			r.tr = r.guest.NewTransport(r.dev.Features(), r.q)
			if err := r.dev.Activate(r.tr.Activation); err != nil {
				t.Fatal(err)
			}
			if s := r.write(0, pattern(sectorBytes, 0)); s != statusOK {
				t.Errorf("after a reset: status %d", s)
			}
		})
	}
}

// The file gets shorter under the device, or the descriptor refuses: the guest
// gets an I/O error, and zeros rather than what was in its buffer before.
func TestHostErrors(t *testing.T) {
	r := newRig(t, Config{}, 0)
	if err := os.Truncate(r.path, 4096); err != nil {
		t.Fatal(err)
	}
	addr := r.guest.Put(bytes.Repeat([]byte{0xee}, 1024))
	if s := r.do(typeIn, 64, vqtest.Buffer{Addr: addr, Len: 1024, Writable: true}); s != statusIOErr {
		t.Errorf("read past the file's end: status %d", s)
	}
	if got := r.guest.Bytes(addr, 1024); !bytes.Equal(got, make([]byte, 1024)) {
		t.Errorf("failed read left % x…", got[:8])
	}
	if err := r.tr.Err(); err != nil {
		t.Errorf("device in error: %v", err)
	}
	if got, s := r.read(0, 512); s != statusOK || len(got) != 512 {
		t.Errorf("the device does not go on: status %d", s)
	}
}

// A full file system is an I/O error of the request.
func TestNoSpace(t *testing.T) {
	r := newRig(t, Config{}, 0)
	// /dev/full answers every write with ENOSPC.
	full := openFD(t, "/dev/full", unix.O_RDWR)
	defer unix.Close(full)
	if err := unix.Dup3(full, r.dev.disk.fd, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if s := r.write(0, pattern(512, 0)); s != statusIOErr {
		t.Errorf("write: status %d", s)
	}
	if err := r.tr.Err(); err != nil {
		t.Errorf("device in error: %v", err)
	}
	if c := r.dev.Counters(); c["errors"] != 1 || c["written_bytes"] != 0 {
		t.Errorf("counters %v", c)
	}
}

// A flush that fails is told to the guest.
func TestFlushError(t *testing.T) {
	r := newRig(t, Config{}, 0)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	if err := unix.Dup3(pipe[0], r.dev.disk.fd, unix.O_CLOEXEC); err != nil { // has nothing to sync
		t.Fatal(err)
	}
	if s := r.do(typeFlush, 0); s != statusIOErr {
		t.Errorf("status %d", s)
	}
	if err := r.tr.Err(); err != nil {
		t.Errorf("device in error: %v", err)
	}
}
