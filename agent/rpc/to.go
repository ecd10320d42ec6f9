package rpc

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/logs"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

var phases = map[dyno.Phase]dynodv1.Phase{
	dyno.Starting: dynodv1.Phase_PHASE_STARTING,
	dyno.Up:       dynodv1.Phase_PHASE_UP,
	dyno.Stopping: dynodv1.Phase_PHASE_STOPPING,
	dyno.Down:     dynodv1.Phase_PHASE_DOWN,
	dyno.Crashed:  dynodv1.Phase_PHASE_CRASHED,
	dyno.Complete: dynodv1.Phase_PHASE_COMPLETE,
}

func toDyno(s agent.Status) *dynodv1.Dyno {
	l := s.Spec.Limits
	return &dynodv1.Dyno{
		Id: s.ID, Generation: s.Generation, App: s.Spec.App, Name: s.Spec.Name, Type: s.Spec.Type, Size: s.Spec.Size,
		Phase: phases[s.Phase], PhaseSince: toTime(s.Since), AcceptedAt: toTime(s.Accepted),
		Limits: &dynodv1.Limits{
			MemoryBytes: l.Memory, CpuWeight: uint32(l.CPUWeight), CpuCeilingMilli: uint32(l.CPUMilli), Pids: uint32(l.Pids),
			OpenFiles: l.Files, DiskBytes: l.Disk,
		},
		Address: toAddress(s.Address), Port: uint32(s.Spec.Port), HostPort: uint32(s.HostPort), Pid: uint32(s.PID), Lives: uint32(s.Lives),
		Exit: toExit(s.Exit), NextStartAt: toTime(s.NextStart), Reason: text(s.Reason), Artifact: s.Spec.Artifact.String(),
		Command: s.Spec.Command.Shown(strconv.Itoa(int(s.Spec.Port))), Stuck: s.Stuck,
		OneOff: s.Spec.OneOff, Crashes: uint32(len(s.Crashes)), RestartPolicy: toPolicy(s.Spec.Restart),
	}
}

func toPolicy(p dyno.Policy) *dynodv1.RestartPolicy {
	if !p.Backoff {
		return &dynodv1.RestartPolicy{Kind: dynodv1.RestartPolicy_KIND_NONE}
	}
	out := &dynodv1.RestartPolicy{Kind: dynodv1.RestartPolicy_KIND_BACKOFF, ResetAfter: durationpb.New(p.ResetAfter)}
	for _, d := range p.Delays {
		out.Delays = append(out.Delays, durationpb.New(d))
	}
	return out
}

func toDynos(all []agent.Status) []*dynodv1.Dyno {
	out := make([]*dynodv1.Dyno, len(all))
	for i, s := range all {
		out[i] = inBrief(s)
	}
	return out
}

// briefly is how many bytes of each of its texts a dyno among others shows.
const briefly = 256

// inBrief is a dyno among others, in a report, list or watch: a message over transport.MaxMessageBytes is refused, and
// one dyno's long texts must not silence the whole host. GetDyno tells them whole.
func inBrief(s agent.Status) *dynodv1.Dyno {
	d := toDyno(s)
	d.Command, d.Reason = brief(d.GetCommand()), brief(d.GetReason())
	if d.GetExit() != nil {
		d.Exit.PlatformFailure = brief(d.GetExit().GetPlatformFailure())
	}
	return d
}

func brief(s string) string { return text(cut(s, briefly)) }

func toExit(e *dyno.Exit) *dynodv1.Exit {
	if e == nil {
		return nil
	}
	return &dynodv1.Exit{
		Code: int32(e.Code), Signal: int32(e.Signal), OutOfMemory: e.OOM, At: toTime(e.At),
		PlatformFailure: text(e.Failure), ErrorCode: string(e.Error),
	}
}

