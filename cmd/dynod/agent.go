package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/cloud"
	"github.com/dynod/dynod/agent/rendezvous"
	"github.com/dynod/dynod/agent/rpc"
	"github.com/dynod/dynod/agent/rpc/transport"
	"github.com/dynod/dynod/agent/state"
	"github.com/dynod/dynod/cmd/dynod/config"
	"github.com/dynod/dynod/logs"
	"github.com/dynod/dynod/network"
	"github.com/dynod/dynod/runtime"
	"github.com/dynod/dynod/systemd"
)

// runAgent puts the parts of the agent together and runs them until ctx ends or one of them fails.
func runAgent(ctx context.Context, cfg config.Config, log *slog.Logger) error {
	lock, err := lockHost(cfg)
	if err != nil {
		return err
	}
	defer lock.Close()
	upstream, err := dialUpstream(cfg)
	if err != nil {
		return err
	}
	parts, err := openParts(ctx, cfg, upstream, log)
	if err != nil {
		return err
	}
	defer parts.runtime.Close()
	settings, err := agentConfig(cfg, parts.runtime.DiskQuota())
	if err != nil {
		return err
	}
	meet, err := rendezvous.New(cfg.Attach.RendezvousCA)
	if err != nil {
		return err
	}
	a := agent.New(agent.Parts{
		Runtime: parts.runtime, Network: parts.network, Logs: parts.logs, Rendezvous: meet, Cloud: provider(cfg, log), Store: parts.store, Log: log,
	}, settings)
	servers, err := openServers(cfg, a, log)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return parts.logs.Run(ctx) })
	group.Go(func() error { return parts.network.Run(ctx) })
	group.Go(func() error { return a.Run(ctx) })
	for _, s := range servers {
		group.Go(func() error { return s.Run(ctx, a.Ready()) })
	}
	if upstream != nil {
		r := rpc.Reporter{Agent: a, Upstream: upstream, Heartbeat: cfg.Upstream.Heartbeat, Log: log}
		group.Go(func() error { return r.Run(ctx) })
	}
	group.Go(func() error { return tellSystemd(ctx, a, log) })
	return group.Wait()
}

// parts are what the agent is made of.
type parts struct {
	runtime *runtime.Runtime
	network *network.Network
	logs    *logs.Logs
	store   *state.Store
}

func openParts(ctx context.Context, cfg config.Config, upstream *grpc.ClientConn, log *slog.Logger) (p parts, err error) {
	if p.store, err = state.Open(filepath.Join(cfg.StateDir, "records"), filepath.Join(cfg.RunDir, "secrets")); err != nil {
		return p, err
	}
	argv, err := captureArgv()
	if err != nil {
		return p, err
	}
	var sink logs.Sink
	if upstream != nil {
		sink = rpc.NewShipper(upstream, cfg.HostName)
	}
	p.logs, err = logs.New(ctx, logs.Config{
		SpoolDir: cfg.SpoolDir, Socket: cfg.CaptureSocket(), Capture: argv,
		SpoolBytes: cfg.Logs.SpoolBytes, KeepBytes: cfg.Logs.KeepBytes, ReceiverCA: cfg.Logs.SinkCA,
	}, sink, log)
	if err != nil {
		return p, err
	}
	p.network, err = network.New(ctx, networkConfig(cfg), log)
	if err != nil {
		return p, err
	}
	p.runtime, err = runtime.New(ctx, runtimeConfig(cfg), log)
	return p, err
}

// provider is the cloud that this host may be a part of, nil for none.
func provider(cfg config.Config, log *slog.Logger) agent.Cloud {
	if cfg.Host.Cloud == "none" {
		return nil
	}
	return cloud.New(cloud.Config{Always: cfg.Host.Cloud == "ec2", Log: log})
}

func runtimeConfig(cfg config.Config) runtime.Config {
	return runtime.Config{
		Address: cfg.Containerd.Address, Namespace: cfg.Containerd.Namespace, CgroupParent: cfg.Containerd.CgroupParent, Init: cfg.Containerd.Init,
		Dir: cfg.StateDir, RunDir: filepath.Join(cfg.RunDir, "dynos"),
		Stacks: cfg.Artifacts.Stacks, UserNamespace: cfg.Host.UserNamespace, FirstID: cfg.Host.FirstUID,
		MaxSlugBytes: cfg.Artifacts.MaxSlugBytes, MaxSlugUnpackedBytes: cfg.Artifacts.MaxUnpackedBytes,
		RegistryHostsDir: cfg.Artifacts.RegistryHostsDir, PlainHTTPRegistries: cfg.Artifacts.PlainHTTPRegistries,
		AllowFile: cfg.Artifacts.AllowFileURLs, AllowHTTP: cfg.Artifacts.AllowHTTPURLs,
	}
}

func dialUpstream(cfg config.Config) (*grpc.ClientConn, error) {
	u := cfg.Upstream
	if u.Address == "" {
		return nil, nil
	}
	options := transport.DialOptions{UserAgent: "dynod/" + buildVersion()}
	if u.Cert != "" {
		var err error
		if options.TLS, err = transport.ClientTLS(transport.TLSFiles{Cert: u.Cert, Key: u.Key, CA: u.CA}, cmp.Or(u.ServerName, u.Address)); err != nil {
			return nil, err
		}
	}
	return transport.Dial(u.Address, options)
}

// openServers listens on the unix socket and, where one is configured, on a TCP address.
func openServers(cfg config.Config, a *agent.Agent, log *slog.Logger) ([]*rpc.Server, error) {
	local, err := listenUnix(cfg.API.Socket)
	if err != nil {
		return nil, err
	}
	servers := []*rpc.Server{rpc.NewServer(a, local, transport.PeerCredentials(cfg.API.SocketUIDs...), log)}
	if cfg.API.Listen == "" {
		return servers, nil
	}
	var conf *tls.Config
	if conf, err = transport.ServerTLS(transport.TLSFiles{Cert: cfg.API.Cert, Key: cfg.API.Key, CA: cfg.API.CA}, cfg.API.AllowedClients); err != nil {
		return nil, err
	}
	remote, err := net.Listen("tcp", cfg.API.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for orders: %w", err)
	}
	return append(servers, rpc.NewServer(a, remote, credentials.NewTLS(conf), log)), nil
}

// listenUnix takes the socket's place: lockHost has made sure that no other agent has it.
func listenUnix(path string) (net.Listener, error) {
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

func tellSystemd(ctx context.Context, a *agent.Agent, log *slog.Logger) error {
	select {
	case <-a.Ready():
		log.Info("ready")
		if err := systemd.Ready(); err != nil {
			return err
		}
	case <-ctx.Done():
		return nil
	}
	<-ctx.Done()
	return systemd.Stopping()
}
