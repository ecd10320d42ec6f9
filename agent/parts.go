package agent

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"os"
	"syscall"
	"time"

	"github.com/dynod/dynod/agent/cloud"
	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/agent/meter"
	"github.com/dynod/dynod/agent/state"
	"github.com/dynod/dynod/logs"
	"github.com/dynod/dynod/network"
	"github.com/dynod/dynod/runtime"
)

// Runtime runs one container per id. All methods may be called again at any time, from the goroutine of that id's
// runner or a step of it, Exec and Signal from any goroutine; ctx bounds the wait, and what was begun is found again by the next call.
type Runtime interface {
	// Prepare brings the artifact to this host for a dyno, verified; it stays until Delete. A *runtime.ChecksumError means
	// that it is not what was ordered.
	Prepare(ctx context.Context, id string, a runtime.Artifact) (runtime.Prepared, error)
	// Warm makes a sandbox ahead for a slot that nobody has, for Create to take. NotFound when its stack is not here.
	// NotImplemented when there are none on this host. From one goroutine.
	Warm(ctx context.Context, s runtime.Spare) error
	// Prime makes ahead what Create needs for a slot whatever the order; it may be repeated, and left out.
	Prime(slot int) error
	// Create makes rootfs, container and task, not started, or takes a sandbox made ahead. Its artifact must be prepared, its
	// namespace there.
	Create(ctx context.Context, c runtime.Container) error
	// Start starts the task: dyno-init runs and waits for its plan.
	Start(ctx context.Context, id string) error
	// Launch hands the plan to dyno-init and returns when the command runs. A *runtime.LaunchError means that it
	// could not be executed; the exit follows. The Stdio is the caller's side of a plan with an Attach that this call has
	// brought, and nil otherwise.
	Launch(ctx context.Context, id string, p runtime.Plan) (*runtime.Stdio, error)
	// Exec starts one more command in a dyno that was launched, and returns when it runs. Of the plan only Args, Env, Dir
	// and Attach are used; without an Attach, standard output and error are apart. A *runtime.LaunchError means that it
	// could not be executed. NotFound when the dyno is gone. The Process is the caller's to close.
	Exec(ctx context.Context, id string, p runtime.Plan) (runtime.Process, error)
	// Wait returns when the dyno is gone. An error is lost contact, never an exit; NotFound: its exit is lost for good.
	Wait(ctx context.Context, id string) (runtime.Exit, error)
	// Signal reaches every process of the dyno. NotFound when it is gone.
	Signal(ctx context.Context, id string, sig syscall.Signal) error
	// Delete ends what runs and removes everything. Nil when nothing is left.
	Delete(ctx context.Context, id string) error
	// PID is the process id of the dyno's init on the host.
	PID(ctx context.Context, id string) (int, error)
	// Kept is what dyno-init keeps of its log pipes. NotFound when it has no plan yet.
	Kept(ctx context.Context, id string) ([]*os.File, error)
	// Usage reads the dyno's counters, at every sample of a running dyno. NotFound when it is gone.
	Usage(ctx context.Context, id string) (runtime.Usage, error)
	// Runnable counts the threads that run or wait for a CPU, every few seconds of a dyno that asked for metrics.
	Runnable(ctx context.Context, id string) (int, error)
	// OutOfMemory returns when the dyno's own limit has cost it a process and not ended it, with the most bytes that it
	// had (0: unknown). NotFound when it is gone. One call a life, from a goroutine of its own.
	OutOfMemory(ctx context.Context, id string) (peak uint64, err error)
	// List is everything of ours that is there, at start.
	List(ctx context.Context) ([]runtime.Found, error)
	// Ping says whether containerd answers.
	Ping(ctx context.Context) error

	// The cache of artifacts; from any goroutine.

	// Keep keeps the artifact of a dyno that has no container between two lives, until Delete; it fetches nothing.
	Keep(id string, a runtime.Artifact) error
	// Fetch brings an artifact to this host ahead of any dyno, joining a fetch that is under way. It yields how far that is
	// about twice a second and at the end, or an error as the last; who stops listening does not stop the fetch.
	Fetch(ctx context.Context, a runtime.Artifact) iter.Seq2[runtime.Progress, error]
	// Fetched has a token when artifacts have come since it was last read. One reader.
	Fetched() <-chan struct{}
	// Artifacts is all that is here, by name.
	Artifacts(ctx context.Context) ([]runtime.Cached, error)
	// Remove removes artifacts, but none that a dyno has between Prepare (or Keep) and Delete, that is being fetched or is a stack.
	// It returns the names of those that went, with an error too, and finishes what it has begun when ctx ends.
	Remove(ctx context.Context, names ...string) ([]string, error)
}