func toHost(h agent.Host) *dynodv1.Host {
	return &dynodv1.Host{
		Name: h.Name, AgentVersion: h.Version, BootId: h.BootID, AgentStartedAt: toTime(h.Started),
		Capacity:            &dynodv1.Capacity{MemoryBytes: h.Memory, Dynos: uint32(h.Slots), CpuMilli: uint32(h.CPUMilli)},
		Free:                &dynodv1.Capacity{MemoryBytes: h.FreeMemory, Dynos: uint32(h.FreeSlots), CpuMilli: uint32(h.CPUMilli)},
		Pressure:            toPressure(h.Pressure),
		ContainerdReachable: h.Reachable, SpoolBacklogBytes: h.Logs.Backlog.Bytes, LogDelivery: toDelivery(h.Logs.Sinks), Cordoned: h.Cordoned, Draining: h.Draining,
		Warnings: h.Warnings, Kernel: h.Kernel, Unreadable: h.Unreadable,
		DiskQuota: h.DiskQuota, Instance: toInstance(h.Cloud.Instance), Notices: toNotices(h.Cloud.Notices),
		Upstream: h.Upstream, UpstreamConnected: h.Connected, WarmSlots: uint32(h.WarmSlots),
	}
}

// toDelivery gives the kinds of sinks in one order.
func toDelivery(sinks map[string]logs.SinkAccount) []*dynodv1.LogDelivery {
	var out []*dynodv1.LogDelivery
	for _, kind := range slices.Sorted(maps.Keys(sinks)) {
		s := sinks[kind]
		d := delivery(kind, s.SinkStats)
		d.Receivers, d.OldestAt = uint32(s.Receivers), toTime(s.Oldest)
		out = append(out, d)
	}
	return out
}

func toDynoDelivery(sinks []logs.DynoSink) []*dynodv1.LogDelivery {
	var out []*dynodv1.LogDelivery
	for _, s := range sinks {
		d := delivery(s.Kind, s.SinkStats)
		d.Number, d.WaitingBytes, d.OldestAt = uint32(s.Number), s.Waiting, toTime(s.Oldest)
		out = append(out, d)
	}
	return out
}

func delivery(kind string, s logs.SinkStats) *dynodv1.LogDelivery {
	return &dynodv1.LogDelivery{
		Kind: kind, DeliveredLines: s.Lines, DeliveredBytes: s.Bytes, DroppedLines: s.Dropped, LostLines: s.Lost, Failures: s.Errors,
	}
}

func toPressure(p agent.Pressure) *dynodv1.Pressure {
	return &dynodv1.Pressure{Cpu: p.CPU, Memory: p.Memory, Io: p.IO}
}

func toLine(l logs.Line) *dynodv1.LogLine {
	return &dynodv1.LogLine{
		Stream: dynodv1.LogStream(l.Stream), Offset: l.Offset, Size: l.Size, Time: toTime(l.Time), Text: l.Text,
		Continued: l.Continued, LostBytes: l.Lost, LostLines: l.LostLines,
		LostSince: toTime(l.LostSince),
	}
}

func toRuns(runs []logs.Run) []*dynodv1.LogRun {
	out := make([]*dynodv1.LogRun, len(runs))
	for i := range runs {
		out[i] = toRun(&runs[i])
	}
	return out
}

func toRun(r *logs.Run) *dynodv1.LogRun {
	out := &dynodv1.LogRun{
		DynoId: r.Dyno, Stream: dynodv1.LogStream(r.Stream), Offset: r.Offset, Text: r.Text, Time: toTime(r.Time),
		Continued: r.Continued, LostBytes: r.Lost, LostLines: r.LostLines,
		LostSince: toTime(r.LostSince),
	}
	if n := len(r.Later); n > 0 {
		out.LaterAt, out.LaterNanos = make([]uint32, n), make([]int64, n)
	}
	for i, m := range r.Later {
		out.LaterAt[i], out.LaterNanos[i] = uint32(m.Offset-r.Offset), int64(m.Time.Sub(r.Time))
	}
	return out
}

// text makes an error's words fit for a string of the wire, which must be valid UTF-8: they may quote what a dyno's
// makers chose, and one dyno's odd bytes must not silence the reports of the whole host.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func toTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func toAddress(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
