package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"

	gozenv1 "gozen/hypercalls/gen/gozen/v1"
	"gozen/qemu-tests/bench/measure"
	"gozen/qemu-tests/bench/protocol"
)

// requests and datagrams of the tasks that are counted.
const counted = 4096

// measure runs all steps: counts once, times in interleaved repetitions.
func (s *session) measure(ctx context.Context) error {
	if s.wants("count") {
		if err := s.each(ctx, protocol.Step{Part: protocol.Count}); err != nil {
			return err
		}
	}
	if tasks := s.countTasks(); len(tasks) > 0 {
		if err := s.each(ctx, protocol.Step{Part: protocol.Work, Tasks: tasks, Quick: true}); err != nil {
			return err
		}
	}
	if s.quick {
		return nil
	}
	for i := range s.repeat {
		s.say("repetition %d of %d", i+1, s.repeat)
		if err := s.repetition(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// each has every VMM do a step.
func (s *session) each(ctx context.Context, step protocol.Step) error {
	for _, x := range s.taking {
		step.Subject, step.Program = x.kind, x.program
		s.say("%s: %s %s", step.Part, x.kind, strings.Join(step.Tasks, " "))
		if err := s.do(ctx, step); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) countTasks() (tasks []string) {
	if s.wants("disk") || s.wants("count") {
		tasks = append(tasks, fmt.Sprintf("diskcount:/dev/vda,%d", counted))
	}
	if s.wants("net") || s.wants("count") {
		tasks = append(tasks, fmt.Sprintf("netcount:HOST,%d", counted))
	}
	return tasks
}

const (
	// longRepeats is how often at most the parts are run that take minutes each.
	longRepeats = 1
	// debianSeconds is enough for a slow host; who is not at the login by then will
	// not be.
	debianSeconds = 150
)

func (s *session) repetition(ctx context.Context, i int) error {
	if s.wants("start") {
		if err := s.each(ctx, protocol.Step{Part: protocol.Start}); err != nil {
			return err
		}
	}
	if s.wants("api") {
		if err := s.startByAPI(ctx); err != nil {
			s.result.Failures = append(s.result.Failures, measure.Failure{Subject: string(protocol.Gozen), Part: "api", Why: err.Error()})
		}
	}
	if s.wants("cpu") {
		if err := s.do(ctx, protocol.Step{Part: protocol.Work, Subject: protocol.Host, Tasks: []string{"cpu"}}); err != nil {
			return err
		}
	}
	if tasks := s.timedTasks(); len(tasks) > 0 {
		if err := s.each(ctx, protocol.Step{Part: protocol.Work, Tasks: tasks}); err != nil {
			return err
		}
	}
	if s.wants("net") {
		if err := s.each(ctx, protocol.Step{Part: protocol.Pair, Tasks: []string{"net:guest,GUEST"}}); err != nil {
			return err
		}
	}
	if i >= longRepeats {
		return nil
	}
	if s.wants("density") {
		if err := s.each(ctx, protocol.Step{Part: protocol.Density}); err != nil {
			return err
		}
	}
	if s.debian {
		return s.each(ctx, protocol.Step{Part: protocol.Debian, Seconds: debianSeconds})
	}
	return nil
}

func (s *session) timedTasks() (tasks []string) {
	for _, t := range []struct{ part, task string }{
		{"cpu", "cpu"}, {"exits", "exits"}, {"entropy", "entropy"},
		{"disk", "disk:file,/dev/vda"}, {"disk", "disk:raw,/dev/vdb"}, {"net", "net:host,HOST"},
	} {
		if s.wants(t.part) {
			tasks = append(tasks, t.task)
		}
	}
	return tasks
}

const apiGuest = "bench"

// startByAPI measures a start as an admin sees it: from the call to the first line
// of the guest's userspace in its log.
func (s *session) startByAPI(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := s.createAPIGuest(ctx); err != nil {
		return err
	}
	began := time.Now()
	if _, err := s.client.Guests.Start(ctx, connect.NewRequest(&gozenv1.StartGuestRequest{Name: apiGuest})); err != nil {
		return err
	}
	if err := s.waitLog(ctx, "@up"); err != nil {
		return err
	}
	s.found("start.api", float64(time.Since(began).Microseconds())/1000)
	_, err := s.client.Guests.Delete(ctx, connect.NewRequest(&gozenv1.DeleteGuestRequest{Name: apiGuest, Force: true}))
	return err
}

func (s *session) createAPIGuest(ctx context.Context) error {
	for _, image := range []struct {
		name, file string
		kind       gozenv1.ImageKind
	}{
		{"bench-kernel", filepath.Join(s.build, "guest-kernel/bzImage"), gozenv1.ImageKind_IMAGE_KIND_KERNEL},
		{"bench-initrd", filepath.Join(s.work, "start.cpio"), gozenv1.ImageKind_IMAGE_KIND_INITRD},
	} {
		_, err := s.client.UploadImage(ctx, image.name, image.kind, image.file)
		if err != nil && connect.CodeOf(err) != connect.CodeAlreadyExists {
			return err
		}
	}
	_, err := s.client.Guests.Create(ctx, connect.NewRequest(&gozenv1.CreateGuestRequest{Spec: &gozenv1.GuestSpec{
		Name: apiGuest, Vcpus: 1, MemoryBytes: 256 << 20, Kernel: "bench-kernel", Initrd: "bench-initrd", Cmdline: "console=hvc0 quiet",
	}}))
	return err
}

// waitLog waits for a text in the guest's console.
func (s *session) waitLog(ctx context.Context, text string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.client.Guests.GetLog(ctx, connect.NewRequest(&gozenv1.GetGuestLogRequest{Name: apiGuest, Follow: true}))
	if err != nil {
		return err
	}
	defer stream.Close()
	var log strings.Builder
	for stream.Receive() {
		log.Write(stream.Msg().GetData())
		if strings.Contains(log.String(), text) {
			return nil
		}
	}
	if err := stream.Err(); err != nil {
		return err
	}
	return errors.New("the guest's console ended without " + text)
}
