package transport

import (
	"net"
	"sync/atomic"

	"google.golang.org/grpc/credentials"
)

// Exchange is the credentials of a listener that may change while it serves. Connections that stand keep those that
// they were admitted by.
type Exchange struct {
	credentials.TransportCredentials // the first ones, for what is not the server's side
	now                              atomic.Pointer[credentials.TransportCredentials]
}

// NewExchange begins with creds.
func NewExchange(creds credentials.TransportCredentials) *Exchange {
	e := &Exchange{TransportCredentials: creds}
	e.Set(creds)
	return e
}

// Set puts creds in force for connections that come from now on.
func (e *Exchange) Set(creds credentials.TransportCredentials) { e.now.Store(&creds) }

// ServerHandshake is that of the credentials in force.
func (e *Exchange) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return (*e.now.Load()).ServerHandshake(conn)
}

// Clone is the same one, so that Set reaches the server's copy.
func (e *Exchange) Clone() credentials.TransportCredentials { return e }
