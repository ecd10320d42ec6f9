package rpc

import (
	"context"
	"log/slog"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/dynod/dynod/agent/rpc/transport"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// questions are the methods that change nothing: their audit lines are of level debug.
var questions = map[string]bool{
	"GetDyno": true, "ListDynos": true, "WatchDynos": true, "StreamLogs": true, "GetHost": true, "GetMetrics": true, "ListArtifacts": true,
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
		heard := &hearing{ServerStream: stream, log: log, method: info.FullMethod}
		err := toStatus(next(srv, heard))
		audit(stream.Context(), log, info.FullMethod, heard.first.Load(), begun, err)
		return err
	}
}

// hearing keeps the first message of a stream, which says what the call is about. That a session begins is a line of
// its own: it may last for days.
type hearing struct {
	grpc.ServerStream
	log    *slog.Logger
	method string
	first  atomic.Value
}

func (h *hearing) RecvMsg(m any) error {
	err := h.ServerStream.RecvMsg(m)
	if err == nil && h.first.CompareAndSwap(nil, m) && sessions[path.Base(h.method)] {
		attrs := append(caller(h.Context(), h.method), concerned(m)...)
		h.log.LogAttrs(h.Context(), slog.LevelInfo, "session", append(attrs, command(m)...)...)
	}
	return err
}

// sessions are the methods that may last for days.
var sessions = map[string]bool{"AttachDyno": true, "ExecDyno": true}

// command is what a session runs. Its words are the caller's own, and are logged so that it answers for them.
func command(in any) []slog.Attr {
	m, ok := in.(interface{ GetStart() *dynodv1.ExecStart })
	if !ok {
		return nil
	}
	words := []string{}
	for _, w := range m.GetStart().GetCommand() {
		if len(words) == mostWords {
			words = append(words, "…")
			break
		}
		words = append(words, strconv.Quote(short(w)))
	}
	return []slog.Attr{slog.Bool("terminal", m.GetStart().GetTerminal()), slog.String("command", short(strings.Join(words, " ")))}
}

// mostWords is how many words of a command are logged.
const mostWords = 100

func audit(ctx context.Context, log *slog.Logger, method string, in any, begun time.Time, err error) {
	level := slog.LevelInfo
	if questions[path.Base(method)] {
		level = slog.LevelDebug
	}
	attrs := append(caller(ctx, method), slog.String("code", status.Code(err).String()), slog.Duration("took", time.Since(begun)))
	attrs = append(attrs, concerned(in)...)
	if err != nil {
		attrs = append(attrs, slog.String("err", short(status.Convert(err).Message())))
	}
	log.LogAttrs(ctx, level, "call", attrs...)
}

func caller(ctx context.Context, method string) []slog.Attr {
	return []slog.Attr{slog.String("method", path.Base(method)), slog.String("caller", transport.Identity(ctx))}
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
	case interface{ GetStart() *dynodv1.ExecStart }:
		return []slog.Attr{slog.String("dyno", short(m.GetStart().GetDynoId()))}
	}
	return nil
}

// short bounds what a caller can make the log grow by.
func short(s string) string { return cut(s, 1000) }

// cut keeps so many bytes of s, and marks what it has cut.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
