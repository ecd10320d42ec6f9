package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Ext4 mounts a new filesystem of so many MiB on a directory of a lab, which unmounts it. Features are those of
// mkfs.ext4 -O, options those of mount -o; both may be empty.
func Ext4(ctx context.Context, dir string, mib int, features, options string) error {
	if !below(dir, base) {
		return fmt.Errorf("mount ext4: %s is not in a lab", dir)
	}
	image := dir + ".ext4"
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(image, nil, 0o600), os.Truncate(image, int64(mib)<<20)); err != nil {
		return fmt.Errorf("make ext4: %w", err)
	}
	format := []string{"mkfs.ext4", "-q", image}
	if features != "" {
		format = append(format, "-O", features)
	}
	mount := []string{"mount", "-t", "ext4", "-o", strings.TrimSuffix("loop,"+options, ","), image, dir}
	for _, command := range [][]string{format, mount} {
		if out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, out)
		}
	}
	return nil
}

// ProjectQuotas mounts a filesystem with project quotas as Ext4 does. False: this kernel was built without them.
func ProjectQuotas(ctx context.Context, dir string, mib int) (bool, error) {
	err := Ext4(ctx, dir, mib, "quota,project", "prjquota")
	if err == nil {
		return true, nil
	}
	config, _ := exec.CommandContext(ctx, "zcat", "/proc/config.gz").Output() // none: a kernel that must have them
	if strings.Contains(string(config), "# CONFIG_QFMT_V2 is not set") {
		return false, nil
	}
	return false, err
}
