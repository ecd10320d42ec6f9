package agent_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/runtime"
)

func attachedOrder(id string) agent.StartOrder {
	o := order(id, "run.1")
	o.Spec.OneOff, o.Spec.Attach = true, &dyno.Attach{}
	return o
}

// attach makes the test the client of a dyno that is ready for it.
func (h *host) attach(id string) *agent.Session {
	h.t.Helper()
	s, err := h.Attach(h.t.Context(), id)
	if err != nil {
		h.t.Fatalf("attach: %v", err)
	}
	h.t.Cleanup(s.Close)
	synctest.Wait()
	return s
}

var (
	awaited  = []string{"Awaiting client"}
	started  = append(slices.Clone(awaited), "Starting process with command `run`", "State changed from starting to up")
	hungUp   = append(slices.Clone(started), "Client connection closed. Sending SIGHUP to all processes")
	detached = append(slices.Clone(hungUp), "Error R16 (Detached) -> An attached process is not responding to SIGHUP after its external connection was closed.")
)

func TestAttachedDynoLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		o := attachedOrder(first)
		o.Spec.Attach = &dyno.Attach{Terminal: true, Rows: 24, Columns: 80}
		h.start(o)
		h.phase(first, dyno.Starting)
		h.said(first, awaited...)
		time.Sleep(29 * time.Second)
		s := h.attach(first)
		h.phase(first, dyno.Up)
		h.said(first, started...)
		if plan := h.runtime.Plan(first); *plan.Attach != (runtime.Attach{Terminal: true, Size: runtime.WindowSize{Rows: 24, Columns: 80}}) || !slices.Contains(plan.Env, "TERM=xterm") {
			t.Errorf("plan: %+v", plan)
		}
		if err := s.Signal(t.Context(), syscall.SIGUSR1); err != nil || !slices.Equal(h.runtime.Signals(first), []syscall.Signal{syscall.SIGUSR1}) {
			t.Errorf("signal: %v, %v", err, h.runtime.Signals(first))
		}
		time.Sleep(time.Hour)
		h.phase(first, dyno.Up)
		h.runtime.Exit(first, runtime.Exit{Code: 7})
		if exit, err := s.Wait(t.Context()); err != nil || exit.Code != 7 {
			t.Errorf("exit: %+v %v", exit, err)
		}
		h.phase(first, dyno.Complete)
		s.Close() // after the end it means nothing
		h.said(first, append(slices.Clone(started), "Process exited with status 7", "State changed from up to complete")...)
	})
}

func TestNobodyAttaches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.start(attachedOrder(first))
		time.Sleep(29 * time.Second)
		h.phase(first, dyno.Starting)
		time.Sleep(2 * time.Second)
		if s := h.phase(first, dyno.Complete); s.Exit.Error != dyno.R13 || s.Exit.Code != 137 || s.Lives != 0 {
			t.Errorf("exit: %+v, %d lives", s.Exit, s.Lives)
		}
		h.said(first, "Awaiting client", "Error R13 (Attach error) -> Failed to attach to process",
			"Stopping process with SIGKILL", "Process exited with status 137", "State changed from starting to complete")
		if _, err := h.Attach(t.Context(), first); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("attach after the end: %v", err)
		}
	})
}

// The clock of R13 counts from the line, whatever restarts in between, and the line comes once.
func TestRestartWhileAwaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.start(attachedOrder(first))
		h.start(attachedOrder(second))
		time.Sleep(20 * time.Second)
		h.leave()
		h.arrive()
		h.attach(first)
		h.phase(first, dyno.Up)
		h.said(first, started...)
		time.Sleep(9 * time.Second)
		h.phase(second, dyno.Starting)
		time.Sleep(2 * time.Second)
		if s := h.phase(second, dyno.Complete); s.Exit.Error != dyno.R13 {
			t.Errorf("%+v", s.Exit)
		}
		h.leave()
	})
}

func TestClientLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.start(attachedOrder(first))
		s := h.attach(first)
		s.Close()
		if s := h.phase(first, dyno.Complete); s.Exit.Code != 129 || s.Exit.Error != "" {
			t.Errorf("exit: %+v", s.Exit)
		}
		h.said(first, append(slices.Clone(hungUp), "Process exited with status 129", "State changed from up to complete")...)
		if _, err := s.Write([]byte("x")); err == nil {
			t.Error("the session is still open")
		}
	})
}

