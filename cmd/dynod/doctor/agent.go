package doctor

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// agentRuns says whether somebody keeps the agent's lock. The socket does not tell: systemd listens there for an agent
// that is stopped, and a call would start it. Nor is the lock tried, which could be in the way of an agent that starts.
// Where the kernel does not tell, an agent is believed to run.
func (h Host) agentRuns() bool {
	var file unix.Stat_t
	if err := unix.Stat(h.Config.AgentLock(), &file); err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return true
	}
	defer locks.Close()
	return locked(bufio.NewScanner(locks), fmt.Sprintf("%02x:%02x:%d", unix.Major(file.Dev), unix.Minor(file.Dev), file.Ino))
}

// locked looks for a file among lines such as "1: POSIX  ADVISORY  WRITE 708 00:1b:2307 0 EOF".
func locked(locks *bufio.Scanner, file string) bool {
	for locks.Scan() {
		if f := strings.Fields(locks.Text()); len(f) > 5 && f[1] == "POSIX" && f[5] == file {
			return true
		}
	}
	return locks.Err() != nil
}
