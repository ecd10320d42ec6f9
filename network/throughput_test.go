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

	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/test/lab"
)

// way is one that packets go in BenchmarkThroughput.
type way struct {
	name, from, to, addr string
	than                 []string // ways that it is held against

	conn                 net.Conn // to an echo in another process
	near, far            int      // the two ends of one more connection
	rates, delays, paths []float64
}

// BenchmarkThroughput measures rates (iperf3), round trips from process to process,
// and those within one thread, in which nobody has to wake up: what the way itself
// takes. A bare way has as many links and namespaces as ours, and no rule. "tracked"
// and "masked" are bare but for what ours cannot do without: that the host tracks
// connections, and that it masquerades. The ways take turns. Figures are medians,
// and what percentage ours are of the others.
func BenchmarkThroughput(b *testing.B) {
	h := hostOf(b)
	_, a := h.setup(0)
	far, near, middle, end := h.namespace("far"), h.namespace("near"), h.namespace("middle"), h.namespace("end")
	tracked, masked := h.namespace("tracked"), h.namespace("masked")
	for i, ends := range [][2]string{{far, near}, {far, middle}, {middle, end}, {far, masked}, {masked, end}, {tracked, near}} {
		h.wire(ends[0], ends[1], fmt.Sprint("10.77.", i))
	}
	h.run(far, "ip", "route", "add", "10.77.2.0/24", "via", "10.77.1.2")
	h.run(far, "ip", "route", "add", "10.77.4.0/24", "via", "10.77.3.2")
	h.run(end, "ip", "route", "add", "10.77.1.0/24", "via", "10.77.2.1")
	h.run(masked, "nft", "add table ip t; table ip t { chain c { type nat hook postrouting priority 100; oifname to-end masquerade; } \n}")
	h.run(tracked, "nft", "add table ip t; table ip t { chain c { type filter hook input priority 0; ct state established accept; } \n}")
	ways := []*way{
		{name: "bare", from: far, to: near, addr: "10.77.0.2"},
		{name: "tracked", from: tracked, to: near, addr: "10.77.5.2", than: []string{"bare"}},
		{name: "host-dyno", from: h.Lab.Host(), to: a.Namespace, addr: a.Addr.String(), than: []string{"bare", "tracked"}},
		{name: "routed", from: far, to: end, addr: "10.77.2.2"},
		{name: "masked", from: far, to: end, addr: "10.77.4.2", than: []string{"routed"}},
		{name: "dyno-outside", from: a.Namespace, to: h.Outside(), addr: lab.OutsideAddress, than: []string{"routed", "masked"}},
	}
	h.servers(near, end, a.Namespace, h.Outside())
	for _, w := range ways {
		w.conn = h.connected(w.from, w.addr+":7")
		w.near, w.far = h.ends(w)
	}
	for b.Loop() {
		for _, w := range ways {
			w.rates = append(w.rates, h.iperf(w.from, w.addr))
		}
		for range 100 {
			for _, w := range ways {
				w.delays = append(w.delays, h.roundTrips(w.conn)...)
			}
			for _, w := range ways {
				w.paths = append(w.paths, w.thereAndBack(b)...)
			}
		}
	}
	report(b, ways)
}

func report(b *testing.B, ways []*way) {
	b.ReportMetric(0, "ns/op")
	for _, w := range ways {
		b.ReportMetric(median(w.rates), w.name+"-Gbit/s")
		b.ReportMetric(median(w.delays), w.name+"-delay-us")
		b.ReportMetric(median(w.paths), w.name+"-path-us")
		for _, other := range ways {
			if slices.Contains(w.than, other.name) {
				of := w.name + "/" + other.name
				b.ReportMetric(100*median(w.rates)/median(other.rates), of+"-rate-%")
				b.ReportMetric(100*median(w.delays)/median(other.delays), of+"-delay-%")
				b.ReportMetric(100*median(w.paths)/median(other.paths), of+"-path-%")
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

// servers are processes in each namespace, until the test ends: iperf3's and an echo.
func (h *host) servers(namespaces ...string) {
	h.t.Helper()
	self, err := os.Executable()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, ns := range namespaces {
		echo := h.Command(ns, self)
		echo.Env = append(echo.Env, echoAt+"=:7")
		for port, server := range map[string]*exec.Cmd{"7": echo, "5201": h.Command(ns, "iperf3", "--server")} {
			if err := server.Start(); err != nil {
				h.t.Fatal(err)
			}
			h.t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
			h.soon("server", func() bool { return strings.Contains(h.run(ns, "ss", "-Hltn"), ":"+port+" ") })
		}
	}
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
	text := h.run(from, "iperf3", "--client", to, "--bytes", "50M", "--json")
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

// ends are the two ends of a connection, as sockets that block.
func (h *host) ends(w *way) (near, far int) {
	h.t.Helper()
	l := h.listen(w.to, w.addr+":8")
	defer l.Close()
	var one, other net.Conn
	err := h.Do(w.from, func() (err error) {
		one, err = net.Dial("tcp", w.addr+":8")
		return err
	})
	if err == nil {
		other, err = l.Accept()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	socket := func(conn net.Conn) int {
		f, err := conn.(*net.TCPConn).File()
		if err == nil {
			err = unix.SetNonblock(int(f.Fd()), false)
		}
		if err != nil {
			h.t.Fatal(err)
		}
		h.t.Cleanup(func() { _ = f.Close(); _ = conn.Close() })
		return int(f.Fd())
	}
	return socket(one), socket(other)
}

// thereAndBack are some times of a small message, in microseconds. Packets go all the
// way within the call that sends them.
func (w *way) thereAndBack(b *testing.B) (took []float64) {
	message := make([]byte, 12)
	for range 20 {
		begin := time.Now()
		for _, hop := range [][2]int{{w.near, w.far}, {w.far, w.near}} {
			_, err := unix.Write(hop[0], message)
			if err == nil {
				_, err = unix.Read(hop[1], message)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		took = append(took, time.Since(begin).Seconds()*1e6)
	}
	return took
}
