package network_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/dynod/dynod/network"
)

// BenchmarkSetup compares a network made ahead, one whose firewall elements have to
// be changed, and one made on order, with 1, 100 and 500 dynos beside it. Its
// figure is the median: p50-ms.
func BenchmarkSetup(b *testing.B) {
	for _, beside := range []int{1, 100, 500} {
		b.Run(fmt.Sprintf("beside=%d", beside), func(b *testing.B) {
			h := benchHost(b, beside)
			b.Run("ahead", func(b *testing.B) { h.cycles(b, network.Request{Slot: beside, Port: 3000}, true) })
			b.Run("ahead-other-port", func(b *testing.B) { h.cycles(b, network.Request{Slot: beside, Port: 3001}, true) })
			b.Run("on-order", func(b *testing.B) { h.cycles(b, network.Request{Slot: beside, Port: 3000}, false) })
		})
	}
}

func benchHost(b *testing.B, dynos int) *benchmark {
	h := &benchmark{hostOf(b, func(c *network.Config) { c.Slots, c.Spare.Port = 1000, 3000 })}
	for slot := range dynos {
		h.setup(slot)
	}
	return h
}

type benchmark struct{ *host }

func (h *benchmark) cycles(b *testing.B, r network.Request, ahead bool) {
	var took []time.Duration
	for b.Loop() {
		if ahead {
			h.prepare(r.Slot)
		}
		r.ID = uuid.NewString()
		begin := time.Now()
		if _, err := h.Setup(b.Context(), r); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begin))
		if err := h.Teardown(context.WithoutCancel(b.Context()), r.ID); err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
}
