package contender

import (
	"context"
	"fmt"
	"os/exec"
	"sync/atomic"

	"github.com/dynod/dynod/test/bench/figures"
	"github.com/dynod/dynod/test/lab"
)

// engine is a contender whose command line is Docker's.
type engine struct {
	name    string
	command func(args ...string) *exec.Cmd
	options []string // of run
	started atomic.Int64
}

// NewDocker starts a dockerd with a bridge in the lab's host and brings the root file system to it.
func NewDocker(ctx context.Context, l *lab.Lab, r Rootfs) (Detached, error) {
	d, err := l.Docker(ctx, lab.DockerBridge...)
	if err != nil {
		return nil, err
	}
	return newEngine(figures.Docker, d.Command, r)
}

// NewPodman makes a home for podman in the lab's host and brings the root file system to it.
func NewPodman(l *lab.Lab, r Rootfs) (Detached, error) {
	p, err := l.Podman()
	if err != nil {
		return nil, err
	}
	return newEngine(figures.Podman, p.Command, r, p.RunOptions()...)
}

func newEngine(name string, command func(...string) *exec.Cmd, r Rootfs, options ...string) (*engine, error) {
	err := inTurn(command("import", "--change", "WORKDIR /app", "--change", "ENV PORT=5000", r.Tar, "mark:latest"))
	return &engine{name: name, command: command, options: options}, err
}

// Name is its name in figures.
func (e *engine) Name() string { return e.name }

func (e *engine) arguments(line string, more ...string) (id string, args []string) {
	id = fmt.Sprintf("bench-%d", e.started.Add(1))
	args = append(append([]string{"run", "--rm", "--name", id}, more...), e.options...)
	return id, append(append(args, "mark:latest"), words(line)...)
}

// Start runs in the foreground.
func (e *engine) Start(_ context.Context, line string) (Container, error) {
	id, args := e.arguments(line)
	return run(e.command(args...), e.command("stop", id))
}

// Detach keeps the output as the engine keeps it.
func (e *engine) Detach(_ context.Context, line string) (Container, error) {
	id, args := e.arguments(line, "--detach")
	return detach(e.command(args...), func() error { return inTurn(e.command("rm", "--force", id)) })
}
