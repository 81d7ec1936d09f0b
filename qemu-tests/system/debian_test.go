//go:build system

package system

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// An unmodified Debian boots from its volume to a login, with its own kernel, and
// finds disk, network, entropy, clock and power button. The volume is uploaded as
// an admin would, by the CLI.
func testDebian(t *testing.T, h *host) {
	h.mustUploadImage(t, "debian-kernel", gozenv1.ImageKind_IMAGE_KIND_KERNEL, h.debian+"/vmlinuz")
	h.mustUploadImage(t, "debian-initrd", gozenv1.ImageKind_IMAGE_KIND_INITRD, h.debian+"/initrd")
	out, err := exec.Command(h.cli, "--context", h.context, "volume", "upload", "debian", h.debian+"/disk.raw").CombinedOutput()
	if err != nil {
		t.Fatalf("gozen volume upload: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		_, _ = h.volumes.Delete(ctx(t), connect.NewRequest(&gozenv1.DeleteVolumeRequest{Name: "debian"}))
	})
	st, err := os.Stat(h.debian + "/disk.raw")
	if err != nil {
		t.Fatal(err)
	}
	if n := h.allocated(t, "debian"); n >= uint64(st.Size()) {
		t.Errorf("a sparse file of %d bytes takes %d on the host", st.Size(), n)
	}
	h.create(t, &gozenv1.GuestSpec{
		Name: "debian", Vcpus: 2, MemoryBytes: 768 * mib, Kernel: "debian-kernel", Initrd: "debian-initrd",
		Cmdline: "console=hvc0 root=/dev/vda rw quiet", Disks: []*gozenv1.Disk{{Volume: "debian"}}, Nics: []*gozenv1.Nic{{}},
	})
	h.start(t, "debian")
	c := h.attach(t, "debian")
	login(c)

	sh(c, `systemctl is-system-running --wait`, debianTime) // degraded or not, boot has ended
	if state := sh(c, "systemctl --failed --no-legend --plain", commandTime); strings.TrimSpace(state) != "" {
		t.Errorf("failed units:\n%s", state)
	}
	address := regexp.MustCompile(`inet (10\.77\.0\.\d+)/24`)
	for end := time.Now().Add(commandTime); ; {
		out := sh(c, "ip -4 address show scope global; networkctl status --no-pager | head -5", commandTime)
		if m := address.FindStringSubmatch(out); m != nil {
			if nics := h.get(t, "debian").GetStatus().GetNics(); len(nics) != 1 || nics[0].GetAddress() != m[1] {
				t.Errorf("the guest has %s, the API says %v", m[1], nics)
			}
			break
		}
		if time.Now().After(end) {
			t.Fatalf("no address by DHCP:\n%s", out)
		}
	}
	if out := sh(c, "ping -c 3 -W 10 "+gateway, commandTime); !strings.Contains(out, " 0% packet loss") {
		t.Errorf("ping:\n%s", out)
	}
	if out := sh(c, "cat /sys/class/misc/hw_random/rng_current; head -c 4096 /dev/hwrng | wc -c", commandTime); !strings.Contains(out, "virtio_rng") || !strings.Contains(out, "4096") {
		t.Errorf("entropy device:\n%s", out)
	}
	sum := sh(c, "dd if=/dev/urandom of=/root/data bs=1M count=16 status=none && sync && sha256sum /root/data", commandTime)
	digest := regexp.MustCompile(`[0-9a-f]{64}`).FindString(sum)
	if digest == "" {
		t.Fatalf("no checksum: %s", sum)
	}
	h.stop(t, "debian")

	t.Run("the data is there at the next start", func(t *testing.T) {
		h.start(t, "debian")
		c := h.attach(t, "debian")
		login(c)
		if out := sh(c, "sha256sum /root/data", commandTime); !strings.Contains(out, digest) {
			t.Errorf("checksum %s, want %s", out, digest)
		}
		h.stop(t, "debian")
	})
}

func login(c *console) {
	c.t.Helper()
	c.expect(`login: `, debianTime)
	c.send("root\n")
	c.expect(`Password: `, commandTime)
	c.send("gozen\n")
	c.expect(`# $`, commandTime)
	c.send("stty -echo; PS1=; bind 'set enable-bracketed-paste off'\n")
	sh(c, "true", commandTime)
}

var shells int

// sh runs a line in the login shell and returns what it printed.
func sh(c *console, line string, timeout time.Duration) string {
	c.t.Helper()
	shells++
	mark := fmt.Sprintf("done-%d", shells)
	c.send(fmt.Sprintf("%s; echo %s-%d\n", line, "done", shells))
	m := c.expect(`(?s)(.*?)`+mark+`\r?\n`, timeout)
	return strings.ReplaceAll(m[1], "\r", "")
}
