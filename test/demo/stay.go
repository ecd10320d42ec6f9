package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/dynod/dynod/test/lab"
)

// stay leaves the dynos running and says what to type, until ctx ends.
func (s *show) stay(ctx context.Context) error {
	if err := s.order(ctx); err != nil {
		return err
	}
	bin, err := filepath.Abs("bin")
	if err != nil {
		return err
	}
	l := s.rig.Lab
	chapter("Standing. In another terminal:")
	fmt.Printf(`  export DYNOD_SOCKET=%s PATH=%s:$PATH
  dynoctl ps
  dynoctl logs -f worker.1
  dynoctl inspect web.1
  dynoctl events
  dynoctl stop worker.1
  nsenter --net=%s curl -s http://%s:20000/     # web.1, from outside
  kill -9 %d                                     # the agent; its dynos run on

The agent's log: %s
What the control plane received: %s
Ctrl-C ends everything.
`, s.rig.Socket(), bin, l.Outside(), lab.HostAddress, s.rig.AgentPID(), filepath.Join(l.Dir(), "agent.log"), filepath.Join(l.Dir(), "plane"))
	<-ctx.Done()
	return nil
}
