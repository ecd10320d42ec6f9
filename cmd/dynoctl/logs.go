package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

const logsLong = `Logs shows the log lines of a dyno as far as the host still holds them:

    2026-01-02T15:04:05.000000+00:00 app[web.1]: a line of the app
    2026-01-02T15:04:05.000000+00:00 heroku[web.1]: State changed from starting to up

On a terminal, control characters are shown as escapes; into a file or pipe the
text goes as the app wrote it. --raw writes the app's bytes and nothing else,
unescaped everywhere. With --output json each line is one LogLine object, its
text in base64 (jq: .text|@base64d).`

// streams are the names of --stream.
var streams = map[string]dynodv1.LogStream{
	"stdout":   dynodv1.LogStream_LOG_STREAM_STDOUT,
	"stderr":   dynodv1.LogStream_LOG_STREAM_STDERR,
	"platform": dynodv1.LogStream_LOG_STREAM_PLATFORM,
}

// logFlags are the flags of logs.
type logFlags struct {
	follow, raw bool
	tail        int64
	since       string
	streams     []string
}

func (c *ctl) logs() *cobra.Command {
	var f logFlags
	cmd := &cobra.Command{
		Use:               "logs DYNO",
		Short:             "Show log lines of a dyno",
		Long:              logsLong,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeDynos,
		RunE: c.withAgent(func(ctx context.Context, agent dynodv1.AgentServiceClient, args []string) error {
			request, err := f.request(time.Now())
			if err != nil {
				return usageError{err}
			}
			dyno, err := resolve(ctx, agent, args[0])
			if err != nil {
				return err
			}
			request.DynoId = dyno.GetId()
			c.following = f.follow
			return c.showLogs(ctx, agent, request, c.lineWriter(dyno.GetName(), f.raw))
		}),
	}
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on with new lines until the dyno is gone")
	cmd.Flags().Int64VarP(&f.tail, "tail", "n", -1, "only the last so many lines (default: all that the host holds)")
	cmd.Flags().StringVar(&f.since, "since", "", "only lines since then: a duration (5m) or a time (2026-01-02T15:04:05Z)")
	cmd.Flags().StringArrayVar(&f.streams, "stream", nil, "only stdout, stderr or platform; may be repeated (default: all)")
	cmd.Flags().BoolVar(&f.raw, "raw", false, "the bytes of the lines, nothing before and nothing escaped")
	return cmd
}

func (f logFlags) request(now time.Time) (*dynodv1.StreamLogsRequest, error) {
	request := &dynodv1.StreamLogsRequest{Follow: f.follow}
	if f.tail > math.MaxUint32 {
		return nil, fmt.Errorf("--tail %d: too many", f.tail)
	}
	if f.tail >= 0 {
		tail := uint32(f.tail)
		request.Tail = &tail
	}
	if f.since != "" {
		since, err := parseSince(f.since, now)
		if err != nil {
			return nil, err
		}
		request.Since = timestamppb.New(since)
	}
	for _, name := range f.streams {
		stream, ok := streams[name]
		if !ok {
			return nil, fmt.Errorf("--stream %q: must be stdout, stderr or platform", name)
		}
		request.Streams = append(request.Streams, stream)
	}
	return request, nil
}

func parseSince(text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("--since %q: must be a duration such as 5m or a time such as 2026-01-02T15:04:05Z", text)
	}
	return t, nil
}

func (c *ctl) showLogs(
	ctx context.Context, agent dynodv1.AgentServiceClient, request *dynodv1.StreamLogsRequest, write func(*dynodv1.LogLine) error,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := agent.StreamLogs(ctx, request)
	if err != nil {
		return err
	}
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, line := range answer.GetLines() {
			if err := write(line); err != nil {
				return err
			}
		}
	}
}
