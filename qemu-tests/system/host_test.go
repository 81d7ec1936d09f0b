//go:build system

package system

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"gozen/boot/cmdline"
	"gozen/boot/enrol"
	"gozen/boot/qemu"
	"gozen/dom0/cli/contexts"
	"gozen/dom0/identity"
	"gozen/dom0/seed"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
	"gozen/hypercalls/gen/gozen/v1/gozenv1connect"
	"gozen/qemu-tests/writecache"
)

// buildDir is where `make image guests` leaves what the tests run.
var buildDir = func() string {
	if d := os.Getenv("GOZEN_BUILD"); d != "" {
		return d
	}
	d, err := filepath.Abs("../../build")
	if err != nil {
		panic(err)
	}
	return d
}()

// A host is a Gozen machine in QEMU and its admin.
type host struct {
	hosts   gozenv1connect.HostServiceClient
	guests  gozenv1connect.GuestServiceClient
	volumes gozenv1connect.VolumeServiceClient
	images  gozenv1connect.ImageServiceClient
	http    *http.Client
	url     string

	debian  string // directory of the Debian guest
	cli     string // the gozen program
	context string // its context for this host

	options hostOptions
	dir     string
	enrol   *enrol.Enrolment
	client  *enrol.Client
	machine *qemu.Machine
	disk    *writecache.Disk // nil unless the data disk is volatile
	boots   int
}

type hostOptions struct {
	dataDisk int64 // bytes; 0 for none
	// volatile makes the data disk lose at a power cut what was not flushed, by
	// these random numbers.
	volatile *mathrand.Rand
	debug    bool // the debug image, with a shell on the serial console
	uefi     bool // by UEFI off the disk image, seed and all
}

const hostTime = 3 * time.Minute

// newHost makes a host with an identity and disks of its own and boots it.
func newHost(t *testing.T, o hostOptions) *host {
	t.Helper()
	e, err := enrol.New("gozen-test")
	if err != nil {
		t.Fatal(err)
	}
	h := &host{
		options: o, dir: t.TempDir(), enrol: e, context: "test",
		debian: filepath.Join(buildDir, "debian"), cli: filepath.Join(buildDir, "../bin/gozen"),
	}
	t.Setenv("GOZEN_CONFIG", filepath.Join(h.dir, "cli"))
	if o.dataDisk > 0 {
		if err := os.WriteFile(h.dataDisk(), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(h.dataDisk(), o.dataDisk); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		// The disk goes last: what tests made is deleted until then.
		defer h.stopDisk(t)
		if h.machine == nil {
			return
		}
		h.machine.Kill()
		if t.Failed() {
			_ = os.MkdirAll(filepath.Join(buildDir, "test"), 0o755)
			file := filepath.Join(buildDir, "test", t.Name()+"-console.log")
			_ = h.machine.Serial.Save(file)
			t.Logf("the host's console is in %s; it ends:\n%s", file, h.machine.Serial.Tail(6000))
		}
	})
	h.bootAgain(t)
	return h
}

func (h *host) dataDisk() string { return filepath.Join(h.dir, "data.raw") }

