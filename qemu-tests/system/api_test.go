//go:build system

package system

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

const (
	mib = 1 << 20

	// Emulation of emulation is slow: these bounds only tell broken from working.
	bootTime   = 4 * time.Minute
	debianTime = 12 * time.Minute
)

func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	return c
}

// create makes a guest and deletes it at the end of the test.
func (h *host) create(t *testing.T, spec *gozenv1.GuestSpec) {
	t.Helper()
	if _, err := h.guests.Create(ctx(t), connect.NewRequest(&gozenv1.CreateGuestRequest{Spec: spec})); err != nil {
		t.Fatalf("create %s: %v", spec.GetName(), err)
	}
	t.Cleanup(func() {
		if h.dead() {
			return
		}
		c, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, err := h.guests.Delete(c, connect.NewRequest(&gozenv1.DeleteGuestRequest{Name: spec.GetName(), Force: true}))
		if err != nil && connect.CodeOf(err) != connect.CodeNotFound {
			t.Errorf("delete %s: %v", spec.GetName(), err)
		}
	})
}

func (h *host) start(t *testing.T, name string) {
	t.Helper()
	if _, err := h.guests.Start(ctx(t), connect.NewRequest(&gozenv1.StartGuestRequest{Name: name})); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
}

func (h *host) get(t *testing.T, name string) *gozenv1.Guest {
	t.Helper()
	r, err := h.guests.Get(ctx(t), connect.NewRequest(&gozenv1.GetGuestRequest{Name: name}))
	if err != nil {
		t.Fatalf("get %s: %v", name, err)
	}
	return r.Msg.GetGuest()
}

// stop presses the power button and fails if the guest had to be killed.
func (h *host) stop(t *testing.T, name string) {
	t.Helper()
	r, err := h.guests.Stop(ctx(t), connect.NewRequest(&gozenv1.StopGuestRequest{Name: name, Timeout: durationpb.New(3 * time.Minute)}))
	if err != nil {
		t.Fatalf("stop %s: %v", name, err)
	}
	if r.Msg.GetKilled() {
		t.Fatalf("stop %s: it did not power off by itself", name)
	}
	if s := r.Msg.GetGuest().GetStatus(); s.GetState() != gozenv1.GuestState_GUEST_STATE_STOPPED || s.GetReasonCode() != "power-off" {
		t.Fatalf("stop %s: state %v, reason code %q", name, s.GetState(), s.GetReasonCode())
	}
}

// wait waits for one of the states.
func (h *host) wait(t *testing.T, name string, states ...gozenv1.GuestState) *gozenv1.Guest {
	t.Helper()
	r, err := h.guests.Wait(ctx(t), connect.NewRequest(&gozenv1.WaitGuestRequest{Name: name, States: states, Timeout: durationpb.New(bootTime)}))
	if err != nil {
		t.Fatalf("wait for %s to be in %v: %v", name, states, err)
	}
	return r.Msg.GetGuest()
}

// small is the spec of a guest that runs the test guest's init.
func small(name string) *gozenv1.GuestSpec {
	return &gozenv1.GuestSpec{
		Name: name, MemoryBytes: 256 * mib, Kernel: "test-kernel", Initrd: "test-initrd",
		Cmdline: "console=hvc0 quiet panic=-1",
	}
}

// boot creates and starts a small guest and returns its console.
func (h *host) boot(t *testing.T, spec *gozenv1.GuestSpec) *console {
	t.Helper()
	h.create(t, spec)
	h.start(t, spec.GetName())
	return h.attach(t, spec.GetName()).ready()
}

func (h *host) volume(t *testing.T, name string, size uint64) {
	t.Helper()
	if _, err := h.volumes.Create(ctx(t), connect.NewRequest(&gozenv1.CreateVolumeRequest{Name: name, SizeBytes: size})); err != nil {
		t.Fatalf("create volume %s: %v", name, err)
	}
	t.Cleanup(func() {
		if h.dead() {
			return
		}
		c, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := h.volumes.Delete(c, connect.NewRequest(&gozenv1.DeleteVolumeRequest{Name: name})); err != nil && connect.CodeOf(err) != connect.CodeNotFound {
			t.Errorf("delete volume %s: %v", name, err)
		}
	})
}

func (h *host) uploadImage(t *testing.T, name string, kind gozenv1.ImageKind, content []byte) error {
	t.Helper()
	s := h.images.Upload(ctx(t))
	send := func(m *gozenv1.UploadImageRequest) { _ = s.Send(m) } // the error comes with the response
	send(&gozenv1.UploadImageRequest{Part: &gozenv1.UploadImageRequest_Header{Header: &gozenv1.UploadHeader{Name: name, SizeBytes: uint64(len(content)), Kind: kind}}})
	for off := 0; off < len(content); off += 512 << 10 {
		send(&gozenv1.UploadImageRequest{Part: &gozenv1.UploadImageRequest_Chunk{Chunk: &gozenv1.UploadChunk{Offset: uint64(off), Data: content[off:min(off+512<<10, len(content))]}}})
	}
	sum := sha256.Sum256(content)
	send(&gozenv1.UploadImageRequest{Part: &gozenv1.UploadImageRequest_Trailer{Trailer: &gozenv1.UploadTrailer{Sha256: sum[:]}}})
	_, err := s.CloseAndReceive()
	return err
}

func (h *host) mustUploadImage(t *testing.T, name string, kind gozenv1.ImageKind, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (`make guests` builds it)", err)
	}
	if err := h.uploadImage(t, name, kind, b); err != nil {
		t.Fatalf("upload %s: %v", name, err)
	}
}

// refused checks that an operation failed with the code and that the message has
// all the words.
func refused(t *testing.T, err error, code connect.Code, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("not refused; want %v", code)
	}
	if connect.CodeOf(err) != code {
		t.Errorf("refused with %v, want %v: %v", connect.CodeOf(err), code, err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the message lacks %q: %v", w, err)
		}
	}
	t.Logf("refused: %v", err)
}

// postJSON calls a unary method as curl would.
func (h *host) postJSON(t *testing.T, method, body string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx(t), http.MethodPost, h.url+"/gozen.v1."+method, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := h.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]any{}
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatalf("%s: not JSON: %s", method, b)
	}
	return resp.StatusCode, m
}
