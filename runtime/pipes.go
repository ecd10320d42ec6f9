package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/dynod/dynod/runtime/launch"
)

// Pipes opens the read ends of a dyno's output once more, from those that dyno-init keeps. They do not block, and
// are the caller's. NotFound if the dyno has ended or never had a plan.
func (r *Runtime) Pipes(ctx context.Context, id string) (stdout, stderr *os.File, err error) {
	p, err := r.process(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	stdout, err = openPipe(p, launch.KeepFD)
	if err != nil {
		return nil, nil, fmt.Errorf("open stdout of dyno %s: %w", id, err)
	}
	stderr, err = openPipe(p, launch.KeepFD+1)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open stderr of dyno %s: %w", id, err), stdout.Close())
	}
	return stdout, stderr, nil
}

func openPipe(p *process, number int) (*os.File, error) {
	path := fmt.Sprintf("/proc/%d/fd/%d", p.pid, number)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return nil, fmt.Errorf("open %s: %w", path, errdefs.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	file := os.NewFile(uintptr(fd), path)
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, errors.Join(fmt.Errorf("look at %s: %w", path, err), file.Close())
	}
	// The number may have been another process's by then, and what it has there anything.
	if stat.Mode&unix.S_IFMT != unix.S_IFIFO || p.ended() {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, errdefs.ErrNotFound), file.Close())
	}
	return file, nil
}
