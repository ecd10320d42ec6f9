package capture

import (
	"slices"

	"github.com/prometheus/procfs"
)

// Listens says whether a process of the caller's network namespace listens on a unix socket, capture's or another. It
// does not connect: capture serves the newest client alone.
func Listens(socket string) bool {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return false
	}
	sockets, err := proc.NetUNIX()
	if err != nil {
		return false
	}
	const accepts = 1 << 16 // __SO_ACCEPTCON
	return slices.ContainsFunc(sockets.Rows, func(s *procfs.NetUNIXLine) bool {
		return s.Flags&accepts != 0 && (s.Path == socket || s.Path == socket+unfinished)
	})
}
