package main

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/cloud"
	"github.com/dynod/dynod/agent/rendezvous"
	"github.com/dynod/dynod/agent/rpc"
	"github.com/dynod/dynod/agent/rpc/transport"
	"github.com/dynod/dynod/agent/state"
	"github.com/dynod/dynod/cmd/dynod/config"
	"github.com/dynod/dynod/cmd/dynod/resolv"
	"github.com/dynod/dynod/logs"
	"github.com/dynod/dynod/network"
	"github.com/dynod/dynod/runtime"
	"github.com/dynod/dynod/systemd"
)

// runAgent puts the parts of the agent together and runs them until ctx ends or one of them fails.
func runAgent(ctx context.Context, s service) error {
	hangups := make(chan os.Signal, 1) // one that comes early waits
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	lock, err := lockHost(s.cfg)
	if err != nil {
		return err
	}
	defer lock.Close()
	upstream, err := dialUpstream(s.cfg)
	if err != nil {
		return err
	}
	parts, err := openParts(ctx, s.cfg, upstream, s.log)
	if err != nil {
		return err
	}
	defer parts.runtime.Close()
	settings, err := agentConfig(s.cfg, parts.runtime.DiskQuota())
	if err != nil {
		return err
	}
	if resolv.Servers(settings.Resolv) == nil {
		s.log.Warn("dynos have no name server that they can reach: set network.nameservers")
	}
	meet, err := rendezvous.New(s.cfg.Attach.RendezvousCA)
	if err != nil {
		return err
	}
	seen, err := openTelemetry(ctx, s.cfg, s.log)
	if err != nil {
		return err
	}
	a := agent.New(agent.Parts{
		Runtime: parts.runtime, Network: parts.network, Logs: parts.logs, Rendezvous: meet, Cloud: provider(s.cfg, s.log),
		Store: parts.store, Meter: seen.meter, Log: s.log,
	}, settings)
	doors, err := openDoors(s.cfg)
	if err != nil {
		return err
	}
	if err := a.NameReceivers(); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return parts.logs.Run(ctx) })
	group.Go(func() error { return parts.network.Run(ctx) })
	group.Go(func() error { return a.Run(ctx) })
	group.Go(func() error { return seen.run(ctx) })
	for _, server := range doors.servers(seen.watch(s.cfg, a, parts)) {
		group.Go(func() error { return server.Run(ctx, a.Ready()) })
	}
	if upstream != nil {
		r := rpc.Reporter{Agent: a, Upstream: upstream, Heartbeat: s.cfg.Upstream.Heartbeat, Log: s.log}
		group.Go(func() error { return r.Run(ctx) })
	}
	group.Go(func() error { return tellSystemd(ctx, a.Ready(), hangups, reloader{s, a, doors}) })
	group.Go(func() error { return feedWatchdog(ctx, a, s.log) })
	err = group.Wait()
	sayFarewell(parts.runtime, s.log)
	return err
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
	var opening errgroup.Group // side by side: the dynos of an earlier agent wait
	opening.Go(func() (err error) {
		p.logs, err = logs.New(ctx, logs.Config{
			SpoolDir: cfg.SpoolDir, Socket: cfg.CaptureSocket(), Capture: argv,
			SpoolBytes: cfg.Logs.SpoolBytes, HostBytes: cfg.Logs.HostSpoolBytes, KeepBytes: cfg.Logs.KeepBytes, ReceiverCA: cfg.Logs.SinkCA,
		}, sink, log)
		return err
	})
	opening.Go(func() (err error) {
		p.network, err = network.New(ctx, networkConfig(cfg), log)
		return err
	})
	opening.Go(func() (err error) {
		p.runtime, err = runtime.New(ctx, runtimeConfig(cfg), log)
		return err
	})
	err = opening.Wait()
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
		OCIRuntime: cfg.Containerd.Runtime,
		Dir:        cfg.StateDir, RunDir: filepath.Join(cfg.RunDir, "dynos"),
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

// tellSystemd says how the agent stands, and has it read its settings again on each hangup from ready on.
func tellSystemd(ctx context.Context, ready <-chan struct{}, hangups <-chan os.Signal, r reloader) error {
	select {
	case <-ready:
		r.log.Info("ready")
	case <-ctx.Done():
		return nil
	}
	for {
		if err := systemd.Ready(); err != nil {
			return err
		}
		select {
		case <-hangups:
			if err := systemd.Reloading(); err != nil {
				return err
			}
			r.reload()
		case <-ctx.Done():
			return systemd.Stopping()
		}
	}
}

// feedWatchdog has the agent ended when it does not do its work any more. A containerd that is away is no reason.
func feedWatchdog(ctx context.Context, a *agent.Agent, log *slog.Logger) error {
	return systemd.Watchdog(ctx, func(beat context.Context) error {
		err := a.Pulse(beat)
		if err != nil && ctx.Err() == nil {
			log.Error("the agent is stuck: the watchdog goes unfed", "err", err)
		}
		return err
	})
}
