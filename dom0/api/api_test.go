package api

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"gozen/dom0/identity"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
	"gozen/hypercalls/gen/gozen/v1/gozenv1connect"
)

func TestStrangersAreRefused(t *testing.T) {
	b := newBench(t)
	foreign, err := identity.NewCA("foreign")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := foreign.IssueAdmin("eve")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := identity.ClientConfig(pair, b.trust)
	if err != nil {
		t.Fatal(err)
	}
	none := cfg.Clone()
	none.Certificates = nil
	for name, c := range map[string]*tls.Config{"foreign": cfg, "none": none} {
		client := gozenv1connect.NewHostServiceClient(httpClient(t, c), b.url)
		if _, err := client.GetInfo(t.Context(), connect.NewRequest(&gozenv1.GetInfoRequest{})); err == nil {
			t.Errorf("a client with certificate: %s was let in", name)
		}
	}
	if _, err := b.host.GetInfo(t.Context(), connect.NewRequest(&gozenv1.GetInfoRequest{})); err != nil {
		t.Errorf("the admin is refused: %v", err)
	}
}

func TestJSON(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"/gozen.v1.HostService/GetInfo", `{}`, 200, `"hostname":"bench"`},
		{"/gozen.v1.VolumeService/Create", `{"name":"disk","sizeBytes":"1048576"}`, 200, `"sizeBytes":"1048576"`},
		{"/gozen.v1.VolumeService/Create", `{"name":"disk","size_bytes":1048576}`, 409, `"already_exists"`},
		{"/gozen.v1.VolumeService/Get", `{"name":"none"}`, 404, `"not_found"`},
		{"/gozen.v1.VolumeService/Create", `{"name":`, 400, `"invalid_argument"`},
		{"/gozen.v1.VolumeService/Create", `{"name":7}`, 400, `"invalid_argument"`},
		{"/gozen.v1.VolumeService/Create", `[]`, 400, `"invalid_argument"`},
		{"/gozen.v1.GuestService/Create", `{}`, 400, `the spec is missing`},
		{"/gozen.v1.GuestService/Create", `{"spec":{"name":"UP"}}`, 400, `a-z and 0-9`},
		{"/gozen.v1.GuestService/Stop", `{"name":"x","timeout":"-5s"}`, 400, `between 0s`},
		{"/gozen.v1.VolumeService/Frobnicate", `{}`, 404, `unimplemented`},
		{"/volumes", `{}`, 404, `POST to /SERVICE/METHOD`},
		{"/", ``, 404, `gozen.v1.GuestService`},
	} {
		status, text := b.post(c.path, c.body)
		if strings.HasPrefix(c.path, "/gozen") && strings.HasSuffix(c.path, "Frobnicate") {
			if status != c.status {
				t.Errorf("%s: %d %s", c.path, status, text)
			}
			continue
		}
		// protojson varies its white space.
		if status != c.status || !strings.Contains(strings.ReplaceAll(text, `": "`, `":"`), c.want) {
			t.Errorf("%s %s: %d %s; want %d and %s", c.path, c.body, status, text, c.status, c.want)
		}
	}
}

