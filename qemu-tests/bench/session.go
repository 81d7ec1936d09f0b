package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/u-root/mkuimage/cpio"

	"gozen/boot/cmdline"
	"gozen/boot/enrol"
	"gozen/boot/qemu"
	"gozen/image/initramfs"
	"gozen/qemu-tests/bench/measure"
	"gozen/qemu-tests/bench/protocol"
)

const (
	bootTimeout = 5 * time.Minute
	// fileDiskBytes is sparse: the disk of guests and Debian's with its clone.
	fileDiskBytes = 8 << 30
	rawDiskBytes  = 512 << 20
)

// session is one run.
type session struct {
	options
	progress
	result *measure.Run
	taking []subject

	work    string // temporary files
	initrd  string // Gozen's initramfs with the benchmark's files
	debian  bool
	enrol   *enrol.Enrolment
	machine *qemu.Machine
	client  *enrol.Client
	conn    net.Conn
	in      *bufio.Reader
}

func (s *session) close() {
	if s.conn != nil {
		_ = s.conn.Close()
	}
	if s.client != nil {
		s.client.Close()
	}
	if s.machine != nil {
		s.machine.Kill()
	}
	if s.work != "" {
		_ = os.RemoveAll(s.work)
	}
}

// prepare builds what goes into the emulated host.
func (s *session) prepare(context.Context) error {
	var err error
	if s.work, err = os.MkdirTemp(s.out, "work-"); err != nil {
		return err
	}
	if s.work, err = filepath.Abs(s.work); err != nil {
		return err
	}
	s.say("building the guests, the agent and the peers")
	s.taking = s.findSubjects()
	s.result.Subjects = make(map[string]string)
	for _, x := range s.taking {
		s.result.Subjects[string(x.kind)] = x.how
	}
	start, err := s.guestInitrd("start.cpio", nil)
	if err != nil {
		return err
	}
	fio, err := exec.LookPath("fio")
	if err != nil {
		return errors.New("fio is missing: scripts/deps bench")
	}
	worker, err := s.guestInitrd("work.cpio", []string{fio + ":usr/bin/fio"})
	if err != nil {
		return err
	}
	files := []string{
		start + ":" + protocol.Initrd[1:], worker + ":" + protocol.WorkInitrd[1:],
		s.place("guest-kernel/bzImage", protocol.Kernel), s.place("guest-kernel/vmlinux", protocol.KernelELF),
	}
	if s.debian = !s.quick && s.wants("debian"); s.debian {
		files = append(files, s.place("debian/vmlinuz", protocol.DebianKernel), s.place("debian/initrd", protocol.DebianInitrd))
	}
	for _, x := range s.taking {
		files = append(files, x.files...)
	}
	return s.buildInitrd(files)
}

// place is a file of the build directory and its place in the emulated host.
func (s *session) place(file, place string) string {
	abs, err := filepath.Abs(filepath.Join(s.build, file))
	if err != nil {
		abs = filepath.Join(s.build, file)
	}
	return abs + ":" + place[1:]
}

// guestInitrd builds an initrd of the benchmark's guest, uncompressed.
func (s *session) guestInitrd(name string, files []string) (string, error) {
	archive, _, err := initramfs.Build(initramfs.Spec{
		ModuleRoot: ".", Programs: []string{"gozen/qemu-tests/bench/guest"}, Init: "guest", Files: files,
	}, s.work)
	if err != nil {
		return "", err
	}
	file := filepath.Join(s.work, name)
	return file, initramfs.WriteFile(file, archive, false)
}

// buildInitrd puts the benchmark's files behind Gozen's own initramfs: the image is
// what a release has, and the agent stands where a debug image has its shell.
func (s *session) buildInitrd(files []string) error {
	for _, p := range []string{"agent", "guest"} {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(s.work, p), "./qemu-tests/bench/"+p)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s", p, err, out)
		}
	}
	files = append(files, filepath.Join(s.work, "guest")+":"+protocol.GuestProgram[1:])
	agent := protocol.Dir + "/agent"
	archive, _, err := initramfs.Build(initramfs.Spec{
		ModuleRoot: ".", Files: append(files, filepath.Join(s.work, "agent")+":"+agent[1:]),
		Records: []cpio.Record{cpio.StaticFile("etc/gozen/debug-shell", agent+"\n", 0o644)},
	}, s.work)
	if err != nil {
		return err
	}
	extra := filepath.Join(s.work, "bench.cpio")
	if err := initramfs.WriteFile(extra, archive, false); err != nil {
		return err
	}
	s.initrd = filepath.Join(s.work, "initrd")
	return concatenate(s.initrd, filepath.Join(s.build, "initramfs.cpio.zst"), extra)
}

func concatenate(to string, from ...string) error {
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	for _, f := range from {
		in, err := os.Open(f)
		if err != nil {
			return err
		}
		_, err = out.ReadFrom(in)
		_ = in.Close()
		if err != nil {
			return fmt.Errorf("append %s: %w", f, err)
		}
	}
	return out.Close()
}

