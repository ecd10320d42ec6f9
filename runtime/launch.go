package runtime

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/launch"
	"github.com/dynod/dynod/runtime/spec"
)

// talkTimeout is how long dyno-init may take for one step: to take the plan, or to start the command.
const talkTimeout = 10 * time.Second

// Rlimit is one resource limit of a dyno's processes, by the kernel's number (unix.RLIMIT_NOFILE and so on).
type Rlimit = launch.Rlimit

// Plan is what a dyno runs and where its output goes. The files stay the caller's.
type Plan struct {
	Args    []string // Args[0] without a slash is looked up in the PATH of Env
	Env     []string // NAME=value, given to the command as they are
	Dir     string   // working directory
	Rlimits []Rlimit

	Stdout, Stderr         *os.File // write ends of pipes; they become the dyno's, to be opened again by their names
	KeepStdout, KeepStderr *os.File // read ends of the same pipes, which dyno-init holds open as long as it lives

	Attach *Attach // not nil: the command talks to a caller, and the pipes above stay empty
}

// LaunchError is a command that could not be started. The dyno ends by itself then, with code 126 or 127.
type LaunchError struct{ Reason string }

func (e *LaunchError) Error() string { return "start command: " + e.Reason }

// Launch gives a dyno its plan and returns once the command runs: nil also if it ran before, whoever launched it, and
// the plan is not used then. It waits until the dyno has been started. *LaunchError if the command cannot be started,
// told once. NotFound if the dyno has ended meanwhile or before; Wait tells how. InvalidArgument if the plan cannot be
// sent. An error of ctx leaves everything as it is, and Launch may be called again, by another process too.
//
// The Stdio is the caller's side of a plan with an Attach that this call has brought, and nil otherwise.
func (r *Runtime) Launch(ctx context.Context, id string, plan Plan) (*Stdio, error) {
	p, err := r.process(ctx, id)
	if err != nil {
		return nil, err
	}
	t, err := r.newTalk(id, p, plan)
	if err != nil {
		return nil, fmt.Errorf("prepare launch of dyno %s: %w", id, err)
	}
	if err := t.run(ctx, r.place(id)); err != nil {
		return nil, fmt.Errorf("launch dyno %s: %w", id, err)
	}
	return nil, nil
}

// talk is one Launch: everything that dyno-init is to be told.
type talk struct {
	process *process
	owner   int    // the dyno's user, as the host numbers it
	frame   []byte // the plan
	rights  []byte // its descriptors
	files   [launch.Descriptors]*os.File
}

func (r *Runtime) newTalk(id string, p *process, plan Plan) (*talk, error) {
	payload, err := launch.Plan{Args: plan.Args, Env: plan.Env, Dir: plan.Dir, Rlimits: plan.Rlimits}.Encode()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errdefs.ErrInvalidArgument, err)
	}
	first, err := r.place(id).firstID()
	if err != nil {
		return nil, errNoDirectory(id, err)
	}
	t := &talk{process: p, owner: first + spec.UID, frame: launch.Frame(launch.Plans, payload)}
	t.files[launch.StdoutFD], t.files[launch.StderrFD] = plan.Stdout, plan.Stderr
	t.files[launch.KeepStdoutFD], t.files[launch.KeepStderrFD] = plan.KeepStdout, plan.KeepStderr
	if err := t.take(); err != nil {
		return nil, err
	}
	r.raise(p.pid, plan.Rlimits)
	return t, nil
}

// take makes the pipes the dyno's, or a program that opens /dev/stdout again would be refused, and packs the
// descriptors. The files stay open as long as the talk, which holds them.
func (t *talk) take() error {
	fds := make([]int, len(t.files))
	for i, f := range t.files {
		if f == nil {
			return fmt.Errorf("take pipes: %w: one is missing", errdefs.ErrInvalidArgument)
		}
		if err := f.Chown(t.owner, t.owner); err != nil {
			return fmt.Errorf("give pipe to the dyno: %w", err)
		}
		raw, err := f.SyscallConn() // Fd would change how the caller's reads of its end work
		if err != nil {
			return fmt.Errorf("take pipe: %w", err)
		}
		if err := raw.Control(func(fd uintptr) { fds[i] = int(fd) }); err != nil {
			return fmt.Errorf("take pipe: %w", err)
		}
	}
	t.rights = unix.UnixRights(fds...)
	// A program does not expect a write to its output to fail because the pipe is full.
	return errors.Join(
		unix.SetNonblock(fds[launch.StdoutFD], false),
		unix.SetNonblock(fds[launch.StderrFD], false),
	)
}

// raise lifts dyno-init's hard limits to the plan's: it may not do so itself, only lower them.
func (r *Runtime) raise(pid int, limits []Rlimit) {
	for _, l := range limits {
		var now unix.Rlimit
		if unix.Prlimit(pid, l.Resource, nil, &now) != nil || l.Hard <= now.Max {
			continue
		}
		if err := unix.Prlimit(pid, l.Resource, &unix.Rlimit{Cur: now.Cur, Max: l.Hard}, nil); err != nil {
			r.warned.Do(func() {
				r.log.Warn("resource limits of dynos stay at the host's: CAP_SYS_RESOURCE is missing", "error", err)
			})
		}
	}
}

// run listens until dyno-init has said what became of the plan, to this or to an earlier process.
func (t *talk) run(ctx context.Context, p place) error {
	listener, err := listen(p.launch(), t.owner)
	if err != nil {
		return err
	}
	defer listener.Close()
	unwatch, err := t.process.watch(func() { _ = listener.Close() })
	if err != nil {
		return err
	}
	defer unwatch()
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	for {
		conn, err := listener.AcceptUnix()
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return fmt.Errorf("wait for dyno-init: %w", ctx.Err())
		case t.process.ended():
			return fmt.Errorf("wait for dyno-init: it has ended: %w", errdefs.ErrNotFound)
		default:
			return fmt.Errorf("wait for dyno-init: %w", err)
		}
		if done, err := t.serve(ctx, conn); done {
			return err
		}
	}
}

// serve is one connection. One that breaks is made again by dyno-init.
func (t *talk) serve(ctx context.Context, conn *net.UnixConn) (done bool, err error) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if peer(conn) != t.process.pid {
		return false, nil // another process of the dyno, to which nothing is told
	}
	state, reason, err := hear(conn)
	if err == nil && state == launch.Waiting {
		if err := t.send(conn); err != nil {
			return false, err
		}
		state, reason, err = hear(conn)
	}
	if err != nil || state != launch.Started && state != launch.Failed {
		return false, err
	}
	_, _ = conn.Write(launch.Frame(launch.Ack, nil)) // a dyno that has ended already needs none
	if state == launch.Failed {
		return true, &LaunchError{Reason: reason}
	}
	return true, nil
}

func hear(conn *net.UnixConn) (launch.Kind, string, error) {
	if err := conn.SetDeadline(time.Now().Add(talkTimeout)); err != nil {
		return 0, "", err
	}
	kind, payload, err := launch.Read(conn)
	return kind, string(payload), err
}

// send sends the descriptors with the first bytes.
func (t *talk) send(conn *net.UnixConn) error {
	if err := conn.SetDeadline(time.Now().Add(talkTimeout)); err != nil {
		return err
	}
	n, _, err := conn.WriteMsgUnix(t.frame[:launch.HeaderSize], t.rights, nil)
	if err != nil {
		return fmt.Errorf("send descriptors: %w", err)
	}
	if _, err := conn.Write(t.frame[n:]); err != nil {
		return fmt.Errorf("send plan: %w", err)
	}
	return nil
}