func (h *host) seed(t *testing.T) []byte {
	t.Helper()
	s := h.enrol.Seed()
	if h.options.dataDisk > 0 {
		s.DataDisk = seed.DataDisk{Device: "serial=gozen-data", FormatIfBlank: true}
	}
	b, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// bootAgain powers the machine on and waits for the API.
func (h *host) bootAgain(t *testing.T) {
	t.Helper()
	c := qemu.Config{CPUs: 2, MemoryMiB: 4096, Isolated: true, HaltOnReset: true}
	if h.options.uefi {
		c.Disks = append(c.Disks, qemu.Disk{File: h.diskImage(t), Bus: qemu.USB, Boot: true})
	} else {
		variant := ""
		if h.options.debug {
			variant = "-debug"
		}
		c.Kernel = filepath.Join(buildDir, "kernel/vmlinuz")
		c.Initrd = filepath.Join(buildDir, "initramfs"+variant+".cpio.zst")
		c.Cmdline = cmdline.Nested
		c.Seed = h.seed(t)
	}
	if h.options.dataDisk > 0 {
		disk := qemu.Disk{File: h.dataDisk(), Serial: "gozen-data"}
		if h.options.volatile != nil {
			disk.File, disk.NBD = "", h.startDisk(t)
		}
		c.Disks = append(c.Disks, disk)
	}
	ctx, cancel := context.WithTimeout(context.Background(), hostTime)
	defer cancel()
	start := time.Now()
	m, err := qemu.Start(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	h.machine = m
	h.boots++
	h.connect(t)
	h.wait4API(t, hostTime)
	t.Logf("host is up after %.0f s (%s)", time.Since(start).Seconds(), c.String())
}

// connect makes the admin's clients for the running machine.
func (h *host) connect(t *testing.T) {
	t.Helper()
	client, err := h.enrol.Connect(h.machine.API(), h.enrol.Admin)
	if err != nil {
		t.Fatal(err)
	}
	h.client = client
	h.hosts, h.guests, h.volumes, h.images = client.Hosts, client.Guests, client.Volumes, client.Images
	h.url = "https://" + h.machine.API()
	h.http = h.httpClient(t, h.enrol.Admin)
	store, err := contexts.Default()
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Add(h.enrol.Context(h.context, h.machine.API()), true); err != nil {
		t.Fatal(err)
	}
}

func (h *host) httpClient(t *testing.T, admin identity.Pair) *http.Client {
	t.Helper()
	config, err := identity.ClientConfig(admin, identity.Trust{CAPEM: h.enrol.CA.CertPEM})
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}, Timeout: time.Minute}
}

// wait4API waits until the API answers; it is gone for a while after a boot and
// after the daemon was killed.
func (h *host) wait4API(t *testing.T, limit time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if _, err := h.client.WaitReady(ctx, h.machine.Done()); err != nil {
		t.Fatalf("%v; the console ends:\n%s", err, h.machine.Serial.Tail(4000))
	}
}

// prepare uploads what small guests start from.
func (h *host) prepare(t *testing.T) {
	t.Helper()
	h.mustUploadImage(t, "test-kernel", gozenv1.ImageKind_IMAGE_KIND_KERNEL, filepath.Join(buildDir, "kernel/vmlinuz"))
	h.mustUploadImage(t, "test-initrd", gozenv1.ImageKind_IMAGE_KIND_INITRD, filepath.Join(buildDir, "testguest.cpio"))
}

func (h *host) dead() bool {
	select {
	case <-h.machine.Done():
		return true
	default:
		return false
	}
}

