package scrape

import (
	"time"

	"github.com/dynod/dynod/logs"
	"github.com/dynod/dynod/runtime"
)

func readRuntime(to metrics, c runtime.Counts) {
	const created = "Containers of dynos that were made, warm ones out of a sandbox made ahead."
	to.count("dynod_created_total", created, float64(c.Cold), "kind", "cold")
	to.count("dynod_created_total", created, float64(c.Warm), "kind", "warm")
}

func readNetwork(to metrics, n Network) {
	c := n.Counts()
	to.gauge("dynod_networks_ahead", "Networks made ahead of orders.", float64(c.Ahead))
	to.gauge("dynod_network_broken_dynos", "Dynos whose network cannot be mended at present.", float64(c.Broken))
	to.gauge("dynod_network_obstacles", "Chains of other firewalls that drop packets of dynos.", float64(c.Obstacles))
	const mended = "What was mended after somebody else had changed it: the firewall table, links of dynos."
	to.count("dynod_network_mended_total", mended, float64(c.MendedTables), "what", "table")
	to.count("dynod_network_mended_total", mended, float64(c.MendedDynos), "what", "dyno")
	denied, err := n.Denied()
	if err != nil {
		return // the table is missing: it will be mended
	}
	for rule, packets := range denied {
		to.count("dynod_network_denied_packets_total", "Packets that the firewall denied, by its rule, since its table was loaded.", float64(packets), "rule", rule)
	}
}

func readLogs(to metrics, a logs.Account) {
	to.gauge("dynod_log_capture_connected", "Whether the log holder answers.", truth(a.Connected))
	to.count("dynod_log_written_bytes_total", "Output of dynos and lines of the platform, with what was dropped.", float64(a.Captured))
	to.gauge("dynod_log_backlog_bytes", "What is not yet acknowledged upstream.", float64(a.Backlog.Bytes))
	to.gauge("dynod_log_backlog_dynos", "Dynos with any of it.", float64(a.Backlog.Dynos))
	for kind, s := range a.Sinks {
		to.gauge("dynod_log_sinks", "Receivers of log lines.", float64(s.Receivers), "sink", kind)
		to.count("dynod_log_delivered_bytes_total", "Text of lines that sinks have taken.", float64(s.Bytes), "sink", kind)
		to.count("dynod_log_delivered_lines_total", "Lines that sinks have taken.", float64(s.Lines), "sink", kind)
		to.count("dynod_log_dropped_lines_total", "Lines that were gone before they could be sent (L12).", float64(s.Dropped), "sink", kind)
		to.count("dynod_log_lost_lines_total", "Lines that sinks refused for good or that were given up (L13).", float64(s.Lost), "sink", kind)
		to.count("dynod_log_failed_attempts_total", "Attempts to deliver that failed.", float64(s.Errors), "sink", kind)
		to.gauge("dynod_log_lag_seconds", "Age of the oldest line that is under way; 0: none is.", age(s.Oldest), "sink", kind)
	}
}

func age(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(0, time.Since(t).Seconds())
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
