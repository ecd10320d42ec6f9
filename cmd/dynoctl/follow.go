package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

const (
	// awayLimit is how long the agent may be away until following ends.
	awayLimit = 2 * time.Minute
	// askAgain is the pause between two tries meanwhile.
	askAgain = 200 * time.Millisecond
)

// reader writes the lines of one dyno and remembers how far it is.
type reader struct {
	agent   dynodv1.AgentServiceClient
	request *dynodv1.StreamLogsRequest
	write   func(*dynodv1.LogLine) error

	asked   time.Time // first
	reached bool      // the agent answered the newest request
	ends    map[dynodv1.LogStream]int64
}

// showLogs writes the lines that are asked for. One that follows goes on after the agent was away.
func (c *ctl) showLogs(
	ctx context.Context, agent dynodv1.AgentServiceClient, request *dynodv1.StreamLogsRequest, write func(*dynodv1.LogLine) error,
) error {
	r := &reader{agent: agent, request: request, write: write, asked: time.Now(), ends: map[dynodv1.LogStream]int64{}}
	err := r.read(ctx, request)
	if !request.GetFollow() {
		return err
	}
	for away(err) && r.reached {
		_, _ = fmt.Fprintln(c.errOut, "dynoctl: the agent is away; waiting for it")
		err = r.resume(ctx)
	}
	return err
}

func away(err error) bool { return statusOf(err).Code() == codes.Unavailable }

// resume asks until the agent is back, and reads on. A dyno that it does not know any more has ended meanwhile.
func (r *reader) resume(ctx context.Context) error {
	tick := time.NewTicker(askAgain)
	defer tick.Stop()
	for since := time.Now(); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		err := r.read(ctx, r.onward())
		switch {
		case statusOf(err).Code() == codes.NotFound:
			return nil
		case !away(err) || r.reached || time.Since(since) > awayLimit:
			return err
		}
	}
}

// onward asks for what comes after the lines that were written. Of a stream without any, nothing is known but when
// the last lines were asked for.
func (r *reader) onward() *dynodv1.StreamLogsRequest {
	next := proto.CloneOf(r.request)
	next.After = nil
	for _, stream := range slices.Sorted(maps.Keys(r.ends)) {
		next.After = append(next.After, &dynodv1.LogCursor{Stream: stream, Offset: r.ends[stream]})
	}
	if next.Tail != nil {
		next.Tail = nil
		if next.GetSince().AsTime().Before(r.asked) {
			next.Since = timestamppb.New(r.asked)
		}
	}
	return next
}

// read writes lines until the stream ends, and gives the reason; nil if that was the end of what was asked for.
func (r *reader) read(ctx context.Context, request *dynodv1.StreamLogsRequest) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.reached = false
	stream, err := r.agent.StreamLogs(ctx, request)
	if err != nil {
		return err
	}
	head, _ := stream.Header() // what is wrong comes from Recv
	r.reached = head != nil
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, line := range answer.GetLines() {
			if err := r.write(line); err != nil {
				return err
			}
			r.ends[line.GetStream()] = line.GetOffset() + line.GetSize()
		}
	}
}
