package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

const logsLong = `Logs shows the log lines of a dyno as far as the host still holds them:

    2026-01-02T15:04:05.000000+00:00 app[web.1]: a line of the app
    2026-01-02T15:04:05.000000+00:00 heroku[web.1]: State changed from starting to up

--tail without a number follows the log, as heroku logs does; with one it means
the same as --num. A log that is followed goes on where it was when the agent
was away for a while.

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

// sources are the names of --source.
var sources = map[string][]dynodv1.LogStream{
	"app":    {dynodv1.LogStream_LOG_STREAM_STDOUT, dynodv1.LogStream_LOG_STREAM_STDERR},
	"heroku": {dynodv1.LogStream_LOG_STREAM_PLATFORM},
}

// logFlags are the flags of logs.
type logFlags struct {
	follow, raw bool
	num         int64
	tail        string
	since       string
	source      string
	streams     []string
}

// tailAlone is --tail without a number.
const tailAlone = "follow"

func (c *ctl) logs() *cobra.Command {
	var f logFlags
	cmd := &cobra.Command{
		Use:               "logs DYNO",
		Short:             "Show log lines of a dyno",
		Long:              logsLong,
		Args:              cobra.RangeArgs(1, 2), // the second is the number of --tail, for which pflag takes no word of its own
		ValidArgsFunction: c.completeDynos,
		RunE: c.withAgent(func(ctx context.Context, agent dynodv1.AgentServiceClient, args []string) error {
			request, err := f.request(args[1:], time.Now())
			if err != nil {
				return usageError{err}
			}
			dyno, err := resolve(ctx, agent, args[0])
			if err != nil {
				return err
			}
			request.DynoId = dyno.GetId()
			c.following = request.GetFollow()
			return c.showLogs(ctx, agent, request, c.lineWriter(dyno.GetName(), f.raw))
		}),
	}
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on with new lines until the dyno is gone")
	cmd.Flags().Int64VarP(&f.num, "num", "n", -1, "only the last so many lines (default: all that the host holds)")
	cmd.Flags().StringVarP(&f.tail, "tail", "t", "", "alone: the same as --follow; with a number: the same as --num")
	cmd.Flags().Lookup("tail").NoOptDefVal = tailAlone
	cmd.Flags().StringVar(&f.since, "since", "", "only lines since then: a duration (5m) or a time (2026-01-02T15:04:05Z)")
	cmd.Flags().StringVarP(&f.source, "source", "s", "", "only what the app says (app) or the platform (heroku)")
	cmd.Flags().StringArrayVar(&f.streams, "stream", nil, "only stdout, stderr or platform; may be repeated (default: all)")
	cmd.Flags().BoolVar(&f.raw, "raw", false, "the bytes of the lines, nothing before and nothing escaped")
	return cmd
}

func (f logFlags) request(number []string, now time.Time) (*dynodv1.StreamLogsRequest, error) {
	request := &dynodv1.StreamLogsRequest{Follow: f.follow || f.tail == tailAlone && len(number) == 0}
	num, err := f.count(number)
	if err != nil {
		return nil, err
	}
	if num >= 0 {
		tail := uint32(num)
		request.Tail = &tail
	}
	if f.since != "" {
		since, err := parseSince(f.since, now)
		if err != nil {
			return nil, err
		}
		request.Since = timestamppb.New(since)
	}
	request.Streams, err = f.chosen()
	return request, err
}

// count is how many lines are asked for, below 0: all.
func (f logFlags) count(number []string) (int64, error) {
	text := f.tail
	switch {
	case len(number) > 0 && f.tail != tailAlone:
		return 0, fmt.Errorf("one dyno at a time, not %q as well", number[0])
	case len(number) > 0:
		text = number[0]
	case f.tail == "" || f.tail == tailAlone:
		if f.num > math.MaxUint32 {
			return 0, fmt.Errorf("--num %d: too many", f.num)
		}
		return f.num, nil
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("--tail %q: must be a number of lines", text)
	}
	return int64(n), nil
}

func (f logFlags) chosen() (chosen []dynodv1.LogStream, err error) {
	if f.source != "" {
		if len(f.streams) > 0 {
			return nil, errors.New("--source and --stream: only one of them")
		}
		var ok bool
		if chosen, ok = sources[f.source]; !ok {
			return nil, fmt.Errorf("--source %q: must be app or heroku", f.source)
		}
	}
	for _, name := range f.streams {
		stream, ok := streams[name]
		if !ok {
			return nil, fmt.Errorf("--stream %q: must be stdout, stderr or platform", name)
		}
		chosen = append(chosen, stream)
	}
	return chosen, nil
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
