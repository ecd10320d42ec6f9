package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// What both ends of a connection must agree on.
const (
	// MaxMessageBytes bounds one message in either direction: the largest order (environment and all) and the largest
	// batch of log lines fit several times.
	MaxMessageBytes = 4 << 20

	// A dead peer is noticed after pingEvery + pingTimeout without traffic.
	pingEvery   = 20 * time.Second
	pingTimeout = 10 * time.Second
)

// DialOptions are the settings of Dial that differ between callers.
type DialOptions struct {
	// TLS is required for every target but a unix socket, which must not have it.
	TLS *tls.Config
	// UserAgent names the program, such as "dynoctl/1.0".
	UserAgent string
}

// Dial prepares a connection to "unix:///path" or "host:port". It connects on the first call and again, with growing
// delays up to 5 s, whenever the connection is lost. Calls fail at once with UNAVAILABLE while there is none.
// HTTP proxies of the environment are not used.
func Dial(target string, options DialOptions) (*grpc.ClientConn, error) {
	creds, err := dialCredentials(target, options.TLS)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", target, err)
	}
	conn, err := grpc.NewClient(target,
		grpc.WithTransportCredentials(creds),
		grpc.WithUserAgent(options.UserAgent),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(), // else a TXT record could change how calls are made
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(MaxMessageBytes), grpc.MaxCallSendMsgSize(MaxMessageBytes)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingEvery, Timeout: pingTimeout}),
		grpc.WithConnectParams(grpc.ConnectParams{
			MinConnectTimeout: 20 * time.Second, // a shorter one has handshakes that were nearly done begun anew when many hosts come at once
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", target, err)
	}
	return conn, nil
}

func dialCredentials(target string, config *tls.Config) (credentials.TransportCredentials, error) {
	local := strings.HasPrefix(target, "unix:")
	switch {
	case local && config == nil:
		return insecure.NewCredentials(), nil
	case local:
		return nil, errors.New("a unix socket takes no TLS")
	case config == nil:
		return nil, errors.New("TLS is required for anything but a unix socket")
	default:
		return credentials.NewTLS(config), nil
	}
}

// ServeOptions are the limits of a server that Dial's clients connect to, the counterpart of what Dial sets.
func ServeOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxMessageBytes),
		grpc.MaxSendMsgSize(MaxMessageBytes),
		grpc.MaxConcurrentStreams(256), // of one connection
		grpc.MaxHeaderListSize(16 << 10),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingEvery, Timeout: pingTimeout}),
		// Half of pingEvery: a client's ping that comes early by jitter is no abuse.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingEvery / 2}),
	}
}
