package config_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReload(t *testing.T) {
	const before = `
		[network]
		nameservers = ["10.0.0.2"]
		[network.policies.closed]
		deny = ["0.0.0.0/0"]
		[sizes.old]
		memory = "64MiB"
	`
	const after = `
		host_name = "h"
		[log]
		level = "debug"
		[host]
		max_dynos = 7
		[network.policies.open]
		[sizes.standard-1x]
		pids = 99
		bandwidth = "1MiB"
		[sizes.new]
		memory = "32MiB"
		connections = 5
	`
	running := mustLoad(t, "host_name = \"h\"\n"+before, nil)
	merged, applied, kept := running.Reload(mustLoad(t, after, nil))

	want := mustLoad(t, "host_name = \"h\"\n"+before+`
		[log]
		level = "debug"
		[sizes.standard-1x]
		pids = 99
		[sizes.new]
		memory = "32MiB"
	`, nil)
	want.Network.Nameservers = nil
	if diff := cmp.Diff(want, merged, comparableTypes); diff != "" {
		t.Errorf("in force (-want +got):\n%s", diff)
	}
	wantApplied := []string{
		"log.level", "network.nameservers", "sizes.new.cpu_weight", "sizes.new.disk", "sizes.new.memory", "sizes.new.nofile",
		"sizes.new.pids", "sizes.new.r15_percent", "sizes.standard-1x.pids",
	}
	if diff := cmp.Diff(wantApplied, applied); diff != "" {
		t.Errorf("applied (-want +got):\n%s", diff)
	}
	for _, key := range []string{
		"host.max_dynos", "network.policies.open.allow", "network.policies.closed.deny", "sizes.standard-1x.bandwidth",
		"sizes.new.connections", "sizes.old.memory",
	} {
		if !slices.Contains(kept, key) {
			t.Errorf("%s is not named as kept: %v", key, kept)
		}
	}
	if again, applied, _ := merged.Reload(merged); len(applied) > 0 || !cmp.Equal(again, merged, comparableTypes) {
		t.Errorf("the same again applied %v", applied)
	}
	if running.Sizes["standard-1x"].Pids == 99 {
		t.Error("the settings before have changed")
	}
}
