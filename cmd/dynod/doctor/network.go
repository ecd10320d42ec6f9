package doctor

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"

	"github.com/dynod/dynod/cmd/dynod/doctor/report"
	"github.com/dynod/dynod/cmd/dynod/resolv"
	"github.com/dynod/dynod/network"
)

// survey lends a look at the host's network to f.
func (h Host) survey(n *report.Notes, f func(*network.Survey) error) {
	s, err := network.NewSurvey(h.Network)
	if err == nil {
		err = errors.Join(f(s), s.Close())
	}
	if err != nil {
		n.Fail("", "%v", err)
	}
}

func (h Host) network(ctx context.Context, n *report.Notes) {
	h.survey(n, func(s *network.Survey) error {
		switch err := s.Try(ctx); {
		case errors.Is(err, exec.ErrNotFound):
			n.Fail("install nftables", "%v", err)
		case err != nil:
			n.Fail("a kernel with nftables, connection tracking, network namespaces, veth and tbf", "%v", err)
		default:
			n.OK("the kernel takes rules, links and bandwidth limits of dynos")
		}
		return nil
	})
}

func (h Host) nameServers(_ context.Context, n *report.Notes) {
	servers := resolv.Servers(resolv.Conf(h.Config.Network.Nameservers))
	if servers == nil {
		n.Warn("set network.nameservers", "dynos have no name server that they can reach")
		return
	}
	n.OK("dynos ask %s", servers[0])
}

func (h Host) firewall(_ context.Context, n *report.Notes) {
	h.survey(n, func(s *network.Survey) error {
		all, err := s.Obstacles()
		for _, o := range all {
			n.Fail(o.Hint, "%s", o.What())
		}
		if all == nil && err == nil {
			n.OK("no other one is in the way of dynos")
		}
		return err
	})
}

func (h Host) addresses(_ context.Context, n *report.Notes) {
	h.survey(n, func(s *network.Survey) error {
		first, last := s.Range()
		hint := "choose another network.block"
		if err := s.Foreign(); err != nil {
			n.Fail(hint, "%v", err)
		}
		routes, err := s.Routes()
		for _, r := range routes {
			n.Fail(hint, "addresses of dynos (%s to %s) overlap the %s", first, last, r)
		}
		if n.All == nil && err == nil {
			n.OK("%s to %s are free", first, last)
		}
		return err
	})
}

func (h Host) ports(_ context.Context, n *report.Notes) {
	first := int(h.Config.Network.FirstHostPort)
	last := first + h.Config.Slots() - 1
	taken, err := listeners(first, last)
	if err != nil {
		n.Fail("", "%v", err)
		return
	}
	for _, port := range taken {
		n.Fail("move it, or network.first_host_port", "a process of the host listens on TCP port %d, which leads to dynos (%d to %d)", port, first, last)
	}
	if low, high := ephemeral(); low <= last && first <= high && !reserves(first, last) {
		n.Warn(fmt.Sprintf("sysctl -w net.ipv4.ip_local_reserved_ports=%d-%d, or move network.first_host_port", first, last),
			"host ports of dynos (%d to %d) overlap those that programs are given (%d to %d)", first, last, low, high)
	}
	if n.All == nil {
		n.OK("%d to %d are free", first, last)
	}
}

// listeners are the TCP ports from first to last that somebody listens on.
func listeners(first, last int) (ports []int, err error) {
	proc, err := procfs.Self()
	if err != nil {
		return nil, err
	}
	fs, err := procfs.NewFS(fmt.Sprintf("/proc/%d", proc.PID))
	if err != nil {
		return nil, err
	}
	v4, err := fs.NetTCP() //nolint:staticcheck // the newer way needs a module that may not be loaded
	if err != nil {
		return nil, err
	}
	v6, _ := fs.NetTCP6() //nolint:staticcheck // as above; a kernel may lack it
	const listening = 0x0A
	for _, l := range slices.Concat(v4, v6) {
		if port := int(l.LocalPort); l.St == listening && port >= first && port <= last {
			ports = append(ports, port)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports), nil
}

// ephemeral are the ports that the kernel gives to those who ask for any.
func ephemeral() (low, high int) {
	text := sysctl("net/ipv4/ip_local_port_range")
	_, _ = fmt.Sscan(text, &low, &high)
	return low, high
}

// reserves says whether the kernel gives away none of the ports: its setting is a list such as 80,20000-21279.
func reserves(first, last int) bool {
	return slices.ContainsFunc(strings.Split(sysctl("net/ipv4/ip_local_reserved_ports"), ","), func(part string) bool {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		low, err := strconv.Atoi(from)
		high, err2 := strconv.Atoi(to)
		return err == nil && err2 == nil && low <= first && last <= high
	})
}
