// Package doctor examines a host for what dynod needs, with an agent or without one: a table of checks, a file for each
// subject. It changes nothing on the host; the kernel may load modules that the agent would have it load. It opens no
// connection to dynod's own processes: that is for clients.
package doctor

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/dynod/dynod/cmd/dynod/config"
	"github.com/dynod/dynod/cmd/dynod/doctor/report"
	"github.com/dynod/dynod/network"
)

// limit is how long one check may take; they run side by side.
const limit = 8 * time.Second

// Host is what is examined. Examine has to run in the agent's network namespace.
type Host struct {
	Config  config.Config
	Network network.Config
	Source  string // where the configuration came from
	Version string // of this dynod
}

// check looks at one subject and makes at least one note.
type check struct {
	name string
	look func(Host, context.Context, *report.Notes)
}

// checks in the order in which they are shown: what others depend on first.
var checks = []check{
	{"configuration", Host.configuration},
	{"certificates", Host.certificates},
	{"kernel", Host.kernel},
	{"cgroups", Host.cgroups},
	{"user ids", Host.userIDs},
	{"memory", Host.memory},
	{"disk", Host.disk},
	{"containerd", Host.containerd},
	{"runc", Host.runc},
	{"dyno-init", Host.dynoInit},
	{"network", Host.network},
	{"name servers", Host.nameServers},
	{"firewall", Host.firewall},
	{"addresses", Host.addresses},
	{"ports", Host.ports},
	{"limits", Host.limits},
	{"capture", Host.capture},
}

// Examine makes all checks. What hangs is a failure of its check.
func (h Host) Examine(ctx context.Context) report.Report {
	r := report.Report{Version: h.Version, Socket: h.Config.API.Socket, Stopped: !h.agentRuns()}
	if os.Geteuid() != 0 {
		r.Findings = []report.Finding{{Check: "doctor", Status: report.Failure, Text: "only root can look at all of this host", Hint: "sudo dynod doctor"}}
		return r
	}
	results := make([]<-chan []report.Finding, len(checks))
	for i, c := range checks {
		results[i] = c.begin(ctx, h)
	}
	for _, result := range results {
		r.Findings = append(r.Findings, <-result...)
	}
	return r
}

// begin leaves a check that hangs in the kernel behind: no context reaches it there.
func (c check) begin(ctx context.Context, h Host) <-chan []report.Finding {
	ctx, cancel := context.WithTimeout(ctx, limit)
	result, found := make(chan []report.Finding, 1), make(chan []report.Finding, 1)
	go func() {
		n := report.Notes{Check: c.name}
		c.look(h, ctx, &n)
		found <- n.All
	}()
	go func() {
		defer cancel()
		select {
		case all := <-found:
			result <- all
		case <-time.After(limit + time.Second): // a call that heeds ctx says more
			result <- []report.Finding{{Check: c.name, Status: report.Failure, Text: fmt.Sprintf("does not come to an end within %s", limit), Hint: "the kernel's log (dmesg) may say what hangs"}}
		}
	}()
	return result
}
