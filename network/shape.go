package network

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A token bucket lets burstTime of its rate pass at once, and at least the largest
// packet that a link carries; what waits longer than queueTime is dropped.
const (
	burstTime = 10 * time.Millisecond
	queueTime = 50 * time.Millisecond
	minBurst  = 128 << 10 // bytes
)

// shape limits what leaves by one end of a link to rate bytes a second; 0 takes
// the limit away. The dyno cannot: it has no power over its own end.
func shape(links *netlink.Handle, end netlink.Link, rate uint64) error {
	attrs := netlink.QdiscAttrs{LinkIndex: end.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT}
	if rate == 0 {
		err := links.QdiscDel(&netlink.Tbf{QdiscAttrs: attrs})
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) { // there is none, or not ours
			return fmt.Errorf("remove bandwidth limit: %w", err)
		}
		return nil
	}
	burst := max(portion(rate, burstTime), minBurst)
	limit := &netlink.Tbf{
		QdiscAttrs: attrs, Rate: rate,
		Buffer: netlink.Xmittime(rate, uint32(burst)), Limit: uint32(burst + portion(rate, queueTime)),
	}
	if err := links.QdiscReplace(limit); err != nil {
		return fmt.Errorf("limit bandwidth: %w", err)
	}
	return nil
}

// portion is what passes at rate in a time, at most 1 GiB.
func portion(rate uint64, t time.Duration) uint64 {
	return uint64(math.Min(float64(rate)*t.Seconds(), 1<<30))
}