func TestPanicIsRecovered(t *testing.T) {
	b := newBench(t)
	ordered := b.ordered
	b.ordered = nil // the desk panics then
	_, err := b.host.GetInfo(t.Context(), connect.NewRequest(&gozenv1.GetInfoRequest{}))
	wantCode(t, err, connect.CodeInternal, "its log says where")
	b.ordered = ordered
	if _, err := b.host.GetInfo(t.Context(), connect.NewRequest(&gozenv1.GetInfoRequest{})); err != nil {
		t.Error(err)
	}
	stream, err := b.host.GetLog(t.Context(), connect.NewRequest(&gozenv1.GetHostLogRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	var text strings.Builder
	for stream.Receive() {
		text.Write(stream.Msg().Data)
	}
	if stream.Err() != nil || !strings.Contains(text.String(), "no desk") || !strings.Contains(text.String(), "admin=ada") {
		t.Errorf("log %s, %v", text.String(), stream.Err())
	}
}

func TestShutdown(t *testing.T) {
	b := newBench(t)
	_, err := b.host.Shutdown(t.Context(), connect.NewRequest(&gozenv1.ShutdownRequest{}))
	wantCode(t, err, connect.CodeInvalidArgument, "reboot")
	_, err = b.host.Shutdown(t.Context(), connect.NewRequest(&gozenv1.ShutdownRequest{Mode: gozenv1.ShutdownMode_SHUTDOWN_MODE_REBOOT}))
	if o := <-b.ordered; err != nil || !o.reboot || o.timeout != defaultShutdown {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestVolumeUpload(t *testing.T) {
	b := newBench(t)
	header := func(name string, size uint64) *gozenv1.UploadVolumeRequest {
		return &gozenv1.UploadVolumeRequest{Part: &gozenv1.UploadVolumeRequest_Header{Header: &gozenv1.UploadHeader{Name: name, SizeBytes: size}}}
	}
	chunk := func(at uint64, data string) *gozenv1.UploadVolumeRequest {
		return &gozenv1.UploadVolumeRequest{Part: &gozenv1.UploadVolumeRequest_Chunk{Chunk: &gozenv1.UploadChunk{Offset: at, Data: []byte(data)}}}
	}
	trailer := func(content []byte) *gozenv1.UploadVolumeRequest {
		sum := sha256.Sum256(content)
		return &gozenv1.UploadVolumeRequest{Part: &gozenv1.UploadVolumeRequest_Trailer{Trailer: &gozenv1.UploadTrailer{Sha256: sum[:]}}}
	}
	content := make([]byte, 1<<20)
	copy(content[4096:], "hello")
	for _, c := range []struct {
		name string
		msgs []*gozenv1.UploadVolumeRequest
		code connect.Code
		text string
	}{
		{"nothing", nil, connect.CodeAborted, "before its trailer"},
		{"no header", []*gozenv1.UploadVolumeRequest{chunk(0, "x")}, connect.CodeInvalidArgument, "header"},
		{"two headers", []*gozenv1.UploadVolumeRequest{header("v", 512), header("v", 512)}, connect.CodeInvalidArgument, "chunk or the trailer"},
		{"empty message", []*gozenv1.UploadVolumeRequest{header("v", 512), {}}, connect.CodeInvalidArgument, "chunk or the trailer"},
		{"no trailer", []*gozenv1.UploadVolumeRequest{header("v", 512), chunk(0, "x")}, connect.CodeAborted, "before its trailer"},
		{"too much", []*gozenv1.UploadVolumeRequest{header("v", 512), chunk(512, "x")}, connect.CodeInvalidArgument, "512 bytes in all"},
		{"wrong digest", []*gozenv1.UploadVolumeRequest{header("v", 512), chunk(0, "x"), trailer(nil)}, connect.CodeAborted, "SHA-256"},
		{"huge message", []*gozenv1.UploadVolumeRequest{header("v", 8<<20), chunk(0, strings.Repeat("x", 2<<20))}, connect.CodeResourceExhausted, ""},
		{"sound", []*gozenv1.UploadVolumeRequest{header("v", 1<<20), chunk(4096, "hel"), chunk(4099, "lo"), trailer(content)}, 0, ""},
	} {
		stream := b.volume.Upload(t.Context())
		for _, m := range c.msgs {
			if stream.Send(m) != nil {
				break // refused; the reason comes at the end
			}
		}
		resp, err := stream.CloseAndReceive()
		if c.code != 0 {
			if err == nil || connect.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%s: error %v; want code %v and %q in it", c.name, err, c.code, c.text)
			}
		} else if err != nil || resp.Msg.Volume.SizeBytes != 1<<20 {
			t.Errorf("%s: %v, %v", c.name, resp, err)
		}
	}
	entries, err := os.ReadDir(filepath.Join(b.dir, "volumes"))
	if err != nil || len(entries) != 1 || entries[0].Name() != "v.raw" {
		t.Errorf("files %v, %v", entries, err)
	}
	list, err := b.volume.List(t.Context(), connect.NewRequest(&gozenv1.ListVolumesRequest{}))
	if err != nil || len(list.Msg.Volumes) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := b.volume.Delete(t.Context(), connect.NewRequest(&gozenv1.DeleteVolumeRequest{Name: "v"})); err != nil {
		t.Error(err)
	}
}

func TestImages(t *testing.T) {
	b := newBench(t)
	b.addKernel()
	_, err := b.uploadImage("text", gozenv1.ImageKind_IMAGE_KIND_KERNEL, []byte(strings.Repeat("no kernel ", 200)))
	wantCode(t, err, connect.CodeInvalidArgument, "not a kernel")
	_, err = b.uploadImage("what", gozenv1.ImageKind_IMAGE_KIND_UNSPECIFIED, []byte("x"))
	wantCode(t, err, connect.CodeInvalidArgument, "kernel or an initrd")
	got, err := b.image.Get(t.Context(), connect.NewRequest(&gozenv1.GetImageRequest{Name: "vmlinuz"}))
	if err != nil || got.Msg.Image.Kind != gozenv1.ImageKind_IMAGE_KIND_KERNEL || !strings.Contains(got.Msg.Image.Format, "bzImage") {
		t.Errorf("%v, %v", got, err)
	}
	list, err := b.image.List(t.Context(), connect.NewRequest(&gozenv1.ListImagesRequest{}))
	if err != nil || len(list.Msg.Images) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := b.image.Delete(t.Context(), connect.NewRequest(&gozenv1.DeleteImageRequest{Name: "vmlinuz"})); err != nil {
		t.Error(err)
	}
}

func TestGuest(t *testing.T) {
	b := newBench(t)
	b.addKernel()
	ctx := t.Context()
	events, err := b.guest.Events(ctx, connect.NewRequest(&gozenv1.GuestEventsRequest{Name: "web"}))
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	created, err := b.guest.Create(ctx, connect.NewRequest(&gozenv1.CreateGuestRequest{Spec: &gozenv1.GuestSpec{Name: "web", Kernel: "vmlinuz"}, Start: true}))
	if err != nil || created.Msg.Guest.Status.State != gozenv1.GuestState_GUEST_STATE_RUNNING {
		t.Fatalf("%v, %v", created, err)
	}
	for _, kind := range []string{"created", "starting", "running"} {
		if !events.Receive() || events.Msg().Event.Kind != kind {
			t.Fatalf("event %v, %v; want %s", events.Msg(), events.Err(), kind)
		}
	}
	_, err = b.guest.Create(ctx, connect.NewRequest(&gozenv1.CreateGuestRequest{Spec: &gozenv1.GuestSpec{Name: "web", Kernel: "vmlinuz"}}))
	wantCode(t, err, connect.CodeAlreadyExists, "taken")
	_, err = b.guest.Start(ctx, connect.NewRequest(&gozenv1.StartGuestRequest{Name: "web"}))
	wantCode(t, err, connect.CodeFailedPrecondition, "running already")
	_, err = b.guest.Start(ctx, connect.NewRequest(&gozenv1.StartGuestRequest{Name: "none"}))
	wantCode(t, err, connect.CodeNotFound, `"none"`)
	_, err = b.guest.Create(ctx, connect.NewRequest(&gozenv1.CreateGuestRequest{Spec: &gozenv1.GuestSpec{Name: "big", Kernel: "vmlinuz", Vcpus: 3}}))
	wantCode(t, err, connect.CodeResourceExhausted, "the host has 2 CPUs")
	_, err = b.guest.Wait(ctx, connect.NewRequest(&gozenv1.WaitGuestRequest{Name: "web", Timeout: durationpb.New(time.Millisecond),
		States: []gozenv1.GuestState{gozenv1.GuestState_GUEST_STATE_STOPPED}}))
	wantCode(t, err, connect.CodeDeadlineExceeded, "not in the wanted state within 1ms")
	stats, err := b.guest.Stats(ctx, connect.NewRequest(&gozenv1.GuestStatsRequest{Name: "web"}))
	if err != nil || stats.Msg.Kvm["exits"] != 42 || len(stats.Msg.Devices) != 1 {
		t.Errorf("%v, %v", stats, err)
	}

	console := b.guest.Console(ctx)
	if err := console.Send(&gozenv1.ConsoleRequest{Name: "web", Replay: true, Size: &gozenv1.TerminalSize{Columns: 80, Rows: 24}}); err != nil {
		t.Fatal(err)
	}
	if err := console.Send(&gozenv1.ConsoleRequest{Data: []byte("print hello\n")}); err != nil {
		t.Fatal(err)
	}
	var seen strings.Builder
	for seen.String() != "size 80x24\nhello\n" {
		msg, err := console.Receive()
		if err != nil {
			t.Fatalf("after %q: %v", seen.String(), err)
		}
		seen.Write(msg.Data)
	}
	if err := console.Send(&gozenv1.ConsoleRequest{Data: []byte("poweroff\n")}); err != nil {
		t.Fatal(err)
	}
	if msg, err := console.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("the console does not end with the guest: %v, %v", msg, err)
	}
	_ = console.CloseRequest()

	log, err := b.guest.GetLog(ctx, connect.NewRequest(&gozenv1.GetGuestLogRequest{Name: "web"}))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if !log.Receive() || string(log.Msg().Data) != seen.String() || log.Receive() || log.Err() != nil {
		t.Errorf("log %v, %v", log.Msg(), log.Err())
	}
	_, err = b.guest.Stop(ctx, connect.NewRequest(&gozenv1.StopGuestRequest{Name: "web"}))
	wantCode(t, err, connect.CodeFailedPrecondition, "not running")
	if _, err := b.guest.Delete(ctx, connect.NewRequest(&gozenv1.DeleteGuestRequest{Name: "web"})); err != nil {
		t.Error(err)
	}
	list, err := b.guest.List(ctx, connect.NewRequest(&gozenv1.ListGuestsRequest{}))
	if err != nil || len(list.Msg.Guests) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	kept, err := b.guest.Events(ctx, connect.NewRequest(&gozenv1.GuestEventsRequest{Replay: true, NoFollow: true}))
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	last := ""
	for kept.Receive() {
		last = kept.Msg().Event.Kind
	}
	if kept.Err() != nil || last != "deleted" {
		t.Errorf("last event %q, %v", last, kept.Err())
	}
}

func TestConsoleRefusals(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		first *gozenv1.ConsoleRequest
		code  connect.Code
		text  string
	}{
		{nil, connect.CodeInvalidArgument, "first message"},
		{&gozenv1.ConsoleRequest{}, connect.CodeNotFound, ""},
		{&gozenv1.ConsoleRequest{Name: "none"}, connect.CodeNotFound, `"none"`},
	} {
		s := b.guest.Console(t.Context())
		if c.first != nil {
			_ = s.Send(c.first) // a refusal shows at Receive
		}
		if err := s.CloseRequest(); err != nil {
			t.Fatal(err)
		}
		_, err := s.Receive()
		wantCode(t, err, c.code, c.text)
		_ = s.CloseResponse()
	}
}

// The API does not answer at the address that guests know of.
func TestGatewayIsRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refuse := make(chan netip.Addr, 2)
	refuse <- netip.MustParseAddr("127.0.0.1")
	refuse <- netip.MustParseAddr("10.77.0.1")
	s := &selective{l, func() netip.Addr { return <-refuse }}
	defer s.Close()
	accepted := make(chan net.Conn)
	go func() {
		c, err := s.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	first, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := first.Read(make([]byte, 1)); err == nil {
		t.Error("the first connection was not closed")
	}
	second, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if c := <-accepted; c.RemoteAddr().String() != second.LocalAddr().String() {
		t.Errorf("accepted %v, want %v", c.RemoteAddr(), second.LocalAddr())
	} else {
		_ = c.Close()
	}
}
