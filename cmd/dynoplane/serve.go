package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/dynod/dynod/agent/rpc/transport"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// serveFlags are the flags of serve.
type serveFlags struct {
	listen   string
	files    transport.TLSFiles
	allow    []string
	insecure bool
	data     string
}

func serveCommand() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve --listen ADDRESS --data DIR",
		Short: "Receive reports and logs from agents",
		Long: `Serve is the control plane that agents connect to. It listens on HOST:PORT with
mutual TLS (--cert, --key, --ca, --allow), or with --insecure on the path of a
unix socket that only root and the user of this process may use.

What it receives is in plain files below --data: reports.jsonl, hosts/, logs/
and stats.json. The address in use is logged as "serving".`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.serve(cmd.Context()) },
	}
	cmd.Flags().StringVar(&f.listen, "listen", "", "HOST:PORT, or with --insecure the path of a unix socket")
	cmd.Flags().StringVar(&f.files.Cert, "cert", "", "server certificate file")
	cmd.Flags().StringVar(&f.files.Key, "key", "", "key file of that certificate")
	cmd.Flags().StringVar(&f.files.CA, "ca", "", "file with the CA of the agents' certificates")
	cmd.Flags().StringArrayVar(&f.allow, "allow", nil, "name in the certificate of an agent that may connect; may be repeated")
	cmd.Flags().BoolVar(&f.insecure, "insecure", false, "a unix socket without TLS")
	cmd.Flags().StringVar(&f.data, "data", "", "directory for what is received")
	_ = cmd.MarkFlagRequired("listen") // fails only for a flag that does not exist
	_ = cmd.MarkFlagRequired("data")
	return cmd
}

func (f serveFlags) serve(ctx context.Context) error {
	p, err := newPlane(f.data)
	if err != nil {
		return err
	}
	listener, creds, err := f.open(ctx)
	if err != nil {
		return err
	}
	server := grpc.NewServer(append(transport.ServeOptions(), grpc.Creds(creds), grpc.WaitForHandlers(true))...)
	dynodv1.RegisterUpstreamServiceServer(server, p)
	slog.Info("serving", "address", listener.Addr().String(), "data", f.data)

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.Serve(listener) })
	group.Go(func() error { return p.saveStatsEvery(ctx, 500*time.Millisecond) })
	group.Go(func() error {
		<-ctx.Done()
		server.Stop() // streams of agents have no end to wait for
		return nil
	})
	err = group.Wait()
	return errors.Join(err, p.saveStats())
}

func (f serveFlags) open(ctx context.Context) (net.Listener, credentials.TransportCredentials, error) {
	network, creds := "tcp", credentials.TransportCredentials(nil)
	if f.insecure {
		if _, _, err := net.SplitHostPort(f.listen); err == nil {
			return nil, nil, fmt.Errorf("--listen %s: --insecure is for unix sockets only", f.listen)
		}
		network, creds = "unix", transport.PeerCredentials()
		if err := removeSocket(f.listen); err != nil {
			return nil, nil, err
		}
	} else {
		config, err := transport.ServerTLS(f.files, f.allow)
		if err != nil {
			return nil, nil, err
		}
		creds = credentials.NewTLS(config)
	}
	var how net.ListenConfig
	listener, err := how.Listen(ctx, network, f.listen)
	if err != nil {
		return nil, nil, fmt.Errorf("listen: %w", err)
	}
	return listener, creds, nil
}

// removeSocket removes a socket that a killed predecessor left, and nothing that is not a socket.
func removeSocket(name string) error {
	info, err := os.Lstat(name)
	if err != nil || info.Mode().Type() != fs.ModeSocket {
		return nil //nolint:nilerr // Listen says what is wrong
	}
	if err := os.Remove(name); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

func (p *plane) saveStatsEvery(ctx context.Context, interval time.Duration) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := p.saveStats(); err != nil {
				slog.Error("counters not saved", "error", err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}
