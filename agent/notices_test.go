package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/agenttest"
	"github.com/dynod/dynod/agent/cloud"
	"github.com/dynod/dynod/agent/dyno"
)

// onCloud is a host whose provider says what is sent.
func onCloud(t *testing.T, r agent.Reaction) (*host, agenttest.Cloud) {
	t.Helper()
	c := make(agenttest.Cloud)
	h := newHost(t, func(cfg *agent.Config) { cfg.Reactions = map[cloud.Kind]agent.Reaction{cloud.Interruption: r} })
	h.leave()
	h.cloud = c
	h.arrive()
	return h, c
}

func spot(id string) cloud.State {
	return cloud.State{Notices: []cloud.Notice{{Kind: cloud.Interruption, ID: id, Action: "terminate"}}}
}

func say(c agenttest.Cloud, s cloud.State) {
	c <- s
	synctest.Wait()
}

func TestNoticeIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c := onCloud(t, agent.ReportOnly)
		defer h.leave()
		watch, _ := h.Watch()
		defer watch.Close()
		say(c, spot("1"))
		select {
		case <-watch.Wake():
		default:
			t.Error("watchers are not told at once")
		}
		if got := h.Host(); len(got.Cloud.Notices) != 1 || got.Cordoned {
			t.Errorf("host: %+v", got)
		}
		h.start(order(first, "worker.1"))
		changed := h.config
		changed.Reactions = map[cloud.Kind]agent.Reaction{cloud.Interruption: agent.CordonHost}
		h.Reload(changed)
		if say(c, spot("2")); !h.Host().Cordoned {
			t.Error("the new settings do not count")
		}
		say(c, cloud.State{})
		if got := h.Host(); len(got.Cloud.Notices) != 0 {
			t.Errorf("host: %+v", got)
		}
	})
}

func TestNoticeCordonsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c := onCloud(t, agent.CordonHost)
		defer h.leave()
		h.start(order(first, "worker.1"))
		say(c, cloud.State{Notices: []cloud.Notice{{Kind: cloud.Rebalance, ID: "0"}}})
		if h.Host().Cordoned {
			t.Error("cordoned by a notice of another kind")
		}
		say(c, spot("1"))
		if !h.Host().Cordoned {
			t.Error("not cordoned")
		}
		if _, err := h.Start(t.Context(), order(second, "worker.2")); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("start: %v", err)
		}
		h.phase(first, dyno.Up)
		if err := h.Uncordon(); err != nil {
			t.Fatal(err)
		}
		again := spot("1")
		again.Instance.ID = "i-1"
		say(c, again)
		if h.Host().Cordoned {
			t.Error("the same notice has undone an order")
		}
		say(c, spot("2"))
		if !h.Host().Cordoned {
			t.Error("not cordoned by the next notice")
		}
		say(c, cloud.State{})
		if !h.Host().Cordoned {
			t.Error("the cordon ended with the notice")
		}
	})
}

func TestNoticeDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c := onCloud(t, agent.DrainHost)
		h.runtime.Deaf()
		h.start(order(first, "worker.1"))
		h.phase(first, dyno.Up)
		say(c, spot("1"))
		if s := h.phase(first, dyno.Stopping); s.Stop.Grace != 30*time.Second || !h.Host().Draining || !h.Host().Cordoned {
			t.Errorf("grace %s, host: %+v", s.Stop.Grace, h.Host())
		}
		h.leave() // and the next agent goes on with it
		h.arrive()
		defer h.leave()
		say(c, spot("1"))
		if !h.Host().Draining {
			t.Error("the drain ended with the agent")
		}
		time.Sleep(time.Minute)
		h.phase(first, dyno.Down)
		if h.Host().Draining || !h.Host().Cordoned {
			t.Errorf("after the drain: %+v", h.Host())
		}
	})
}

// A drain that leaves a dyno alone is over: it would be no other a moment later.
func TestNoticeDrainsAllButTheUnreadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c := onCloud(t, agent.DrainHost)
		h.start(order(first, "worker.1"))
		h.phase(first, dyno.Up)
		h.leave()
		if err := os.WriteFile(filepath.Join(h.records, first+".json"), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		h.arrive()
		defer h.leave()
		say(c, spot("1"))
		time.Sleep(time.Minute)
		if !h.Host().Cordoned {
			t.Error("not cordoned")
		}
		if err := h.Cordon("mine"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if _, err := h.Start(t.Context(), order(second, "worker.2")); !strings.Contains(fmt.Sprint(err), "(mine)") {
			t.Errorf("start: %v", err)
		}
	})
}

func TestUncordonEndsADrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c := onCloud(t, agent.DrainHost)
		defer h.leave()
		h.runtime.Deaf()
		h.start(order(first, "worker.1"))
		h.phase(first, dyno.Up)
		say(c, spot("1"))
		h.phase(first, dyno.Stopping)
		if err := h.Uncordon(); err != nil {
			t.Fatal(err)
		}
		h.start(order(second, "worker.2"))
		time.Sleep(time.Minute)
		h.phase(second, dyno.Up)
		if h.Host().Draining || h.Host().Cordoned {
			t.Errorf("the drain has undone an order: %+v", h.Host())
		}
	})
}

// A cordon that cannot be written down is tried until it can.
func TestReactionIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c := onCloud(t, agent.CordonHost)
		defer h.leave()
		in := filepath.Join(h.records, "cordon", "way")
		if err := os.MkdirAll(in, 0o700); err != nil {
			t.Fatal(err)
		}
		say(c, spot("1"))
		time.Sleep(time.Hour)
		if h.Host().Cordoned {
			t.Error("said to be cordoned, which a restart would not know")
		}
		if err := os.RemoveAll(filepath.Dir(in)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if !h.Host().Cordoned {
			t.Error("not tried again")
		}
	})
}
