// Package resolv makes the resolv.conf of dynos. It asks no server.
package resolv

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// hostFiles name the host's servers. Where systemd-resolved runs, the first has it
// alone, on the host's loopback, and the second the servers that it asks.
var hostFiles = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}

// Conf has the configured servers, else the host's without those on its loopback, which
// a dyno cannot reach.
func Conf(servers []netip.Addr) (conf []byte) {
	for _, s := range servers {
		conf = fmt.Appendf(conf, "nameserver %s\n", s)
	}
	if conf != nil {
		return conf
	}
	return host(hostFiles)
}

// host is what is left of the first file with a server that a dyno can reach, or else of
// the first one.
func host(files []string) (conf []byte) {
	for i, path := range files {
		left := read(path)
		if Servers(left) != nil {
			return left
		}
		if i == 0 {
			conf = left
		}
	}
	return conf
}

// Servers are those of a file that a dyno can reach. Dynos have no IPv6, and link-local
// addresses are closed to them.
func Servers(conf []byte) (all []netip.Addr) {
	for line := range strings.Lines(string(conf)) {
		if addr, ok := server(line); ok && addr.Is4() && addr.IsGlobalUnicast() {
			all = append(all, addr)
		}
	}
	return all
}

// read is a file without its loopback servers, nothing if there is none.
func read(path string) (left []byte) {
	all, _ := os.ReadFile(path)
	for line := range strings.Lines(string(all)) {
		if addr, ok := server(line); !ok || !addr.IsLoopback() {
			left = append(left, line...)
		}
	}
	return left
}

func server(line string) (addr netip.Addr, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 2 || fields[0] != "nameserver" {
		return addr, false
	}
	addr, err := netip.ParseAddr(fields[1])
	return addr, err == nil
}
