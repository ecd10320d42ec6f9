package network_test

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/network"
)

func TestNewRefusesWrongConfigurations(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*network.Config)
		want   string
	}{
		"IPv6 block":         {func(c *network.Config) { c.Block = netip.MustParsePrefix("fd00::/64") }, "not an IPv4 block"},
		"block of one":       {func(c *network.Config) { c.Block = netip.MustParsePrefix("10.0.0.0/31") }, "at least a /30"},
		"block too small":    {func(c *network.Config) { c.Block = netip.MustParsePrefix("10.0.0.0/26") }, "too small for 17 slots"},
		"no slots":           {func(c *network.Config) { c.Slots = 0 }, "0 slots"},
		"too many slots":     {func(c *network.Config) { c.Slots = 1 << 40 }, "slots, want 1 to 65536"},
		"no host port":       {func(c *network.Config) { c.FirstHostPort = 0 }, "17 host ports from 0"},
		"host ports run out": {func(c *network.Config) { c.FirstHostPort = 65520 }, "17 host ports from 65520"},
		"relative directory": {func(c *network.Config) { c.Dir = "netns" }, `"netns" is not an absolute path`},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := network.Config{FirstHostPort: 5000, Slots: 17, Dir: "/nowhere"}
			c.change(&cfg)
			_, err := network.New(t.Context(), cfg, slog.New(slog.DiscardHandler))
			if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an invalid argument with %q", err, c.want)
			}
		})
	}
}

func TestNewRefusesAddressesInUse(t *testing.T) {
	h := newHost(t)
	h.run(h.Lab.Host(), "ip", "link", "add", "foreign", "type", "bridge")
	for addr, inUse := range map[string]bool{
		"172.16.1.143/30": true, // the last of 100 slots
		"172.16.1.144/30": false,
		"172.0.0.1/8":     true,
		"172.17.0.1/16":   false, // in the block, but behind the last slot
	} {
		h.run(h.Lab.Host(), "ip", "addr", "add", addr, "dev", "foreign")
		n, err := h.open(h.config())
		if errdefs.IsFailedPrecondition(err) != inUse {
			t.Errorf("with %s on another link: %v", addr, err)
		}
		if err == nil {
			_ = n.Close()
		}
		h.run(h.Lab.Host(), "ip", "addr", "del", addr, "dev", "foreign")
	}
}

func TestNewRefusesToMoveLivingDynos(t *testing.T) {
	h := newHost(t)
	h.setup(50)
	block := h.config()
	block.Block = netip.MustParsePrefix("10.1.0.0/16")
	slots := h.config()
	slots.Slots = 50
	for _, cfg := range []network.Config{block, slots} {
		if _, err := h.open(cfg); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("got %v, want a failed precondition", err)
		}
	}
}
