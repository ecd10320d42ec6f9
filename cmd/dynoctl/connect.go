package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dynod/dynod/agent/rpc/transport"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// verb is the behaviour of a command that speaks to the agent.
type verb func(ctx context.Context, agent dynodv1.AgentServiceClient, args []string) error

// withAgent makes v the RunE of a command: it connects before and disconnects after.
func (c *ctl) withAgent(v verb) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		agent, hangUp, err := c.connect()
		if err != nil {
			return err
		}
		defer hangUp()
		return v(cmd.Context(), agent, args)
	}
}

// target is the agent's address in gRPC's words.
func (c *ctl) target() string {
	if c.address != "" {
		return c.address
	}
	path, err := filepath.Abs(c.socket)
	if err != nil {
		path = c.socket
	}
	return "unix://" + path
}

func (c *ctl) connect() (agent dynodv1.AgentServiceClient, hangUp func(), err error) {
	config, err := c.tls()
	if err != nil {
		return nil, nil, err
	}
	conn, err := transport.Dial(c.target(), transport.DialOptions{TLS: config, UserAgent: "dynoctl/" + version})
	if err != nil {
		return nil, nil, err
	}
	return dynodv1.NewAgentServiceClient(limitedConn{conn, c.timeout}), func() { _ = conn.Close() }, nil
}

func (c *ctl) tls() (*tls.Config, error) {
	none := c.files == transport.TLSFiles{} && c.serverName == ""
	switch {
	case c.address == "" && none:
		return nil, nil //nolint:nilnil // a unix socket has no TLS
	case c.address == "":
		return nil, usageError{errors.New("--cert, --key, --ca and --server-name are for --address")}
	case c.files.Cert == "" || c.files.Key == "" || c.files.CA == "":
		return nil, usageError{errors.New("--address needs --cert, --key and --ca")}
	}
	return transport.ClientTLS(c.files, cmp.Or(c.serverName, c.address))
}

// limitedConn ends every unary call that takes too long. Streams last as long as they need.
type limitedConn struct {
	grpc.ClientConnInterface
	limit time.Duration
}

// Invoke is a unary call.
func (l limitedConn) Invoke(ctx context.Context, method string, args, reply any, options ...grpc.CallOption) error {
	limited, cancel := context.WithTimeoutCause(ctx, l.limit, errNoAnswer)
	defer cancel()
	deadline, _ := limited.Deadline()
	err := l.ClientConnInterface.Invoke(limited, method, args, reply, options...)
	// The agent's end of the connection knows the limit too, and may be the first to see it pass.
	theirs := status.Code(err) == codes.DeadlineExceeded && time.Until(deadline) < l.limit/10
	if err != nil && (theirs || errors.Is(context.Cause(limited), errNoAnswer)) {
		return fmt.Errorf("%w within %s", errNoAnswer, l.limit)
	}
	return err
}
