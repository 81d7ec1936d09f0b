package guesttest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"

	"gozen/dom0/jail"
	"gozen/hypervisor/vmmapi"
)

// vmmName is the argument 0 that package guests gives a vmm.
const vmmName = "vmm"

// Start starts this test binary as the program, without the jail's walls, which
// need root.
func Start(p jail.Program) (*os.Process, error) {
	cmd := &exec.Cmd{
		Path:       "/proc/self/exe",
		Args:       []string{vmmName},
		ExtraFiles: p.Files,
		Stdout:     p.Output,
		Stderr:     p.Output,
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return cmd.Process, nil
}

// Main plays the vmm, or the jail's stage before it, if this process was started
// as one; otherwise it returns.
func Main() {
	jail.Main()
	if os.Args[0] != vmmName {
		return
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// vmm is what this process knows while it plays.
type vmm struct {
	cfg  *vmmapi.Config
	ring *vmmapi.Ring
	end  chan vmmapi.Outcome

	mu     sync.Mutex
	grown  *sync.Cond // output or events
	events []vmmapi.Event
	total  int
	eaten  [][]byte
}

func run() error {
	cfg, err := vmmapi.ReadConfig(os.NewFile(vmmapi.ConfigFD, "config"))
	if err != nil {
		return err
	}
	outcomeFile := os.NewFile(uintptr(cfg.Outcome), "outcome")
	if strings.Contains(cfg.Cmdline, "no-start") {
		return vmmapi.WriteOutcome(outcomeFile, &vmmapi.Outcome{Code: vmmapi.CodeStartFailed, Message: "told not to start"})
	}
	ring, err := vmmapi.OpenRing(os.NewFile(uintptr(cfg.Console.Ring), "ring"))
	if err != nil {
		return err
	}
	listener, err := net.FileListener(os.NewFile(vmmapi.ControlFD, "control"))
	if err != nil {
		return err
	}
	v := &vmm{cfg: cfg, ring: ring, end: make(chan vmmapi.Outcome, 1)}
	v.grown = sync.NewCond(&v.mu)
	v.event(vmmapi.Event{Kind: vmmapi.EventRunning})
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go v.serve(conn)
		}
	}()
	outcome := <-v.end
	outcome.Stats = v.stats()
	return vmmapi.WriteOutcome(outcomeFile, &outcome)
}

func (v *vmm) stats() *vmmapi.Stats {
	return &vmmapi.Stats{
		VMMExits: map[string]uint64{"io": 7},
		KVM:      map[string]uint64{"exits": 42},
		Devices:  []vmmapi.DeviceStats{{Name: "virtio-rng0", Counters: map[string]uint64{"bytes": 16}}},
	}
}

func (v *vmm) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		var req vmmapi.Request
		if vmmapi.ReadLine(in, &req) != nil {
			return
		}
		resp := vmmapi.Response{State: "running"}
		switch req.Op {
		case vmmapi.OpConsole:
			v.console(conn, in)
			return
		case vmmapi.OpEvents:
			v.sendEvents(conn)
			return
		case vmmapi.OpPowerButton:
			if !strings.Contains(v.cfg.Cmdline, "deaf") {
				v.finish(vmmapi.CodePowerOff, "the guest powered off")
			}
		case vmmapi.OpStats:
			resp.Stats = v.stats()
		case vmmapi.OpResize:
			v.print(fmt.Sprintf("size %dx%d\n", req.Columns, req.Rows))
		}
		if vmmapi.WriteLine(conn, resp) != nil {
			return
		}
	}
}

func (v *vmm) console(conn net.Conn, in *bufio.Reader) {
	v.mu.Lock()
	from := v.total
	v.mu.Unlock()
	go func() {
		for {
			v.mu.Lock()
			for v.total == from {
				v.grown.Wait()
			}
			n := v.total - from
			from = v.total
			v.mu.Unlock()
			if _, err := conn.Write(make([]byte, n)); err != nil {
				return
			}
		}
	}()
	for {
		line, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return
		}
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "print":
			v.print(rest + "\n")
		case "device-error":
			v.event(vmmapi.Event{Kind: vmmapi.EventDeviceError, Device: "virtio-net0", Message: "descriptor 9 out of range"})
		case "die":
			os.Exit(3)
		case "eat":
			v.eat()
		case "flood":
			for err := error(nil); err == nil; {
				_, err = os.Stdout.Write(make([]byte, 64<<10))
			}
			os.Exit(3)
		case "hang":
			select {}
		case "poweroff":
			v.finish(vmmapi.CodePowerOff, "the guest powered off")
		case "reset", "panic", "triple-fault":
			v.finish(word, "the guest did "+word)
		}
	}
}

// eat takes memory until the kernel takes the process.
func (v *vmm) eat() {
	for {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		v.eaten = append(v.eaten, b)
	}
}

func (v *vmm) print(text string) {
	_, _ = v.ring.Write([]byte(text))
	v.mu.Lock()
	defer v.mu.Unlock()
	v.total += len(text)
	v.grown.Broadcast()
}

func (v *vmm) event(e vmmapi.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.events = append(v.events, e)
	v.grown.Broadcast()
}

func (v *vmm) sendEvents(conn net.Conn) {
	for i := 0; ; i++ {
		v.mu.Lock()
		for len(v.events) == i {
			v.grown.Wait()
		}
		e := v.events[i]
		v.mu.Unlock()
		if vmmapi.WriteLine(conn, e) != nil {
			return
		}
	}
}

func (v *vmm) finish(code, message string) {
	select {
	case v.end <- vmmapi.Outcome{Code: code, Message: message}:
	default: // ending already
	}
}
