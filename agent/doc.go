// Package agent takes orders, keeps dynos and tells facts. An Agent holds the registry, admission and recovery; all
// that concerns one dyno belongs to its runner, a single goroutine that owns the dyno's record and leads it through
// its lives. The package knows nothing of the wire (agent/rpc) and meets containerd, the network and the logs only
// through the interfaces in parts.go.
package agent
