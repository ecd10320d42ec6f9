package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// setting is a value below /proc/sys/net, which the kernel resolves in the
// network namespace of the thread that opens the file.
type setting struct{ name, value string }

// apply writes settings for the calling thread's namespace, and says whether
// any had another value before.
func apply(settings ...setting) (changed bool, err error) {
	for _, s := range settings {
		path := filepath.Join("/proc/sys/net", s.name)
		old, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(s.name, "ipv6/") {
			continue // a kernel without IPv6 has nothing to turn off
		}
		if err != nil {
			return changed, fmt.Errorf("read kernel setting: %w", err)
		}
		if strings.TrimSpace(string(old)) == s.value {
			continue
		}
		if err := os.WriteFile(path, []byte(s.value), 0); err != nil {
			return changed, fmt.Errorf("write kernel setting: %w", err)
		}
		changed = true
	}
	return changed, nil
}

// forward turns IPv4 forwarding on in the host's namespace.
func (n *Network) forward() error {
	return within(n.ns, func() error {
		changed, err := apply(setting{"ipv4/ip_forward", "1"})
		if changed {
			n.log.Info("turned IPv4 forwarding on")
		}
		return err
	})
}

// hostEnd are the settings of the host's end of a dyno's link: no IPv6, only
// answers from the dyno's own address, no talk about the host's other addresses.
func hostEnd(link string) []setting {
	v4 := "ipv4/conf/" + link + "/"
	return []setting{
		{"ipv6/conf/" + link + "/disable_ipv6", "1"},
		{v4 + "rp_filter", "1"},
		{v4 + "arp_ignore", "1"},
		{v4 + "accept_redirects", "0"},
		{v4 + "send_redirects", "0"},
	}
}

// insideNamespace are the settings of a dyno's namespace, made before it has a
// link: "all" covers the links it has already (lo), "default" those to come.
var insideNamespace = []setting{
	{"ipv6/conf/all/disable_ipv6", "1"},
	{"ipv6/conf/default/disable_ipv6", "1"},
}
