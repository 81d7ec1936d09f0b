package cli_test

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gozen/dom0/api"
	"gozen/dom0/cli/contexts"
	"gozen/dom0/events"
	"gozen/dom0/guests"
	"gozen/dom0/guesttest"
	"gozen/dom0/hostlog"
	"gozen/dom0/identity"
	"gozen/dom0/images"
	"gozen/dom0/volumes"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// startGuest starts a host on the loopback interface with the guest "web", which
// is one of package guesttest, and returns the environment in which the CLI knows
// the host.
func startGuest(t *testing.T) (env []string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("", "gz") // short, since the path of a Unix socket is
	must(err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	kept := hostlog.New(1 << 20)
	log := slog.New(slog.NewTextHandler(kept, nil))
	vols, err := volumes.Open(filepath.Join(dir, "volumes"))
	must(err)
	imgs, err := images.Open(filepath.Join(dir, "images"), log)
	must(err)
	kernel := guesttest.Kernel()
	up, err := imgs.Upload("linux", images.Kernel, uint64(len(kernel)))
	must(err)
	defer up.Abort()
	must(up.Write(0, kernel))
	sum := sha256.Sum256(kernel)
	_, err = up.Commit(sum[:])
	must(err)
	evs := events.NewLog(time.Now)
	manager, err := guests.Open(guests.Options{
		StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"),
		VMM: "/proc/self/exe", KVM: os.DevNull, Start: guesttest.Start,
		Volumes: vols, Images: imgs, Events: evs,
		HostCPUs: 2, HostMemory: 1 << 30, Reserved: func() uint64 { return 0 },
		Clock: guests.SystemClock{}, Log: log,
	})
	must(err)
	t.Cleanup(manager.Close)
	_, err = manager.Create(&gozenv1.GuestSpec{Name: "web", Kernel: "linux"})
	must(err)
	_, err = manager.Start(t.Context(), "web")
	must(err)
	t.Cleanup(func() { _, _ = manager.Kill(context.Background(), "web") })

	ca, err := identity.NewCA("bench")
	must(err)
	host, err := ca.IssueHost([]string{"bench"}, nil)
	must(err)
	admin, err := ca.IssueAdmin("ada")
	must(err)
	config, err := identity.ServerConfig(host, ca.CertPEM)
	must(err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	server := api.NewServer(api.Handler(api.Services{Guests: manager, Volumes: vols, Images: imgs, Events: evs, HostLog: kept, Log: log}), config, log)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l, func() netip.Addr { return netip.Addr{} }) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	store := contexts.Store{Dir: filepath.Join(dir, "config")}
	must(store.Add(&contexts.Context{
		Name: "bench", Address: l.Addr().String(), CA: ca.CertPEM, Cert: admin.CertPEM, Key: admin.KeyPEM,
	}, false))
	return append(os.Environ(), "GOZEN_CONFIG="+store.Dir, "GOZEN_CONTEXT=bench")
}
