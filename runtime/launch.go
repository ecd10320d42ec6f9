package runtime

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/launch"
	"github.com/dynod/dynod/runtime/rootfs"
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

	Stdout, Stderr *os.File   // write ends of pipes; they become the dyno's, to be opened again by their names
	Keep           []*os.File // four that dyno-init holds open as long as it lives: the read ends first

	Attach *Attach // not nil: the command talks to a caller, and the pipes above stay empty
}

// encode makes dyno-init's plan of one whose command has standard streams of a kind.
func (p Plan) encode(kind launch.Stdio) ([]byte, error) {
	plan := launch.Plan{Args: p.Args, Env: p.Env, Dir: p.Dir, Rlimits: p.Rlimits, Stdio: kind}
	if p.Attach != nil {
		plan.Rows, plan.Columns = p.Attach.Size.Rows, p.Attach.Size.Columns
	}
	payload, err := plan.Encode()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errdefs.ErrInvalidArgument, err)
	}
	return payload, nil
}

// LaunchError is a command that could not be started. The dyno ends by itself then, with code 126 or 127, unless the
// command was one of Exec.
type LaunchError struct{ Reason string }

func (e *LaunchError) Error() string { return "start command: " + e.Reason }

// Launch gives a dyno its plan and returns once the command runs: nil also if it ran before, whoever launched it, and
// the plan is not used then. It waits until the dyno has been started. *LaunchError if the command cannot be started,
// told once. NotFound if the dyno has ended meanwhile or before; Wait tells how. InvalidArgument if the plan cannot be
// sent. An error of ctx leaves everything as it is, and Launch may be called again, by another process too.
//
// The Stdio is the caller's side of a plan with an Attach that this call has brought, and nil otherwise: also if
// contact broke before the terminal came over, which is hung up then.
func (r *Runtime) Launch(ctx context.Context, id string, plan Plan) (*Stdio, error) {
	p, err := r.process(ctx, id)
	if err != nil {
		return nil, err
	}
	l, err := r.newLaunching(id, plan)
	if err != nil {
		return nil, fmt.Errorf("prepare launch of dyno %s: %w", id, err)
	}
	defer l.streams.close()
	r.raise(p.pid, plan.Rlimits)
	door, err := r.open(ctx, id, p)
	if err != nil {
		return nil, fmt.Errorf("launch dyno %s: %w", id, err)
	}
	defer door.close()
	if err := l.run(ctx, door); err != nil {
		return nil, fmt.Errorf("launch dyno %s: %w", id, err)
	}
	place := r.place(id)
	rootfs.Detach(place.rootfs(), place.app()) // each start of a container copies, and reads, all mounts of the host
	return l.streams.take(), nil
}

// launching is one Launch: everything that dyno-init is to be told.
type launching struct {
	payload []byte     // the plan
	logs    []*os.File // the log pipes
	streams *streams
	sent    bool // dyno-init may have taken the plan from here
}

func (r *Runtime) newLaunching(id string, plan Plan) (*launching, error) {
	kind := launch.Logs
	if plan.Attach != nil {
		kind = plan.Attach.kind()
	}
	payload, err := plan.encode(kind)
	if err != nil {
		return nil, err
	}
	owner, err := r.owner(id)
	if err != nil {
		return nil, err
	}
	if len(plan.Keep) != launch.Kept {
		return nil, fmt.Errorf("%w: %d files to keep instead of %d", errdefs.ErrInvalidArgument, len(plan.Keep), launch.Kept)
	}
	l := &launching{payload: payload, logs: append([]*os.File{plan.Stdout, plan.Stderr}, plan.Keep...)}
	if err := give(owner, plan.Stdout, plan.Stderr); err != nil {
		return nil, err
	}
	if err := block(plan.Stdout, plan.Stderr); err != nil {
		return nil, err
	}
	l.streams, err = newStreams(kind, owner, false)
	return l, err
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

// run speaks with dyno-init until it has said what became of the plan, to this or to an earlier process. A connection
// that breaks is made again.
func (l *launching) run(ctx context.Context, d *door) error {
	for {
		conn, err := d.next(ctx)
		if err != nil {
			return err
		}
		if done, err := l.serve(ctx, conn); done {
			return err
		}
	}
}

// serve is one connection.
func (l *launching) serve(ctx context.Context, conn *launch.Conn) (done bool, err error) {
	defer conn.Close()
	defer context.AfterFunc(ctx, conn.Close)()
	m, err := conn.Receive(talkTimeout)
	if err == nil && m.Kind == launch.Waiting {
		m.Drop()
		m, err = l.bring(conn)
	}
	if err != nil {
		return false, err
	}
	defer m.Drop()
	switch m.Kind {
	case launch.Started:
		err = l.started(m)
	case launch.Failed:
		err = &LaunchError{Reason: string(m.Payload)}
	default:
		return false, nil
	}
	_ = conn.Send(talkTimeout, launch.Ack, nil) // a dyno that has ended already needs none
	return true, err
}

// started takes the caller's side if it is this call's: a command that ran before talks to somebody else.
func (l *launching) started(m *launch.Message) error {
	if !l.sent {
		l.streams.close()
		l.streams.ours = nil
		return nil
	}
	return l.streams.receive(m)
}

// bring gives the plan to a dyno-init that waits for it, and hears what became of it.
func (l *launching) bring(conn *launch.Conn) (*launch.Message, error) {
	fds, err := descriptors(append(l.logs[:launch.LogPipes:launch.LogPipes], l.streams.theirs...)...)
	if err != nil {
		return nil, err
	}
	l.sent = true
	if err := conn.Send(talkTimeout, launch.Plans, l.payload, fds...); err != nil {
		return nil, err
	}
	return conn.Receive(talkTimeout)
}
