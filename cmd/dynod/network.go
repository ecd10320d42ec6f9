package main

import (
	"path/filepath"

	"github.com/dynod/dynod/cmd/dynod/config"
	"github.com/dynod/dynod/network"
)

// networkConfig is the network's share of the settings.
func networkConfig(cfg config.Config) network.Config {
	c := network.Config{
		Block: cfg.Network.Block, FirstHostPort: cfg.Network.FirstHostPort, Slots: cfg.Slots(), Dir: filepath.Join(cfg.RunDir, "netns"),
		ClosedPorts: cfg.Network.ClosedPorts, HostPorts: cfg.Network.HostPorts, Listen: cfg.Network.ListenInterfaces, Routed: cfg.Network.Routed,
		Policies: map[string]network.Policy{}, Sizes: map[string]network.Limits{},
		Spare: network.Request{Port: cfg.Defaults.Port, Size: cfg.Defaults.Size},
	}
	for name, p := range cfg.Network.Policies {
		c.Policies[name] = network.Policy{Allow: destinations(p.Allow), Deny: destinations(p.Deny)}
	}
	for name, s := range cfg.Sizes {
		c.Sizes[name] = network.Limits{Bandwidth: uint64(s.Bandwidth), Connections: s.Connections, Rate: s.ConnectionRate}
	}
	return c
}

func destinations(from []config.Destination) (to []network.Destination) {
	for _, d := range from {
		to = append(to, network.Destination(d))
	}
	return to
}
