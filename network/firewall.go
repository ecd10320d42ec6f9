package network

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"text/template"
	"time"
)

//go:embed table.nft
var tableText string

var tableTemplate = template.Must(template.New("table.nft").Parse(tableText))

// table is what table.nft is filled in with.
type table struct {
	Group         uint32
	First, Last   netip.Addr
	Slots         int
	ClosedPorts   []uint16
	HostPorts     []uint16
	Listen        []string
	Routed        bool
	DefaultPolicy string // its chain
	Policies      []namedChain[Policy]
	Sizes         []namedChain[Limits]
	Elements      map[string][]string // by set
}

// load replaces the firewall table by a new one with the elements of all dynos
// that have a link, in one transaction. It repairs whatever was done to the
// table; connections through it do not notice.
//
// Setup marks the link before it adds elements, and Teardown unmarks it before
// it removes them: so a table made of the marks, with no other change of
// elements meanwhile, lacks nobody and keeps nobody for good.
func (n *Network) load(ctx context.Context) error {
	n.elements.mu.Lock()
	defer n.elements.mu.Unlock()
	dynos, err := n.living()
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := tableTemplate.Execute(&text, n.table(dynos)); err != nil {
		return fmt.Errorf("render firewall table: %w", err)
	}
	if err := within(n.ns, func() error { return runNft(ctx, &text) }); err != nil {
		return err
	}
	n.log.Info("loaded firewall table", "links", len(dynos))
	return n.elements.remember()
}

func (n *Network) table(dynos []dyno) table {
	t := table{
		Group: linkGroup, First: n.cfg.first(), Last: n.cfg.last(), Slots: n.cfg.Slots,
		ClosedPorts: n.cfg.ClosedPorts, HostPorts: n.cfg.HostPorts, Listen: n.cfg.Listen, Routed: n.cfg.Routed,
		DefaultPolicy: n.cfg.policyChain(DefaultPolicy), Policies: n.cfg.policyChains(), Sizes: n.cfg.sizeChains(),
		Elements: map[string][]string{},
	}
	for _, d := range dynos {
		for _, e := range d.elements() {
			t.Elements[e.set] = append(t.Elements[e.set], e.text)
		}
	}
	return t
}

// runNft loads text in the calling thread's network namespace. A child inherits
// that from the thread that forks it.
func runNft(ctx context.Context, text *bytes.Buffer) error {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = text
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("load firewall table: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