func hangUps(n int) []syscall.Signal { return slices.Repeat([]syscall.Signal{syscall.SIGHUP}, n) }

func TestHangUpLadder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.runtime.Deaf()
		h.start(attachedOrder(first))
		h.attach(first).Close()
		for n := 1; n <= 3; n++ {
			synctest.Wait()
			if got := h.runtime.Signals(first); !slices.Equal(got, hangUps(n)) {
				t.Errorf("step %d: %v", n, got)
			}
			h.said(first, hungUp...)
			time.Sleep(5 * time.Second)
		}
		h.said(first, detached...)
		time.Sleep(time.Hour)
		h.phase(first, dyno.Up)
		if got := h.runtime.Signals(first); !slices.Equal(got, hangUps(3)) {
			t.Errorf("after R16: %v", got)
		}
		if _, err := h.Attach(t.Context(), first); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("attach after the loss: %v", err)
		}
		h.stop(first, 1)
		time.Sleep(31 * time.Second)
		if s := h.phase(first, dyno.Down); s.Exit.Error != dyno.R12 {
			t.Errorf("exit: %+v", s.Exit)
		}
	})
}

// An agent that restarts takes its clients' connections with it. The ladder goes on over further restarts.
func TestRestartLosesTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.runtime.Deaf()
		h.start(attachedOrder(first))
		s := h.attach(first)
		h.leave()
		if _, err := s.Wait(t.Context()); !errdefs.IsUnavailable(err) {
			t.Errorf("the session: %v", err)
		}
		h.arrive()
		h.said(first, hungUp...)
		time.Sleep(7 * time.Second)
		h.leave()
		time.Sleep(5 * time.Second)
		h.arrive()
		synctest.Wait()
		if got := h.runtime.Signals(first); !slices.Equal(got, hangUps(3)) {
			t.Errorf("at 12 s: %v", got)
		}
		h.said(first, hungUp...)
		time.Sleep(4 * time.Second)
		h.said(first, detached...)
		h.leave()
		h.arrive()
		h.said(first, detached...)
		if s := h.phase(first, dyno.Up); s.Lives != 1 || h.runtime.Launches() != 1 {
			t.Errorf("%d lives, %d launches", s.Lives, h.runtime.Launches())
		}
		h.leave()
	})
}

// An agent that dies between a client's coming and the launch has lost the client, not the dyno.
func TestRestartBeforeTheLaunch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		release := h.runtime.Hold("Launch")
		h.start(attachedOrder(first))
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() { _, err := h.Attach(ctx, first); gone <- err }()
		synctest.Wait()
		h.leave()
		cancel()
		if err := <-gone; err == nil {
			t.Error("attached to a command that does not run")
		}
		release()
		h.arrive()
		h.attach(first)
		if s := h.phase(first, dyno.Up); s.Lives != 1 {
			t.Errorf("%d lives", s.Lives)
		}
		h.said(first, started...)
		h.leave()
	})
}

func TestClientBeforeTheDynoIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		release := h.runtime.Hold("Prepare")
		h.start(attachedOrder(first))
		hasty, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := h.Attach(hasty, first); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a client that does not wait: %v", err)
		}
		attached := make(chan error, 1)
		go func() {
			s, err := h.Attach(t.Context(), first)
			if err == nil {
				t.Cleanup(s.Close)
			}
			attached <- err
		}()
		synctest.Wait()
		release()
		if err := <-attached; err != nil {
			t.Fatal(err)
		}
		h.phase(first, dyno.Up)

		release = h.runtime.Hold("Prepare")
		h.start(attachedOrder(second))
		go func() { _, err := h.Attach(t.Context(), second); attached <- err }()
		synctest.Wait()
		h.stop(second, 1)
		if err := <-attached; !errdefs.IsFailedPrecondition(err) {
			t.Errorf("a client of a dyno that ends: %v", err)
		}
		release()
	})
}

