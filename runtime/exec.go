package runtime

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
)

// Exec starts one more command in a dyno that was launched.
func (r *Runtime) Exec(_ context.Context, id string, _ Plan) (Process, error) {
	return nil, fmt.Errorf("exec in dyno %s: %w", id, errdefs.ErrNotImplemented)
}
