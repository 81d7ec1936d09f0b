package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"gozen/boot/cmdline"
	"gozen/boot/enrol"
	"gozen/boot/qemu"
	"gozen/dom0/cli/contexts"
	"gozen/dom0/seed"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

const (
	hostname    = "nested"
	contextName = "nested"
	dataSerial  = "gozen-data"
	dataSize    = 16 << 30 // of a sparse file

	// Software emulation on a busy machine is slow; these say that something is wrong.
	bootTimeout     = 5 * time.Minute
	guestTimeout    = 5 * time.Minute
	shutdownTimeout = 2 * time.Minute
	// guestStopTime is what guests get at Ctrl-C to stop by themselves.
	guestStopTime = 45 * time.Second
)

// session is one run of the nested host.
type session struct {
	options
	progress
	dir    string // data disk, logs
	temp   string // removed at the end; "" when there is nothing to remove
	store  *contexts.Store
	enrol  *enrol.Enrolment
	client *enrol.Client

	mu      sync.Mutex
	machine *qemu.Machine
}

func newSession(o options) (*session, error) {
	s := &session{options: o, progress: newProgress(o.debug), dir: filepath.Join(o.build, "run")}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	var err error
	if s.enrol, err = enrol.New(hostname); err != nil {
		return nil, err
	}
	if !o.once {
		s.store, err = contexts.Default()
		return s, err
	}
	// A run for a script leaves nothing behind: neither a data disk nor a context.
	if s.temp, err = os.MkdirTemp(s.dir, "once-"); err != nil {
		return nil, err
	}
	s.store = &contexts.Store{Dir: filepath.Join(s.temp, "config")}
	return s, nil
}

func (s *session) close() {
	s.pullPlug()
	if s.temp != "" {
		os.RemoveAll(s.temp)
	}
}

func (s *session) setMachine(m *qemu.Machine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.machine = m
}

// pullPlug ends the machine at once, if there is one.
func (s *session) pullPlug() {
	s.mu.Lock()
	m := s.machine
	s.mu.Unlock()
	if m != nil {
		m.Kill()
	}
}

func (s *session) run(ctx context.Context) error {
	log, err := os.Create(filepath.Join(s.dir, "host.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	if err := s.boot(ctx, log); err != nil {
		return err
	}
	defer s.client.Close()
	err = s.serve(ctx)
	if errors.Is(context.Cause(ctx), errInterrupted) {
		s.say("Ctrl-C: stopping guests and host in order; once more pulls the plug")
		return s.shutdown()
	}
	if err != nil {
		select {
		case <-s.machine.Done():
			exit, _ := s.machine.Wait(context.Background())
			err = fmt.Errorf("%w\nthe host ended: %s", err, exit)
		default:
		}
		return fmt.Errorf("%w\nthe host's console is in %s; it ends with:\n%s", err, log.Name(), indent(s.machine.Serial.Tail(1500)))
	}
	return nil
}

// serve is everything between the host's boot and its end.
func (s *session) serve(ctx context.Context) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	if err := s.demo(ctx); err != nil {
		return err
	}
	if err := s.showCLI(ctx); err != nil {
		return err
	}
	if s.once {
		if err := s.stopDemo(ctx); err != nil {
			return err
		}
		return s.shutdown()
	}
	s.goOn()
	exit, err := s.machine.Wait(ctx)
	if err != nil {
		return err
	}
	s.say("the host ended: %s", exit)
	if !exit.PoweredOff() {
		return errors.New("it did not power off in order")
	}
	return nil
}

