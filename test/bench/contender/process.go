package contender

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

// process is a container that a command line in the foreground holds: its standard output is the application's.
type process struct {
	cmd     *exec.Cmd
	ordered Clock
	lines   chan Line
	ended   chan error
	bad     strings.Builder
	stop    *exec.Cmd // asks for SIGTERM, and ends when the container is down
	slow    bool      // stop does not wait; cmd ends when the container is down
}

// run starts cmd.
func run(cmd, stop *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, lines: make(chan Line, 16), ended: make(chan error, 1), stop: stop}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = &p.bad
	p.ordered = Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go p.read(out)
	return p, nil
}

// read takes in lines to the end of the command.
func (p *process) read(out io.Reader) {
	defer close(p.lines)
	in := bufio.NewScanner(out)
	for in.Scan() {
		p.lines <- Line{Text: in.Text(), At: Now()}
	}
	p.ended <- p.cmd.Wait()
}

func (p *process) Ordered() Clock { return p.ordered }

func (p *process) Line(ctx context.Context) (Line, error) {
	select {
	case l, ok := <-p.lines:
		if !ok {
			return l, fmt.Errorf("%s ended without a line: %s", p.cmd, p.bad.String())
		}
		return l, nil
	case <-ctx.Done():
		return Line{}, fmt.Errorf("wait for a line: %w", ctx.Err())
	}
}

func (*process) Up(context.Context) (Clock, error) { return 0, nil }

// Stop waits for the end of both commands. It took as long as the one that says that the container is down.
func (p *process) Stop(ctx context.Context) (time.Duration, error) {
	began := Now()
	if out, err := p.stop.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("stop: %w: %s", err, out)
	}
	stopped := Now().Since(began)
	select {
	case err := <-p.ended:
		if p.slow {
			stopped = Now().Since(began)
		}
		return stopped, ignoreExit(err)
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for the end of %s: %w", p.cmd, ctx.Err())
	}
}

// ignoreExit drops the status of a program that ran.
func ignoreExit(err error) error {
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return nil
	}
	return err
}
