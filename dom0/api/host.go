package api

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"gozen/dom0/fault"
	"gozen/dom0/guests"
	gozenv1 "gozen/hypercalls/gen/gozen/v1"
)

// Host is the host as a whole.
type Host interface {
	// Info describes the host, its guests' numbers left out.
	Info() (*gozenv1.GetInfoResponse, error)
	// Shutdown stops the guests and then begins to take the host down. It returns
	// when that has begun.
	Shutdown(ctx context.Context, reboot bool, timeout time.Duration) error
}

// defaultShutdown is the time given to guests to stop by themselves.
const defaultShutdown = 60 * time.Second

// hostService implements gozenv1connect.HostServiceHandler.
type hostService struct{ s Services }

func (h hostService) GetInfo(context.Context, *connect.Request[gozenv1.GetInfoRequest]) (*connect.Response[gozenv1.GetInfoResponse], error) {
	info, err := h.s.Host.Info()
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(info), nil
}

func (h hostService) Shutdown(ctx context.Context, req *connect.Request[gozenv1.ShutdownRequest]) (*connect.Response[gozenv1.ShutdownResponse], error) {
	timeout, err := guests.Timeout(req.Msg.Timeout, defaultShutdown)
	if err != nil {
		return nil, err
	}
	var reboot bool
	switch req.Msg.Mode {
	case gozenv1.ShutdownMode_SHUTDOWN_MODE_POWER_OFF:
	case gozenv1.ShutdownMode_SHUTDOWN_MODE_REBOOT:
		reboot = true
	default:
		return nil, fault.New(fault.Invalid, "shutdown: say whether to power off or to reboot")
	}
	if err := h.s.Host.Shutdown(ctx, reboot, timeout); err != nil {
		return nil, err
	}
	return connect.NewResponse(&gozenv1.ShutdownResponse{}), nil
}

func (h hostService) GetLog(ctx context.Context, req *connect.Request[gozenv1.GetHostLogRequest], stream *connect.ServerStream[gozenv1.GetHostLogResponse]) error {
	return h.s.HostLog.Copy(ctx, req.Msg.Follow, func(data []byte) error {
		const most = 256 << 10
		for len(data) > 0 {
			n := min(len(data), most)
			if err := stream.Send(&gozenv1.GetHostLogResponse{Data: data[:n]}); err != nil {
				return err
			}
			data = data[n:]
		}
		return nil
	})
}
