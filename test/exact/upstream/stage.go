package upstream

import (
	"context"
	"errors"
	"net"

	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/rig"
)

// Stage is a platform in a lab, of the programs as they are installed, with a Server for its control plane.
type Stage struct {
	*rig.Rig
	Server *Server
}

// Open starts it and waits until the agent serves. config is appended to the agent's configuration.
func Open(ctx context.Context, l *lab.Lab, config string) (*Stage, error) {
	bin, err := rig.BuildPlain(ctx)
	if err != nil {
		return nil, err
	}
	stack, err := lab.SmallStack(ctx)
	if err != nil {
		return nil, err
	}
	r, err := rig.New(ctx, l, bin, map[string]string{"small": stack}, config)
	if err != nil {
		return nil, err
	}
	var listener net.Listener
	err = l.Do(l.Outside(), func() (err error) {
		listener, err = new(net.ListenConfig).Listen(ctx, "tcp", rig.PlaneAddress)
		return err
	})
	if err != nil {
		return nil, err
	}
	server, err := Serve(listener, r.PlaneFiles(), []string{"agent"})
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return &Stage{r, server}, r.StartAgent(ctx)
}

// Close ends agent and server. The rest goes with the lab.
func (s *Stage) Close() error {
	s.Server.Close()
	return s.Rig.Close()
}
