package agenttest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime"
)

// Command is the far side of a Stdio: what a fake command reads and writes. With a terminal all three are the terminal.
type Command struct {
	Plan                  runtime.Plan
	Stdin, Stdout, Stderr *os.File
}

// newCommand is a command and its caller's side. Standard error is apart only without an Attach, as with Exec.
func newCommand(p runtime.Plan) (*runtime.Stdio, *Command, error) {
	if p.Attach != nil && p.Attach.Terminal {
		return newTerminal(p)
	}
	command, stdio := &Command{Plan: p}, &runtime.Stdio{}
	var errs [3]error
	command.Stdin, stdio.Input, errs[0] = os.Pipe()
	stdio.Output, command.Stdout, errs[1] = os.Pipe()
	command.Stderr = command.Stdout
	if p.Attach == nil {
		stdio.Errors, command.Stderr, errs[2] = os.Pipe()
	}
	return stdio, command, errors.Join(errs[:]...)
}

// newTerminal is one of the machine's own terminals.
func newTerminal(p runtime.Plan) (*runtime.Stdio, *Command, error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	number, err := ioctlInt(master, unix.TIOCGPTN)
	if err == nil {
		_, err = ioctl(master, func(fd int) (int, error) { return 0, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0) })
	}
	if err != nil {
		return nil, nil, errors.Join(err, master.Close())
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, errors.Join(err, master.Close())
	}
	stdio := &runtime.Stdio{Input: master, Output: master, Terminal: true}
	return stdio, &Command{Plan: p, Stdin: slave, Stdout: slave, Stderr: slave}, stdio.Resize(p.Attach.Size)
}

func ioctl(f *os.File, do func(fd int) (int, error)) (n int, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	control := raw.Control(func(fd uintptr) { n, err = do(int(fd)) })
	return n, errors.Join(control, err)
}

func ioctlInt(f *os.File, request uint) (int, error) {
	return ioctl(f, func(fd int) (int, error) { return unix.IoctlGetInt(fd, request) })
}

// Size is the size of the command's terminal.
func (c *Command) Size() (size runtime.WindowSize, err error) {
	_, err = ioctl(c.Stdin, func(fd int) (int, error) {
		now, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
		if err == nil {
			size = runtime.WindowSize{Rows: now.Row, Columns: now.Col}
		}
		return 0, err
	})
	return size, err
}

func (c *Command) close() {
	for _, f := range []*os.File{c.Stdin, c.Stdout, c.Stderr} {
		_ = f.Close()
	}
}

// Process is a fake runtime.Process. It ends by Exit.
type Process struct {
	*Command
	stdio *runtime.Stdio

	mu      sync.Mutex
	signals []syscall.Signal
	ended   chan struct{}
	code    int
	lost    bool
	closed  chan struct{}
	once    sync.Once
}

func newProcess(p runtime.Plan) (*Process, error) {
	stdio, command, err := newCommand(p)
	return &Process{Command: command, stdio: stdio, ended: make(chan struct{}), closed: make(chan struct{})}, err
}

// Exit ends the process.
func (p *Process) Exit(code int) {
	p.code = code
	p.close()
	close(p.ended)
}

// Lose ends the process without anybody knowing how.
func (p *Process) Lose() {
	p.lost = true
	p.Exit(0)
}

// Leave ends the process, and leaves something behind that still holds its output.
func (p *Process) Leave(code int) {
	p.code = code
	close(p.ended)
}

// Signals is what it was sent.
func (p *Process) Signals() []syscall.Signal {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.signals
}

// Closed is closed when the caller has hung up.
func (p *Process) Closed() <-chan struct{} { return p.closed }

// Stdio is the caller's side.
func (p *Process) Stdio() *runtime.Stdio { return p.stdio }

// Wait returns the code.
func (p *Process) Wait(ctx context.Context) (int, error) {
	select {
	case <-p.ended:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if p.lost {
		return 0, fmt.Errorf("process: %w", errdefs.ErrNotFound)
	}
	return p.code, nil
}

// Signal keeps the signal.
func (p *Process) Signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signals = append(p.signals, sig)
	return nil
}

// Close closes the caller's side.
func (p *Process) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.stdio.Close()
}
