package host

import "fmt"

// Wire is an Ethernet cable between two hosts: one end of a pair that Cable makes. It has no address until the host gives it
// one.
type Wire struct {
	local, remote string // sockets of the two ends
	mac           int
}

// Cable makes both ends. Sockets of it lie in dir, whose path must be short.
func Cable(dir string) (a, b *Wire) {
	one, two := dir+"/one", dir+"/two"
	return &Wire{one, two, 1}, &Wire{two, one, 2}
}

// WireInterface is where a host finds its end.
const WireInterface = "wire0"

func (w *Wire) arguments() []string {
	return []string{
		"-netdev", fmt.Sprintf("dgram,id=wire,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s", w.local, w.remote),
		"-device", fmt.Sprintf("virtio-net-pci,netdev=wire,mac=52:54:00:00:01:%02x", w.mac),
	}
}
