package doctor

import (
	"context"

	units "github.com/docker/go-units"
	"github.com/prometheus/procfs"

	"github.com/dynod/dynod/cmd/dynod/doctor/report"
)

func (h Host) memory(_ context.Context, n *report.Notes) {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		n.Fail("is /proc mounted?", "%v", err)
		return
	}
	info, err := proc.Meminfo()
	if err != nil || info.MemTotalBytes == nil {
		n.Fail("is /proc mounted?", "memory of the host is unknown: %v", err)
		return
	}
	size := h.Config.Sizes[h.Config.Defaults.Size].Memory
	left := int64(*info.MemTotalBytes) - h.Config.Host.MemoryReserve
	switch {
	case left < size:
		n.Fail("more memory, or a smaller host.memory_reserve", "there is no room for a dyno of size %s beside host.memory_reserve", h.Config.Defaults.Size)
	default:
		n.OK("%s for dynos: %d of size %s", units.BytesSize(float64(left)), left/size, h.Config.Defaults.Size)
	}
}
