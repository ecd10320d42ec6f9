package contract_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/rig"
)

// patience is how long a check waits for anything that has no clock of its own. The machine is busy.
const patience = 2 * time.Minute

// stage is one platform and what is known about its dynos. Many checks use it at once.
type stage struct {
	*rig.Rig
	t       testing.TB
	ctx     context.Context
	slug    slug
	board   *board
	outside *outside
	scenes  sync.Map
	next    atomic.Int64
}

type slug struct{ file, sum string }

// open sets the main stage.
func open(t testing.TB) *stage {
	t.Helper()
	apps, err := lab.AppStack(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := set(t, fmt.Sprintf("apps = %q\n[host]\nwarm_slots = %d\n", apps, *warm))
	if err := s.warmUp(); err != nil {
		t.Fatal(err)
	}
	return s
}

// warmUp waits until the sandboxes are there that the first dynos shall find. A dyno brings the stack, without which there
// are none.
func (s *stage) warmUp() error {
	id, err := s.start(s.order("run.1", "true", rig.OneOff))
	if err == nil && *warm > 0 {
		err = s.until(dynodv1.Phase_PHASE_COMPLETE)(id)
	}
	if err != nil {
		return err
	}
	return waitFor(s.ctx, "warm slots", func() (bool, error) {
		answer, err := s.API().GetHost(s.ctx, &dynodv1.GetHostRequest{})
		return answer.GetHost().GetWarmSlots() >= uint32(*warm), err
	})
}

// set sets a stage; config is appended to the agent's. When the test ends, everything is gone.
func set(t testing.TB, config string) *stage {
	t.Helper()
	s := &stage{t: t, ctx: t.Context()}
	l := lab.New(t)
	var err error
	if s.Rig, err = rig.Start(s.ctx, l, config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("end: %v", err)
		}
		if said := s.Races(); said != "" {
			t.Error(said)
		}
	})
	if s.slug, err = packed(); err != nil {
		t.Fatal(err)
	}
	if s.outside, err = serveOutside(s.Rig); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.outside.close)
	s.board = watch(s.ctx, s.API())
	return s
}

// elsewhere is the same test under another name, for a lab of its own.
type elsewhere struct {
	testing.TB
	name string
}

func (e elsewhere) Name() string { return e.name }

// another is a stage of its own for checks that take much of a host, or disturb it; set when it is first asked for.
func (s *stage) another(name, config string) *stage {
	return scene(s, "stage "+name, func() *stage { return set(elsewhere{s.t, name}, config) })
}

// scene plays something once, however many sentences look at it.
func scene[T any](s *stage, name string, play func() T) T {
	once, _ := s.scenes.LoadOrStore(name, sync.OnceValue(play))
	return once.(func() T)()
}

// order is a start order with an id of its own, for the slug of this package on the stack "small".
func (s *stage) order(name, command string, change ...rig.Change) *dynodv1.StartDynoRequest {
	return rig.SlugOrder(s.id(), "shop", name, command, s.slug.file, s.slug.sum, change...)
}

// id is a new dyno's.
func (s *stage) id() string { return fmt.Sprintf("c0de0000-0000-4000-8000-%012d", s.next.Add(1)) }

// start has a dyno started and returns its id.
func (s *stage) start(o *dynodv1.StartDynoRequest) (string, error) {
	_, err := s.API().StartDyno(s.ctx, o)
	return o.GetHeader().GetDynoId(), err
}

// stop is a step that orders a dyno's end, with a reason to write if it is not empty.
func (s *stage) stop(reason string) step {
	return func(id string) error {
		_, err := s.API().StopDyno(s.ctx, &dynodv1.StopDynoRequest{Header: &dynodv1.OrderHeader{DynoId: id, Generation: 1}, Reason: reason})
		return err
	}
}

// until is a step that waits for the dyno to be in that phase.
func (s *stage) until(p dynodv1.Phase) step {
	return func(id string) error {
		_, err := s.await(id, p.String(), func(d *dynodv1.Dyno) bool { return d.GetPhase() == p })
		return err
	}
}

// tells says whether a line has that text in it. The one that shows the command does not count.
func tells(line, text string) bool {
	return contains(line, text) && !contains(line, "Starting process with")
}

// said is a step that waits for a line that tells that to have reached the control plane.
func (s *stage) said(text string) step {
	return func(id string) error {
		return waitFor(s.ctx, fmt.Sprintf("a line %q", text), func() (bool, error) {
			last := s.board.last(id) // before the look: it may come in between
			lines, err := s.Received(id)
			has := func(part string) bool {
				return slices.ContainsFunc(lines, func(l rig.Line) bool { return tells(l.Text, part) })
			}
			if err != nil || has(text) {
				return true, err
			}
			return false, unless(last == "" || !has(last), "it ended without a line %q", text)
		})
	}
}

// await waits until what the agent tells of a dyno is as wanted.
func (s *stage) await(id, what string, ok func(*dynodv1.Dyno) bool) (*dynodv1.Dyno, error) {
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	d, err := s.board.await(ctx, id, func(d *dynodv1.Dyno) bool { return ok(d) || over(d) })
	if err == nil && !ok(d) {
		err = errors.New("it has ended")
	}
	if err != nil {
		return d, fmt.Errorf("wait for %s: %w; it is %v", what, err, d)
	}
	return d, nil
}

// waitFor asks until ok, for as long as a check has patience.
func waitFor(ctx context.Context, what string, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return rig.Await(ctx, what, ok)
}
