package runtime_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/runtime"
	"github.com/dynod/dynod/runtime/launch"
	"github.com/dynod/dynod/runtime/spec"
)

// TestFailureThatNobodyHeard has an agent that is killed when it has sent a plan whose command cannot be started. The next one
// takes a dyno that keeps pipes for launched, and would not ask.
func TestFailureThatNobodyHeard(t *testing.T) {
	h := newHost(t)
	d := h.created(h.slug(nil))
	must(t, h.Start(h.ctx, d.ID))
	d.comesToTheDoor()
	d.bringAndLeave("no-such-program")
	h.restart()
	if kept, err := h.Kept(h.ctx, d.ID); !errdefs.IsNotFound(err) {
		t.Errorf("%d pipes are kept: %v", len(kept), err)
	}
	failed, ok := errors.AsType[*runtime.LaunchError](d.launch("true"))
	if !ok {
		t.Fatalf("launched: %v", failed)
	}
	if exit := d.wait(); exit.Code != 127 {
		t.Errorf("got %+v", exit)
	}
	d.out.all(h.ctx, t)
}

// bringAndLeave is an agent that acknowledges nothing.
func (d *dyno) bringAndLeave(command string) {
	d.t.Helper()
	payload, err := launch.Plan{Args: []string{command}, Dir: "/"}.Encode()
	must(d.t, err)
	r, w, err := os.Pipe()
	must(d.t, err)
	defer r.Close()
	defer w.Close()
	socket := filepath.Join(d.config.RunDir, d.ID, "launch", launch.Socket)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	must(d.t, err)
	defer l.Close()
	must(d.t, os.Chown(socket, int(d.config.FirstID)+d.Slot*spec.IDs+spec.UID, -1))
	must(d.t, d.Signal(d.ctx, d.ID, launch.Knock))
	accepted, err := l.AcceptUnix()
	must(d.t, err)
	conn := launch.NewConn(accepted)
	defer conn.Close()
	for _, kind := range []launch.Kind{launch.Waiting, launch.Failed} {
		m, err := conn.Receive(testTimeout)
		must(d.t, err)
		m.Drop()
		if m.Kind != kind {
			d.t.Fatalf("heard %q instead of %q", m.Kind, kind)
		}
		if kind == launch.Waiting {
			must(d.t, conn.Send(testTimeout, launch.Plans, payload, int(w.Fd()), int(w.Fd()), int(r.Fd()), int(r.Fd()), int(r.Fd()), int(r.Fd())))
		}
	}
}
