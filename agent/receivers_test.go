package agent_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/agenttest"
	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/logs"
)

// Every agent tells the log part where a dyno's lines go; a dyno's record on disk does not.
func TestLogSinksAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		o, want := orderWithSinks()
		h.start(o)
		h.phase(first, dyno.Up)
		for range 2 {
			if diff := cmp.Diff(want, h.logs.Receivers(first)); diff != "" {
				t.Error(diff)
			}
			h.leave()
			h.logs = agenttest.NewLogs() // as an agent's death leaves it
			h.arrive()
		}
		h.leave()
		record, err := os.ReadFile(filepath.Join(h.records, first+".json"))
		if err != nil || strings.Contains(string(record), "hidden") {
			t.Errorf("record: %v\n%s", err, record)
		}
	})
}

// The log part trims while this host's dynos cannot be seen yet: it must know by then who needs their lines.
func TestLogSinksAreNamedBeforeDynosAreSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		o, want := orderWithSinks()
		h.start(o)
		h.leave()
		h.logs = agenttest.NewLogs()
		h.runtime.Fail("List", errors.New("away"))
		h.arrive()
		defer func() { h.leave() }()
		if err := h.NameReceivers(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, h.logs.Receivers(first)); diff != "" {
			t.Error(diff)
		}
	})
}

func orderWithSinks() (agent.StartOrder, []logs.Receiver) {
	o := order(first, "worker.1")
	o.Spec.Secret.LogSinks = []dyno.LogSink{{URL: "https://hidden.example", Token: "hidden"}, {URL: "syslog+tls://hidden.example"}}
	return o, []logs.Receiver{{URL: "https://hidden.example", Token: "hidden"}, {URL: "syslog+tls://hidden.example"}}
}
