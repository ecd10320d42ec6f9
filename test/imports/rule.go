// Package imports holds the rule of who may import whom, and the test that holds the project to it. It knows
// packages by their paths only and reads no source.
package imports

import (
	"fmt"
	"slices"
	"strings"
)

// Module is the path before every package of the project.
const Module = "github.com/dynod/dynod"

// rules says for each tree of packages which other trees it may import; its own it always may. The longest tree that
// fits a package is its rule. Only code counts here, not tests: a test may join what the code keeps apart.
var rules = map[string][]string{
	// Leaves: they meet only in agent.
	"runtime": {},
	"network": {},
	"logs":    {},
	"systemd": {},
	"proto":   {},

	"agent/cloud":      {},
	"agent/dyno":       {},
	"agent/meter":      {"agent/dyno"},
	"agent/rendezvous": {}, // it meets the agent in cmd/dynod only
	"agent/scrape":     {"agent", "agent/dyno", "runtime", "network", "logs"},
	"agent/state":      {"agent/dyno"},
	"agent":            {"agent/cloud", "agent/dyno", "agent/meter", "agent/state", "runtime", "network", "logs"},
	"agent/agenttest":  {"agent", "agent/cloud", "agent/dyno", "agent/state", "runtime", "network", "logs"}, // fakes in the leaves' words
	"agent/rpc":        {"agent", "agent/cloud", "agent/dyno", "logs", "proto"},                             // logs: it is the sink upstream

	"cmd/dynod":               {"cmd/dynod/doctor/report", "agent", "agent/cloud", "agent/dyno", "agent/meter", "agent/rendezvous", "agent/rpc", "agent/scrape", "agent/state", "runtime", "network", "logs", "systemd"},
	"cmd/dynod/doctor/report": {}, // dynod's findings, to which dynoctl adds
	"cmd/dynoctl":             {"cmd/dynoctl/orderfile", "cmd/dynod/doctor/report", "agent/rpc", "proto"},
	"cmd/dynoplane":           {"cmd/dynoctl/orderfile", "agent/rpc", "proto"},
	"cmd/dynoctl/orderfile":   {"proto"}, // the two send the same files
	"cmd/dyno-init":           {"runtime"},

	"test": {"agent", "agent/agenttest", "agent/dyno", "agent/rendezvous", "agent/rpc", "agent/state", "runtime", "network", "logs", "systemd", "proto", "cmd/dynoctl/orderfile"},
}

// Broken lists the imports that the rule forbids, and the packages for which there is no rule, sorted. The graph
// holds for each package of the project what it imports, by full paths.
func Broken(graph map[string][]string) []string {
	var broken []string
	for pkg, imports := range graph {
		tree := treeOf(pkg)
		if tree == "" {
			broken = append(broken, pkg+" has no rule")
			continue
		}
		for _, other := range imports {
			if !allowed(tree, other) {
				broken = append(broken, fmt.Sprintf("%s may not import %s", pkg, other))
			}
		}
	}
	slices.Sort(broken)
	return broken
}

// allowed says whether a package of the tree may import the other one. What is not ours always may be imported.
func allowed(tree, other string) bool {
	if other != Module && !strings.HasPrefix(other, Module+"/") {
		return true
	}
	to := treeOf(other)
	return to == tree || slices.Contains(rules[tree], to)
}

// treeOf is the longest tree with a rule that holds the package, "" without one.
func treeOf(pkg string) string {
	path := strings.TrimPrefix(pkg, Module+"/")
	for {
		if _, ruled := rules[path]; ruled {
			return path
		}
		end := strings.LastIndexByte(path, '/')
		if end < 0 {
			return ""
		}
		path = path[:end]
	}
}
