package daemon

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"gozen/dom0/api"
	"gozen/dom0/cgroup"
	"gozen/dom0/datadisk"
	"gozen/dom0/events"
	"gozen/dom0/guests"
	"gozen/dom0/hostinfo"
	"gozen/dom0/hostlog"
	"gozen/dom0/identity"
	"gozen/dom0/images"
	"gozen/dom0/jail"
	"gozen/dom0/seed"
	"gozen/dom0/state"
	"gozen/dom0/volumes"
)

// Version is Gozen's version; the build sets it with -ldflags -X.
var Version = "0.1.0-dev"

const (
	// logBytes is how much of the host's log is kept.
	logBytes = 1 << 20
	// guestsGroup is the parent of the guests' control groups.
	guestsGroup = "gozen.guests"
	// answerTime is how long a daemon that ends finishes the calls under way.
	answerTime = 2 * time.Second
	// powerTimeout is what guests get when the host's own power button is pressed.
	powerTimeout = 60 * time.Second
)

// Options say how the daemon runs.
type Options struct {
	// Root is put before /run, /data and /seed; "" on a real host. With a root the
	// daemon leaves the machine's network, disks and control groups alone.
	Root string
	// Listen is the API's address.
	Listen string
	// VMM is the program that runs guests.
	VMM string
	// Output gets the log.
	Output io.Writer
	// Listening, if not nil, is called with the API's address once it is served.
	Listening func(net.Addr)
}

// Order is what Run returns for: an end, or the host's going down.
type Order int

// Orders to Run.
const (
	PowerOff Order = iota
	Reboot
)

// daemon is the daemon's state while it runs.
type daemon struct {
	opt    Options
	ctx    context.Context // of Run, for what is started later
	log    *slog.Logger
	seed   *seed.Seed
	host   *host
	net    networks
	store  *datadisk.Store // nil with a root
	redraw chan struct{}   // the banner has changed

	fingerprint string // of the host's certificate
}

func (d *daemon) path(p string) string { return filepath.Join("/", d.opt.Root, p) }
func (d *daemon) data() string         { return d.path("/data/gozen") }
func (d *daemon) runDir() string       { return d.path("/run/gozen/guests") }
func (d *daemon) real() bool           { return d.opt.Root == "" }

// Run runs the daemon until ctx ends. An order takes the host down.
func Run(ctx context.Context, opt Options, orders <-chan Order) error {
	buffer := hostlog.New(logBytes)
	d := &daemon{
		opt:    opt,
		ctx:    ctx,
		redraw: make(chan struct{}, 1),
		log:    slog.New(slog.NewTextHandler(io.MultiWriter(opt.Output, buffer), nil)),
	}
	d.log.Info("the daemon starts", "version", Version, "pid", os.Getpid())
	info, err := hostinfo.Read()
	if err != nil {
		return err
	}
	d.host = &host{d: d, info: info}
	d.loadSeed(ctx)
	if err := d.openStorage(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(d.data(), 0o700); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	d.loadMachineID()
	tlsConfig, err := d.identity()
	if err != nil {
		return err
	}
	d.startNetwork(ctx)

	log := events.NewLog(time.Now)
	vols, err := volumes.Open(filepath.Join(d.data(), "volumes"))
	if err != nil {
		return err
	}
	imgs, err := images.Open(filepath.Join(d.data(), "images"), d.log)
	if err != nil {
		return err
	}
	gm, err := guests.Open(guests.Options{
		StateDir:   filepath.Join(d.data(), "guests"),
		RunDir:     d.runDir(),
		VMM:        opt.VMM,
		KVM:        "/dev/kvm",
		Confine:    d.real(),
		Start:      jail.Start,
		Volumes:    vols,
		Images:     imgs,
		Events:     log,
		Cgroups:    d.openCgroups(),
		Network:    d.guestNetwork,
		HostCPUs:   info.CPUs,
		HostMemory: info.MemoryBytes,
		Reserved:   d.host.reserved,
		Clock:      guests.SystemClock{},
		Log:        d.log,
	})
	if err != nil {
		return err
	}
	defer gm.Close()
	d.host.guests = gm
	d.net.mu.Lock()
	d.net.leased = gm.Leased
	d.net.mu.Unlock()

	listener, err := net.Listen("tcp", opt.Listen)
	if err != nil {
		return fmt.Errorf("API: %w", err)
	}
	server := api.NewServer(api.Handler(api.Services{
		Host: d.host, Guests: gm, Volumes: vols, Images: imgs, Events: log, HostLog: buffer, Log: d.log,
	}), tlsConfig, d.log)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener, d.gateway) }()
	defer server.Close()
	d.log.Info("the API listens", "address", listener.Addr().String())
	if d.real() {
		go d.showBanners(ctx)
		d.bannerDue()
	}
	if opt.Listening != nil {
		opt.Listening(listener.Addr())
	}
	go gm.Autostart(ctx)

	for {
		select {
		case <-ctx.Done():
			d.log.Info("the daemon ends; guests go on")
			// The answer to the call that led here is still on its way.
			ending, cancel := context.WithTimeout(context.Background(), answerTime)
			defer cancel()
			_ = server.Shutdown(ending) // streams outlast it; Close ends them
			return nil
		case err := <-served:
			return fmt.Errorf("API: %w", err)
		case o := <-orders:
			go func() {
				if err := d.host.Shutdown(ctx, o == Reboot, powerTimeout); err != nil {
					d.log.Error("cannot go down", "err", err)
				}
			}()
		}
	}
}

