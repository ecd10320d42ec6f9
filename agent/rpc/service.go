package rpc

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/dyno"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// service answers AgentService by asking the agent. What it does not define answers UNIMPLEMENTED.
type service struct {
	dynodv1.UnimplementedAgentServiceServer
	agent   *agent.Agent
	metrics prometheus.Gatherer
}

func (s *service) StartDyno(ctx context.Context, in *dynodv1.StartDynoRequest) (*dynodv1.StartDynoResponse, error) {
	o, err := startOrder(in)
	if err != nil {
		return nil, err
	}
	d, err := s.agent.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	return &dynodv1.StartDynoResponse{Dyno: toDyno(d)}, nil
}

func (s *service) StopDyno(ctx context.Context, in *dynodv1.StopDynoRequest) (*dynodv1.StopDynoResponse, error) {
	o, err := stopOrder(in)
	if err != nil {
		return nil, err
	}
	d, err := s.agent.Stop(ctx, o)
	if err != nil || d.ID == "" {
		return &dynodv1.StopDynoResponse{}, err
	}
	return &dynodv1.StopDynoResponse{Dyno: toDyno(d)}, nil
}

func (s *service) GetDyno(ctx context.Context, in *dynodv1.GetDynoRequest) (*dynodv1.GetDynoResponse, error) {
	d, err := s.agent.Get(in.GetDynoId())
	if err != nil {
		return nil, err
	}
	out := &dynodv1.GetDynoResponse{Dyno: toDyno(d)}
	out.Dyno.LogDelivery = toDynoDelivery(s.agent.Logs.Sinks(d.ID))
	if p, err := s.agent.Pressure(ctx, d.ID); err == nil { // else it does not run
		out.Pressure = toPressure(p)
	}
	return out, nil
}

func (s *service) ListDynos(context.Context, *dynodv1.ListDynosRequest) (*dynodv1.ListDynosResponse, error) {
	return &dynodv1.ListDynosResponse{Dynos: toDynos(s.agent.List())}, nil
}

func (s *service) WatchDynos(_ *dynodv1.WatchDynosRequest, out grpc.ServerStreamingServer[dynodv1.WatchDynosResponse]) error {
	watch, all := s.agent.Watch()
	defer watch.Close()
	first := &dynodv1.DynoSnapshot{Dynos: toDynos(all)}
	if err := out.Send(&dynodv1.WatchDynosResponse{Event: &dynodv1.WatchDynosResponse_Snapshot{Snapshot: first}}); err != nil {
		return err
	}
	for {
		changed, forgotten, err := watch.Next(out.Context())
		if err != nil {
			return err
		}
		if err := sendChanges(out, changed, forgotten); err != nil {
			return err
		}
	}
}

func sendChanges(out grpc.ServerStreamingServer[dynodv1.WatchDynosResponse], changed []agent.Status, forgotten []string) error {
	for _, d := range changed {
		if err := out.Send(&dynodv1.WatchDynosResponse{Event: &dynodv1.WatchDynosResponse_Changed{Changed: inBrief(d)}}); err != nil {
			return err
		}
	}
	for _, id := range forgotten {
		if err := out.Send(&dynodv1.WatchDynosResponse{Event: &dynodv1.WatchDynosResponse_Forgotten{Forgotten: id}}); err != nil {
			return err
		}
	}
	return nil
}

func (s *service) StreamLogs(in *dynodv1.StreamLogsRequest, out grpc.ServerStreamingServer[dynodv1.StreamLogsResponse]) error {
	o, err := readOptions(in)
	if err != nil {
		return err
	}
	ctx := out.Context()
	lines, err := s.agent.Lines(ctx, in.GetDynoId(), o)
	if err != nil {
		return err
	}
	if err := out.SendHeader(nil); err != nil { // the caller knows that it is heard before there is a line
		return err
	}
	for line, err := range lines {
		if err != nil {
			return ended(ctx, err)
		}
		if err := out.Send(&dynodv1.StreamLogsResponse{Lines: []*dynodv1.LogLine{toLine(line)}}); err != nil {
			return err
		}
	}
	return nil
}

// maxSignal is the highest signal number of Linux.
const maxSignal = 64

func (s *service) SignalDyno(ctx context.Context, in *dynodv1.SignalDynoRequest) (*dynodv1.SignalDynoResponse, error) {
	sig, err := signal(in.GetSignal())
	if err != nil {
		return nil, err
	}
	return &dynodv1.SignalDynoResponse{}, s.agent.Signal(ctx, in.GetDynoId(), sig)
}

func (s *service) GetHost(context.Context, *dynodv1.GetHostRequest) (*dynodv1.GetHostResponse, error) {
	return &dynodv1.GetHostResponse{Host: toHost(s.agent.Host())}, nil
}

func (s *service) CordonHost(_ context.Context, in *dynodv1.CordonHostRequest) (*dynodv1.CordonHostResponse, error) {
	if err := dyno.ValidateReason(in.GetReason()); err != nil {
		return nil, err
	}
	if err := s.agent.Cordon(in.GetReason()); err != nil {
		return nil, err
	}
	return &dynodv1.CordonHostResponse{Host: toHost(s.agent.Host())}, nil
}

func (s *service) UncordonHost(context.Context, *dynodv1.UncordonHostRequest) (*dynodv1.UncordonHostResponse, error) {
	if err := s.agent.Uncordon(); err != nil {
		return nil, err
	}
	return &dynodv1.UncordonHostResponse{Host: toHost(s.agent.Host())}, nil
}

func (s *service) DrainHost(in *dynodv1.DrainHostRequest, out grpc.ServerStreamingServer[dynodv1.DrainHostResponse]) error {
	grace, err := drainGrace(in)
	if err != nil {
		return err
	}
	ctx := out.Context()
	watch, all := s.agent.Watch()
	defer watch.Close()
	living := countLiving(all)
	drained := make(chan error, 1)
	go func() { drained <- s.agent.Drain(ctx, grace, int(in.GetParallel())) }()
	for {
		left := countLiving(s.agent.List())
		if err := out.Send(&dynodv1.DrainHostResponse{Remaining: left, Stopped: max(living, left) - left}); err != nil {
			return err
		}
		select {
		case err := <-drained:
			if err != nil {
				return err
			}
			return out.Send(&dynodv1.DrainHostResponse{Stopped: living})
		case <-watch.Wake():
			watch.Changes()
		}
	}
}

func countLiving(all []agent.Status) (n uint32) {
	for _, d := range all {
		if !d.Ended() {
			n++
		}
	}
	return n
}
