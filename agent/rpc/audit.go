package rpc

import (
	"context"
	"log/slog"
	"path"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/dynod/dynod/agent/rpc/transport"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// questions are the methods that change nothing: their audit lines are of level debug.
var questions = map[string]bool{
	"GetDyno": true, "ListDynos": true, "WatchDynos": true, "StreamLogs": true, "GetHost": true, "ListArtifacts": true,
	"Check": true, "Watch": true, "ServerReflectionInfo": true,
}

// auditUnary writes one line for each call: who, what, about whom, with what outcome; and turns errors into statuses.
// It never logs a request itself, which holds secrets.
func auditUnary(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, in any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		begun := time.Now()
		out, err := next(ctx, in)
		err = toStatus(err)
		audit(ctx, log, info.FullMethod, in, begun, err)
		return out, err
	}
}

func auditStream(log *slog.Logger) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		begun := time.Now()
		err := toStatus(next(srv, stream))
		audit(stream.Context(), log, info.FullMethod, nil, begun, err)
		return err
	}
}

func audit(ctx context.Context, log *slog.Logger, method string, in any, begun time.Time, err error) {
	level := slog.LevelInfo
	if questions[path.Base(method)] {
		level = slog.LevelDebug
	}
	attrs := []slog.Attr{
		slog.String("method", path.Base(method)), slog.String("caller", transport.Identity(ctx)),
		slog.String("code", status.Code(err).String()), slog.Duration("took", time.Since(begun)),
	}
	attrs = append(attrs, concerned(in)...)
	if err != nil {
		attrs = append(attrs, slog.String("err", short(status.Convert(err).Message())))
	}
	log.LogAttrs(ctx, level, "call", attrs...)
}

// concerned says which dyno a request is about.
func concerned(in any) []slog.Attr {
	switch m := in.(type) {
	case interface{ GetHeader() *dynodv1.OrderHeader }:
		h := m.GetHeader()
		return []slog.Attr{
			slog.String("dyno", short(h.GetDynoId())), slog.Int64("generation", h.GetGeneration()), slog.String("trace", short(h.GetTraceId())),
		}
	case interface{ GetDynoId() string }:
		return []slog.Attr{slog.String("dyno", short(m.GetDynoId()))}
	}
	return nil
}

// short bounds what a caller can make the log grow by.
func short(s string) string {
	const most = 1000 // bytes
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
