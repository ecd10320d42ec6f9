package network_test

import (
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/dynod/dynod/network"
	"github.com/dynod/dynod/test/lab"
)

// finds fails the test unless List finds exactly these.
func (h *host) finds(want ...network.Found) {
	h.t.Helper()
	got, err := h.List(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	byID := func(a, b network.Found) int { return strings.Compare(a.ID, b.ID) }
	slices.SortFunc(got, byID)
	slices.SortFunc(want, byID)
	if len(got)+len(want) > 0 && !cmp.Equal(got, want) {
		h.t.Fatalf("wrong dynos found: %s", cmp.Diff(want, got))
	}
}

func (h *host) found(want network.Found) bool {
	h.t.Helper()
	got, err := h.List(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return slices.Contains(got, want)
}

func (h *host) snapshot() lab.Snapshot {
	h.t.Helper()
	s, err := h.Snapshot(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

// hold keeps a namespace in use until nothingBeyond, as the processes of a dyno
// do.
func (h *host) hold(ns string) {
	h.t.Helper()
	f, err := os.Open(ns)
	if err != nil {
		h.t.Fatal(err)
	}
	h.holders = append(h.holders, f)
}

// nothingBeyond fails the test if the host holds more than before. Packets that
// the firewall counted are nothing held.
func (h *host) nothingBeyond(before lab.Snapshot) {
	h.t.Helper()
	for _, holder := range h.holders {
		_ = holder.Close()
	}
	h.holders = nil
	for _, forget := range [][]string{{"flush", "set", "inet", "dynod", "offenders"}, {"reset", "counters"}} {
		_ = h.Command(h.Lab.Host(), append([]string{"nft"}, forget...)...).Run() // or the lab waits for them to go
	}
	more, err := h.Leaks(h.t.Context(), before)
	if err != nil {
		h.t.Fatal(err)
	}
	more = slices.DeleteFunc(more, func(line string) bool {
		return strings.HasPrefix(line, "nft: counter ") || strings.HasPrefix(line, "nft: element dynod/offenders ")
	})
	if len(more) > 0 {
		h.t.Errorf("left over:\n%s", strings.Join(more, "\n"))
	}
}

// tracked counts the host's tracked connections that name an address.
func (h *host) tracked(addr string) (n int) {
	h.t.Helper()
	for _, line := range strings.Split(h.run(h.Lab.Host(), "cat", "/proc/thread-self/net/nf_conntrack"), "\n") {
		if strings.Contains(line, "="+addr+" ") {
			n++
		}
	}
	return n
}

// denied fails the test unless the firewall has counted packets under name.
func (h *host) denied(name string) {
	h.t.Helper()
	out := h.run(h.Lab.Host(), "nft", "list", "counter", "inet", "dynod", name)
	if !regexp.MustCompile(`packets [1-9]`).MatchString(out) {
		h.t.Errorf("firewall has not counted: %s", out)
	}
}
