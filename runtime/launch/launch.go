// Package launch is what the agent and dyno-init say to each other: the frames on the socket, the encoding of a
// plan in them, and a connection that carries descriptors along.
//
// It knows nothing of containers and starts nothing. It does without package net, because it is linked into
// dyno-init, of which every dyno holds a copy in memory.
//
// The talk: init connects, whenever the agent knocks, and says its State. To Waiting the agent answers with the plan
// and its descriptors; init starts the command and says Started, with the terminal if the plan wants one, or Failed.
// The agent confirms either with an Ack and closes. A connection that breaks before the Ack is made anew and begins
// with the State as it is then, so a plan is asked for if and only if init has none.
//
// To Started the agent may answer with an Exec instead: one more command. Init says Started or Failed of that one and
// keeps the connection for as long as it runs: the agent may send Signals, and init ends it with the Exit. Whoever
// breaks it earlier hangs up.
package launch

import "golang.org/x/sys/unix"

const (
	// Dir is where a dyno sees the directory with the agent's socket.
	Dir = "/run/dyno"
	// Socket is the socket's name in that directory. It is there only while an agent serves the dyno.
	Socket = "launch.sock"
	// Knock is the signal by which the agent tells init that it listens. Watching the directory would do as well, if a host gave
	// a user more than 128 watches.
	Knock = unix.SIGIO
	// shift leads from a signal to the real-time signal that Sure means.
	shift = 40
	// KeepFD is the lowest of the descriptor numbers at which init keeps what it is to keep, as long as it lives: the
	// read ends of stdout and stderr, so that no writer ever sees SIGPIPE, and the stages behind them. All are below 64: for
	// a higher one the kernel makes a larger table, for which a process with threads waits some 15 ms.
	KeepFD = 60
)

// Sure is a signal by which init learns of s even in the moment in which it falls asleep. Go's runtime lets no thread block these four,
// which by default end a program: they could be lost then, and have another number.
func Sure(s unix.Signal) unix.Signal {
	switch s {
	case unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM:
		return s + shift
	}
	return s
}

// Meant is the signal of which s may be the sure one.
func Meant(s unix.Signal) unix.Signal {
	if s > shift {
		return s - shift
	}
	return s
}

// The log pipes, which come with the first plan in this order.
const (
	StdoutFD = iota // write end, the command's stdout
	StderrFD        // write end, the command's stderr
	KeptFD          // the first one that is kept

	Kept     = 4             // how many are kept
	LogPipes = KeptFD + Kept // how many there are
)

// Streams is how many descriptors come for a command with Pipes, after the log pipes if those come too: its standard
// input, output and error.
const Streams = 3

// Stdio says what a command's standard streams are.
type Stdio byte

// The kinds of standard streams.
const (
	Logs     Stdio = iota // the log pipes, and nothing to read
	Pipes                 // the descriptors that come for it
	Terminal              // a new terminal, which becomes the controlling one
)

// Plan is what is to run. No string of it may hold a NUL byte.
type Plan struct {
	Args    []string // the command; Args[0] without a slash is looked up in the PATH of Env
	Env     []string // NAME=value, taken over as they are
	Dir     string   // absolute working directory
	Rlimits []Rlimit // of the dyno; an Exec has none of its own

	Stdio         Stdio
	Rows, Columns uint16 // of the Terminal; zero: the kernel's
}

// Streams is how many descriptors come for the command itself.
func (p Plan) Streams() int {
	if p.Stdio == Pipes {
		return Streams
	}
	return 0
}

// Rlimit is one resource limit; Resource is one of the kernel's RLIMIT numbers. What the kernel does not let init
// raise is cut to the hard limit that it has.
type Rlimit struct {
	Resource   int
	Soft, Hard uint64
}
