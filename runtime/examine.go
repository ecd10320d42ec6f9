package runtime

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"

	"github.com/dynod/dynod/runtime/images"
)

// Examine asks the containerd at an address for its version, and whether its snapshotter is fit for use: if not, there is
// an error beside the version. A containerd that is silent for two seconds is of the class DeadlineExceeded.
func Examine(ctx context.Context, address string) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	// containerd's own dialling waits for a socket that is not there.
	door, err := (&net.Dialer{}).DialContext(ctx, "unix", address)
	if err != nil {
		return "", fmt.Errorf("dial containerd: %w: %w", errdefs.ErrUnavailable, err)
	}
	_ = door.Close()
	client, err := connect(Config{Address: address, Namespace: "default"})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	answer, err := client.Version(ctx)
	if ctx.Err() != nil {
		return "", fmt.Errorf("ask containerd for its version: %w within %s", context.DeadlineExceeded, pingTimeout)
	}
	if err != nil {
		return "", fmt.Errorf("ask containerd for its version: %w", errgrpc.ToNative(err))
	}
	plugins, err := client.IntrospectionService().Plugins(ctx, "type==io.containerd.snapshotter.v1,id=="+images.Snapshotter)
	if err != nil {
		return "", fmt.Errorf("ask containerd for its plugins: %w", err)
	}
	found := plugins.GetPlugins()
	if len(found) == 0 {
		return answer.Version, fmt.Errorf("find snapshotter %s: %w", images.Snapshotter, errdefs.ErrNotFound)
	}
	if bad := found[0].GetInitErr(); bad != nil {
		return answer.Version, fmt.Errorf("use snapshotter %s: %s", images.Snapshotter, bad.GetMessage())
	}
	return answer.Version, nil
}
