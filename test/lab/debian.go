package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/pkg/archive"
)

// notNeeded is left out of a stack: what only people read, and device nodes, which a dyno gets from the runtime.
var notNeeded = []string{
	"dev/*", "usr/share/doc/*", "usr/share/man/*", "usr/share/locale/*", "usr/share/info/*",
	"var/cache/apt/*", "var/lib/apt/lists/*", "var/log/*",
}

// DebianStack makes an OCI archive of a stack: the least of the machine's own Debian release plus the packages. It
// takes a minute and the machine's apt mirror the first time; then it lies in build/cache.
func DebianStack(ctx context.Context, name string, packages ...string) (string, error) {
	release, err := debianRelease()
	if err != nil {
		return "", err
	}
	packages = slices.Sorted(slices.Values(packages))
	sum := sha256.Sum256([]byte(release + " " + strings.Join(packages, " ")))
	file := fmt.Sprintf("stack-%s-%s.tar", name, hex.EncodeToString(sum[:8]))
	return Cached(file, func(path string) error { return buildDebian(ctx, path, name, release, packages) })
}

// debianRelease is the code name of the machine's own release, as a package taken from its mirror must fit the stack.
func debianRelease() (string, error) {
	data, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", fmt.Errorf("find release: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); ok {
			return name, nil
		}
	}
	return "", errors.New("find release: no VERSION_CODENAME in /etc/os-release")
}

// buildDebian works in a lab, so that what debootstrap mounts goes away with it even when it is interrupted.
func buildDebian(ctx context.Context, path, name, release string, packages []string) (err error) {
	l, err := Open("stack-" + name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	root := filepath.Join(l.Dir(), "root")
	argv := []string{"debootstrap", "--variant=minbase", "--include=" + strings.Join(packages, ","), release, root}
	if err := run(ctx, l.Command("", append(argv, mirror(ctx, release)...)...)); err != nil {
		return err
	}
	if err := strip(root); err != nil {
		return fmt.Errorf("strip stack: %w", err)
	}
	return writeImage(path, name, stackConfig, func(w io.Writer) error { return archive.WriteDiff(ctx, w, "", root) })
}

// mirror is where the machine itself gets its packages from; nothing, for debootstrap's own choice, if apt cannot tell.
func mirror(ctx context.Context, release string) []string {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets",
		"--format", "$(ORIGIN) $(CODENAME) $(REPO_URI)", "Created-By: Packages").Output()
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(out)) {
		if uri, ok := strings.CutPrefix(strings.TrimSpace(line), "Debian "+release+" "); ok {
			return []string{uri}
		}
	}
	return nil
}

// strip removes notNeeded and makes the directory that every stack has for the app.
func strip(root string) error {
	for _, pattern := range notNeeded {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return err
		}
		for _, path := range paths {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	return os.Mkdir(filepath.Join(root, "app"), 0o755)
}

// run runs a command of the lab and kills it when ctx ends.
func run(ctx context.Context, cmd *exec.Cmd) error {
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", cmd.Args[0], err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("run %s: %w\n%s", cmd.Args[0], errors.Join(err, ctx.Err()), out.String())
	}
	return nil
}
