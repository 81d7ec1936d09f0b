package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"gozen/qemu-tests/bench/protocol"
)

// arguments are the command line of a peer, as its own documentation recommends
// for speed: no device that the guest does not use, vhost-net, disks without the
// host's page cache by an asynchronous interface and a thread of their own.
func arguments(kind protocol.Kind, m machine) ([]string, error) {
	switch kind {
	case protocol.QEMUMicroVM:
		return microVM(m), nil
	case protocol.QEMUQ35:
		return q35(m), nil
	case protocol.GoKVM:
		return gokvm(m)
	case protocol.KVMTool:
		return kvmtool(m), nil
	case protocol.Firecracker:
		return firecracker(m)
	case protocol.CloudHypervisor:
		return cloudHypervisor(m)
	case protocol.Crosvm:
		return crosvm(m), nil
	}
	return nil, fmt.Errorf("the agent does not know how to start %q", kind)
}

func (m machine) cmdline(words ...string) string {
	return strings.Join(append(words, m.words...), " ")
}

// qemu is what both of QEMU's machines share.
func qemu(m machine, machineType, bus string) []string {
	args := []string{
		"-machine", machineType, "-cpu", "host", "-smp", fmt.Sprint(m.vcpus), "-m", fmt.Sprintf("%dM", m.memoryMiB),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", m.kernel, "-chardev", "stdio,id=console",
		"-device", "virtio-serial-" + bus, "-device", "virtconsole,chardev=console",
		"-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-" + bus + ",rng=rng",
	}
	if m.initrd != "" {
		args = append(args, "-initrd", m.initrd)
	}
	for i, d := range m.disks {
		driver := "file"
		if strings.HasPrefix(d, "/dev/") {
			driver = "host_device"
		}
		args = append(args,
			"-object", fmt.Sprintf("iothread,id=io%d", i),
			"-blockdev", fmt.Sprintf("driver=raw,node-name=disk%d,discard=unmap,cache.direct=on,file.driver=%s,file.filename=%s,file.aio=io_uring,file.cache.direct=on", i, driver, d),
			"-device", fmt.Sprintf("virtio-blk-%s,drive=disk%d,iothread=io%d", bus, i, i))
	}
	if m.tap != "" {
		args = append(args,
			"-netdev", "tap,id=net0,ifname="+m.tap+",script=no,downscript=no,vhost=on",
			"-device", "virtio-net-"+bus+",netdev=net0,mac="+m.mac+",romfile=")
	}
	return args
}

// https://www.qemu.org/docs/master/system/i386/microvm.html, "Triggering a
// guest-initiated shut down" and its example without legacy devices. Without ACPI its
// firmware is qboot, which needs no option ROM and starts sooner; a kernel that does
// not take virtio-mmio devices from its command line finds them by ACPI only.
func microVM(m machine) []string {
	machineType := "microvm,accel=kvm,acpi=off,x-option-roms=off,pit=off,pic=off,isa-serial=off,rtc=off"
	if m.distribution {
		machineType = "microvm,accel=kvm,pit=off,pic=off,isa-serial=off,rtc=off"
	}
	args := qemu(m, machineType, "device")
	for i, a := range args {
		// MMIO devices have no ROM.
		args[i] = strings.TrimSuffix(a, ",romfile=")
	}
	return append(args, "-append", m.cmdline("console=hvc0", "reboot=t"))
}

func q35(m machine) []string {
	args := qemu(m, "q35,accel=kvm,usb=off,smbus=off,sata=off,vmport=off,hpet=off,graphics=off,smm=off", "pci")
	return append(args, "-append", m.cmdline("console=hvc0"))
}

func gokvm(m machine) ([]string, error) {
	if len(m.disks) > 1 {
		return nil, fmt.Errorf("gokvm has one disk only")
	}
	args := []string{"boot", "-k", m.kernel, "-i", m.initrd, "-m", fmt.Sprintf("%dM", m.memoryMiB), "-c", fmt.Sprint(m.vcpus),
		"-p", m.cmdline("console=ttyS0", "noapic", "noacpi", "pci=realloc=off", "virtio_pci.force_legacy=1", "rdinit=/init")}
	for _, d := range m.disks {
		args = append(args, "-d", d)
	}
	if m.tap != "" {
		args = append(args, "-t", m.tap)
	}
	return args, nil
}

