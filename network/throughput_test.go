package network_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dynod/dynod/test/lab"
)

// BenchmarkThroughput measures rates and round trips, turn by turn: a bare pair of
// links, host to dyno, dyno to outside by way of the host, and the same way by a
// namespace without any rule. Its figures are medians of several turns.
func BenchmarkThroughput(b *testing.B) {
	h := hostOf(b)
	_, a := h.setup(0)
	bare := h.barePair()
	for _, ns := range []string{a.Namespace, h.Outside(), bare} {
		h.iperfServer(ns)
		h.serve(ns, ":7")
	}
	ways := []struct{ name, from, to string }{
		{"bare", h.Lab.Host(), "10.77.0.2"},
		{"host-dyno", h.Lab.Host(), a.Addr.String()},
		{"bare-routed", bare, lab.OutsideAddress},
		{"dyno-outside", a.Namespace, lab.OutsideAddress},
	}
	rates, delays := map[string][]float64{}, map[string][]float64{}
	for b.Loop() {
		for _, w := range ways {
			rates[w.name] = append(rates[w.name], h.iperf(w.from, w.to))
			delays[w.name] = append(delays[w.name], h.roundTrip(w.from, w.to))
		}
	}
	for _, w := range ways {
		b.ReportMetric(median(rates[w.name]), w.name+"-Gbit/s")
		b.ReportMetric(median(delays[w.name]), w.name+"-us")
	}
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// barePair is a namespace at the other end of a pair of links, with a way outside.
func (h *host) barePair() (ns string) {
	h.t.Helper()
	ns = h.Dir() + "/bare"
	h.run("", "touch", ns)
	h.run("", "unshare", "--net="+ns, "true")
	h.t.Cleanup(func() { h.run("", "umount", ns) })
	for _, line := range []string{
		"ip link add bare0 type veth peer name bare1 netns " + ns,
		"ip addr add 10.77.0.1/30 dev bare0",
		"ip link set bare0 up",
	} {
		h.run(h.Lab.Host(), strings.Fields(line)...)
	}
	for _, line := range []string{"ip addr add 10.77.0.2/30 dev bare1", "ip link set bare1 up", "ip route add default via 10.77.0.1"} {
		h.run(ns, strings.Fields(line)...)
	}
	h.run(h.Outside(), "ip", "route", "add", "10.77.0.0/30", "via", lab.HostAddress)
	return ns
}

func (h *host) iperfServer(ns string) {
	h.t.Helper()
	server := h.Command(ns, "iperf3", "--server")
	if err := server.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	h.soon("iperf3", func() bool { return strings.Contains(h.run(ns, "ss", "-ltn"), ":5201") })
}

// iperf is the rate of one connection in Gbit/s.
func (h *host) iperf(from, to string) float64 {
	h.t.Helper()
	var out struct {
		End struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	text := h.run(from, "iperf3", "--client", to, "--time", "1", "--json")
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		h.t.Fatal(err)
	}
	return out.End.Received.Rate / 1e9
}

// roundTrip is the mean time there and back of a small message, in microseconds.
func (h *host) roundTrip(from, to string) float64 {
	h.t.Helper()
	conn, _, err := h.dial(from, to+":7")
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	const times = 2000
	begin := time.Now()
	for range times {
		h.still(conn)
	}
	return float64(time.Since(begin).Microseconds()) / times
}
