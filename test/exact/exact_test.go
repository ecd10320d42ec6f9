package exact_test

import (
	"context"
	"fmt"
	"math/rand/v2"
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
	stage    string // what is under way
}

func TestNoLineIsLostOrDoubled(t *testing.T) {
	r := &run{t: t, size: chosen()}
	t.Cleanup(r.remains) // after the lab's own words
	l := lab.New(t)
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
	for _, s := range []struct {
		name string
		do   func(context.Context)
	}{{"start", r.begin}, {"trouble", r.trouble}, {"end", r.end}, {"comparison", r.compare}} {
		r.stage = s.name
		s.do(ctx)
	}
}

// remains says, where a failed test is looked at first, how far it came and how far each stream did.
func (r *run) remains() {
	if !r.t.Failed() || r.Stage == nil {
		return
	}
	for _, s := range r.speakers {
		for _, stream := range []dynodv1.LogStream{stdout, stderr} {
			a, _ := r.Server.Of(upstream.Key{Dyno: s.id, Stream: stream})
			r.t.Logf("%s %s: %+v, said %+v", s.id, stream, a, s.said)
		}
	}
	r.t.Logf("it failed in its %s", r.stage)
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
	r.killer = &killer{Stage: r.Stage, pause: r.size.pause}
	r.Server.Set(r.size.faults)
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
