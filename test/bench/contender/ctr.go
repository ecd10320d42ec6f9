package contender

import (
	"context"
	"fmt"
	"os/exec"
	"sync/atomic"
	"time"

	"github.com/dynod/dynod/test/bench/figures"
	"github.com/dynod/dynod/test/lab"
)

// Ctr is containerd's own client, on the lab's containerd. Its containers have no network and no limits, and their
// output is kept nowhere.
type Ctr struct {
	lab     *lab.Lab
	address string
	started atomic.Int64
}

// NewCtr brings the image to it.
func NewCtr(ctx context.Context, l *lab.Lab, r Rootfs) (*Ctr, error) {
	address, err := l.Containerd(ctx)
	if err != nil {
		return nil, err
	}
	c := &Ctr{lab: l, address: address}
	if out, err := c.command("images", "import", r.Archive).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("import image with ctr: %w: %s", err, out)
	}
	return c, nil
}

// Name is its name in figures.
func (*Ctr) Name() string { return figures.Ctr }

// command has a containerd namespace of its own, beside the agent's.
func (c *Ctr) command(args ...string) *exec.Cmd {
	return c.lab.Command("", append([]string{"ctr", "--address", c.address, "--namespace", c.lab.Namespace() + "-ctr"}, args...)...)
}

// Start runs in the foreground.
func (c *Ctr) Start(_ context.Context, line string) (Container, error) {
	id, args := c.arguments("--rm")
	p, err := run(c.command(append(args, words(line)...)...), c.command("tasks", "kill", "--signal", "SIGTERM", id))
	if p != nil {
		p.slow = true
	}
	return p, err
}

func (c *Ctr) arguments(more ...string) (id string, args []string) {
	id = fmt.Sprintf("ctr-%d", c.started.Add(1))
	args = append([]string{"run"}, more...)
	return id, append(args, "--cgroup", c.lab.CgroupParent()+"/"+id, "--cwd", "/app", "--env", "PORT=5000", imageName, id)
}

// Detach leaves the output to nobody.
func (c *Ctr) Detach(_ context.Context, line string) (Container, error) {
	id, args := c.arguments("--detach", "--null-io")
	return detach(c.command(append(args, words(line)...)...), func() error {
		return inTurn(c.command("tasks", "delete", "--force", id), c.command("containers", "delete", id))
	})
}

// detached is a container that no command of ours holds.
type detached struct {
	ordered Clock
	remove  func() error
}

func detach(cmd *exec.Cmd, remove func() error) (*detached, error) {
	d := &detached{ordered: Now(), remove: remove}
	return d, inTurn(cmd)
}

func (d *detached) Ordered() Clock { return d.ordered }

func (*detached) Line(context.Context) (Line, error) { return Line{}, fmt.Errorf("nobody reads it") }

func (*detached) Up(context.Context) (Clock, error) { return 0, nil }

func (d *detached) Stop(context.Context) (time.Duration, error) {
	began := Now()
	err := d.remove()
	return Now().Since(began), err
}

// inTurn runs commands one after the other.
func inTurn(cmds ...*exec.Cmd) error {
	for _, cmd := range cmds {
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", cmd, err, out)
		}
	}
	return nil
}
