package guests

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"gozen/dom0/state"
	"gozen/hypervisor/vmmapi"
)

// Files of a guest's run directory.
const (
	controlFile = "control.sock"
	vmmFile     = "vmm.json"
	ringFile    = outbox + "/console.ring"
	outcomeFile = outbox + "/outcome.json"
	logFile     = outbox + "/vmm.log"
)

// lastWordTimeout is how long a vmm that does not answer may take to end.
const lastWordTimeout = 3 * time.Second

// maxEvents bounds what a vmm can make the daemon listen to. An honest one has
// few things to say.
const maxEvents = 1000

// requestTimeout bounds the answer of a vmm to a request.
const requestTimeout = 10 * time.Second

// vmmRecord is what the daemon must know to find a vmm again.
type vmmRecord struct {
	PID       int       `json:"pid"`
	StartTick uint64    `json:"start_tick"` // when the process started, in clock ticks since boot
	Slot      int       `json:"slot"`
	MemoryFD  int       `json:"memory_fd"` // the vmm's descriptor of the guest's memory
	StartedAt time.Time `json:"started_at"`
	Taps      []tap     `json:"taps,omitempty"`
	CID       uint32    `json:"cid,omitempty"`    // vsock context identifier
	Killed    bool      `json:"killed,omitempty"` // by the admin's wish
}

type tap struct {
	Name  string `json:"name"`
	MAC   string `json:"mac"`
	Vhost bool   `json:"vhost,omitempty"`
}

// vm is a vmm that runs, or ran: the process and the connection to it.
type vm struct {
	vmmRecord
	dir string
	log *slog.Logger

	pidfd *os.File
	child *os.Process // nil when found again

	ended  chan struct{}       // closed when the process is gone
	exit   string              // how a child ended, for messages; set before ended is closed
	events <-chan vmmapi.Event // closed after the last event; nil before connect, and when all are read
	cancel context.CancelFunc  // ends the reading of events; nil before connect
}

// watch begins to watch the process rec.PID, the vmm in dir. child is the
// process if the daemon started it itself.
func watch(dir string, rec vmmRecord, child *os.Process, log *slog.Logger) (*vm, error) {
	fd, err := unix.PidfdOpen(rec.PID, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("vmm process %d: %w", rec.PID, err)
	}
	v := &vm{
		vmmRecord: rec,
		dir:       dir,
		log:       log,
		pidfd:     os.NewFile(uintptr(fd), "pidfd"),
		child:     child,
		ended:     make(chan struct{}),
	}
	// The number may be another process's by now. Asked for only after the pidfd
	// was opened, the answer is about the process behind it or says that it ended.
	if tick, err := startTick(rec.PID); err != nil || tick != rec.StartTick {
		_ = v.pidfd.Close()
		return nil, fmt.Errorf("vmm process %d: %w", rec.PID, unix.ESRCH)
	}
	go v.waitEnd()
	return v, nil
}

// waitEnd closes ended when the process is gone.
func (v *vm) waitEnd() {
	defer close(v.ended)
	raw, err := v.pidfd.SyscallConn()
	if err == nil {
		err = raw.Read(func(fd uintptr) bool {
			// A pidfd cannot be read; it is readable when the process has ended.
			p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(p, 0)
			return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
		})
	}
	if err != nil {
		v.log.Error("cannot watch the vmm", "pid", v.PID, "err", err)
	}
	if v.child != nil {
		if st, err := v.child.Wait(); err == nil {
			v.exit = st.String()
		}
	}
}

func (v *vm) dial(ctx context.Context) (*vmmapi.Client, error) {
	return vmmapi.Dial(ctx, filepath.Join(v.dir, controlFile))
}

// request asks the vmm by a connection of its own: a request that had to be given
// up spoils no other.
func (v *vm) request(ctx context.Context, req vmmapi.Request) (vmmapi.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	client, err := v.dial(ctx)
	if err != nil {
		return vmmapi.Response{}, err
	}
	defer client.Close()
	return client.Do(ctx, req)
}

