package api

import (
	"context"
	"errors"
	"io"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"gozen/dom0/events"
	"gozen/dom0/fault"
	"gozen/dom0/guests"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// guestService implements gozenv1connect.GuestServiceHandler.
type guestService struct{ s Services }

func (g guestService) Create(ctx context.Context, req *connect.Request[gozenv1.CreateGuestRequest]) (*connect.Response[gozenv1.CreateGuestResponse], error) {
	guest, err := g.s.Guests.Create(req.Msg.Spec)
	if err != nil {
		return nil, err
	}
	if req.Msg.Start {
		name := guest.Spec.Name
		if guest, err = g.s.Guests.Start(ctx, name); err != nil {
			return nil, err
		}
	}
	return connect.NewResponse(&gozenv1.CreateGuestResponse{Guest: guest}), nil
}

func (g guestService) List(context.Context, *connect.Request[gozenv1.ListGuestsRequest]) (*connect.Response[gozenv1.ListGuestsResponse], error) {
	return connect.NewResponse(&gozenv1.ListGuestsResponse{Guests: g.s.Guests.List()}), nil
}

func (g guestService) Get(_ context.Context, req *connect.Request[gozenv1.GetGuestRequest]) (*connect.Response[gozenv1.GetGuestResponse], error) {
	guest, err := g.s.Guests.Get(req.Msg.Name)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&gozenv1.GetGuestResponse{Guest: guest}), nil
}

func (g guestService) Start(ctx context.Context, req *connect.Request[gozenv1.StartGuestRequest]) (*connect.Response[gozenv1.StartGuestResponse], error) {
	guest, err := g.s.Guests.Start(ctx, req.Msg.Name)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&gozenv1.StartGuestResponse{Guest: guest}), nil
}

func (g guestService) Stop(ctx context.Context, req *connect.Request[gozenv1.StopGuestRequest]) (*connect.Response[gozenv1.StopGuestResponse], error) {
	timeout, err := guests.Timeout(req.Msg.Timeout, 0)
	if err != nil {
		return nil, err
	}
	guest, killed, err := g.s.Guests.Stop(ctx, req.Msg.Name, timeout)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&gozenv1.StopGuestResponse{Guest: guest, Killed: killed}), nil
}

func (g guestService) Kill(ctx context.Context, req *connect.Request[gozenv1.KillGuestRequest]) (*connect.Response[gozenv1.KillGuestResponse], error) {
	guest, err := g.s.Guests.Kill(ctx, req.Msg.Name)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&gozenv1.KillGuestResponse{Guest: guest}), nil
}

func (g guestService) Delete(ctx context.Context, req *connect.Request[gozenv1.DeleteGuestRequest]) (*connect.Response[gozenv1.DeleteGuestResponse], error) {
	if err := g.s.Guests.Delete(ctx, req.Msg.Name, req.Msg.Force); err != nil {
		return nil, err
	}
	return connect.NewResponse(&gozenv1.DeleteGuestResponse{}), nil
}

func (g guestService) Console(ctx context.Context, stream *connect.BidiStream[gozenv1.ConsoleRequest, gozenv1.ConsoleResponse]) error {
	first, err := stream.Receive()
	if err != nil {
		return missing(err, "console: the first message must name the guest")
	}
	viewer, err := g.s.Guests.Console(first.Name, first.Replay)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		// Ends with the stream at the latest, since this handler's return ends it.
		msg := first
		for {
			if err := takeInput(ctx, viewer, msg); err != nil {
				cancel(err)
				return
			}
			var err error
			if msg, err = stream.Receive(); err != nil {
				if !errors.Is(err, io.EOF) {
					cancel(err)
				}
				return // end of input; the output goes on
			}
		}
	}()
	err = copyOutput(ctx, viewer, func(data []byte, _ uint64) error {
		return stream.Send(&gozenv1.ConsoleResponse{Data: data})
	})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

func takeInput(ctx context.Context, v *guests.Viewer, msg *gozenv1.ConsoleRequest) error {
	if size := msg.Size; size != nil {
		const most = 1<<16 - 1
		if size.Columns > most || size.Rows > most {
			return fault.New(fault.Invalid, "console: terminal of %d columns and %d rows", size.Columns, size.Rows)
		}
		if err := v.Resize(ctx, uint16(size.Columns), uint16(size.Rows)); err != nil {
			return err
		}
	}
	if len(msg.Data) == 0 {
		return nil
	}
	_, err := v.Write(msg.Data)
	return err
}

