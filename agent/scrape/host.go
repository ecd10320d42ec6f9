package scrape

import (
	"github.com/dynod/dynod/agent"
	"github.com/dynod/dynod/agent/dyno"
)

func readHost(to metrics, a *agent.Agent) {
	h := a.Host()
	to.gauge("dynod_build_info", "Always 1; the labels say what runs.", 1, "version", h.Version, "goversion", goVersion)
	to.gauge("dynod_ready", "Whether the agent has taken over its host's dynos and takes orders.", truth(ready(a)))
	readCapacity(to, h)
	to.gauge("dynod_cordoned", "Whether starts are refused.", truth(h.Cordoned))
	to.gauge("dynod_draining", "Whether dynos are being stopped to empty the host.", truth(h.Draining))
	to.gauge("dynod_warnings", "What an operator should mend; dynoctl host has the texts.", float64(len(h.Warnings)))
	to.gauge("dynod_unreadable_records", "Dynos that are left alone because their record cannot be read.", float64(len(h.Unreadable)))
	to.gauge("dynod_notices", "Notices of the cloud provider in force.", float64(len(h.Cloud.Notices)))
	to.gauge("dynod_containerd_reachable", "Whether containerd answered when it was last asked.", truth(h.Reachable))
	for resource, percent := range map[string]float64{"cpu": h.Pressure.CPU, "memory": h.Pressure.Memory, "io": h.Pressure.IO} {
		to.gauge("dynod_pressure_ratio", "Part of the last 10 s in which something on the host waited for a resource.", percent/100, "resource", resource)
	}
	if h.Upstream != "" {
		to.gauge("dynod_upstream_connected", "Whether the control plane answers reports.", truth(h.Connected))
		to.gauge("dynod_upstream_acknowledged_timestamp_seconds", "When the control plane last acknowledged a report; 0: not yet.", seconds(h.Acknowledged))
	}
}

func ready(a *agent.Agent) bool {
	select {
	case <-a.Ready():
		return true
	default:
		return false
	}
}

func readCapacity(to metrics, h agent.Host) {
	to.gauge("dynod_places", "Dynos that the host takes at most.", float64(h.Slots))
	to.gauge("dynod_free_places", "Dynos that it would take now, if there is memory.", float64(h.FreeSlots))
	to.gauge("dynod_sandboxes_ahead", "Sandboxes that wait for a dyno.", float64(h.WarmSlots))
	to.gauge("dynod_resting_slots", "Slots of dynos that ended lately, which nobody gets yet.", float64(h.RestingSlots))
	to.gauge("dynod_memory_bytes", "Memory for dynos.", float64(h.Memory))
	to.gauge("dynod_free_memory_bytes", "Memory that no dyno has been promised.", float64(h.FreeMemory))
}

func readDynos(to metrics, all []agent.Status) {
	count, stuck := map[dyno.Phase]int{}, 0
	for _, s := range all {
		count[s.Phase]++
		if s.Stuck {
			stuck++
		}
	}
	for _, p := range dyno.Phases {
		to.gauge("dynod_dynos", "Dynos that the agent knows, by phase; those that ended stay for a while.", float64(count[p]), "phase", string(p))
	}
	to.gauge("dynod_stuck_dynos", "Dynos that outlived SIGKILL and the removal by force, and keep their place.", float64(stuck))
}
