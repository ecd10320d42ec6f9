package lab

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Mark compiles test/apps/mark, static, and returns the path of the program.
func Mark(ctx context.Context) (string, error) {
	repo, err := repository()
	if err != nil {
		return "", err
	}
	path := filepath.Join(repo, "build", "cache", "mark")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	partial := path + "." + rand.Text()
	defer os.Remove(partial)
	cmd := exec.CommandContext(ctx, "gcc", "-O2", "-Wall", "-static", "-s", "-o", partial, filepath.Join(repo, "test/apps/mark/mark.c"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile mark: %w\n%s", err, out)
	}
	return path, os.Rename(partial, path)
}
