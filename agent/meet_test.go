package agent_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/dyno"
)

const meetingPoint = "rendezvous://rendezvous.example:5000/secret"

func rendezvousOrder(id string) agent.StartOrder {
	o := attachedOrder(id)
	o.Spec.Secret.RendezvousURL = meetingPoint
	return o
}

func TestRendezvousIsTriedUntilR13(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		defer h.leave()
		h.meet.Fail(errors.New("nobody there"))
		h.start(rendezvousOrder(first))
		if _, err := h.Attach(t.Context(), first); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("a client besides: %v", err)
		}
		time.Sleep(29 * time.Second)
		h.phase(first, dyno.Starting)
		if n := len(h.meet.URLs()); n < 25 || n > 31 || h.meet.URLs()[0] != meetingPoint {
			t.Errorf("dialled %d times: %.3q", n, h.meet.URLs())
		}
		time.Sleep(2 * time.Second)
		if s := h.phase(first, dyno.Complete); s.Exit.Error != dyno.R13 {
			t.Errorf("exit: %+v", s.Exit)
		}
		dials := len(h.meet.URLs())
		time.Sleep(time.Minute)
		if n := len(h.meet.URLs()); n != dials {
			t.Errorf("dialled %d times after the end", n-dials)
		}
	})
}

func TestRendezvousGoesOnAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.meet.Fail(errors.New("nobody there"))
		h.start(rendezvousOrder(first))
		time.Sleep(5 * time.Second)
		h.leave()
		dials := len(h.meet.URLs())
		time.Sleep(5 * time.Second)
		if n := len(h.meet.URLs()); n != dials {
			t.Errorf("dialled %d times by nobody", n-dials)
		}
		h.arrive()
		if n := len(h.meet.URLs()); n != dials+1 {
			t.Errorf("dialled %d times by the next agent", n-dials)
		}
		h.leave()
	})
}

// An agent that dies between a client's coming and the launch has lost the client; the next one asks for it again.
func TestRendezvousOfARestartBeforeTheLaunch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		release := h.runtime.Hold("Launch")
		h.start(rendezvousOrder(first))
		if s := h.phase(first, dyno.Starting); s.Client.Came.IsZero() {
			t.Fatalf("no client has come: %+v", s.Client)
		}
		h.leave()
		release()
		h.meet.Fail(errors.New("nobody there"))
		h.arrive()
		if n := len(h.meet.URLs()); n != 2 {
			t.Errorf("dialled %d times in all", n)
		}
		h.leave()
	})
}
