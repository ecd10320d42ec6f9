package rpc

import (
	"fmt"
	"math"
	"regexp"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/logs"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// wire converts one request and collects the fields that are malformed, so that its sender learns of all at once. What
// the fields mean is checked by the agent.
type wire struct{ bad dyno.Invalid }

func (w *wire) refuse(field, problem string, args ...any) {
	w.bad = append(w.bad, dyno.Violation{Field: field, Problem: fmt.Sprintf(problem, args...)})
}

func (w *wire) err() error {
	if len(w.bad) == 0 {
		return nil
	}
	return w.bad
}

// duration is in, or absent where it is nil. A negative or malformed one is refused.
func (w *wire) duration(field string, in *durationpb.Duration, absent time.Duration) time.Duration {
	if in == nil {
		return absent
	}
	if err := in.CheckValid(); err != nil || in.AsDuration() < 0 {
		w.refuse(field, "must be a duration of 0 or more")
		return 0
	}
	return in.AsDuration()
}

// instant is in, or zero where it is nil.
func (w *wire) instant(field string, in *timestamppb.Timestamp) time.Time {
	if in == nil {
		return time.Time{}
	}
	if err := in.CheckValid(); err != nil {
		w.refuse(field, "must be a time of the years 1 to 9999")
		return time.Time{}
	}
	return in.AsTime()
}

func (w *wire) stream(field string, in dynodv1.LogStream) logs.Stream {
	if _, known := dynodv1.LogStream_name[int32(in)]; !known || in == dynodv1.LogStream_LOG_STREAM_UNSPECIFIED {
		w.refuse(field, "no stream of number %d", in)
	}
	return logs.Stream(in)
}

var tracePattern = regexp.MustCompile(`^([0-9a-f]{32})?$`)

func (w *wire) header(in *dynodv1.OrderHeader) (id string, generation int64, notAfter time.Time) {
	if !tracePattern.MatchString(in.GetTraceId()) {
		w.refuse("header.trace_id", "must be 32 lower-case hexadecimal digits")
	}
	return in.GetDynoId(), in.GetGeneration(), w.instant("header.not_after", in.GetNotAfter())
}

func (w *wire) spec(in *dynodv1.DynoSpec) dyno.Spec {
	a, secret := artifact(in.GetArtifact())
	secret.Environment, secret.RendezvousURL = in.GetEnvironment(), in.GetAttach().GetRendezvousUrl()
	secret.LogSinks = logSinks(in.GetLogSinks())
	return dyno.Spec{
		App: in.GetApp(), Name: in.GetName(), Type: in.GetType(), Size: in.GetSize(), OneOff: in.GetOneOff(), Attach: w.attach(in.GetAttach()), NetworkPolicy: in.GetNetworkPolicy(),
		Metrics: in.GetLogRuntimeMetrics(),
		Limits: dyno.Limits{
			Memory: in.GetLimits().GetMemoryBytes(), CPUWeight: uint64(in.GetLimits().GetCpuWeight()),
			CPUMilli: int64(in.GetLimits().GetCpuCeilingMilli()), Pids: int64(in.GetLimits().GetPids()),
			Files: in.GetLimits().GetOpenFiles(), Disk: in.GetLimits().GetDiskBytes(),
		},
		Artifact: a, Secret: secret, Command: dyno.Command{Line: in.GetCommand().GetLine(), Words: in.GetCommand().GetWords()}, Port: w.port(in.GetPort()),
		BootTimeout: w.duration("spec.boot_timeout", in.GetBootTimeout(), 0), Grace: w.duration("spec.grace", in.GetGrace(), 0),
		TimeToLive: w.duration("spec.time_to_live", in.GetTimeToLive(), 0), Restart: w.policy(in.GetRestartPolicy()), Metadata: w.metadata(in.GetMetadata()),
	}
}

func (w *wire) attach(in *dynodv1.AttachRequest) *dyno.Attach {
	if in == nil {
		return nil
	}
	rows, columns := w.size("spec.attach.size", in.GetSize())
	return &dyno.Attach{Terminal: in.GetTerminal(), Rows: rows, Columns: columns}
}

func (w *wire) size(field string, in *dynodv1.WindowSize) (rows, columns uint16) {
	if in.GetRows() > math.MaxUint16 || in.GetColumns() > math.MaxUint16 {
		w.refuse(field, "must be at most %d rows and columns", math.MaxUint16)
		return 0, 0
	}
	return uint16(in.GetRows()), uint16(in.GetColumns())
}

func artifact(in *dynodv1.Artifact) (dyno.Artifact, dyno.Secret) {
	if image := in.GetImage(); image != nil {
		return dyno.Artifact{Image: image.GetReference()}, dyno.Secret{Username: image.GetUsername(), Password: image.GetPassword()}
	}
	slug := in.GetSlug()
	return dyno.Artifact{Stack: slug.GetStack(), SHA256: slug.GetSha256()}, dyno.Secret{SlugURL: slug.GetUrl()}
}

func logSinks(in []*dynodv1.LogSink) (sinks []dyno.LogSink) {
	for _, s := range in {
		sinks = append(sinks, dyno.LogSink{URL: s.GetUrl(), Token: s.GetToken()})
	}
	return sinks
}

func (w *wire) port(in uint32) uint16 {
	if in > 65535 {
		w.refuse("spec.port", "must be 1024 to 65535, not %d", in)
		return 0
	}
	return uint16(in)
}

func (w *wire) policy(in *dynodv1.RestartPolicy) dyno.Policy {
	if _, known := dynodv1.RestartPolicy_Kind_name[int32(in.GetKind())]; !known {
		w.refuse("spec.restart_policy.kind", "no policy of number %d", in.GetKind())
	}
	p := dyno.Policy{
		Backoff:    in.GetKind() == dynodv1.RestartPolicy_KIND_BACKOFF,
		ResetAfter: w.duration("spec.restart_policy.reset_after", in.GetResetAfter(), 0),
	}
	for _, d := range in.GetDelays() {
		p.Delays = append(p.Delays, w.duration("spec.restart_policy.delays", d, 0))
	}
	return p
}

func (w *wire) metadata(in *dynodv1.Metadata) dyno.Metadata {
	return dyno.Metadata{
		AppID: in.GetAppId(), ReleaseID: in.GetReleaseId(), ReleaseVersion: in.GetReleaseVersion(),
		ReleaseCreatedAt: w.instant("spec.metadata.release_created_at", in.GetReleaseCreatedAt()),
		SlugCommit:       in.GetSlugCommit(), SlugDescription: in.GetSlugDescription(), Space: in.GetSpace(),
	}
}
