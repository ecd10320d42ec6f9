package meter

import (
	"time"

	"github.com/dynod/dynod/agent/dyno"
)

// Kinds of starts.
const (
	ordered   = "order"
	restarted = "restart"
)

// Moved counts a change of a dyno's record; before is zero for a dyno just accepted.
func (m *Meter) Moved(before, next dyno.Record) {
	switch {
	case before.Phase == next.Phase:
	case before.Phase == "":
		m.starts.WithLabelValues(ordered).Inc()
	case next.Phase == dyno.Starting:
		m.starts.WithLabelValues(restarted).Inc()
	case living(before.Phase) && !living(next.Phase):
		m.ended(before, next)
	}
}

func (m *Meter) ended(before, next dyno.Record) {
	code := ""
	if next.Exit != nil && next.Exit != before.Exit { // else it was stopped before its command ran
		code = string(next.Exit.Error)
	}
	m.ends.WithLabelValues(string(next.Phase), code).Inc()
	if next.Stop != nil && next.Stop.Sent {
		m.stop.Observe(time.Since(next.Stop.At).Seconds())
	}
}

func living(p dyno.Phase) bool { return p == dyno.Starting || p == dyno.Up || p == dyno.Stopping }

// Said counts a line of the platform if it tells an error.
func (m *Meter) Said(line string) {
	if code, ok := dyno.ErrorOf(line); ok {
		m.errors.WithLabelValues(string(code)).Inc()
	}
}
