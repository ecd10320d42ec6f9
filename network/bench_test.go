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

// BenchmarkSetup compares a network made ahead with one made on order, with 1, 100
// and 500 dynos beside it. Its figure is the median: p50-ms.
func BenchmarkSetup(b *testing.B) {
	for _, beside := range []int{1, 100, 500} {
		b.Run(fmt.Sprintf("beside=%d", beside), func(b *testing.B) {
			h := benchHost(b, beside)
			for _, ahead := range []bool{true, false} {
				b.Run(fmt.Sprintf("ahead=%v", ahead), func(b *testing.B) { h.cycles(b, beside, ahead) })
			}
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

func (h *benchmark) cycles(b *testing.B, slot int, ahead bool) {
	var took []time.Duration
	for b.Loop() {
		if ahead {
			h.prepare(slot)
		}
		r := network.Request{ID: uuid.NewString(), Slot: slot, Port: 3000}
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
