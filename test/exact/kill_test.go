package exact_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/test/exact/upstream"
)

// killer ends agent and capture by SIGKILL, one or both, at random moments. It alone starts the agent.
type killer struct {
	*upstream.Stage
	pause           time.Duration // between two kills at most
	agents, holders atomic.Int64  // killed
	last            int           // capture that was killed last
}

func (k *killer) kills() int64 { return k.agents.Load() + k.holders.Load() }

// run kills until told otherwise and leaves the agent serving.
func (k *killer) run(ctx context.Context, enough func() bool) error {
	for ctx.Err() == nil && !enough() {
		time.Sleep(time.Duration(rand.Int64N(int64(k.pause)))) // a random moment, not a wait for something
		if err := k.once(ctx); err != nil {
			return err
		}
	}
	return k.start(ctx)
}

func (k *killer) once(ctx context.Context) error {
	what := rand.IntN(10)
	if what >= 5 {
		k.killCapture()
	}
	if what > 5 {
		return nil
	}
	if err := k.KillAgent(); err != nil {
		return err
	}
	k.agents.Add(1)
	time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond) // a service manager's pause
	if rand.IntN(4) > 0 {
		return k.start(ctx)
	}
	// The next kill may come while the agent starts.
	short, cancel := context.WithTimeout(ctx, time.Duration(rand.IntN(700))*time.Millisecond)
	defer cancel()
	if err := k.StartAgent(short); err != nil && !errors.Is(err, context.DeadlineExceeded) && short.Err() == nil {
		return err
	}
	return nil
}

// start leaves an agent that serves, whether one runs already or not.
func (k *killer) start(ctx context.Context) error {
	return errors.Join(k.KillAgent(), k.StartAgent(ctx))
}

// killCapture kills the capture that runs, if there is one.
func (k *killer) killCapture() {
	pid, err := capturePID(k.Lab.Run())
	if err != nil || pid == k.last {
		return
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if !bytes.Contains(line, []byte("capture")) || !bytes.Contains(line, []byte(k.Lab.Dir())) {
		return // the number belongs to another by now
	}
	if unix.PidfdSendSignal(fd, syscall.SIGKILL, nil, 0) == nil {
		k.holders.Add(1)
		k.last = pid
	}
}

func capturePID(run string) (int, error) {
	data, err := os.ReadFile(filepath.Join(run, "d", "capture.pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(bytes.TrimSpace(data)))
}
