package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

func (c *ctl) inspect() *cobra.Command {
	return &cobra.Command{
		Use:               "inspect DYNO",
		Short:             "Show all that the agent knows about a dyno",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.completeDynos,
		RunE: c.withAgent(func(ctx context.Context, agent dynodv1.AgentServiceClient, args []string) error {
			dyno, err := resolve(ctx, agent, args[0])
			if err != nil {
				return err
			}
			answer, err := agent.GetDyno(ctx, &dynodv1.GetDynoRequest{DynoId: dyno.GetId()})
			if err != nil {
				return err
			}
			if c.json() {
				return c.writeJSON(answer.GetDyno())
			}
			host, err := agent.GetHost(ctx, &dynodv1.GetHostRequest{})
			if err != nil {
				return err
			}
			all := append(dynoFacts(answer.GetDyno()), [2]string{"Waited", waited(answer.GetPressure())})
			all = append(all, deliveries(answer.GetDyno().GetLogDelivery())...)
			return c.writeFacts(append(all, warningsOf(dyno, host.GetHost())...))
		}),
	}
}

// warningsOf are those of a host that name the dyno.
func warningsOf(d *dynodv1.Dyno, host *dynodv1.Host) (all facts) {
	for _, w := range host.GetWarnings() {
		if strings.Contains(w, d.GetId()) {
			all = append(all, [2]string{"Warning", w})
		}
	}
	return all
}

func dynoFacts(d *dynodv1.Dyno) facts {
	return facts{
		{"Id", d.GetId()},
		{"Generation", fmt.Sprint(d.GetGeneration())},
		{"App", d.GetApp()},
		{"Name", d.GetName()},
		{"Type", d.GetType()},
		{"Size", d.GetSize()},
		{"One-off", yes(d.GetOneOff())},
		{"Phase", phase(d)},
		{"Since", stamp(d.GetPhaseSince())},
		{"Reason", d.GetReason()},
		{"Accepted", stamp(d.GetAcceptedAt())},
		{"Artifact", d.GetArtifact()},
		{"Command", d.GetCommand()},
		{"Memory", bytesOf(d.GetLimits().GetMemoryBytes())},
		{"CPU weight", number(d.GetLimits().GetCpuWeight())},
		{"CPU ceiling", milli(d.GetLimits().GetCpuCeilingMilli())},
		{"Processes", number(d.GetLimits().GetPids())},
		{"Open files", number(int64(d.GetLimits().GetOpenFiles()))},
		{"Disk", bytesOf(d.GetLimits().GetDiskBytes())},
		{"Address", d.GetAddress()},
		{"Port", number(d.GetPort())},
		{"Host port", number(d.GetHostPort())},
		{"Pid", number(d.GetPid())},
		{"Lives", fmt.Sprint(d.GetLives())},
		{"Last exit", lastExit(d.GetExit())},
		{"Crash policy", crashPolicy(d.GetRestartPolicy())},
		{"Crashes", number(d.GetCrashes())},
		{"Next start", stamp(d.GetNextStartAt())},
	}
}

// lastExit is a life's end in full: "137 R15 OOM (signal 9) at 2026-01-02T15:04:05Z".
func lastExit(e *dynodv1.Exit) string {
	if e == nil {
		return ""
	}
	text := exit(e)
	if e.GetSignal() != 0 {
		text += fmt.Sprintf(" (signal %d)", e.GetSignal())
	}
	if e.GetPlatformFailure() != "" {
		text += " (" + e.GetPlatformFailure() + ")"
	}
	if e.GetAt() != nil {
		text += " at " + stamp(e.GetAt())
	}
	return text
}

// waited is the pressure of a dyno that runs: "CPU 0.5%, memory 0%, disk 12%".
func waited(p *dynodv1.Pressure) string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf("CPU %g%%, memory %g%%, disk %g%%", p.GetCpu(), p.GetMemory(), p.GetIo())
}

// bytesOf is a size in binary units: "512MiB".
func bytesOf(n int64) string {
	if n == 0 {
		return ""
	}
	return units.BytesSize(float64(n))
}

// milli is thousandths of a CPU: "1.5 CPUs".
func milli(n uint32) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%g CPUs", float64(n)/1000)
}
