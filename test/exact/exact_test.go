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
	"testing"
	"time"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/exact/upstream"
	"github.com/dynod/dynod/test/lab"
	"github.com/dynod/dynod/test/rig"
)

// config has a spool that holds what a steady dyno says in an outage, and not what a loud one says.
const config = `[logs]
spool_bytes = "%dMiB"
ingest_bytes_per_second = "0B"
`

const (
	stdout   = dynodv1.LogStream_LOG_STREAM_STDOUT
	stderr   = dynodv1.LogStream_LOG_STREAM_STDERR
	platform = dynodv1.LogStream_LOG_STREAM_PLATFORM
)

// speaker is one generator in a dyno.
type speaker struct {
	id     string
	pid    uint32
	rate   int64 // bytes a second of a stream; 0: any, up to a limit
	steady bool  // must lose nothing
	said   told
}

// loud is the rate of a dyno that overruns its spool in an outage.
const loud = 2_000_000

type run struct {
	*upstream.Stage
	t        *testing.T
	size     size
	speakers []*speaker
	killer   *killer
	outages  atomic.Int64
}

func TestNoLineIsLostOrDoubled(t *testing.T) {
	l := lab.New(t)
	r := &run{t: t, size: chosen()}
	ctx, cancel := context.WithTimeout(t.Context(), r.size.limit)
	defer cancel()
	var err error
	r.Stage, err = upstream.Open(ctx, l, fmt.Sprintf(config, r.size.spool))
	check(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the agent's log ends:\n%s", r.Tail("agent.log", `"msg":"call"`))
		}
		_ = r.Close()
	})
	r.begin(ctx)
	r.trouble(ctx)
	r.end(ctx)
	r.compare()
}

// begin starts the dynos: steady ones, a loud one, and one that says much at once.
func (r *run) begin(ctx context.Context) {
	file, sum, err := lab.GeneratorSlug(ctx)
	check(r.t, err)
	for n := range r.size.steady + 2 {
		s := &speaker{id: fmt.Sprintf("e4ac7000-0000-4000-8000-%012d", n), rate: r.size.rate, steady: n < r.size.steady}
		if !s.steady {
			s.rate = int64(r.size.steady+1-n) * loud
		}
		seed := rand.Uint64N(1 << 60)
		for i, stream := range []dynodv1.LogStream{stdout, stderr} {
			r.Server.Expect(upstream.Key{Dyno: s.id, Stream: stream}, seed+uint64(i))
		}
		env := func(name string, value uint64) rig.Change { return rig.Env(name, strconv.FormatUint(value, 10)) }
		_, err := r.API().StartDyno(ctx, rig.SlugOrder(s.id, "exact", "worker.1", "./gen numbered", file, sum,
			env("SEED", seed), env("RATE", uint64(s.rate)), env("LIMIT", uint64(r.size.flood))))
		check(r.t, err)
		r.speakers = append(r.speakers, s)
	}
	for _, s := range r.speakers {
		d, err := r.AwaitPhase(ctx, s.id, dynodv1.Phase_PHASE_UP)
		check(r.t, err)
		s.pid = d.GetPid()
	}
}

// trouble kills and flaps until there was enough of everything.
func (r *run) trouble(ctx context.Context) {
	r.killer = &killer{Stage: r.Stage, pause: 2 * time.Second}
	r.Server.Set(5)
	ctx, cancel := context.WithCancel(ctx)
	flapped := make(chan struct{})
	go func() { defer close(flapped); r.flap(ctx) }()
	stop := make(chan struct{})
	go r.progress(stop)
	err := r.killer.run(ctx, func() bool {
		return r.killer.kills() >= r.size.kills && r.Server.Sum().Lines >= r.size.lines && r.outages.Load() > 0 ||
			len(r.Server.Errors()) > 0
	})
	cancel()
	<-flapped
	close(stop)
	r.Server.Set(0)
	r.Server.Up()
	check(r.t, err)
	r.complain()
	if r.t.Failed() {
		r.t.FailNow() // the rest would only wait for what cannot come
	}
}

func (r *run) complain() {
	for _, err := range r.Server.Errors() {
		r.t.Error(err)
	}
}

// flap takes the control plane away for a moment again and again, and for long in the middle.
func (r *run) flap(ctx context.Context) {
	for n := 1; ; n++ {
		pauses := []time.Duration{time.Duration(rand.IntN(4000)) * time.Millisecond, time.Duration(rand.IntN(1000)) * time.Millisecond}
		if r.outages.Load() == 0 && r.killer.kills() > r.size.kills/3 {
			pauses[1] = r.size.outage
		}
		if !sleep(ctx, pauses[0]) {
			return
		}
		r.Server.Down()
		whole := sleep(ctx, pauses[1])
		r.Server.Up()
		if pauses[1] == r.size.outage && whole {
			r.outages.Add(1)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

func (r *run) progress(stop chan struct{}) {
	for {
		select {
		case <-time.After(10 * time.Second):
			fmt.Println(r.figures())
		case <-stop:
			return
		}
	}
}

func (r *run) figures() string {
	sum := r.Server.Sum()
	return fmt.Sprintf("%d kills, %d lines, %d bytes delivered, %d lost in %d places, %d lines twice",
		r.killer.kills(), sum.Lines, sum.Delivered, sum.Lost, sum.Gaps, sum.Doubles)
}

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
func (r *run) compare() {
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