// boot starts the host and connects to its API and to the agent.
func (s *session) boot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	var err error
	if s.enrol, err = enrol.New("bench"); err != nil {
		return err
	}
	sd := s.enrol.Seed()
	text, err := sd.Marshal()
	if err != nil {
		return err
	}
	var disks []qemu.Disk
	for _, d := range []struct {
		serial string
		size   int64
	}{{protocol.FileDisk, fileDiskBytes}, {protocol.RawDisk, rawDiskBytes}} {
		file := filepath.Join(s.work, d.serial)
		if err := qemu.CreateDisk(file, "raw", d.size); err != nil {
			return err
		}
		disks = append(disks, qemu.Disk{File: file, Serial: d.serial})
	}
	if s.debian {
		disks = append(disks, qemu.Disk{File: filepath.Join(s.build, "debian/disk.raw"), Serial: protocol.DebianDisk, Discard: true})
	}
	accel := qemu.DetectAccelerator()
	s.say("booting Gozen in QEMU with %s", accel)
	log, err := os.Create(filepath.Join(s.out, "host.log"))
	if err != nil {
		return err
	}
	s.machine, err = qemu.Start(ctx, qemu.Config{
		CPUs: 2, MemoryMiB: s.memoryMiB, Kernel: filepath.Join(s.build, "kernel/vmlinuz"), Initrd: s.initrd,
		Cmdline: cmdline.Nested, Seed: text, Disks: disks, Isolated: true, HaltOnReset: true, Forward: []int{protocol.Port},
	}, log)
	if err != nil {
		return err
	}
	if s.client, err = s.enrol.Connect(s.machine.API(), s.enrol.Admin); err != nil {
		return err
	}
	info, err := s.client.WaitReady(ctx, s.machine.Done())
	if err != nil {
		return fmt.Errorf("%w\nthe host's console is in %s; it ends:\n%s", err, log.Name(), s.machine.Serial.Tail(1500))
	}
	emulated := "yes"
	if accel.KVM {
		emulated = "no"
	}
	s.result.Host = map[string]string{
		"processor": cpuModel(), "processors": fmt.Sprintf("%d of %d", info.GetCpus(), runtime.NumCPU()),
		"accelerator": accel.String(), "emulated": emulated,
		"kernel": "Linux " + info.GetKernelRelease(), "QEMU": firstLine(qemu.Program, "--version"),
		"repetitions": fmt.Sprint(s.repeat),
	}
	s.found("size.dom0", float64(info.GetDom0ResidentBytes())/(1<<20))
	if f, err := os.Stat(filepath.Join(s.build, "gozen.efi")); err == nil {
		s.found("size.efi", float64(f.Size())/(1<<20))
	}
	if b, err := os.ReadFile(filepath.Join(s.build, "guest-kernel/release")); err == nil {
		s.result.Host["small kernel"] = "Linux " + strings.TrimSpace(string(b))
	}
	return s.connect(ctx)
}

// found takes in what the launcher itself measured, of Gozen.
func (s *session) found(name string, value float64) {
	s.result.Samples = append(s.result.Samples, measure.Sample{Measure: name, Subject: string(protocol.Gozen), Value: value})
}

func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// connect waits for the agent, which makes its disks first. QEMU accepts a
// connection before anybody listens, so only an answer counts.
func (s *session) connect(ctx context.Context) error {
	for ctx.Err() == nil {
		conn, err := net.Dial("tcp", s.machine.Address(protocol.Port))
		if err == nil {
			s.conn, s.in = conn, bufio.NewReader(conn)
			if err := s.do(ctx, protocol.Step{Part: protocol.Work, Subject: protocol.Host}); err == nil {
				return nil
			}
			_ = conn.Close()
			s.conn = nil
		}
		select {
		case <-time.After(time.Second):
		case <-s.machine.Done():
			return errors.New("the host ended")
		case <-ctx.Done():
		}
	}
	return fmt.Errorf("the agent does not answer: %w; the host's console ends:\n%s", ctx.Err(), s.machine.Serial.Tail(1500))
}

// do has the agent do a step and takes in what it found.
func (s *session) do(ctx context.Context, step protocol.Step) error {
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetDeadline(time.Now()) })
	defer stop()
	b, err := json.Marshal(step)
	if err != nil {
		return err
	}
	if _, err := s.conn.Write(append(b, '\n')); err != nil {
		return err
	}
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return fmt.Errorf("the agent is gone: %w; the host's console ends:\n%s", err, s.machine.Serial.Tail(1500))
		}
		line = strings.TrimSpace(line)
		if line == protocol.Done {
			return nil
		}
		failures := len(s.result.Failures)
		ours, err := s.result.ParseLine(line)
		switch {
		case err != nil:
			return err
		case !ours:
			s.say("  %s", line)
		case len(s.result.Failures) > failures:
			f := s.result.Failures[failures]
			s.say("  %s could not do %s: %s", f.Subject, f.Part, f.Why)
		}
	}
}
