package runtime

import (
	"fmt"
	"log/slog"
	"os/exec"

	runc "github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/anypb"
)

// The values of Config.OCIRuntime.
const (
	OCIRuntimeAuto = "auto" // crun where it can be used, runc elsewhere
	OCIRuntimeRunc = "runc"
	OCIRuntimeCrun = "crun"
)

// ChooseOCIRuntime returns the path of the program that makes containers for the shim; empty: the one that the shim calls by
// itself, which is runc. crun is several times faster, but it cannot hold limits where the hierarchies of cgroup v1 are
// mounted too. find is exec.LookPath.
func ChooseOCIRuntime(setting string, unified bool, find func(string) (string, error)) (string, error) {
	if setting == OCIRuntimeRunc || setting == OCIRuntimeAuto && !unified {
		return "", nil
	}
	if !unified {
		return "", fmt.Errorf("choose OCI runtime: %w: crun needs cgroup v2 alone", errdefs.ErrFailedPrecondition)
	}
	path, err := find("crun")
	if err != nil && setting == OCIRuntimeCrun {
		return "", fmt.Errorf("choose OCI runtime: %w", err)
	}
	return path, nil
}

// shimOptions names the program for the shim.
func shimOptions(setting string, unified bool, log *slog.Logger) (*anypb.Any, error) {
	path, err := ChooseOCIRuntime(setting, unified, exec.LookPath)
	if err != nil {
		return nil, err
	}
	log.Info("OCI runtime chosen", "path", or(path, OCIRuntimeRunc))
	options, err := typeurl.MarshalAnyToProto(&runc.Options{BinaryName: path})
	if err != nil {
		return nil, fmt.Errorf("encode options of the shim: %w", err)
	}
	return options, nil
}
