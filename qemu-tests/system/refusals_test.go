//go:build system

package system

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"

	"connectrpc.com/connect"

	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// Clients without a certificate that the admin's authority signed, and that is
// valid now, get no further than the handshake.
func testCertificates(t *testing.T, h *host) {
	for name, client := range h.strangers(t) {
		t.Run(name, func(t *testing.T) {
			resp, err := client.Get(h.url + "/")
			if err == nil {
				resp.Body.Close()
				t.Fatalf("answered with %s", resp.Status)
			}
			if !strings.Contains(err.Error(), "tls:") {
				t.Errorf("refused, but not in the handshake: %v", err)
			}
		})
	}
	if _, err := h.hosts.GetInfo(ctx(t), connect.NewRequest(&gozenv1.GetInfoRequest{})); err != nil {
		t.Errorf("the admin is refused too: %v", err)
	}
}

// Unary methods answer plain JSON, malformed requests with a JSON error.
func testJSON(t *testing.T, h *host) {
	status, m := h.postJSON(t, "HostService/GetInfo", "{}")
	if status != 200 || m["platform"] != "gozen-1" {
		t.Errorf("GetInfo: %d %v", status, m)
	}
	for _, c := range []struct{ method, body, code string }{
		{"HostService/GetInfo", "{", "invalid_argument"},
		{"HostService/GetInfo", `{"no_such_field":1}`, ""},
		{"GuestService/Get", `{"name":"nobody"}`, "not_found"},
		{"GuestService/Get", `{"name":7}`, "invalid_argument"},
		{"GuestService/Create", `{"spec":{"name":"../etc"}}`, "invalid_argument"},
		{"GuestService/Create", strings.Repeat("x", 20<<20), ""},
	} {
		status, m := h.postJSON(t, c.method, c.body)
		if c.code != "" && m["code"] != c.code {
			t.Errorf("%s %.40s: %d %v, want %s", c.method, c.body, status, m, c.code)
		}
	}
}

// What cannot be done is refused early, with the reason, and leaves nothing.
func testRefusals(t *testing.T, h *host) {
	create := func(change func(*gozenv1.GuestSpec)) error {
		spec := small("refused")
		change(spec)
		_, err := h.guests.Create(ctx(t), connect.NewRequest(&gozenv1.CreateGuestRequest{Spec: spec, Start: true}))
		return err
	}
	t.Run("not a kernel", func(t *testing.T) {
		err := h.uploadImage(t, "junk", gozenv1.ImageKind_IMAGE_KIND_KERNEL, bytes.Repeat([]byte("not a kernel "), 1000))
		refused(t, err, connect.CodeInvalidArgument, "junk", "not a kernel")
		_, err = h.images.Get(ctx(t), connect.NewRequest(&gozenv1.GetImageRequest{Name: "junk"}))
		refused(t, err, connect.CodeNotFound, "junk")
	})
	t.Run("more memory than there is", func(t *testing.T) {
		refused(t, create(func(s *gozenv1.GuestSpec) { s.MemoryBytes = 200 << 30 }), connect.CodeResourceExhausted, "refused", "memory", "the host has")
	})
	t.Run("more vCPUs than there are", func(t *testing.T) {
		refused(t, create(func(s *gozenv1.GuestSpec) { s.Vcpus = 200 }), connect.CodeResourceExhausted, "refused", "200")
	})
	t.Run("no such kernel", func(t *testing.T) {
		refused(t, create(func(s *gozenv1.GuestSpec) { s.Kernel = "none" }), connect.CodeNotFound, "none")
	})
	t.Run("no such volume", func(t *testing.T) {
		refused(t, create(func(s *gozenv1.GuestSpec) { s.Disks = []*gozenv1.Disk{{Volume: "none"}} }), connect.CodeNotFound, "none")
	})
	t.Run("a bad name", func(t *testing.T) {
		refused(t, create(func(s *gozenv1.GuestSpec) { s.Name = "Not A Name" }), connect.CodeInvalidArgument, "Not A Name")
	})
	t.Run("a bad MAC address", func(t *testing.T) {
		refused(t, create(func(s *gozenv1.GuestSpec) { s.Nics = []*gozenv1.Nic{{Mac: "01:00:00:00:00:00"}} }), connect.CodeInvalidArgument, "01:00:00:00:00:00")
	})
	// None of them left a guest.
	_, err := h.guests.Get(ctx(t), connect.NewRequest(&gozenv1.GetGuestRequest{Name: "refused"}))
	refused(t, err, connect.CodeNotFound, "refused")

	t.Run("a name taken", func(t *testing.T) {
		h.create(t, small("taken"))
		_, err := h.guests.Create(ctx(t), connect.NewRequest(&gozenv1.CreateGuestRequest{Spec: small("taken")}))
		refused(t, err, connect.CodeAlreadyExists, "taken")
	})
	t.Run("a volume in use", func(t *testing.T) {
		h.volume(t, "shared", 8*mib)
		one := small("owner")
		one.Disks = []*gozenv1.Disk{{Volume: "shared"}}
		h.create(t, one)
		err := create(func(s *gozenv1.GuestSpec) { s.Disks = []*gozenv1.Disk{{Volume: "shared"}} })
		refused(t, err, connect.CodeFailedPrecondition, "shared", "owner")
		_, err = h.volumes.Delete(ctx(t), connect.NewRequest(&gozenv1.DeleteVolumeRequest{Name: "shared"}))
		refused(t, err, connect.CodeFailedPrecondition, "shared", "owner")
	})
}

// An upload that is cut, or whose content is not what its digest says, leaves
// nothing.
func testCutUpload(t *testing.T, h *host) {
	gone := func(name string) {
		t.Helper()
		_, err := h.volumes.Get(ctx(t), connect.NewRequest(&gozenv1.GetVolumeRequest{Name: name}))
		refused(t, err, connect.CodeNotFound, name)
	}
	header := func(name string) *gozenv1.UploadVolumeRequest {
		return &gozenv1.UploadVolumeRequest{Part: &gozenv1.UploadVolumeRequest_Header{Header: &gozenv1.UploadHeader{Name: name, SizeBytes: 8 * mib}}}
	}
	chunk := &gozenv1.UploadVolumeRequest{Part: &gozenv1.UploadVolumeRequest_Chunk{Chunk: &gozenv1.UploadChunk{Data: make([]byte, 4096)}}}

	s := h.volumes.Upload(ctx(t))
	if err := s.Send(header("cut")); err != nil {
		t.Fatal(err)
	}
	if err := s.Send(chunk); err != nil {
		t.Fatal(err)
	}
	_, err := s.CloseAndReceive()
	refused(t, err, connect.CodeAborted, "cut")
	gone("cut")

	s = h.volumes.Upload(ctx(t))
	_ = s.Send(header("wrong"))
	_ = s.Send(chunk)
	sum := sha256.Sum256([]byte("something else"))
	_ = s.Send(&gozenv1.UploadVolumeRequest{Part: &gozenv1.UploadVolumeRequest_Trailer{Trailer: &gozenv1.UploadTrailer{Sha256: sum[:]}}})
	_, err = s.CloseAndReceive()
	if err == nil {
		t.Fatal("content with the wrong digest was accepted")
	}
	t.Logf("refused: %v", err)
	gone("wrong")

	r, err := h.hosts.GetInfo(ctx(t), connect.NewRequest(&gozenv1.GetInfoRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	if !r.Msg.GetStorage().GetPersistent() {
		t.Errorf("storage %v, want the data disk", r.Msg.GetStorage())
	}
}