// Network gives one namespace per id. All methods may be called again at any time.
type Network interface {
	// Setup makes the namespace, or returns the one that is there.
	Setup(ctx context.Context, r network.Request) (network.Attachment, error)
	// Prepare makes one ahead for a slot that nobody has, for Setup to take, or returns the one that is there. Its paths are
	// good until then. AlreadyExists when a dyno has the slot.
	Prepare(ctx context.Context, slot int) (network.Attachment, error)
	// Warnings is what is wrong and does not mend itself, as sentences.
	Warnings() []string
	// DropSysfs takes its sysfs away, which a container that was made has.
	DropSysfs(ctx context.Context, id string) error
	// Teardown removes it. Nil when nothing is left.
	Teardown(ctx context.Context, id string) error
	// Listening says whether any process in the namespace listens on the TCP port.
	Listening(ctx context.Context, id string, port uint16) (bool, error)
	// List is everything of ours that is there, at start.
	List(ctx context.Context) ([]network.Found, error)
}

// Logs keeps the streams of each id. All methods may be called again at any time.
type Logs interface {
	// Open begins a life: fresh pipes, whose descriptors belong to the caller.
	Open(ctx context.Context, id string) (logs.Pipes, error)
	// Restore gives the log holder what dyno-init kept and it does not read; the caller keeps its own.
	Restore(ctx context.Context, id string, kept []*os.File) error
	// SetReceivers says where the lines of a dyno go besides upstream, in each agent's life before the dyno's is led, and
	// before what an earlier agent left is trimmed: the same again changes nothing. The error names no URL; the receivers that it
	// does not concern are served.
	SetReceivers(id string, from logs.Origin, receivers []logs.Receiver) error
	// Platform appends a line of the platform.
	Platform(ctx context.Context, id string, at time.Time, text string) error
	// Drained returns when the last writer of both pipes is gone and all bytes are in the spool.
	Drained(ctx context.Context, id string) error
	// Finish says that no further life will come.
	Finish(id string)
	// Shipped returns when it is Drained, every line is acknowledged upstream, and receivers have it or were waited for long enough.
	Shipped(ctx context.Context, id string) error
	// Remove removes the spool; offsets of this id begin at 0 again. Nil when there is none.
	Remove(ctx context.Context, id string) error
	// List is the ids that have a spool.
	List(ctx context.Context) ([]string, error)
	// Read reads lines.
	Read(ctx context.Context, id string, o logs.ReadOptions) iter.Seq2[logs.Line, error]
	// Account is what became of the lines of all dynos.
	Account() logs.Account
	// Sinks is what became of those of one, for each place where they go.
	Sinks(id string) []logs.DynoSink
}

// Rendezvous connects to clients of attached dynos that wait elsewhere.
type Rendezvous interface {
	// Dial connects to the place that the URL names, and shows the URL's secret. What follows are the client's bytes.
	Dial(ctx context.Context, url string) (io.ReadWriteCloser, error)
}

// Cloud is the provider of this host.
type Cloud interface {
	// Watch yields what the provider says whenever that has changed, until ctx ends, and ends at once where this is no
	// host of the provider. One caller.
	Watch(ctx context.Context) iter.Seq[cloud.State]
}

// Parts are what an agent is put together from.
type Parts struct {
	Runtime    Runtime
	Network    Network
	Logs       Logs
	Rendezvous Rendezvous
	Cloud      Cloud // nil: none
	Store      *state.Store
	Meter      *meter.Meter // nil: nobody sees what it counts
	Log        *slog.Logger
}

// Config is the agent's settings.
type Config struct {
	Host         string // its name in reports
	Version      string
	BootID       string // of this boot of the host
	Defaults     dyno.Defaults
	Slots        int           // dynos at most
	RestingSlots int           // slots beyond those, so that freed ones can rest
	Pool         int           // networks made ahead at least, before demand makes it more; 0: none
	WarmSlots    int           // sandboxes made ahead at least, before demand makes it more; 0: none
	Memory       int64         // bytes for dynos
	SampleEvery  time.Duration // between two looks at a dyno's memory; zero: never
	DiskQuota    string        // how disk quotas are held: project or none
	KeepFinished time.Duration // how long a finished dyno stays visible at least
	Upstream     string        // address of the control plane; empty: none
	AwaitReports bool          // there is a control plane: a dyno's end is kept until it is acknowledged
	Keeping      dyno.Keeping  // of artifacts
	Resolv       []byte        // /etc/resolv.conf of every dyno
	Warnings     []string      // what an operator should mend, found at start
	Reactions    map[cloud.Kind]Reaction
}
