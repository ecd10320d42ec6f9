package doctor

import (
	"context"
	"maps"
	"slices"

	"github.com/dynod/dynod/cmd/dynod/config"
	"github.com/dynod/dynod/cmd/dynod/doctor/report"
	"github.com/dynod/dynod/runtime"
)

func (h Host) configuration(_ context.Context, n *report.Notes) {
	n.OK("%s", h.Source)
	for _, w := range Settings(h.Config) {
		n.Warn("see docs/configuration.md", "%s", w)
	}
}

// Refused is the report of a configuration that cannot be used: without one there is nothing to hold a host against.
func Refused(err *config.Error) report.Report {
	n := report.Notes{Check: "configuration"}
	for _, p := range err.Problems {
		n.Fail("", "%s", p)
	}
	return report.Report{Findings: n.All}
}

// Settings are the warnings of the settings alone.
func Settings(cfg config.Config) (all []string) {
	if cfg.Host.UserNamespace == runtime.UserNamespaceOff {
		all = append(all, "host.user_namespace is off: dynos share the host's user ids")
	}
	return all
}

// Quotas are the warnings of how disk quotas are held, in runtime's words.
func Quotas(cfg config.Config, diskQuota string) (all []string) {
	bounded := func(s config.Size) bool { return s.Disk > 0 }
	if diskQuota == runtime.DiskQuotaNone && slices.ContainsFunc(slices.Collect(maps.Values(cfg.Sizes)), bounded) {
		all = append(all, "disk quotas of sizes are not held: the file system of "+cfg.StateDir+" has no project quotas (ext4 or XFS with prjquota)")
	}
	return all
}
