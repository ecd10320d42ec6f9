package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
)

// PeerInfo is who is at the other end of a unix socket, as the kernel says. It stands in the peer of a call's context.
type PeerInfo struct {
	credentials.CommonAuthInfo
	UID uint32
	PID int32 // at the time of connect; may have ended since
}

// AuthType is "unix".
func (PeerInfo) AuthType() string { return "unix" }

// peerCredentials admits unix socket clients by user id.
type peerCredentials struct {
	credentials.TransportCredentials // the client's side and the rest: as without security
	uids                             []uint32
}

// PeerCredentials are the transport credentials of a unix socket listener: a client whose user id (SO_PEERCRED) is not
// among uids is disconnected before its first call. No uids: root and the user of this process.
func PeerCredentials(uids ...uint32) credentials.TransportCredentials {
	if len(uids) == 0 {
		uids = []uint32{0, uint32(os.Geteuid())}
	}
	return peerCredentials{insecure.NewCredentials(), uids}
}

// ServerHandshake asks the kernel who connected.
func (c peerCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	cred, err := peerCred(conn)
	if err != nil {
		return nil, nil, fmt.Errorf("identify peer: %w", err)
	}
	if !slices.Contains(c.uids, cred.Uid) {
		// As with TLS: gRPC drops the error, so the refusal is logged here.
		slog.Warn("client refused: its user id is not on the allow-list", "uid", cred.Uid, "pid", cred.Pid)
		return nil, nil, fmt.Errorf("admit peer: user id %d is not on the allow-list", cred.Uid)
	}
	level := credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}
	return conn, PeerInfo{CommonAuthInfo: level, UID: cred.Uid, PID: cred.Pid}, nil
}

// Clone keeps the allow-list, which the embedded Clone would lose.
func (c peerCredentials) Clone() credentials.TransportCredentials { return c }

func peerCred(conn net.Conn) (*unix.Ucred, error) {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.New("not a unix socket")
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var optErr error
	err = raw.Control(func(fd uintptr) {
		cred, optErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return cred, errors.Join(err, optErr)
}

// Identity names the caller of an RPC for audit lines and authorization: "unix:uid=0 pid=123", "tls:<certificate's
// name>", or "unknown" where the transport proves nothing.
func Identity(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "unknown"
	}
	switch info := p.AuthInfo.(type) {
	case PeerInfo:
		return fmt.Sprintf("unix:uid=%d pid=%d", info.UID, info.PID)
	case credentials.TLSInfo:
		if certs := info.State.PeerCertificates; len(certs) > 0 {
			return "tls:" + CertificateName(certs[0])
		}
	}
	return "unknown"
}
