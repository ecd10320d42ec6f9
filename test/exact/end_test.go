package exact_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/exact/upstream"
)

// end has the generators tell their counts, stops the dynos and waits for what they said.
func (r *run) end(ctx context.Context) {
	for _, s := range r.speakers {
		dir := fmt.Sprintf("/proc/%d/root/tmp", s.pid)
		check(r.t, os.WriteFile(filepath.Join(dir, "stop"), nil, 0o644))
		s.said = counted(r.t, dir)
		_, err := r.API().StopDyno(ctx, &dynodv1.StopDynoRequest{Header: &dynodv1.OrderHeader{DynoId: s.id, Generation: 1}})
		check(r.t, err)
	}
	for _, s := range r.speakers {
		_, err := r.AwaitPhase(ctx, s.id, dynodv1.Phase_PHASE_DOWN)
		check(r.t, err)
		check(r.t, errors.Join(
			r.Server.Reach(ctx, upstream.Key{Dyno: s.id, Stream: stdout}, s.said.Stdout.Bytes),
			r.Server.Reach(ctx, upstream.Key{Dyno: s.id, Stream: stderr}, s.said.Stderr.Bytes)))
	}
}

// compare holds what arrived against what the generators told.
func (r *run) compare(context.Context) {
	r.complain()
	var said, lost int64
	for _, s := range r.speakers {
		for stream, want := range map[dynodv1.LogStream]any{stdout: s.said.Stdout, stderr: s.said.Stderr} {
			a, count := r.Server.Of(upstream.Key{Dyno: s.id, Stream: stream})
			if count != want || a.Delivered+a.Lost != count.Bytes {
				r.t.Errorf("%s %s: %+v arrived, said were %+v: %+v", s.id, stream, count, want, a)
			}
			if s.steady && a.Lost > 0 {
				r.t.Errorf("%s %s: a steady dyno lost %d bytes of %d", s.id, stream, a.Lost, count.Bytes)
			}
			said += count.Bytes
			lost += a.Lost
		}
		if a, _ := r.Server.Of(upstream.Key{Dyno: s.id, Stream: platform}); a.Lost > 0 || a.Lines < 3 {
			r.t.Errorf("%s: lines of the platform: %+v", s.id, a)
		}
	}
	if log, err := os.ReadFile(filepath.Join(r.Lab.Dir(), "agent.log")); err != nil || bytes.Contains(log, []byte("panic: ")) {
		r.t.Errorf("the agent panicked, %v", err)
	}
	sum := r.Server.Sum()
	if lost == 0 || sum.Doubles == 0 {
		r.t.Errorf("%d bytes lost, %d lines twice: the trouble was too small", lost, sum.Doubles)
	}
	r.t.Logf("%d kills of the agent, %d of capture; %d bytes said; %s", r.killer.agents.Load(), r.killer.holders.Load(), said, r.figures())
	r.t.Logf("faults of the control plane: %v", r.Server.Counts())
}

func (r *run) complain() {
	for _, err := range r.Server.Errors() {
		r.t.Error(err)
	}
}
