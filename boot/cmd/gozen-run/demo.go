package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"connectrpc.com/connect"

	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

const (
	demoName   = "demo"
	demoKernel = "demo-kernel"
	demoInitrd = "demo-initrd"

	demoMemory = 256 << 20
	demoDisk   = 64 << 20
)

// demoUp is the first line of the demo guest's banner.
var demoUp = regexp.MustCompile(`demo guest is up: address (.*), /dev/hwrng by (\S+)`)

// demo creates and starts the demo guest, and shows its console until it is up.
func (s *session) demo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, guestTimeout)
	defer cancel()
	if err := s.forgetDemo(ctx); err != nil {
		return err
	}
	for _, image := range []struct {
		name, file string
		kind       gozenv1.ImageKind
	}{
		{demoKernel, filepath.Join(s.build, "kernel/vmlinuz"), gozenv1.ImageKind_IMAGE_KIND_KERNEL},
		{demoInitrd, filepath.Join(s.build, "demo-initrd.cpio.zst"), gozenv1.ImageKind_IMAGE_KIND_INITRD},
	} {
		got, err := s.client.UploadImage(ctx, image.name, image.kind, image.file)
		if err != nil {
			return err
		}
		s.say("uploaded image %s: %.1f MiB %s", image.name, float64(got.GetSizeBytes())/(1<<20), got.GetFormat())
	}
	_, err := s.client.Volumes.Create(ctx, connect.NewRequest(&gozenv1.CreateVolumeRequest{Name: demoName, SizeBytes: demoDisk}))
	if err != nil && connect.CodeOf(err) != connect.CodeAlreadyExists {
		return fmt.Errorf("create volume %s: %w", demoName, err)
	}
	_, err = s.client.Guests.Create(ctx, connect.NewRequest(&gozenv1.CreateGuestRequest{
		Spec: &gozenv1.GuestSpec{
			Name: demoName, Vcpus: 1, MemoryBytes: demoMemory,
			Kernel: demoKernel, Initrd: demoInitrd,
			Disks: []*gozenv1.Disk{{Volume: demoName}},
			Nics:  []*gozenv1.Nic{{}},
		},
		Start: true,
	}))
	if err != nil {
		return fmt.Errorf("create and start guest %s: %w", demoName, err)
	}
	s.say("guest %s is started; its console:", demoName)
	match, err := s.showConsole(ctx)
	if err != nil {
		return err
	}
	if address := match[1]; strings.HasPrefix(address, "none") {
		return fmt.Errorf("guest %s has no network: %s", demoName, address)
	}
	if source := match[2]; !strings.HasPrefix(source, "virtio") {
		return fmt.Errorf("guest %s has no entropy from the host: /dev/hwrng is served by %s", demoName, source)
	}
	return s.sayCosts(ctx)
}

// forgetDemo removes what an earlier run left on the data disk, but its volume.
func (s *session) forgetDemo(ctx context.Context) error {
	_, err := s.client.Guests.Delete(ctx, connect.NewRequest(&gozenv1.DeleteGuestRequest{Name: demoName, Force: true}))
	if err != nil && connect.CodeOf(err) != connect.CodeNotFound {
		return fmt.Errorf("delete the demo guest of an earlier run: %w", err)
	}
	for _, name := range []string{demoKernel, demoInitrd} {
		_, err := s.client.Images.Delete(ctx, connect.NewRequest(&gozenv1.DeleteImageRequest{Name: name}))
		if err != nil && connect.CodeOf(err) != connect.CodeNotFound {
			return fmt.Errorf("delete image %s of an earlier run: %w", name, err)
		}
	}
	return nil
}

// showConsole copies the guest's console to the terminal until it says that it is
// up; it returns demoUp's match.
func (s *session) showConsole(ctx context.Context) ([]string, error) {
	// The log does not end by itself while the guest runs.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.client.Guests.GetLog(ctx, connect.NewRequest(&gozenv1.GetGuestLogRequest{Name: demoName, Follow: true}))
	if err != nil {
		return nil, fmt.Errorf("console of guest %s: %w", demoName, err)
	}
	defer stream.Close()
	var text strings.Builder
	out := s.console(os.Stdout)
	for stream.Receive() {
		text.Write(stream.Msg().GetData())
		if _, err := out.Write(stream.Msg().GetData()); err != nil {
			return nil, err
		}
		// The line must be whole before it is believed.
		if at := demoUp.FindStringSubmatchIndex(text.String()); at != nil && strings.Contains(text.String()[at[0]:], "\n") {
			fmt.Fprintln(out)
			return demoUp.FindStringSubmatch(text.String()), nil
		}
	}
	err = stream.Err()
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return nil, fmt.Errorf("guest %s did not come up: %s: its console ended: %w", demoName, s.guestState(), err)
}

// guestState describes the demo guest for an error.
func (s *session) guestState() string {
	resp, err := s.client.Guests.Get(context.Background(), connect.NewRequest(&gozenv1.GetGuestRequest{Name: demoName}))
	if err != nil {
		return err.Error()
	}
	status := resp.Msg.GetGuest().GetStatus()
	return strings.ToLower(strings.TrimPrefix(status.GetState().String(), "GUEST_STATE_")) + " " + status.GetReason()
}

// sayCosts says what the guest's start took.
func (s *session) sayCosts(ctx context.Context) error {
	resp, err := s.client.Guests.Stats(ctx, connect.NewRequest(&gozenv1.GuestStatsRequest{Name: demoName}))
	if err != nil {
		return fmt.Errorf("statistics of guest %s: %w", demoName, err)
	}
	stats := resp.Msg
	s.say("guest %s is up: %d VM exits until its userspace, %.1f MiB private memory of its vmm",
		demoName, stats.GetExitsAtConsoleOpen(), float64(stats.GetVmmPrivateBytes())/(1<<20))
	return nil
}

// stopDemo presses the guest's power button and wants it to obey.
func (s *session) stopDemo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, guestTimeout)
	defer cancel()
	s.say("stopping guest %s by its power button", demoName)
	resp, err := s.client.Guests.Stop(ctx, connect.NewRequest(&gozenv1.StopGuestRequest{Name: demoName}))
	if err != nil {
		return fmt.Errorf("stop guest %s: %w", demoName, err)
	}
	if resp.Msg.GetKilled() {
		return errors.New("guest " + demoName + " did not obey its power button and was killed")
	}
	status := resp.Msg.GetGuest().GetStatus()
	if status.GetState() != gozenv1.GuestState_GUEST_STATE_STOPPED {
		return fmt.Errorf("guest %s is not stopped but %s", demoName, s.guestState())
	}
	s.say("guest %s is off: %s", demoName, status.GetReason())
	return nil
}
