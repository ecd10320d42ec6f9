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

// Kept takes copies of what dyno-init keeps for the plan's Keep. They are the caller's. NotFound if the dyno has ended, never
// had a plan, or one whose command could not be started. An older dyno-init has the read ends alone.
func (r *Runtime) Kept(ctx context.Context, id string) (kept []*os.File, err error) {
	p, err := r.process(ctx, id)
	if err != nil {
		return nil, err
	}
	for i := range launch.Kept {
		file, err := p.pipe(launch.KeepFD + i)
		if errdefs.IsNotFound(err) && i == readEnds {
			return kept, nil
		}
		if err != nil {
			for _, f := range kept {
				_ = f.Close()
			}
			return nil, fmt.Errorf("take pipes of dyno %s: %w", id, err)
		}
		kept = append(kept, file)
	}
	return kept, nil
}

// readEnds are the first of what is kept.
const readEnds = 2

// pipe takes a copy of a descriptor. To open it once more would wait for its lock, which a write to a disk that hangs may
// have.
func (p *process) pipe(number int) (file *os.File, err error) {
	fd := -1
	err = p.control(func(process int) (err error) {
		fd, err = unix.PidfdGetfd(process, number, 0)
		return err
	})
	if errors.Is(err, unix.EBADF) || errors.Is(err, unix.ESRCH) {
		return nil, fmt.Errorf("take descriptor %d: %w", number, errdefs.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("take descriptor %d: %w", number, err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, errors.Join(fmt.Errorf("look at descriptor %d: %w", number, err), unix.Close(fd))
	}
	// What dyno-init has there without a plan may be anything.
	if stat.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil, errors.Join(fmt.Errorf("take descriptor %d: %w", number, errdefs.ErrNotFound), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "kept"), nil
}
