package exact_test

import (
	"context"
	"errors"
	"testing"
	"time"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/exact/upstream"
	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/rig"
)

// TestDynoThatHoldsItsPipes: what a dyno does to its own pipes is no matter of the others, of the agent's restart, and of its
// stop.
func TestDynoThatHoldsItsPipes(t *testing.T) {
	l := lab.New(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s, err := upstream.Open(ctx, l, "")
	check(t, err)
	t.Cleanup(func() { _ = s.Close() })
	file, sum, err := lab.GeneratorSlug(ctx)
	check(t, err)
	start := func(id, command string) upstream.Key {
		_, err := s.API().StartDyno(ctx, rig.SlugOrder(id, "exact", "worker.1", command, file, sum))
		check(t, err)
		_, err = s.AwaitPhase(ctx, id, dynodv1.Phase_PHASE_UP)
		check(t, err)
		return upstream.Key{Dyno: id, Stream: stdout}
	}
	holder, other := start("e4ac7000-0000-4000-8000-00000000401d", "./gen hold"), start("e4ac7000-0000-4000-8000-0000000c10c4", "./gen clock")
	speaks := func() {
		a, _ := s.Server.Of(other)
		check(t, s.Server.Reach(ctx, other, a.Next+1000))
	}
	speaks()
	check(t, errors.Join(s.KillAgent(), s.StartAgent(ctx)))
	speaks()
	for _, id := range []string{holder.Dyno, other.Dyno} {
		_, err := s.API().StopDyno(ctx, &dynodv1.StopDynoRequest{Header: &dynodv1.OrderHeader{DynoId: id, Generation: 1}})
		check(t, err)
		_, err = s.AwaitPhase(ctx, id, dynodv1.Phase_PHASE_DOWN)
		check(t, err)
	}
	for _, stream := range []dynodv1.LogStream{stdout, stderr} {
		k := upstream.Key{Dyno: holder.Dyno, Stream: stream}
		check(t, s.Server.Reach(ctx, k, int64(len("held\n"))))
	}
	check(t, errors.Join(s.Server.Errors()...))
}
