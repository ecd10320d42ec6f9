package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/dynod/dynod/agent/agenttest"
	"github.com/dynod/dynod/agent/dyno"
	"github.com/dynod/dynod/logs"
)

// Every agent tells the log part where a dyno's lines go; a dyno's record on disk does not.
func TestLogSinksAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		o := order(first, "worker.1")
		o.Spec.Secret.LogSinks = []dyno.LogSink{{URL: "https://hidden.example", Token: "hidden"}, {URL: "syslog+tls://hidden.example"}}
		want := []logs.Receiver{{URL: "https://hidden.example", Token: "hidden"}, {URL: "syslog+tls://hidden.example"}}
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