// boot starts the machine.
func (s *session) boot(ctx context.Context, log *os.File) error {
	data, err := s.dataDisk()
	if err != nil {
		return err
	}
	sd := s.enrol.Seed()
	sd.DataDisk = seed.DataDisk{Device: "serial=" + dataSerial, FormatIfBlank: true}
	text, err := sd.Marshal()
	if err != nil {
		return err
	}
	initramfs := "initramfs.cpio.zst"
	if s.debug {
		initramfs = "initramfs-debug.cpio.zst"
	}
	config := qemu.Config{
		CPUs: s.cpus, MemoryMiB: s.memory,
		Kernel: filepath.Join(s.build, "kernel/vmlinuz"), Initrd: filepath.Join(s.build, initramfs),
		Cmdline: cmdline.Nested, Seed: text,
		Disks:    []qemu.Disk{{File: data, Serial: dataSerial}},
		Isolated: s.once, Interactive: s.debug,
	}
	s.say("booting Gozen in QEMU with %s", qemu.DetectAccelerator())
	var m *qemu.Machine
	if s.debug {
		qemu.SaveTerminal()
		m, err = qemu.Start(ctx, config, log, os.Stdout)
	} else {
		m, err = qemu.Start(ctx, config, log)
	}
	if err != nil {
		return err
	}
	s.setMachine(m)
	s.client, err = s.enrol.Connect(m.API(), s.enrol.Admin)
	return err
}

// dataDisk returns the host's disk: a new one for -once, else one that stays.
func (s *session) dataDisk() (string, error) {
	dir := s.dir
	if s.temp != "" {
		dir = s.temp
	}
	file := filepath.Join(dir, "data.raw")
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	return file, qemu.CreateDisk(file, "raw", dataSize)
}

// ready waits for the host's API and makes a CLI context for it.
func (s *session) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	info, err := s.client.WaitReady(ctx, s.machine.Done())
	if err != nil {
		return err
	}
	s.say("Gozen %s is up: Linux %s, %d CPUs (%s), %d MiB, state %s", info.GetVersion(), info.GetKernelRelease(),
		info.GetCpus(), info.GetVirtualization(), info.GetMemoryTotalBytes()>>20, storage(info.GetStorage()))
	if err := s.store.Add(s.enrol.Context(contextName, s.machine.API()), true); err != nil {
		return err
	}
	if err := s.store.Use(contextName); err != nil {
		return err
	}
	s.say("this machine is its admin: CLI context %q, API https://%s", contextName, s.machine.API())
	return nil
}

func storage(st *gozenv1.Storage) string {
	if !st.GetPersistent() {
		return "in memory"
	}
	return fmt.Sprintf("on %s (%s)", st.GetDevice(), st.GetFilesystem())
}

// showCLI lists the guests with the CLI, which shows that the context works.
func (s *session) showCLI(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, s.cli, "guest", "ls")
	cmd.Env = append(os.Environ(), "GOZEN_CONFIG="+s.store.Dir, "GOZEN_CONTEXT="+contextName)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s guest ls: %w: %s", s.cli, err, out)
	}
	if !strings.Contains(string(out), demoName) {
		return fmt.Errorf("%s guest ls does not list %s:\n%s", s.cli, demoName, out)
	}
	s.say("%s guest ls\n%s", s.cli, indent(string(out)))
	return nil
}

// goOn says what a person can do now.
func (s *session) goOn() {
	s.say(`Gozen stays up. In another terminal:

    %[1]s guest ls
    %[1]s guest console %[2]s     (Ctrl-] detaches)
    %[1]s guest stop %[2]s
    %[1]s host info

  The README shows how to run a Debian guest of your own.
  %[3]s`, s.cli, demoName, s.howToEnd())
}

func (s *session) howToEnd() string {
	if s.debug {
		return "This terminal is the host's console; Ctrl-A X pulls its plug, " + s.cli + " host shutdown stops it in order."
	}
	return "Ctrl-C here stops guests and host in order."
}

// shutdown stops guests and host through the API and waits for the machine.
func (s *session) shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	_, err := s.client.Hosts.Shutdown(ctx, connect.NewRequest(&gozenv1.ShutdownRequest{
		Mode: gozenv1.ShutdownMode_SHUTDOWN_MODE_POWER_OFF, Timeout: durationpb.New(guestStopTime)}))
	if err != nil {
		// The host may not be as far as to answer; its power button works earlier.
		s.say("the API does not answer (%v): pressing the host's power button", err)
		if err := s.machine.PowerButton(ctx); err != nil {
			return err
		}
	}
	exit, err := s.machine.Wait(ctx)
	if err != nil {
		return err
	}
	if !exit.PoweredOff() {
		return fmt.Errorf("the host did not power off in order: %s", exit)
	}
	s.say("the host powered off")
	return nil
}
