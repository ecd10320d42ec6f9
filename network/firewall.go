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
	Group       uint32
	First, Last netip.Addr
	ClosedPorts []uint16
	Dynos       []dyno
}

// dyno is one dyno as the firewall sees it.
type dyno struct {
	ID       string
	Link     string // the host's end
	Addr     netip.Addr
	Port     uint16 // inside
	HostPort uint16
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
	err = tableTemplate.Execute(&text, table{
		Group: linkGroup, First: n.cfg.first(), Last: n.cfg.last(),
		ClosedPorts: n.cfg.ClosedPorts, Dynos: dynos,
	})
	if err != nil {
		return fmt.Errorf("render firewall table: %w", err)
	}
	if err := within(n.ns, func() error { return runNft(ctx, &text) }); err != nil {
		return err
	}
	n.log.Info("loaded firewall table", "dynos", len(dynos))
	return nil
}

// runNft loads text in the calling thread's network namespace. A child inherits
// that from the thread that forks it.
func runNft(ctx context.Context, text *bytes.Buffer) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = text
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("load firewall table: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
