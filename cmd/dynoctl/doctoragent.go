package main

import (
	"context"
	"strings"

	"github.com/dynod/dynod/cmd/dynod/doctor/report"
	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// examineAgent asks the agent what only a client can see; r is what dynod has found.
func (c *ctl) examineAgent(ctx context.Context, r report.Report) []report.Finding {
	n := report.Notes{Check: "agent"}
	if r.Stopped && c.socket == r.Socket { // to connect could start it
		n.Fail("systemctl start dynod; why it ended says its log: journalctl -u dynod", "does not run")
		return n.All
	}
	agent, hangUp, err := c.connect()
	if err != nil {
		n.Fail("", "%v", err)
		return n.All
	}
	defer hangUp()
	answer, err := agent.GetHost(ctx, &dynodv1.GetHostRequest{})
	if err != nil {
		n.Fail("systemctl status dynod; its log says why: journalctl -u dynod", "%s", c.sentence(err))
		return n.All
	}
	host := answer.GetHost()
	if _, err := agent.ListDynos(ctx, &dynodv1.ListDynosRequest{}); err != nil {
		n.Warn("its log says what it waits for: journalctl -u dynod", "not ready: %s", c.sentence(err))
	} else {
		n.OK("ready, since %s", stamp(host.GetAgentStartedAt()))
	}
	state(&n, host, r)
	controlPlane(&n, host)
	versionsOf(&n, host, r)
	return n.All
}

// state notes what the agent says of itself.
func state(n *report.Notes, host *dynodv1.Host, r report.Report) {
	if !host.GetContainerdReachable() {
		n.Fail("systemctl status containerd", "it does not reach containerd")
	}
	switch {
	case host.GetDraining():
		n.Warn("", "it accepts no starts: the host is being drained")
	case host.GetCordoned():
		n.Warn("dynoctl uncordon", "it accepts no starts: the host is cordoned")
	}
	if bad := host.GetUnreadable(); len(bad) > 0 {
		n.Warn("the records are in state_dir/records", "it leaves dynos alone whose records it cannot read: %s", strings.Join(bad, ", "))
	}
	for _, w := range host.GetWarnings() {
		if !told(r, w) {
			n.Warn("", "%s", w)
		}
	}
}

func controlPlane(n *report.Notes, host *dynodv1.Host) {
	switch {
	case host.GetUpstream() == "":
		n.OK("no control plane is configured")
	case host.GetUpstreamConnected():
		n.OK("the control plane %s answers", host.GetUpstream())
	default:
		n.Fail("is it reachable from here, and do the certificates fit? journalctl -u dynod", "the control plane %s does not answer", host.GetUpstream())
	}
}

// versionsOf compares what is installed with what runs. A dynoctl that nobody gave a version is not compared.
func versionsOf(n *report.Notes, host *dynodv1.Host, r report.Report) {
	running := host.GetAgentVersion()
	switch {
	case r.Version != "" && r.Version != running:
		n.Warn("systemctl restart dynod; dynos stay", "version %s runs, %s is installed", running, r.Version)
	case version != unversioned && version != running:
		n.Warn("install both from one package", "dynoctl is of version %s, the agent of %s", version, running)
	default:
		n.OK("version %s, as dynod and dynoctl", running)
	}
}