// copyOutput sends what the viewer reads until the console's end.
func copyOutput(ctx context.Context, v *guests.Viewer, send func([]byte, uint64) error) error {
	for {
		data, offset, err := v.Read(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := send(data, offset); err != nil {
			return err
		}
	}
}

func (g guestService) GetLog(ctx context.Context, req *connect.Request[gozenv1.GetGuestLogRequest], stream *connect.ServerStream[gozenv1.GetGuestLogResponse]) error {
	viewer, err := g.s.Guests.Log(req.Msg.Name, req.Msg.Follow)
	if err != nil {
		return err
	}
	return copyOutput(ctx, viewer, func(data []byte, offset uint64) error {
		return stream.Send(&gozenv1.GetGuestLogResponse{Data: data, Offset: offset})
	})
}

func (g guestService) Events(ctx context.Context, req *connect.Request[gozenv1.GuestEventsRequest], stream *connect.ServerStream[gozenv1.GuestEventsResponse]) error {
	name := req.Msg.Name
	send := func(e events.Event) error {
		if name != "" && e.Guest != name {
			return nil
		}
		return stream.Send(&gozenv1.GuestEventsResponse{Event: &gozenv1.GuestEvent{
			Sequence: e.Sequence, Time: timestamppb.New(e.Time), Guest: e.Guest,
			Kind: e.Kind, Message: e.Message, ReasonCode: e.ReasonCode,
		}})
	}
	if req.Msg.NoFollow {
		if req.Msg.Replay {
			for _, e := range g.s.Events.Retained() {
				if err := send(e); err != nil {
					return err
				}
			}
		}
		return nil
	}
	follower := g.s.Events.Follow(req.Msg.Replay)
	defer follower.Close()
	// Headers go out now, so that the client knows that nothing is missed from
	// here on.
	if err := stream.Send(nil); err != nil {
		return err
	}
	for {
		e, err := follower.Next(ctx)
		if err != nil {
			return err
		}
		if err := send(e); err != nil {
			return err
		}
	}
}

func (g guestService) Wait(ctx context.Context, req *connect.Request[gozenv1.WaitGuestRequest]) (*connect.Response[gozenv1.WaitGuestResponse], error) {
	timeout, err := guests.Timeout(req.Msg.Timeout, 0)
	if err != nil {
		return nil, err
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout,
			fault.New(fault.TimedOut, "guest %q: not in the wanted state within %s", req.Msg.Name, timeout.Round(time.Millisecond)))
		defer cancel()
	}
	guest, err := g.s.Guests.Wait(ctx, req.Msg.Name, req.Msg.States)
	if errors.Is(err, context.DeadlineExceeded) {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&gozenv1.WaitGuestResponse{Guest: guest}), nil
}

func (g guestService) Stats(ctx context.Context, req *connect.Request[gozenv1.GuestStatsRequest]) (*connect.Response[gozenv1.GuestStatsResponse], error) {
	s, err := g.s.Guests.Stats(ctx, req.Msg.Name)
	if err != nil {
		return nil, err
	}
	resp := &gozenv1.GuestStatsResponse{
		VmmExits:                 counters(s.VMM.VMMExits),
		Kvm:                      counters(s.VMM.KVM),
		CpuTime:                  durationpb.New(s.CPUTime),
		GuestMemoryResidentBytes: s.MemoryResident,
		VmmPrivateBytes:          s.VMMPrivate,
		ExitsAtConsoleOpen:       s.VMM.ExitsAtConsoleOpen,
	}
	for _, d := range s.VMM.Devices {
		resp.Devices = append(resp.Devices, &gozenv1.DeviceStats{Name: guests.Clip(d.Name), Counters: counters(d.Counters)})
	}
	return connect.NewResponse(resp), nil
}

// counters makes the names of counters, which a vmm chose, fit to be shown.
func counters(m map[string]uint64) map[string]uint64 {
	out := make(map[string]uint64, len(m))
	for k, v := range m {
		out[guests.Clip(k)] = v
	}
	return out
}

// missing explains the end of a stream where a message was due.
func missing(err error, message string) error {
	if errors.Is(err, io.EOF) {
		return fault.New(fault.Invalid, "%s", message)
	}
	return err
}
