package rig

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Build builds the binaries as tests want them, with the race detector in the daemons, and returns their directory.
func Build(ctx context.Context) (string, error) { return build(ctx, "race", "CGO_ENABLED=1", "-race") }

// BuildPlain builds them as they are installed, for what measures them or works them hard.
func BuildPlain(ctx context.Context) (string, error) {
	return build(ctx, "plain", "CGO_ENABLED=0", "-trimpath")
}

func build(ctx context.Context, name, cgo, flag string) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find module: %w", err)
	}
	dir := filepath.Join(strings.TrimSpace(string(root)), "build", name)
	builds := [][]string{
		{cgo, "go", "build", flag, "-o", dir + "/", "./cmd/dynod", "./cmd/dynoctl", "./cmd/dynoplane"},
		{"CGO_ENABLED=0", "go", "build", "-trimpath", "-ldflags=-s -w -E dyno_init", "-o", dir + "/", "./cmd/dyno-init"},
	}
	for _, b := range builds {
		cmd := exec.CommandContext(ctx, b[1], b[2:]...)
		cmd.Dir = strings.TrimSpace(string(root))
		cmd.Env = append(os.Environ(), b[0])
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build: %w\n%s", err, out)
		}
	}
	return dir, nil
}
