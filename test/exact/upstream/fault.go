package upstream

import (
	"maps"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// Fault is one way to treat a batch badly.
type Fault int

// What can be wrong with the answer to a batch. In all of them what is lost is only the answer: no line that was
// acknowledged rightly is forgotten.
const (
	None     Fault = iota
	Delay          // late
	Refuse         // an error, nothing taken
	CutEarly       // the connection ends, nothing taken
	CutHalf        // the connection ends in the middle of the batch
	CutLate        // the connection ends, everything taken
	Partial        // half of the batch taken, and acknowledged
	Low            // everything taken, less acknowledged
	Silent         // everything taken, nothing acknowledged
	High           // positions acknowledged that never were sent
	Number         // another batch acknowledged
	Foreign        // streams acknowledged that are not in the batch
	faults
)

// refusals are codes of trouble that passes. Those that call the batch itself wrong would make the agent drop lines.
var refusals = []codes.Code{
	codes.Unavailable, codes.ResourceExhausted, codes.Internal, codes.Aborted, codes.Unknown, codes.DeadlineExceeded,
	codes.PermissionDenied, codes.Unauthenticated, codes.FailedPrecondition,
}

// Faults chooses among them. The zero value has none.
type Faults struct {
	percent atomic.Int64 // of batches
	counts  [faults]atomic.Int64
}

// Set makes so many of a hundred batches faulty.
func (f *Faults) Set(percent int64) { f.percent.Store(percent) }

// Counts tells how often each fault was chosen.
func (f *Faults) Counts() map[Fault]int64 {
	all := map[Fault]int64{}
	for i := range f.counts {
		all[Fault(i)] = f.counts[i].Load()
	}
	return all
}

func (f *Faults) choose() Fault {
	chosen := None
	if rand.Int64N(100) < f.percent.Load() {
		chosen = 1 + Fault(rand.IntN(int(faults)-1))
	}
	f.counts[chosen].Add(1)
	return chosen
}

// most is how many of n lines are taken.
func (f Fault) most(n int) int {
	switch f {
	case Refuse, CutEarly:
		return 0
	case CutHalf, Partial:
		return n / 2
	}
	return n
}

func (f Fault) cuts() bool { return f == CutEarly || f == CutHalf || f == CutLate }

func refusal() error {
	return status.Error(refusals[rand.IntN(len(refusals))], "refused on purpose")
}

// answer is the acknowledgement of a batch of which that much is taken.
func (f Fault) answer(batch uint64, reached map[Key]int64) *dynodv1.ShipLogsResponse {
	reached = maps.Clone(reached)
	switch f {
	case Delay:
		time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
	case Low:
		for k := range reached {
			reached[k] = max(0, reached[k]-rand.Int64N(20_000))
		}
	case Silent:
		clear(reached)
	case High:
		for k := range reached {
			reached[k] += 1 << 40
		}
	case Number:
		batch += 1 + rand.Uint64N(7)
	case Foreign:
		foreign(reached)
	}
	out := &dynodv1.ShipLogsResponse{Batch: batch}
	for k, offset := range reached {
		out.Delivered = append(out.Delivered, &dynodv1.LogCursor{DynoId: k.Dyno, Stream: k.Stream, Offset: offset})
	}
	return out
}

// foreign adds streams that nobody has, and all streams of the dynos in the batch.
func foreign(reached map[Key]int64) {
	for k := range maps.Clone(reached) {
		for stream := range dynodv1.LogStream(7) {
			if _, mine := reached[Key{k.Dyno, stream}]; !mine {
				reached[Key{k.Dyno, stream}] = 1 << 40
			}
		}
	}
	reached[Key{"00000000-0000-4000-8000-00000000dead", dynodv1.LogStream_LOG_STREAM_STDOUT}] = 1 << 40
	reached[Key{"../../etc", dynodv1.LogStream_LOG_STREAM_STDERR}] = -1
}
