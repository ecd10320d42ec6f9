package host_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
	"github.com/dynod/dynod/test/exact/upstream"
)

const cuts = 10

// late is how far a busy, emulated host may be behind: what was in the spool so long must outlive a power cut. On an instance it
// is little more than a second; left to itself, ext4 takes 30.
const late = 10 * time.Second

// powerCuts: whatever the agent does when the power goes, it starts again with every order that it had accepted, and of the
// output that waits for the control plane only the last moment is gone. That it is gone is told.
func (s *stage) powerCuts() {
	for n := range cuts {
		all := s.speak(2)
		s.plane.Down()
		kept := s.spooled(all)
		orders := s.churn(late + rand.N(3*time.Second))
		s.host.PowerCut()
		s.plane.Up()
		check(s.t, s.host.PowerOn(bounded(s.t, boot)))
		s.until("active", "systemctl is-active dynod")
		s.honoured(orders)
		for k, bytes := range kept {
			check(s.t, s.plane.Reach(bounded(s.t, patience), k, bytes+1)) // beyond: the loss is told
			if a, _ := s.plane.Of(k); a.Delivered < bytes {
				s.t.Errorf("cut %d: %v: %+v", n, k, a)
			}
		}
		for _, one := range all {
			if d := s.await(one.id, dynodv1.Phase_PHASE_CRASHED); d.GetExit().GetPlatformFailure() != "host reboot" {
				s.t.Errorf("cut %d: %v", n, d)
			}
		}
		s.clean()
		for _, err := range s.plane.Errors() {
			s.t.Fatal(err)
		}
	}
}

// spooled is how much of each stream capture has put into the spool by now.
func (s *stage) spooled(all []speaker) map[upstream.Key]int64 {
	s.t.Helper()
	kept := map[upstream.Key]int64{}
	for _, one := range all {
		for i, stream := range streams {
			// A segment is named by the offset of its first byte.
			kept[upstream.Key{Dyno: one.id, Stream: stream}] = s.count(
				`cd /var/lib/dynod/spool/%s/%s && f=$(ls | grep seg$ | tail -1) && echo $((0x${f%%.seg} + $(stat -c %%s $f)))`, one.id, []string{"out", "err"}[i])
		}
	}
	return kept
}

// orders are what the agent has said yes to.
type orders struct{ started, stopped []string }

// churn starts and stops dynos as fast as the host can for a while.
func (s *stage) churn(d time.Duration) (all orders) {
	ctx, cancel := context.WithTimeout(s.t.Context(), d)
	defer cancel()
	var mu sync.Mutex
	var both sync.WaitGroup
	both.Go(func() {
		for ctx.Err() == nil {
			o := s.order("web", "./web worker", quota(32))
			if _, err := s.api().StartDyno(ctx, o); err == nil {
				mu.Lock()
				all.started = append(all.started, o.GetHeader().GetDynoId())
				mu.Unlock()
			}
			time.Sleep(200 * time.Millisecond) // two dynos a second is churn enough for an emulated host
		}
	})
	both.Go(func() {
		for ctx.Err() == nil {
			time.Sleep(300 * time.Millisecond)
			mu.Lock()
			id := ""
			if n := len(all.started) - len(all.stopped); n > 2 {
				id = all.started[len(all.stopped)]
			}
			mu.Unlock()
			if id == "" {
				continue
			}
			stop := &dynodv1.StopDynoRequest{Header: &dynodv1.OrderHeader{DynoId: id, Generation: 1}}
			if _, err := s.api().StopDyno(ctx, stop); err == nil {
				mu.Lock()
				all.stopped = append(all.stopped, id)
				mu.Unlock()
			}
		}
	})
	both.Wait()
	return all
}

// honoured checks that the agent remembers the orders, and that none of those dynos comes back.
func (s *stage) honoured(all orders) {
	s.t.Helper()
	s.t.Logf("%d orders to start and %d to stop were accepted before the cut", len(all.started), len(all.stopped))
	if len(all.started) == 0 || len(all.stopped) == 0 {
		s.t.Error("no churn")
	}
	for i, id := range all.started {
		d, err := s.api().GetDyno(bounded(s.t, patience), &dynodv1.GetDynoRequest{DynoId: id}, grpc.WaitForReady(true))
		if err != nil {
			s.t.Errorf("an accepted order is forgotten: %v", err)
			continue
		}
		want := []dynodv1.Phase{dynodv1.Phase_PHASE_CRASHED, dynodv1.Phase_PHASE_DOWN}
		if i < len(all.stopped) {
			want = want[1:]
		}
		s.await(d.GetDyno().GetId(), want...)
	}
}