// A client that leaves while its command is being started is lost as soon as that runs.
func TestClientLeavesBeforeTheLaunch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.runtime.Deaf()
		release := h.runtime.Hold("Launch")
		h.start(attachedOrder(first))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := h.Attach(ctx, first); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		release()
		h.said(first, hungUp...) // the launch was under way
		if got := h.runtime.Signals(first); !slices.Equal(got, hangUps(1)) {
			t.Errorf("signals: %v", got)
		}
		if _, err := h.runtime.Command(first).Stdout.WriteString("x"); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("output that nobody reads: %v", err)
		}
	})
}

func TestOneClientOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.start(attachedOrder(first))
		const clients = 8
		outcomes := make(chan error, clients)
		for range clients {
			go func() {
				s, err := h.Attach(t.Context(), first)
				if err == nil {
					t.Cleanup(s.Close)
				}
				outcomes <- err
			}()
		}
		served := 0
		for range clients {
			if err := <-outcomes; err == nil {
				served++
			} else if !errdefs.IsFailedPrecondition(err) {
				t.Errorf("got %v", err)
			}
		}
		if served != 1 || h.runtime.Launches() != 1 {
			t.Errorf("%d served, %d launches", served, h.runtime.Launches())
		}
		h.start(order(second, "worker.1"))
		if _, err := h.Attach(t.Context(), second); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("a dyno without attach: %v", err)
		}
		if _, err := h.Attach(t.Context(), "nobody"); !errdefs.IsNotFound(err) {
			t.Errorf("an unknown dyno: %v", err)
		}
	})
}

func TestStopWhileAwaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.start(attachedOrder(first))
		h.stop(first, 1)
		if s := h.phase(first, dyno.Down); s.Exit.Code != 137 || s.Lives != 0 {
			t.Errorf("exit: %+v", s.Exit)
		}
		o := attachedOrder(second)
		o.Spec.TimeToLive = 10 * time.Second
		h.start(o)
		time.Sleep(11 * time.Second)
		h.phase(second, dyno.Down)
	})
}

func TestStopWithAClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.runtime.Deaf()
		h.start(attachedOrder(first))
		s := h.attach(first)
		h.stop(first, 1)
		s.Close() // nobody is told, and no ladder begins: the dyno is being stopped
		time.Sleep(31 * time.Second)
		h.phase(first, dyno.Down)
		h.said(first, append(slices.Clone(started), "Stopping all processes with SIGTERM",
			"Error R12 (Exit timeout) -> At least one process failed to exit within 30 seconds of SIGTERM",
			"Stopping remaining processes with SIGKILL", "Process exited with status 137", "State changed from up to down")...)
	})
}

// A client that reads nothing holds up nobody but its own command.
func TestStuckClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.start(attachedOrder(first))
		s := h.attach(first)
		if n, err := h.runtime.Command(first).Stdout.Write(make([]byte, 1<<16)); n != 1<<16 || err != nil {
			t.Fatal(n, err)
		}
		h.stop(first, 1)
		h.phase(first, dyno.Down)
		if exit, err := s.Wait(t.Context()); err != nil || exit.Code != 143 {
			t.Errorf("exit: %+v %v", exit, err)
		}
		if rest, err := io.ReadAll(s.Output); len(rest) != 1<<16 || err != nil {
			t.Errorf("%d bytes, %v", len(rest), err)
		}
	})
}

func TestCommandThatCannotBeExecuted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.runtime.Fail("Launch", &runtime.LaunchError{Reason: "no such file"})
		h.start(attachedOrder(first))
		s := h.attach(first)
		if s.Reason != "no such file" || s.Output != nil {
			t.Errorf("session: %+v", s)
		}
		h.runtime.Exit(first, runtime.Exit{Code: 127})
		if exit, err := s.Wait(t.Context()); err != nil || exit.Code != 127 {
			t.Errorf("exit: %+v %v", exit, err)
		}
		if h.runtime.Launches() > 1 {
			t.Errorf("%d launches", h.runtime.Launches())
		}

		h.runtime.Fail("Launch", errors.New("broken"))
		h.start(attachedOrder(second))
		if _, err := h.Attach(t.Context(), second); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("attach: %v", err)
		}
		if s := h.phase(second, dyno.Complete); s.Exit.Error != dyno.R99 {
			t.Errorf("exit: %+v", s.Exit)
		}
	})
}