// loadMachineID reads the host's identifier, or makes one.
func (d *daemon) loadMachineID() {
	path := filepath.Join(d.data(), "machine-id")
	b, err := os.ReadFile(path)
	if err == nil && len(b) == 33 {
		d.host.machineID = string(b[:32])
		return
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.host.problem("machine identifier", err)
	}
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // never fails, as documented
	d.host.machineID = hex.EncodeToString(raw)
	if err := renameio.WriteFile(path, []byte(d.host.machineID+"\n"), 0o600, renameio.WithTempDir(d.data())); err != nil {
		d.host.problem("machine identifier: cannot be kept", err)
		return
	}
	if err := state.SyncDir(d.data()); err != nil {
		d.host.problem("machine identifier: cannot be kept", err)
	}
}

// identity makes the TLS configuration from the seed's certificate, or from the
// host's own, which is shown on the console for the admin to compare.
func (d *daemon) identity() (*tls.Config, error) {
	pair := identity.Pair{CertPEM: []byte(d.seed.HostCertPEM), KeyPEM: []byte(d.seed.HostKeyPEM)}
	if d.seed.HostCertPEM == "" {
		var err error
		if pair, err = identity.LoadOrCreateHost(filepath.Join(d.data(), "identity"), []string{d.host.hostname}); err != nil {
			d.host.problem("the host's identity cannot be kept; a new one is made at every start", err)
			if pair, err = identity.NewSelfSigned([]string{d.host.hostname}); err != nil {
				return nil, err
			}
		}
	}
	fingerprint, err := identity.Fingerprint(pair.CertPEM)
	if err != nil {
		return nil, err
	}
	d.log.Info("the host's certificate", "fingerprint", fingerprint)
	d.fingerprint = fingerprint
	if d.seed.AdminCAPEM == "" {
		d.host.problem("API", errors.New("the seed names no admin authority, so nobody is let in"))
	}
	return identity.ServerConfig(pair, []byte(d.seed.AdminCAPEM))
}

// openCgroups prepares the guests' control groups; nil if there are none.
func (d *daemon) openCgroups() *cgroup.Tree {
	if !d.real() {
		return nil
	}
	t, err := cgroup.Open(cgroup.Root, guestsGroup)
	if err != nil {
		d.host.problem("guests run without limits of processor time and memory", err)
		return nil
	}
	return t
}