// connect begins to read the vmm's events.
func (v *vm) connect(ctx context.Context) error {
	client, err := v.dial(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	stream, err := client.Events(ctx)
	if err != nil {
		return err
	}
	readCtx, cancel := context.WithCancel(context.Background())
	said := make(chan vmmapi.Event, 16)
	v.events, v.cancel = said, cancel
	context.AfterFunc(readCtx, func() { _ = stream.Close() })
	go func() {
		defer close(said)
		defer cancel()
		for range maxEvents {
			e, err := stream.Next()
			if err != nil {
				if !errors.Is(err, io.EOF) && readCtx.Err() == nil {
					v.log.Warn("the vmm's events ended early", "err", err)
				}
				return
			}
			select {
			case said <- e:
			case <-readCtx.Done():
				return
			}
		}
	}()
	return nil
}

// kill ends the process at once.
func (v *vm) kill() {
	raw, err := v.pidfd.SyscallConn()
	if err != nil {
		return // closed: the process is gone
	}
	_ = raw.Control(func(fd uintptr) {
		if err := unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			v.log.Error("cannot kill the vmm", "pid", v.PID, "err", err)
		}
	})
}

// endOrKill waits for the end of a vmm that does not answer. Most likely it is
// ending already, and its last word tells more than that it was killed.
func (v *vm) endOrKill() {
	select {
	case <-v.ended:
	case <-time.After(lastWordTimeout):
		v.kill()
	}
}

// close lets go of the process, whether it ended or not.
func (v *vm) close() {
	if v.cancel != nil {
		v.cancel()
	}
	select {
	case <-v.ended:
		_ = v.pidfd.Close()
	default:
		// waitEnd still reads it; the daemon is about to end.
	}
}

// save writes vmm.json. It need not survive a power cut: the vmm does not either.
func (v *vm) save() error {
	b, err := json.Marshal(v.vmmRecord)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(filepath.Join(v.dir, vmmFile), b, 0o600, renameio.WithTempDir(v.dir)); err != nil {
		return fmt.Errorf("record of the vmm: %w", err)
	}
	return nil
}

// readVMM reads vmm.json; without the file it returns nil.
func readVMM(dir string) (*vmmRecord, error) {
	b, err := os.ReadFile(filepath.Join(dir, vmmFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("record of the vmm: %w", err)
	}
	rec, err := state.Decode[vmmRecord](b)
	if err != nil {
		return nil, fmt.Errorf("record of the vmm: %w", err)
	}
	return rec, nil
}

// readOutcome reads the vmm's last word, which an untrusted process wrote. It
// returns nil if there is none.
func readOutcome(dir string) *vmmapi.Outcome {
	f, err := os.Open(filepath.Join(dir, outcomeFile))
	if err != nil {
		return nil
	}
	defer f.Close()
	o, err := vmmapi.ReadOutcome(f)
	if err != nil || o == nil {
		return nil
	}
	o.Message = Clip(o.Message)
	switch o.Code {
	case vmmapi.CodePowerOff, vmmapi.CodeReset, vmmapi.CodePanic, vmmapi.CodeTripleFault,
		vmmapi.CodeKilled, vmmapi.CodeStartFailed, vmmapi.CodeInternal:
	default:
		o.Message = fmt.Sprintf("the vmm left an unknown word, %q: %s", Clip(o.Code), o.Message)
		o.Code = vmmapi.CodeInternal
	}
	return o
}

// maxMessage bounds a text from a vmm in bytes before it goes to logs and clients.
const maxMessage = 500

// Clip makes a text from an untrusted process fit to be shown.
func Clip(s string) string {
	s = s[:min(len(s), maxMessage)]
	clean := make([]rune, 0, len(s))
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			r = ' '
		}
		clean = append(clean, r)
	}
	return string(clean)
}

// logTail returns the end of what the vmm printed.
func logTail(dir string) string {
	f, err := os.Open(filepath.Join(dir, logFile))
	if err != nil {
		return ""
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return ""
	}
	const tail = 2000
	b := make([]byte, min(st.Size(), tail))
	n, _ := f.ReadAt(b, st.Size()-int64(len(b)))
	return string(bytes.TrimSpace(b[:n]))
}

// startTick returns when the process started: field 22 of /proc/PID/stat, in
// clock ticks since boot (proc_pid_stat(5)).
func startTick(pid int) (uint64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	return parseStartTick(b)
}

func parseStartTick(stat []byte) (uint64, error) {
	// The second field is a name in parentheses that may hold anything, so the
	// fields are counted from the last parenthesis on.
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return 0, errors.New("process status: no name")
	}
	fields := bytes.Fields(stat[i+1:])
	const field = 22 - 3 // the first of fields is number 3
	if len(fields) <= field {
		return 0, errors.New("process status: too short")
	}
	return strconv.ParseUint(string(fields[field]), 10, 64)
}