func kvmtool(m machine) []string {
	args := []string{"run", "--name", fmt.Sprintf("bench%d", os.Getpid()), "-k", m.kernel, "-c", fmt.Sprint(m.vcpus), "-m", fmt.Sprintf("%dM", m.memoryMiB), "--rng", "--console", "virtio",
		"--loglevel", "error", "-p", m.cmdline("console=hvc0")}
	if m.initrd != "" {
		args = append(args, "-i", m.initrd)
	}
	for _, d := range m.disks {
		args = append(args, "-d", d+",direct")
	}
	if m.tap != "" {
		args = append(args, "-n", "mode=tap,script=none,tapif="+m.tap+",guest_mac="+m.mac+",vhost=1")
	} else {
		args = append(args, "-n", "mode=none")
	}
	return args
}

// https://github.com/firecracker-microvm/firecracker/blob/main/docs/getting-started.md,
// the whole machine in one file.
func firecracker(m machine) ([]string, error) {
	type object map[string]any
	boot := object{"kernel_image_path": m.elf, "boot_args": m.cmdline("console=ttyS0", "reboot=k", "panic=1", "pci=off")}
	if m.elf == "" {
		return nil, fmt.Errorf("firecracker wants an ELF kernel")
	}
	if m.initrd != "" {
		boot["initrd_path"] = m.initrd
	}
	config := object{"boot-source": boot, "machine-config": object{"vcpu_count": m.vcpus, "mem_size_mib": m.memoryMiB}, "entropy": object{}}
	drives := []object{}
	for i, d := range m.disks {
		drives = append(drives, object{"drive_id": fmt.Sprintf("disk%d", i), "path_on_host": d, "is_root_device": false, "io_engine": "Async"})
	}
	config["drives"] = drives
	if m.tap != "" {
		config["network-interfaces"] = []object{{"iface_id": "eth0", "host_dev_name": m.tap, "guest_mac": m.mac}}
	}
	b, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	file := "/tmp/firecracker.json"
	if err := os.WriteFile(file, b, 0o600); err != nil {
		return nil, err
	}
	return []string{"--no-api", "--config-file", file, "--level", "Error"}, nil
}

// https://github.com/cloud-hypervisor/cloud-hypervisor/blob/main/README.md,
// "Custom Kernel and Disk Image".
func cloudHypervisor(m machine) ([]string, error) {
	kernel := m.elf
	if kernel == "" {
		kernel = m.kernel
	}
	args := []string{"--kernel", kernel, "--cmdline", m.cmdline("console=hvc0"), "--console", "tty", "--serial", "off",
		"--cpus", fmt.Sprintf("boot=%d", m.vcpus), "--memory", fmt.Sprintf("size=%dM", m.memoryMiB), "--rng", "src=/dev/urandom"}
	if m.initrd != "" {
		args = append(args, "--initramfs", m.initrd)
	}
	if len(m.disks) > 0 {
		args = append(args, "--disk")
		for _, d := range m.disks {
			args = append(args, "path="+d+",direct=on,image_type=raw")
		}
	}
	if m.tap != "" {
		args = append(args, "--net", "tap="+m.tap+",mac="+m.mac)
	}
	return args, nil
}

// https://crosvm.dev/book/running_crosvm/example_usage.html
func crosvm(m machine) []string {
	args := []string{"run", "--disable-sandbox", "--cpus", fmt.Sprint(m.vcpus), "--mem", fmt.Sprint(m.memoryMiB),
		"--serial", "type=stdout,hardware=virtio-console,console=true,stdin=true", "-p", m.cmdline("console=hvc0")}
	if m.initrd != "" {
		args = append(args, "-i", m.initrd)
	}
	for _, d := range m.disks {
		args = append(args, "--block", "path="+d+",direct=true")
	}
	if m.tap != "" {
		args = append(args, "--net", "tap-name="+m.tap+",mac="+m.mac)
	}
	return append(args, m.kernel)
}
