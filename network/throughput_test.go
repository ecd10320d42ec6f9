package network_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dynod/dynod/test/lab"
)

// way is one that packets go in BenchmarkThroughput, and what it is held against.
type way struct {
	name, from, to string
	than           string // the bare way, empty for such a one itself
	conn           net.Conn
	rates, delays  []float64
}

// BenchmarkThroughput measures rates and round trips, turn by turn. A bare way has as
// many links and namespaces as ours, and nothing else: no rule, no connection
// tracking. "masked" is bare but for the masquerade that dynos need to get out at
// all. Its figures are medians, and what percentage ours are of the bare way's.
func BenchmarkThroughput(b *testing.B) {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	h := hostOf(b)
	_, a := h.setup(0)
	far, near, middle, end := h.namespace("far"), h.namespace("near"), h.namespace("middle"), h.namespace("end")
	h.wire(far, near, "10.77.0")
	h.wire(far, middle, "10.77.1")
	h.wire(middle, end, "10.77.2")
	masked := h.namespace("masked")
	h.wire(far, masked, "10.77.3")
	h.wire(masked, end, "10.77.4")
	h.run(far, "ip", "route", "add", "10.77.2.0/24", "via", "10.77.1.2")
	h.run(far, "ip", "route", "add", "10.77.4.0/24", "via", "10.77.3.2")
	h.run(end, "ip", "route", "add", "10.77.1.0/24", "via", "10.77.2.1")
	h.run(masked, "nft", "add table ip nat; add chain ip nat out { type nat hook postrouting priority 100; }; add rule ip nat out oifname to-end masquerade")
	ways := []*way{
		{name: "bare", from: far, to: "10.77.0.2"},
		{name: "host-dyno", from: h.Lab.Host(), to: a.Addr.String(), than: "bare"},
		{name: "routed", from: far, to: "10.77.2.2"},
		{name: "masked", from: far, to: "10.77.4.2", than: "routed"},
		{name: "dyno-outside", from: a.Namespace, to: lab.OutsideAddress, than: "routed"},
	}
	for _, ns := range []string{near, end, a.Namespace, h.Outside()} {
		h.server(h.Command(ns, "iperf3", "--server"), ns, "5201")
		echo := h.Command(ns, self)
		echo.Env = append(echo.Env, echoAt+"=:7")
		h.server(echo, ns, "7")
	}
	for _, w := range ways {
		w.conn = h.connected(w.from, w.to+":7")
	}
	for b.Loop() {
		for _, w := range ways {
			w.rates = append(w.rates, h.iperf(w.from, w.to))
		}
		for i := range 200 * len(ways) {
			w := ways[i%len(ways)]
			w.delays = append(w.delays, h.roundTrips(w.conn)...)
		}
	}
	report(b, ways)
}

func report(b *testing.B, ways []*way) {
	b.ReportMetric(0, "ns/op")
	for _, w := range ways {
		b.ReportMetric(median(w.rates), w.name+"-Gbit/s")
		b.ReportMetric(median(w.delays), w.name+"-us")
		for _, bare := range ways {
			if bare.name == w.than {
				b.ReportMetric(100*median(w.rates)/median(bare.rates), w.name+"-rate-%")
				b.ReportMetric(100*median(w.delays)/median(bare.delays), w.name+"-delay-%")
			}
		}
	}
}

func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

// namespace is a new one that forwards packets.
func (h *host) namespace(name string) (ns string) {
	h.t.Helper()
	ns = h.Dir() + "/" + name
	h.run("", "touch", ns)
	h.run("", "unshare", "--net="+ns, "true")
	h.t.Cleanup(func() { h.run("", "umount", ns) })
	h.run(ns, "sysctl", "-qw", "net.ipv4.ip_forward=1")
	return ns
}

// wire joins two namespaces by a pair of links, with the addresses .1 and .2.
func (h *host) wire(one, other, network string) {
	h.t.Helper()
	name := func(ns string) string { return "to-" + ns[strings.LastIndex(ns, "/")+1:] }
	h.run(one, "ip", "link", "add", name(other), "type", "veth", "peer", "name", name(one), "netns", other)
	for i, end := range [][2]string{{one, name(other)}, {other, name(one)}} {
		h.run(end[0], "ip", "addr", "add", network+"."+string(rune('1'+i))+"/24", "dev", end[1])
		h.run(end[0], "ip", "link", "set", end[1], "up")
	}
}

// echoAt names the variable that makes the test binary a process that answers with
// what it is sent; its value is the address.
const echoAt = "DYNOD_TEST_ECHO_AT"

func echoes(addr string) int {
	l, err := net.Listen("tcp", addr)
	for err == nil {
		var conn net.Conn
		if conn, err = l.Accept(); err == nil {
			go echo(context.Background(), conn)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// server is a process that listens on a port, until the test ends.
func (h *host) server(server *exec.Cmd, ns, port string) {
	h.t.Helper()
	if err := server.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	h.soon("server", func() bool { return strings.Contains(h.run(ns, "ss", "-Hltn"), ":"+port+" ") })
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
	text := h.run(from, "iperf3", "--client", to, "--bytes", "100M", "--json")
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		h.t.Fatal(err)
	}
	return out.End.Received.Rate / 1e9
}

// roundTrips are some times there and back of a small message, in microseconds.
func (h *host) roundTrips(conn net.Conn) (took []float64) {
	h.t.Helper()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	h.still(conn) // wakes the other side up
	for range 20 {
		begin := time.Now()
		h.still(conn)
		took = append(took, time.Since(begin).Seconds()*1e6)
	}
	return took
}
