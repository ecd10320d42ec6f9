// Package launch is what the agent and dyno-init say to each other: the frames on the socket, the encoding of a
// plan in them, and init's end of the connection with the descriptors that come along.
//
// It knows nothing of containers and starts nothing. It does without package net, because it is linked into
// dyno-init, of which every dyno holds a copy in memory.
//
// The talk: init connects and says its State. To Waiting the agent answers with the plan and four descriptors;
// init starts the command and says Started or Failed. The agent confirms either with an Ack and closes. A
// connection that breaks before the Ack is made anew and begins with the State as it is then, so a plan is asked
// for if and only if init has none.
package launch

const (
	// Dir is where a dyno sees the directory with the agent's socket.
	Dir = "/run/dyno"
	// Socket is the socket's name in that directory. It is there only while an agent serves the dyno.
	Socket = "launch.sock"
	// KeepFD is the lowest descriptor number at which init keeps the read end of stdout; KeepFD+1 is the one of
	// stderr. They stay open as long as init lives: no writer ever sees SIGPIPE, and what reads the pipes can
	// take them back through /proc/<pid>/fd.
	KeepFD = 100
)

// The descriptors that come with a plan, in this order.
const (
	StdoutFD     = iota // write end, the command's stdout
	StderrFD            // write end, the command's stderr
	KeepStdoutFD        // read end of the same pipe as StdoutFD
	KeepStderrFD        // read end of the same pipe as StderrFD
	Descriptors         // how many there are
)

// Plan is what a dyno runs. No string of it may hold a NUL byte.
type Plan struct {
	Args    []string // the command; Args[0] without a slash is looked up in the PATH of Env
	Env     []string // NAME=value, taken over as they are
	Dir     string   // absolute working directory
	Rlimits []Rlimit
}

// Rlimit is one resource limit; Resource is one of the kernel's RLIMIT numbers. What the kernel does not let init
// raise is cut to the hard limit that it has.
type Rlimit struct {
	Resource   int
	Soft, Hard uint64
}
