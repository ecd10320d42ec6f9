package rpc

import (
	"context"
	"errors"

	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dynod/dynod/agent/dyno"
)

// toStatus is an error of the agent as a gRPC status. Wrong fields travel as a BadRequest detail.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, already := status.FromError(err); already {
		return err
	}
	var invalid dyno.Invalid
	switch {
	case errors.As(err, &invalid):
		return badRequest(invalid)
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	}
	return errgrpc.ToGRPC(err)
}

func badRequest(invalid dyno.Invalid) error {
	detail := &errdetails.BadRequest{}
	for _, v := range invalid {
		detail.FieldViolations = append(detail.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: v.Field, Description: v.Problem})
	}
	st := status.New(codes.InvalidArgument, invalid.Error())
	if detailed, err := st.WithDetails(detail); err == nil {
		st = detailed
	}
	return st.Err()
}
