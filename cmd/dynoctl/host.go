package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

func (c *ctl) host() *cobra.Command {
	return &cobra.Command{
		Use:   "host",
		Short: "Show the host: capacity, pressure, warnings",
		Args:  cobra.NoArgs,
		RunE: c.withAgent(func(ctx context.Context, agent dynodv1.AgentServiceClient, _ []string) error {
			answer, err := agent.GetHost(ctx, &dynodv1.GetHostRequest{})
			if err != nil {
				return err
			}
			return c.writeHost(answer.GetHost())
		}),
	}
}

func (c *ctl) writeHost(h *dynodv1.Host) error {
	if c.json() {
		return c.writeJSON(h)
	}
	f := facts{
		{"Name", h.GetName()},
		{"Accepts starts", acceptsStarts(h)},
		{"Agent", h.GetAgentVersion()},
		{"Agent started", stamp(h.GetAgentStartedAt())},
		{"Kernel", h.GetKernel()},
		{"Boot", h.GetBootId()},
		{"Capacity", capacity(h.GetCapacity())},
		{"Free", capacity(h.GetFree())},
		{"Warm slots", strconv.Itoa(int(h.GetWarmSlots()))},
		{"Pressure", pressure(h.GetPressure())},
		{"containerd", reachable(h.GetContainerdReachable())},
		{"Instance", instance(h.GetInstance())},
		{"Addresses", addresses(h.GetInstance())},
		{"Control plane", upstream(h)},
		{"Disk quota", h.GetDiskQuota()},
		{"Logs waiting", bytesOf(h.GetSpoolBacklogBytes())},
		{"Unreadable records", strings.Join(h.GetUnreadable(), ", ")},
	}
	f = append(f, deliveries(h.GetLogDelivery())...)
	for _, n := range h.GetNotices() {
		f = append(f, [2]string{"Notice", notice(n)})
	}
	for _, w := range h.GetWarnings() {
		f = append(f, [2]string{"Warning", w})
	}
	return c.writeFacts(f)
}

func acceptsStarts(h *dynodv1.Host) string {
	switch {
	case h.GetDraining():
		return "no: draining"
	case h.GetCordoned():
		return "no: cordoned"
	default:
		return "yes"
	}
}

func capacity(a *dynodv1.Capacity) string {
	if a == nil {
		return ""
	}
	return fmt.Sprintf("%d dynos, %s memory, %g CPUs", a.GetDynos(), unitsOrZero(a.GetMemoryBytes()), float64(a.GetCpuMilli())/1000)
}

func instance(i *dynodv1.Instance) string {
	return join(", ", i.GetId(), i.GetType(), i.GetLifecycle(), i.GetZone())
}

func addresses(i *dynodv1.Instance) string {
	return join(", ", i.GetPrivateAddress(), i.GetPublicAddress(), i.GetIpv6Address())
}

// notice is one line such as "spot interruption: terminate at 2026-01-02T15:04:05Z".
func notice(n *dynodv1.Notice) string {
	kind := strings.ToLower(strings.TrimPrefix(n.GetKind().String(), "KIND_"))
	text := strings.ReplaceAll(kind, "_", " ") + ": " + n.GetAction()
	if n.GetDueAt() != nil {
		text += " at " + stamp(n.GetDueAt())
	}
	return join(", ", text, n.GetDescription())
}

// join leaves out what is empty.
func join(between string, parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), between)
}

func unitsOrZero(n int64) string {
	if n == 0 {
		return "0B"
	}
	return bytesOf(n)
}

func pressure(p *dynodv1.Pressure) string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf("cpu %.1f%%, memory %.1f%%, io %.1f%%", p.GetCpu(), p.GetMemory(), p.GetIo())
}

func upstream(h *dynodv1.Host) string {
	switch {
	case h.GetUpstream() == "":
		return ""
	case h.GetUpstreamConnected():
		return h.GetUpstream() + ", answers"
	default:
		return h.GetUpstream() + ", does NOT answer"
	}
}

func reachable(yes bool) string {
	if yes {
		return "reachable"
	}
	return "NOT reachable"
}
