package host_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/exact/numbered"
	"github.com/dynod/dynod/test/exact/upstream"
	"github.com/dynod/dynod/test/rig"
)

var streams = []dynodv1.LogStream{dynodv1.LogStream_LOG_STREAM_STDOUT, dynodv1.LogStream_LOG_STREAM_STDERR}

// rate is what a speaker says on each of its streams, in bytes a second: a few lines, as twenty that say more are all that an
// emulated host can carry.
const rate = 500

// speaker is a dyno whose output is known by its seed.
type speaker struct {
	id  string
	pid uint32
}

// speak starts so many, one after another.
func (s *stage) speak(many int) (all []speaker) {
	s.t.Helper()
	for range many {
		seed := rand.Uint64N(1 << 60)
		o := s.order("gen", "./gen numbered", quota(32), rig.Env("SEED", strconv.FormatUint(seed, 10)), rig.Env("RATE", strconv.Itoa(rate)))
		for i, stream := range streams {
			s.plane.Expect(upstream.Key{Dyno: o.GetHeader().GetDynoId(), Stream: stream}, seed+uint64(i))
		}
		id := s.start(o)
		all = append(all, speaker{id, s.await(id, dynodv1.Phase_PHASE_UP).GetPid()})
	}
	return all
}

// live checks that every speaker is the process that it was, and that what it says still arrives.
func (s *stage) live(all []speaker, after string) {
	s.t.Helper()
	for _, one := range all {
		if d := s.await(one.id, dynodv1.Phase_PHASE_UP); d.GetPid() != one.pid || d.GetLives() != 1 {
			s.t.Errorf("after %s: %v, was process %d", after, d, one.pid)
		}
	}
	next := map[upstream.Key]int64{} // of all before any is waited for: after a long line one is silent for half a minute
	for _, one := range all {
		for _, stream := range streams {
			k := upstream.Key{Dyno: one.id, Stream: stream}
			a, _ := s.plane.Of(k)
			next[k] = a.Next + rate
		}
	}
	for k, offset := range next {
		check(s.t, s.plane.Reach(bounded(s.t, patience), k, offset))
	}
}

// silence ends the speakers and holds what arrived against what they say they said: every byte once.
func (s *stage) silence(all []speaker) {
	s.t.Helper()
	for _, one := range all {
		s.run("touch /proc/%d/root/tmp/stop", one.pid)
	}
	for _, one := range all {
		said := s.told(one)
		s.stop(one.id)
		s.await(one.id, dynodv1.Phase_PHASE_DOWN)
		for i, stream := range streams {
			k := upstream.Key{Dyno: one.id, Stream: stream}
			check(s.t, s.plane.Reach(bounded(s.t, patience), k, said[i].Bytes))
			if a, count := s.plane.Of(k); count != said[i] || a.Lost != 0 {
				s.t.Errorf("%v: %+v arrived, said were %+v: %+v", k, count, said[i], a)
			}
		}
	}
	for _, err := range s.plane.Errors() {
		s.t.Error(err)
	}
}

func (s *stage) told(one speaker) [2]numbered.Count {
	s.t.Helper()
	file := fmt.Sprintf("/proc/%d/root/tmp/count.json", one.pid)
	s.until("0", "test -e %s; echo $?", file)
	var told struct{ Stdout, Stderr numbered.Count }
	check(s.t, json.Unmarshal([]byte(s.run("cat %s", file)), &told))
	return [2]numbered.Count{told.Stdout, told.Stderr}
}
