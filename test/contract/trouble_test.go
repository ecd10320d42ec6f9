package contract_test

import (
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// troubled is what a host of its own saw while its agent was killed, and then when it was emptied.
type troubled struct {
	stopping      life          // a dyno that outlives SIGTERM; the agent was killed within its 6 s
	before, after *dynodv1.Dyno // a dyno that waits for its next life
	unmoved       error         // what a running dyno noticed
	drained       life
	err           error
}

func (s *stage) trouble() troubled {
	return scene(s, "trouble", func() troubled {
		t, err := s.another("trouble", "").kill()
		t.err = errors.Join(t.err, err)
		if t.err != nil {
			t.stopping.err, t.drained.err = errors.Join(t.stopping.err, t.err), errors.Join(t.drained.err, t.err)
			t.unmoved = errors.Join(t.unmoved, t.err)
		}
		return t
	})
}

// kill kills the agent beside a dyno that runs, one that waits and one that ends, and drains the host afterwards.
func (s *stage) kill() (t troubled, err error) {
	running, err := s.start(s.order("worker.1", "./web worker"))
	waiting, err2 := s.start(s.order("worker.2", "exit 1", backoff(0, hour)))
	ending, err3 := s.start(s.order("worker.3", "./web ignore-term", func(o *dynodv1.StartDynoRequest) { o.Spec.Grace = durationpb.New(6 * time.Second) }))
	err = errors.Join(err, err2, err3)
	if err == nil {
		err = errors.Join(s.said("seq=1")(running), s.lives(2)(waiting), s.said("ignoring SIGTERM")(ending))
	}
	if err != nil {
		return t, err
	}
	pid, err := s.pid(running)
	if err != nil {
		return t, err
	}
	if t.before, err = s.await(waiting, "its wait", func(d *dynodv1.Dyno) bool { return d.GetLives() == 2 && d.GetNextStartAt() != nil }); err != nil {
		return t, err
	}
	err = errors.Join(s.stop("")(ending), s.said(stopping)(ending))
	if err = errors.Join(err, s.KillAgent(), s.StartAgent(s.ctx)); err != nil {
		return t, err
	}
	s.board = watch(s.ctx, s.API())
	now, err := s.pid(running)
	t.unmoved = errors.Join(err, s.until(up)(running), unless(now == pid, "its process was %d and is %d", pid, now))
	t.after, err = s.await(waiting, "it to be there again", func(d *dynodv1.Dyno) bool { return true })
	t.stopping = s.end(ending)
	err = errors.Join(err, s.drain())
	t.drained = s.end(running)
	return t, err
}

func (s *stage) pid(id string) (uint32, error) {
	out, err := s.API().GetDyno(s.ctx, &dynodv1.GetDynoRequest{DynoId: id})
	return out.GetDyno().GetPid(), err
}

func (s *stage) drain() error {
	progress, err := s.API().DrainHost(s.ctx, &dynodv1.DrainHostRequest{})
	for err == nil {
		_, err = progress.Recv()
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return fmt.Errorf("drain: %w", err)
}
