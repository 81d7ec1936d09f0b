package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"gozen/dom0/hostlog"
	"gozen/dom0/identity"
	"gozen/dom0/initctl"
	"gozen/dom0/seed"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
	"gozen/hypercalls/gen/gozen/v1/gozenv1connect"
)

// machine is a directory that a daemon takes for a machine.
type machine struct {
	t    *testing.T
	root string
	ca   *identity.CA
}

func newMachine(t *testing.T, s seed.Seed) *machine {
	t.Helper()
	root, err := os.MkdirTemp("", "gz") // short, since the path of a Unix socket is
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	m := &machine{t: t, root: root}
	if m.ca, err = identity.NewCA("test"); err != nil {
		t.Fatal(err)
	}
	s.AdminCAPEM = string(m.ca.CertPEM)
	text, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	m.write("seed/seed.json", text)
	return m
}

func (m *machine) write(name string, text []byte) {
	m.t.Helper()
	path := filepath.Join(m.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// run runs a daemon for the time of use.
func (m *machine) run(use func(url string, client *http.Client, orders chan<- Order)) string {
	m.t.Helper()
	ctx, cancel := context.WithCancel(m.t.Context())
	defer cancel()
	listening := make(chan net.Addr, 1)
	output := hostlog.New(1 << 20)
	orders := make(chan Order)
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Options{
			Root: m.root, Listen: "127.0.0.1:0", VMM: "/does/not/exist", Output: output,
			Listening: func(a net.Addr) { listening <- a },
		}, orders)
	}()
	var url string
	select {
	case a := <-listening:
		url = "https://" + a.String()
	case err := <-done:
		m.t.Fatalf("the daemon ended: %v", err)
	}
	if use != nil {
		use(url, m.admin(), orders)
	}
	cancel()
	if err := <-done; err != nil {
		m.t.Errorf("the daemon: %v", err)
	}
	text, _, _ := output.Read(0)
	return string(text)
}

// admin returns a client that trusts the certificate that the host keeps.
func (m *machine) admin() *http.Client {
	m.t.Helper()
	pair, err := m.ca.IssueAdmin("ada")
	if err != nil {
		m.t.Fatal(err)
	}
	pem, err := os.ReadFile(filepath.Join(m.root, "data/gozen/identity/host.pem"))
	if err != nil {
		m.t.Fatal(err)
	}
	fingerprint, err := identity.Fingerprint(pem)
	if err != nil {
		m.t.Fatal(err)
	}
	cfg, err := identity.ClientConfig(pair, identity.Trust{Fingerprint: fingerprint})
	if err != nil {
		m.t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true}
	m.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func info(t *testing.T, client *http.Client, url string) *gozenv1.GetInfoResponse {
	t.Helper()
	resp, err := gozenv1connect.NewHostServiceClient(client, url).GetInfo(t.Context(), connect.NewRequest(&gozenv1.GetInfoRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	return resp.Msg
}

func TestStateSurvives(t *testing.T) {
	m := newMachine(t, seed.Seed{Hostname: "testhost"})
	var first *gozenv1.GetInfoResponse
	m.run(func(url string, client *http.Client, _ chan<- Order) {
		first = info(t, client, url)
		if first.Hostname != "testhost" || len(first.MachineId) != 32 || first.Cpus == 0 || first.MemoryTotalBytes == 0 ||
			first.Platform != "gozen-1" || first.Dom0ResidentBytes == 0 || first.Storage.SizeBytes == 0 || len(first.Problems) != 0 {
			t.Errorf("%v", first)
		}
		_, err := gozenv1connect.NewVolumeServiceClient(client, url).Create(t.Context(),
			connect.NewRequest(&gozenv1.CreateVolumeRequest{Name: "disk", SizeBytes: 1 << 20}))
		if err != nil {
			t.Error(err)
		}
	})
	m.run(func(url string, client *http.Client, _ chan<- Order) {
		if again := info(t, client, url); again.MachineId != first.MachineId {
			t.Errorf("machine identifier %s, before %s", again.MachineId, first.MachineId)
		}
		if _, err := gozenv1connect.NewVolumeServiceClient(client, url).Get(t.Context(),
			connect.NewRequest(&gozenv1.GetVolumeRequest{Name: "disk"})); err != nil {
			t.Error(err)
		}
	})
}

func TestBrokenSeed(t *testing.T) {
	m := newMachine(t, seed.Seed{})
	m.write("seed/seed.json", []byte(`{"version":1,"hostnam":"x"}`))
	log := m.run(func(url string, client *http.Client, _ chan<- Order) {
		if _, err := gozenv1connect.NewHostServiceClient(client, url).GetInfo(t.Context(), connect.NewRequest(&gozenv1.GetInfoRequest{})); err == nil {
			t.Error("a host without a seed lets somebody in")
		}
	})
	if !strings.Contains(log, "hostnam") || !strings.Contains(log, "nobody is let in") {
		t.Errorf("the log does not say what is wrong:\n%s", log)
	}
}

// The daemon passes the wish to go down on to PID 1, whether an admin has it or
// the machine's power button, and says when PID 1 does not hear.
func TestShutdown(t *testing.T) {
	m := newMachine(t, seed.Seed{})
	m.run(func(url string, client *http.Client, orders chan<- Order) {
		host := gozenv1connect.NewHostServiceClient(client, url)
		reboot := connect.NewRequest(&gozenv1.ShutdownRequest{Mode: gozenv1.ShutdownMode_SHUTDOWN_MODE_REBOOT})
		if _, err := host.Shutdown(t.Context(), reboot); connect.CodeOf(err) != connect.CodeUnavailable {
			t.Errorf("without PID 1: %v", err)
		}
		asked := m.pid1()
		if _, err := host.Shutdown(t.Context(), reboot); err != nil || <-asked != initctl.OpReboot {
			t.Errorf("with PID 1: %v", err)
		}
		if _, err := host.Shutdown(t.Context(), reboot); connect.CodeOf(err) != connect.CodeFailedPrecondition {
			t.Errorf("a second time: %v", err)
		}
	})
	m.run(func(_ string, _ *http.Client, orders chan<- Order) {
		asked := m.pid1()
		orders <- PowerOff
		if op := <-asked; op != initctl.OpPowerOff {
			t.Errorf("PID 1 was asked for %q", op)
		}
	})
}

// pid1 listens in the place of PID 1 and returns what it is asked.
func (m *machine) pid1() <-chan string {
	m.t.Helper()
	path := filepath.Join(m.root, initctl.SocketPath)
	if err := os.RemoveAll(path); err != nil {
		m.t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = l.Close() })
	asked := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		var req initctl.Request
		if json.NewDecoder(conn).Decode(&req) == nil {
			fmt.Fprintln(conn, "{}")
			asked <- req.Op
		}
	}()
	return asked
}
