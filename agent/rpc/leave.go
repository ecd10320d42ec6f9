package rpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// errLeaving is what open streams end with when the agent goes away: their callers may ask its successor.
var errLeaving = status.Error(codes.Unavailable, "the agent is going away")

// leaveStream ends the context of every open stream when leaving does; one that watches would never end by itself.
func leaveStream(leaving context.Context) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		ctx, cancel := context.WithCancel(stream.Context())
		defer cancel()
		defer context.AfterFunc(leaving, cancel)()
		err := next(srv, leavingStream{stream, ctx})
		if err != nil && leaving.Err() != nil && stream.Context().Err() == nil {
			return errLeaving
		}
		return err
	}
}

type leavingStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context ends with the caller or with the agent.
func (s leavingStream) Context() context.Context { return s.ctx }
