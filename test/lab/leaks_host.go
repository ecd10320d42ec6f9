package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/vishvananda/netlink"

	tasks "github.com/containerd/containerd/api/services/tasks/v1"
)

// Namespace is the containerd namespace for the lab's containers. Its name is the lab's own, because what shims and
// runc keep in /run/containerd, by namespace and id, all containerds of the machine share.
func (l *Lab) Namespace() string { return "dynod-" + l.name }

// countHost adds the links, routes and nftables objects of the host's network namespace.
func (l *Lab) countHost(ctx context.Context, s Snapshot) error {
	err := l.Do(l.Host(), func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return fmt.Errorf("list links: %w", err)
		}
		for _, link := range links {
			s.add("link", link.Type(), link.Attrs().Name)
		}
		routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
		if err != nil {
			return fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			s.add("route", fmt.Sprint(r.Dst), "via", fmt.Sprint(r.Gw))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return l.countRuleset(ctx, s)
}

// countRuleset asks the nft command, an eye other than the library that makes the rules.
func (l *Lab) countRuleset(ctx context.Context, s Snapshot) error {
	cmd := exec.CommandContext(ctx, "nsenter", "--net="+l.Host(), "nft", "--json", "--stateless", "list", "ruleset")
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("list nftables ruleset: %w", err)
	}
	var ruleset struct {
		Nftables []map[string]map[string]any
	}
	if err := json.Unmarshal(out, &ruleset); err != nil {
		return fmt.Errorf("read nftables ruleset: %w", err)
	}
	for _, object := range ruleset.Nftables {
		for kind, fields := range object {
			if kind != "metainfo" {
				s.addRule(kind, fields)
			}
		}
	}
	return nil
}

// addRule adds one object of a ruleset, and each element of a set or map on its own.
func (s Snapshot) addRule(kind string, fields map[string]any) {
	elements, _ := fields["elem"].([]any)
	delete(fields, "elem")
	delete(fields, "handle") // another one each time the same rule is made
	delete(fields, "packets")
	delete(fields, "bytes")
	s.add("nft", kind, asJSON(fields))
	for _, e := range elements {
		s.add("nft", "element", fmt.Sprint(fields["table"], "/", fields["name"]), asJSON(e))
	}
}

func asJSON(v any) string {
	data, _ := json.Marshal(v) // what was just read as JSON
	return string(data)
}

// countContainerd adds what the agent's namespace holds, if the lab has a containerd at all.
func (l *Lab) countContainerd(ctx context.Context, s Snapshot) error {
	if l.ContainerdPID() == 0 {
		return nil
	}
	client, err := containerd.New(l.containerdAddress())
	if err != nil {
		return fmt.Errorf("dial containerd: %w", err)
	}
	defer client.Close()
	ctx = namespaces.WithNamespace(ctx, l.Namespace())
	for _, count := range []func(context.Context, *containerd.Client, Snapshot) error{
		countContainers, countTasks, countLeases, countSnapshots,
	} {
		if err := count(ctx, client, s); err != nil {
			return err
		}
	}
	return nil
}

func countContainers(ctx context.Context, c *containerd.Client, s Snapshot) error {
	list, err := c.ContainerService().List(ctx)
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	for _, one := range list {
		s.add("container", one.ID)
	}
	return nil
}

func countTasks(ctx context.Context, c *containerd.Client, s Snapshot) error {
	list, err := c.TaskService().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return fmt.Errorf("list tasks: %w", err)
	}
	for _, one := range list.Tasks {
		s.add("task", one.ID)
	}
	return nil
}

func countLeases(ctx context.Context, c *containerd.Client, s Snapshot) error {
	list, err := c.LeasesService().List(ctx)
	if err != nil {
		return fmt.Errorf("list leases: %w", err)
	}
	for _, one := range list {
		s.add("lease", one.ID)
	}
	return nil
}

// countSnapshots leaves out committed ones: they are layers of images.
func countSnapshots(ctx context.Context, c *containerd.Client, s Snapshot) error {
	err := c.SnapshotService("overlayfs").Walk(ctx, func(_ context.Context, one snapshots.Info) error {
		if one.Kind != snapshots.KindCommitted {
			s.add("snapshot", one.Kind.String(), one.Name)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	return nil
}
