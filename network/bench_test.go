package network_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/dynod/dynod/network"
)

// kinds are the ways in which a dyno gets its network.
var kinds = []struct {
	name  string
	port  uint16
	ahead bool
}{{"ahead", 3000, true}, {"ahead-other-port", 3001, true}, {"on-order", 3000, false}}

// BenchmarkSetup compares a network made ahead, one whose firewall elements have to
// be changed, and one made on order, with 1, 100 and 500 dynos beside it, of which each has an
// element in every set and map. The numbers of dynos take turns. Its figures are
// medians in ms.
func BenchmarkSetup(b *testing.B) {
	h := hostOf(b, benchConfig)
	beside := crowd{host: h}
	took := times{}
	for b.Loop() {
		for _, n := range []int{1, 100, 500, 100} {
			beside.be(n)
			for range 10 {
				h.cycle(took, fmt.Sprint(n))
			}
		}
	}
	took.report(b)
}

// BenchmarkElements compares sets and maps that hold one element with such that
// hold 500, by turns. Its figures are medians in ms.
func BenchmarkElements(b *testing.B) {
	h := hostOf(b, benchConfig)
	h.elements("add", 0, 1)
	took := times{}
	for b.Loop() {
		h.fewAndMany(took)
	}
	took.report(b)
}

// fewAndMany are cycles beside one element, and beside 500.
func (h *host) fewAndMany(took times) {
	h.t.Helper()
	for range 10 {
		h.cycle(took, "1")
	}
	h.elements("add", 1, 500)
	for range 10 {
		h.cycle(took, "500")
	}
	h.elements("delete", 1, 500)
}

// TestNetworkIsTakenAtOnce holds a network made ahead against one made on order, and
// both beside 500 elements against those beside one. The bars, a tenth more beside 500,
// are the benchmark's; what misses these has got slow on any machine.
func TestNetworkIsTakenAtOnce(t *testing.T) {
	h := hostOf(t, benchConfig)
	h.elements("add", 0, 1)
	took := times{}
	var said string
	for range 8 {
		h.fewAndMany(took)
		few, many := took.median("1-ahead"), took.median("500-ahead")
		fewMade, manyMade := took.median("1-on-order"), took.median("500-on-order")
		said = fmt.Sprintf("made ahead %s, beside 500 elements %s; made on order %s, %s", few, many, fewMade, manyMade)
		if few < time.Millisecond && fewMade > 5*few && many <= 2*few && manyMade <= fewMade*3/2 {
			t.Log(said)
			return
		}
	}
	t.Error(said)
}

func benchConfig(c *network.Config) {
	policies(c)
	sizes(c)
	c.Slots, c.Routed, c.Spare = 1000, true, benchDyno
}

var benchDyno = network.Request{Port: 3000, Policy: "only-80", Size: "few", Space: "x"}

// times are what Setup took, by arm.
type times map[string][]time.Duration

func (t times) report(b *testing.B) {
	b.ReportMetric(0, "ns/op")
	for arm := range t {
		b.ReportMetric(t.median(arm).Seconds()*1000, arm+"-p50-ms")
	}
}

func (t times) median(arm string) time.Duration {
	slices.Sort(t[arm])
	return t[arm][len(t[arm])/2]
}

// cycle sets one dyno up in each way, and tears it down.
func (h *host) cycle(took times, arm string) {
	const slot = 999
	for _, kind := range kinds {
		if kind.ahead {
			h.prepare(slot)
		}
		r := benchDyno
		r.ID, r.Slot, r.Port = uuid.NewString(), slot, kind.port
		begin := time.Now()
		_, err := h.Setup(h.t.Context(), r)
		took[arm+"-"+kind.name] = append(took[arm+"-"+kind.name], time.Since(begin))
		if err != nil {
			h.t.Fatal(err)
		}
		h.teardown(r.ID)
	}
}

// elements adds to every set and map, or deletes, those of dynos that there are not.
func (h *host) elements(verb string, from, to int) {
	h.t.Helper()
	var text strings.Builder
	for i := from; i < to; i++ {
		link, addr := fmt.Sprintf("no%d", i), fmt.Sprintf("172.17.%d.%d", i/250, i%250)
		for set, element := range map[string]string{
			"sources": link + " . " + addr, "ports": fmt.Sprintf("%d : %s . 3000", 10000+i, addr), "doors": addr + " . 3000",
			"policy_4": link, "size_0": link, "spaces": link + " : 1", "members": link + " . 1",
		} {
			fmt.Fprintf(&text, "%s element inet dynod %s { %s }\n", verb, set, element)
		}
	}
	h.load(h.Lab.Host(), text.String())
}

// crowd is a number of dynos, in the first slots.
type crowd struct {
	*host
	ids []string // by slot
}

func (c *crowd) be(n int) {
	var going sync.WaitGroup
	for len(c.ids) > n {
		id := c.ids[len(c.ids)-1]
		c.ids = c.ids[:len(c.ids)-1]
		going.Go(func() {
			if err := c.Teardown(context.WithoutCancel(c.t.Context()), id); err != nil {
				c.t.Error(err)
			}
		})
	}
	going.Wait()
	for len(c.ids) < n {
		r := benchDyno
		r.ID, r.Slot = uuid.NewString(), len(c.ids)
		c.again(r)
		c.ids = append(c.ids, r.ID)
	}
}
