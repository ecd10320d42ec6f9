package rpc

import (
	"context"
	"crypto/tls"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/dynod/dynod/agent/rpc/transport"
)

// The daemon's names for what package transport gives; the clients use that package itself.
type (
	// TLSFiles is transport.TLSFiles.
	TLSFiles = transport.TLSFiles
	// DialOptions is transport.DialOptions.
	DialOptions = transport.DialOptions
)

// MaxMessageBytes is transport.MaxMessageBytes.
const MaxMessageBytes = transport.MaxMessageBytes

// ServerTLS is transport.ServerTLS.
func ServerTLS(files TLSFiles, allowed []string) (*tls.Config, error) {
	return transport.ServerTLS(files, allowed)
}

// ClientTLS is transport.ClientTLS.
func ClientTLS(files TLSFiles, serverName string) (*tls.Config, error) {
	return transport.ClientTLS(files, serverName)
}

// PeerCredentials is transport.PeerCredentials.
func PeerCredentials(uids ...uint32) credentials.TransportCredentials {
	return transport.PeerCredentials(uids...)
}

// Identity is transport.Identity.
func Identity(ctx context.Context) string { return transport.Identity(ctx) }

// Dial is transport.Dial.
func Dial(target string, options DialOptions) (*grpc.ClientConn, error) {
	return transport.Dial(target, options)
}

// ServeOptions is transport.ServeOptions.
func ServeOptions() []grpc.ServerOption { return transport.ServeOptions() }
