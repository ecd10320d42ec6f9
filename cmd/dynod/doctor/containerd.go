package doctor

import (
	"context"
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/dynod/dynod/cmd/dynod/doctor/report"
	"github.com/dynod/dynod/runtime"
)

func (h Host) containerd(ctx context.Context, n *report.Notes) {
	address := h.Config.Containerd.Address
	version, err := runtime.Examine(ctx, address)
	if version != "" && (!atLeast(version, 1, 6) || atLeast(version, 3, 0)) {
		n.Warn("versions 1.6 to 2.x are supported", "version %s", version)
	}
	switch {
	case errdefs.IsDeadlineExceeded(err):
		n.Fail("is it frozen, or its disk? systemctl status containerd", "%s does not answer within 2 s", address)
	case err != nil:
		n.Fail("systemctl status containerd; containerd.address names its socket", "%v", err)
	default:
		if h.patience(ctx, n); n.All == nil {
			n.OK("version %s", version)
		}
	}
}

// runc asks the one that containerd would find, if its PATH is the usual one.
func (h Host) runc(ctx context.Context, n *report.Notes) {
	path, err := exec.LookPath("runc")
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if err != nil {
			path, err = exec.LookPath(filepath.Join(dir, "runc"))
		}
	}
	if err != nil {
		n.Fail("install runc where containerd finds it", "%v", err)
		return
	}
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		n.Fail("", "%s --version: %v", path, err)
		return
	}
	first, _, _ := strings.Cut(string(out), "\n")
	n.OK("%s (%s)", strings.TrimPrefix(first, "runc "), path)
}

func (h Host) dynoInit(_ context.Context, n *report.Notes) {
	path := h.Config.Containerd.Init
	hint := "install that of this dynod; containerd.init says where it is"
	built, err := buildinfo.ReadFile(path)
	if err != nil {
		n.Fail(hint, "%v", err)
		return
	}
	info, err := os.Stat(path)
	own, ok := debug.ReadBuildInfo()
	switch {
	case err != nil || info.Mode().Perm()&0o111 == 0:
		n.Fail("chmod 755 "+path, "%s cannot be executed", path)
	case built.Path != "github.com/dynod/dynod/cmd/dyno-init":
		n.Fail(hint, "%s was built from %s", path, built.Path)
	case ok && built.Main.Version != own.Main.Version:
		n.Warn("install both from one package: another version may not understand its orders", "%s is of version %s, dynod of %s", path, built.Main.Version, own.Main.Version)
	default:
		n.OK("of the same version as dynod (%s)", path)
	}
}
