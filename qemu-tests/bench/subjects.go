package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"gozen/qemu-tests/bench/measure"
	"gozen/qemu-tests/bench/protocol"
)

// goKVM is the version of github.com/bobuhiro11/gokvm that is measured: its newest
// that the module proxy has.
const goKVM = "github.com/bobuhiro11/gokvm@v0.0.8-0.20231003020000-f53faca69d28"

// subject is a VMM that takes part.
type subject struct {
	kind    protocol.Kind
	program string   // in the emulated host
	files   []string // "HOST:GUEST" to take along
	how     string   // version and how it is started, for the report
}

// findSubjects lists who takes part; who cannot is a failure in the report.
func (s *session) findSubjects() []subject {
	all := []subject{{kind: protocol.Gozen, program: protocol.VMM, how: "Gozen " + s.version + ": its vmm, started as dom0 does"}}
	missing := func(kind protocol.Kind, why string) {
		if len(s.subjects) == 0 || slices.Contains(s.subjects, string(kind)) {
			s.result.Failures = append(s.result.Failures, measure.Failure{Subject: string(kind), Why: why})
		}
	}
	for _, q := range []struct {
		kind     protocol.Kind
		programs []string
		how      string
	}{
		{protocol.QEMUMicroVM, []string{"qemu-system-x86_64-microvm", "qemu-system-x86_64"}, "microvm with qboot, without ACPI and legacy devices, virtio-mmio, vhost-net, iothread, io_uring"},
		{protocol.QEMUQ35, []string{"qemu-system-x86_64"}, "q35 without USB, SATA, HPET, virtio-pci, vhost-net, iothread, io_uring"},
	} {
		file := firstProgram(q.programs)
		if file == "" {
			missing(q.kind, q.programs[0]+" is not installed: make deps")
			continue
		}
		files := []string{file + ":" + file[1:]}
		for _, pattern := range []string{"/usr/share/qemu/*.bin", "/usr/share/qemu/qboot.rom", "/usr/share/seabios/bios*.bin", "/usr/lib/ipxe/qemu/efi-virtio.rom"} {
			firmware, _ := filepath.Glob(pattern)
			for _, f := range firmware {
				files = append(files, f+":"+f[1:])
			}
		}
		all = append(all, subject{q.kind, file, files, firstLine(file, "--version") + ": " + q.how})
	}
	if file, err := s.buildGoKVM(); err != nil {
		missing(protocol.GoKVM, err.Error())
	} else {
		all = append(all, subject{protocol.GoKVM, protocol.Dir + "/gokvm", []string{file + ":" + protocol.Dir[1:] + "/gokvm"},
			strings.TrimPrefix(goKVM, "github.com/bobuhiro11/") + ": legacy virtio, no vhost"})
	}
	for _, p := range []struct {
		kind protocol.Kind
		env  string
		how  string
	}{
		{protocol.KVMTool, "PEER_KVMTOOL", "virtio-pci, vhost-net, direct disks"},
		{protocol.Firecracker, "PEER_FIRECRACKER", "virtio-mmio, io_uring"},
		{protocol.CloudHypervisor, "PEER_CLOUD_HYPERVISOR", "virtio-pci, direct disks"},
		{protocol.Crosvm, "PEER_CROSVM", "virtio-pci, direct disks, no sandbox"},
	} {
		file := os.Getenv(p.env)
		if file == "" {
			missing(p.kind, "no path in "+p.env)
			continue
		}
		if _, err := os.Stat(file); err != nil {
			missing(p.kind, p.env+": "+err.Error())
			continue
		}
		inside := protocol.Dir + "/" + string(p.kind)
		all = append(all, subject{p.kind, inside, []string{file + ":" + inside[1:]}, firstLine(file, "--version") + ": " + p.how})
	}
	if len(s.subjects) > 0 {
		all = slices.DeleteFunc(all, func(x subject) bool { return !slices.Contains(s.subjects, string(x.kind)) })
	}
	return all
}

func firstProgram(names []string) string {
	for _, n := range names {
		if p, err := exec.LookPath(n); err == nil {
			return p
		}
	}
	return ""
}

// firstLine is the first line that a program prints, or its name.
func firstLine(program string, args ...string) string {
	out, err := exec.Command(program, args...).Output()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if err != nil || line == "" {
		return filepath.Base(program)
	}
	return line
}

// buildGoKVM builds gokvm outside of this module, which must not depend on it.
func (s *session) buildGoKVM() (string, error) {
	dir, err := filepath.Abs(filepath.Join(s.out, "peers"))
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "gokvm")
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	cmd := exec.Command("go", "install", "-trimpath", goKVM)
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go install gokvm: %w: %s", err, out)
	}
	return file, nil
}