// shutdown powers the host off through the API and checks that it did.
func (h *host) shutdown(t *testing.T) {
	t.Helper()
	_, err := h.hosts.Shutdown(ctx(t), connect.NewRequest(&gozenv1.ShutdownRequest{
		Mode: gozenv1.ShutdownMode_SHUTDOWN_MODE_POWER_OFF, Timeout: durationpb.New(2 * time.Minute),
	}))
	if err != nil {
		t.Fatalf("shutdown: %v", err)
	}
	exit, err := h.machine.Wait(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	if !exit.PoweredOff() {
		t.Errorf("the host did not power off: %v", exit)
	}
}

// shell runs a line in the debug image's shell and returns what the serial
// console showed. It is how tests do what no admin can: kill processes.
func (h *host) shell(t *testing.T, line string) string {
	t.Helper()
	shells++
	from := h.machine.Serial.Len()
	// The shell echoes the line, so the marks must not stand in it.
	if _, err := fmt.Fprintf(h.machine.Input, "echo beg''in-%d; %s; echo e''nd-%d\n", shells, line, shells); err != nil {
		t.Fatalf("shell: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	m, err := h.machine.Serial.WaitFor(ctx, from, regexp.MustCompile(fmt.Sprintf(`(?s)begin-%d(.*?)end-%d`, shells, shells)))
	if err != nil {
		t.Fatalf("shell: %s: %v", line, err)
	}
	return m[1]
}

// diskImage copies the disk image and puts the host's seed on it, as an admin
// does with a USB stick.
func (h *host) diskImage(t *testing.T) string {
	t.Helper()
	file := filepath.Join(h.dir, "gozen.img")
	if h.boots > 0 {
		return file
	}
	seedFile := filepath.Join(h.dir, "seed.json")
	if err := os.WriteFile(seedFile, h.seed(t), 0o600); err != nil {
		t.Fatal(err)
	}
	script := `set -e
cp --sparse=always "$1" "$2"
offset=$(partx -g -o START -n 1 "$2" | tr -d ' ')
mmd -i "$2@@$((offset * 512))" -D s ::/gozen || true
mcopy -i "$2@@$((offset * 512))" -D o "$3" ::/gozen/seed.json`
	if out, err := exec.Command("sh", "-c", script, "sh", filepath.Join(buildDir, "gozen.img"), file, seedFile).CombinedOutput(); err != nil {
		t.Fatalf("put the seed on the disk image: %v\n%s", err, out)
	}
	return file
}

// strangers are HTTP clients that the host must refuse.
func (h *host) strangers(t *testing.T) map[string]*http.Client {
	t.Helper()
	none := &http.Client{Transport: &http.Transport{TLSClientConfig: h.config(t, nil), ForceAttemptHTTP2: true}, Timeout: time.Minute}
	ca, err := identity.NewCA("somebody else")
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := ca.IssueAdmin("admin")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*http.Client{"none": none}
	for name, pair := range map[string]identity.Pair{"foreign": foreign, "of a host": h.enrol.Host} {
		cert, err := pair.TLS()
		if err != nil {
			t.Fatal(err)
		}
		out[name] = &http.Client{Transport: &http.Transport{TLSClientConfig: h.config(t, &cert), ForceAttemptHTTP2: true}, Timeout: time.Minute}
	}
	expired := h.issue(t, time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour))
	out["expired"] = &http.Client{Transport: &http.Transport{TLSClientConfig: h.config(t, &expired), ForceAttemptHTTP2: true}, Timeout: time.Minute}
	return out
}

// config trusts the host and presents the certificate, whoever signed it.
func (h *host) config(t *testing.T, cert *tls.Certificate) *tls.Config {
	t.Helper()
	config, err := identity.ClientConfig(h.enrol.Admin, identity.Trust{CAPEM: h.enrol.CA.CertPEM})
	if err != nil {
		t.Fatal(err)
	}
	config = config.Clone()
	config.Certificates = nil
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if cert == nil {
			return &tls.Certificate{}, nil
		}
		return cert, nil
	}
	return config
}

// issue makes an admin certificate of the right authority for a span of time.
func (h *host) issue(t *testing.T, from, to time.Time) tls.Certificate {
	t.Helper()
	authority, err := h.enrol.CA.TLS()
	if err != nil {
		t.Fatal(err)
	}
	parent, err := x509.ParseCertificate(authority.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "late"}, NotBefore: from, NotAfter: to,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, authority.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// The disk image boots on a UEFI machine, takes its seed from the EFI partition,
// and runs guests.
func TestUEFI(t *testing.T) {
	h := newHost(t, hostOptions{uefi: true})
	info, err := h.hosts.GetInfo(ctx(t), connect.NewRequest(&gozenv1.GetInfoRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	if info.Msg.GetHostname() != "gozen-test" || info.Msg.GetStorage().GetPersistent() {
		t.Errorf("hostname %q, persistent %v; want gozen-test from the seed, and no disk", info.Msg.GetHostname(), info.Msg.GetStorage().GetPersistent())
	}
	h.prepare(t)
	h.boot(t, small("from-uefi")).do("echo")
	h.stop(t, "from-uefi")
	h.shutdown(t)
}
