package runtime_test

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime"
)

// shimDynos is how many dynos share a shim (decision 23).
const shimDynos = 32

const waiting = "echo up; trap 'exit 5' TERM; while :; do sleep 0.05; done"

func (d *dyno) shim() int {
	d.t.Helper()
	pid, err := d.PID(d.ctx, d.ID)
	must(d.t, err)
	return parent(d.t, pid)
}

// runIn is run for a dyno of a space.
func (h *host) runIn(space string, a runtime.Artifact) *dyno {
	h.t.Helper()
	d := h.container(a)
	d.Space = space
	_, err := h.Runtime.Prepare(h.ctx, d.ID, a)
	must(h.t, err)
	must(h.t, h.Create(h.ctx, d.Container))
	must(h.t, d.Start(h.ctx, d.ID))
	must(h.t, d.launch("sh", "-c", waiting))
	d.out.await(h.ctx, h.t, "up")
	return d
}

func (d *dyno) endsBySIGTERM(results chan result) {
	d.t.Helper()
	must(d.t, d.Signal(d.ctx, d.ID, unix.SIGTERM))
	if r := <-results; r.err != nil || r.exit.Code != 5 {
		d.t.Errorf("got %+v", r)
	}
}

func TestDynosOfOneSpaceShareAShim(t *testing.T) {
	h := newHost(t)
	a := h.slug(nil)
	_, err := h.Prepare(h.ctx, a)
	must(t, err)
	before, err := h.lab.Snapshot(h.ctx)
	must(t, err)
	var dynos []*dyno
	of := map[int]int{}
	for range shimDynos + 1 {
		d := h.runIn("", a)
		dynos = append(dynos, d)
		of[d.shim()]++
	}
	if first := of[dynos[0].shim()]; first != shimDynos || len(of) != 2 {
		t.Errorf("%d dynos have the shims %v", len(dynos), of)
	}
	private, other := h.runIn("private", a), h.runIn("private", a)
	if shim := private.shim(); of[shim] != 0 || other.shim() != shim {
		t.Errorf("the dynos of a space have the shims %d and %d, others %v", shim, other.shim(), of)
	}

	h.restart()
	_, err = h.List(h.ctx)
	must(t, err)
	if d := h.runIn("private", a); d.shim() != private.shim() {
		t.Error("a new agent does not know the shim of a space")
	}
	if d := h.runIn("", a); d.shim() != dynos[shimDynos].shim() {
		t.Error("a new agent does not know the shim that has room")
	}
	for id := range h.all() {
		must(t, h.Delete(h.ctx, id))
	}
	left, err := h.lab.Leaks(h.ctx, before)
	must(t, err)
	if len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// all is every dyno of the host.
func (h *host) all() map[string]runtime.State {
	h.t.Helper()
	found, err := h.List(h.ctx)
	must(h.t, err)
	all := map[string]runtime.State{}
	for _, f := range found {
		all[f.ID] = f.State
	}
	return all
}

// The first dyno's directory is the one in which the shim lives.
func TestASharedShimOutlivesItsFirstDyno(t *testing.T) {
	h := newHost(t)
	a := h.slug(nil)
	first, second, third := h.runIn("", a), h.runIn("", a), h.runIn("", a)
	shim := first.shim()
	must(t, h.Delete(h.ctx, first.ID))
	results := second.waiting()
	must(t, h.lab.RestartContainerd(h.ctx))
	eventually(h.ctx, t, "containerd answers again", func() bool { return h.Ping(h.ctx) == nil })
	if all := h.all(); all[second.ID] != runtime.StateRunning || all[third.ID] != runtime.StateRunning || len(all) != 2 {
		t.Errorf("found %v", all)
	}
	fourth := h.runIn("", a)
	if fourth.shim() != shim {
		t.Error("the shim is not joined any more")
	}
	second.endsBySIGTERM(results)
	for _, d := range []*dyno{second, third, fourth} {
		must(t, h.Delete(h.ctx, d.ID))
	}
	eventually(h.ctx, t, "the shim ends with its last dyno", func() bool { return !alive(shim) })
}

func TestAKilledShimTakesItsDynosOnly(t *testing.T) {
	h := newHost(t)
	a := h.slug(nil)
	lost := []*dyno{h.runIn("", a), h.runIn("", a)}
	spared := h.runIn("private", a)
	var results []chan result
	for _, d := range lost {
		results = append(results, d.waiting())
	}
	shim, others := lost[0].shim(), spared.waiting()
	must(t, unix.Kill(shim, unix.SIGKILL))
	for _, r := range results {
		if r := <-r; !errdefs.IsNotFound(r.err) {
			t.Errorf("got %+v, want NotFound: nobody knows how it ended", r)
		}
	}
	next := h.runIn("", a) // whether the platform has noticed or not
	for _, d := range lost {
		must(t, h.Delete(h.ctx, d.ID))
	}
	spared.endsBySIGTERM(others)
	next.endsBySIGTERM(next.waiting())
}

func TestAHungShimCostsOneStart(t *testing.T) {
	h := newHost(t)
	a := h.slug(nil)
	old := h.runIn("", a)
	shim := old.shim()
	must(t, unix.Kill(shim, unix.SIGSTOP))
	defer unix.Kill(shim, unix.SIGCONT) //nolint:errcheck // or nothing of it can be removed
	ctx, cancel := context.WithCancel(h.ctx)
	defer time.AfterFunc(6*time.Second, cancel).Stop() // a stop order, when healthy shims would long have made it
	d := h.container(a)
	_, err := h.Runtime.Prepare(h.ctx, d.ID, a)
	must(t, err)
	if err := h.createUnswept(ctx, d); ctx.Err() == nil {
		t.Errorf("made by a shim that hangs: %v", err)
	}
	next := h.runIn("", a)
	if next.shim() == shim {
		t.Error("a shim that hangs is joined again")
	}
	deleted := make(chan error, 1)
	go func() { deleted <- h.Delete(h.ctx, old.ID) }()
	must(t, h.Delete(h.ctx, next.ID))
	select {
	case err := <-deleted:
		t.Errorf("deleted by a shim that hangs: %v", err)
	default:
	}
	must(t, unix.Kill(shim, unix.SIGCONT))
	must(t, <-deleted)
}

// A shim whose socket takes nobody in time is replaced by containerd, and would not be found again by the next one.
func TestAReplacedShimGetsItsAddressBack(t *testing.T) {
	h := newHost(t)
	a := h.slug(nil)
	old := []*dyno{h.runIn("", a), h.runIn("", a)}
	shim, results := old[0].shim(), old[1].waiting()
	must(t, unix.Kill(shim, unix.SIGSTOP))
	defer unix.Kill(shim, unix.SIGCONT) //nolint:errcheck // or nothing of it can be removed
	socket := h.lab.ShimSocket(old[0].ID)
	waiting := crowd(t, socket)
	next := h.runIn("", a)
	must(t, unix.Kill(shim, unix.SIGCONT))
	for _, fd := range waiting {
		_ = unix.Close(fd)
	}
	if next.shim() == shim {
		t.Fatal("the shim was joined: it was not replaced")
	}
	must(t, h.lab.RestartContainerd(h.ctx))
	eventually(h.ctx, t, "containerd answers again", func() bool { return h.Ping(h.ctx) == nil })
	all := h.all()
	for _, d := range append(old, next) {
		if all[d.ID] != runtime.StateRunning {
			t.Errorf("%s is %v after a restart of containerd", d.ID, all[d.ID])
		}
	}
	old[1].endsBySIGTERM(results)
	for _, d := range append(old, next) {
		must(t, h.Delete(h.ctx, d.ID))
	}
	eventually(h.ctx, t, "the shim ends with its last dyno", func() bool { return !alive(shim) })
	if left, _ := filepath.Glob(socket + "*"); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// crowd fills the queue of a socket that belongs to a process that is stopped: it takes nobody any more.
func crowd(t *testing.T, socket string) (fds []int) {
	t.Helper()
	for {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		must(t, err)
		fds = append(fds, fd)
		switch err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); {
		case errors.Is(err, unix.EAGAIN):
			return fds
		case err != nil:
			t.Fatal(err)
		}
	}
}

// createUnswept is a Create whose clean-up, which waits for the shim, is left to the end of the test.
func (h *host) createUnswept(ctx context.Context, d *dyno) error {
	failed := make(chan error, 1)
	go func() { failed <- h.Create(ctx, d.Container) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		h.t.Cleanup(func() { h.t.Log(<-failed) })
		return ctx.Err()
	}
}

// While one dyno goes, which may be the last of its shim, the next one comes.
func TestShimsAreJoinedWhileTheyEnd(t *testing.T) {
	h := newHost(t)
	a := h.slug(nil)
	old := h.created(a)
	for i := range 12 {
		next := h.container(a)
		_, err := h.Runtime.Prepare(h.ctx, next.ID, a)
		must(t, err)
		var both sync.WaitGroup
		both.Go(func() {
			if err := h.Create(h.ctx, next.Container); err != nil {
				t.Error(err)
			}
		})
		both.Go(func() {
			time.Sleep(time.Duration(i) * 3 * time.Millisecond) // the shim of both ends at another step of the making
			if err := h.Delete(h.ctx, old.ID); err != nil {
				t.Error(err)
			}
		})
		both.Wait()
		old = next
	}
}

func TestManyAtOnceShareShims(t *testing.T) {
	h := newHost(t)
	a := h.slug(nil)
	var dynos []*dyno
	for range 16 {
		dynos = append(dynos, h.container(a))
	}
	var group sync.WaitGroup
	for _, d := range dynos {
		group.Go(func() {
			_, err := h.Runtime.Prepare(h.ctx, d.ID, a)
			if err == nil {
				err = h.Create(h.ctx, d.Container)
			}
			if err == nil {
				err = d.Start(h.ctx, d.ID)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	of := map[int]int{}
	for _, d := range dynos {
		of[d.shim()]++
	}
	if len(of) > 8 {
		t.Errorf("16 dynos have the shims %v", of)
	}
}

func TestTheOCIRuntimeIsTheFastestThatCanDoIt(t *testing.T) {
	there := func(string) (string, error) { return "/usr/bin/crun", nil }
	missing := func(name string) (string, error) { return "", &exec.Error{Name: name, Err: exec.ErrNotFound} }
	for _, c := range []struct {
		setting string
		unified bool
		find    func(string) (string, error)
		want    string
		fails   bool
	}{
		{runtime.OCIRuntimeAuto, true, there, "/usr/bin/crun", false},
		{runtime.OCIRuntimeAuto, true, missing, "", false},
		{runtime.OCIRuntimeAuto, false, there, "", false},
		{runtime.OCIRuntimeRunc, true, there, "", false},
		{runtime.OCIRuntimeCrun, true, there, "/usr/bin/crun", false},
		{runtime.OCIRuntimeCrun, true, missing, "", true},
		{runtime.OCIRuntimeCrun, false, there, "", true},
	} {
		got, err := runtime.ChooseOCIRuntime(c.setting, c.unified, c.find)
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("%s, unified %t: got %q, %v", c.setting, c.unified, got, err)
		}
	}
}

// Whatever the host has, containers are really made by what was chosen for it.
func TestTheChosenOCIRuntimeMakesTheContainer(t *testing.T) {
	h := newHost(t)
	d := h.run(h.slug(nil), "sleep 1000")
	records, err := filepath.Glob("/run/containerd/runc/*/" + d.ID + "/state.json")
	must(t, err)
	want, err := runtime.ChooseOCIRuntime(runtime.OCIRuntimeAuto, unified(t), exec.LookPath)
	must(t, err)
	if byRunc := len(records) == 1; byRunc != (want == "") {
		t.Errorf("runc has %v of it, %q was chosen", records, want)
	}
}

func unified(t *testing.T) bool {
	t.Helper()
	var st unix.Statfs_t
	must(t, unix.Statfs("/sys/fs/cgroup", &st))
	return st.Type == unix.CGROUP2_SUPER_MAGIC
}
