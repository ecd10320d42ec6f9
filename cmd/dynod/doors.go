package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/net/netutil"
	"google.golang.org/grpc/credentials"

	"github.com/dynod/dynod/agent/rpc"
	"github.com/dynod/dynod/agent/rpc/transport"
	"github.com/dynod/dynod/cmd/dynod/config"
	"github.com/dynod/dynod/systemd"
)

// door is a place where orders come in, and who is let in there.
type door struct {
	lis   net.Listener
	creds *transport.Exchange
}

// doors are the unix socket and, where one is configured, a TCP address.
type doors struct{ local, remote *door }

func openDoors(cfg config.Config) (d doors, err error) {
	guards, err := newGuards(cfg)
	if err != nil {
		return d, err
	}
	local, err := listenLocal(cfg.API.Socket)
	if err != nil {
		return d, err
	}
	d.local = &door{local, transport.NewExchange(guards.local)}
	if cfg.API.Listen == "" {
		return d, nil
	}
	remote, err := listenRemote(cfg.API.Listen)
	if err != nil {
		return d, err
	}
	d.remote = &door{remote, transport.NewExchange(guards.remote)}
	return d, nil
}

func (d doors) servers(p rpc.ServerParts) (all []*rpc.Server) {
	for _, door := range []*door{d.local, d.remote} {
		if door != nil {
			all = append(all, rpc.NewServer(p, door.lis, door.creds))
		}
	}
	return all
}

// guard lets in whom g admits from now on.
func (d doors) guard(g guards) {
	d.local.creds.Set(g.local)
	if d.remote != nil {
		d.remote.creds.Set(g.remote)
	}
}

// guards decide who is let in; remote is nil without a TCP address.
type guards struct {
	local, remote credentials.TransportCredentials
}

func newGuards(cfg config.Config) (g guards, err error) {
	g.local = transport.PeerCredentials(cfg.API.SocketUIDs...)
	if cfg.API.Listen == "" {
		return g, nil
	}
	conf, err := transport.ServerTLS(transport.TLSFiles{Cert: cfg.API.Cert, Key: cfg.API.Key, CA: cfg.API.CA}, cfg.API.AllowedClients)
	if err != nil {
		return g, err
	}
	g.remote = credentials.NewTLS(conf)
	return g, nil
}

// listenLocal takes the socket that the service manager listens on, where calls wait while no agent runs, or else makes
// its own.
func listenLocal(path string) (net.Listener, error) {
	given, err := systemd.Listener()
	switch {
	case err != nil:
		return nil, err
	case given == nil:
		return listenUnix(path)
	case given.Addr().String() != path:
		_ = given.Close()
		return nil, &config.Error{Problems: []string{fmt.Sprintf("api.socket = %q: dynod.socket listens on %s: make both the same", path, given.Addr())}}
	}
	return given, nil
}

// connections is how many there may be by TCP at once, far more than control planes need; those beyond wait.
const connections = 512

// listenRemote lets nobody take all descriptors of the agent, who need not show a certificate for that.
func listenRemote(address string) (net.Listener, error) {
	lis, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for orders: %w", err)
	}
	return netutil.LimitListener(lis, connections), nil
}

// listenUnix takes the place of a socket that is left over: lockHost has made sure that no other agent has it.
func listenUnix(path string) (net.Listener, error) {
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = conn.Close()
		return nil, fmt.Errorf("listen for local orders: something else listens on %s; is it dynod.socket? Then systemd has to start the agent", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	lis, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for local orders: %w", err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, fmt.Errorf("restrict socket: %w", err)
	}
	return lis, nil
}
